"""The main job with the words a user types: package, up, status, a request to each site, down; and nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spillway.contracts.classes import OPERATOR_KEY_HEADER, SITE_HEADER, Site
from spillway.drill.workload import first_output, infer_body
from spillway.twin.handle import stop_twin
from tests.cli.conftest import ROOT
from tests.twin.test_processes import marked

pytestmark = pytest.mark.heavy


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "spillway.cli.main", *arguments]


def spillway(project: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        command(*arguments, "--json"), cwd=project, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def packaged(project: Path) -> Iterator[Path]:
    done = subprocess.run(command("package", "--json"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    yield project
    state = project / ".spillway" / "local"
    stop_twin(state)
    assert marked(state) == []


def test_up_serves_from_every_site_and_down_leaves_nothing(packaged: Path) -> None:
    up = spillway(packaged, "up")
    assert up["ok"], up["problems"]
    assert up["changes"]["create"] > 120
    status = spillway(packaged, "status")
    assert {site["name"]: site["ready"] for site in status["sites"]} == dict.fromkeys(Site, True)

    key = Path(up["operator_key_file"]).read_text()
    vectors = {site: embedding(up["gateways"]["private"], site, key) for site in Site}
    assert all(len(vector) == 384 for vector in vectors.values())
    assert vectors[Site.SAGEMAKER] == pytest.approx(vectors[Site.PRIVATE], abs=1e-4)
    assert vectors[Site.AZURE_ML] == pytest.approx(vectors[Site.PRIVATE], abs=1e-4)
    for line in up["curl"]:
        said = subprocess.run(line, shell=True, capture_output=True, check=True)
        assert first_output(said.stdout)

    again = spillway(packaged, "up")
    assert set(again["changes"]) == {"same"}
    assert [p["pid"] for p in again["processes"]] == [p["pid"] for p in up["processes"]]

    assert spillway(packaged, "down")["stopped"]
    assert marked(packaged / ".spillway" / "local") == []
    assert spillway(packaged, "status")["running"] is False

    # The emulated AWS forgot everything; the checkpoint did not.
    returned = spillway(packaged, "up")
    assert returned["ok"], returned["problems"]
    assert returned["refreshed"]
    gone = spillway(packaged, "down", "--destroy", "--purge")
    assert gone["destroyed"]["kept"] == []
    assert not (packaged / ".spillway" / "local").exists()


def test_ctrl_c_is_130_and_leaves_no_process(packaged: Path) -> None:
    state = packaged / ".spillway" / "local"
    with subprocess.Popen(command("up"), cwd=packaged, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("preview:"):
                break
        time.sleep(1)
        os.kill(process.pid, signal.SIGINT)
        process.stderr.read()
    assert process.returncode == 130
    assert marked(state) == []
    assert spillway(packaged, "up", "--resources-only")["changes"]["create"] > 0


def embedding(gateway: str, site: Site, key: str) -> list[float]:
    headers = {"content-type": "application/json", OPERATOR_KEY_HEADER: key, SITE_HEADER: site}
    request = urllib.request.Request(
        f"{gateway}/v2/models/minilm/infer", infer_body("TEXT", "A sentence encoder turns text into a vector."), headers
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.headers[SITE_HEADER] == site
        return first_output(answer.read()) or []
