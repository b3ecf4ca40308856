"""Ctrl-C in the middle of ``spillway up``, answers that are kept, and a way down that needs no sound stack file. One
twin, in order.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from spillway.contracts.answer_cache import CACHED_SITE
from spillway.contracts.classes import CLASS_HEADER, CLIENT_KEY_HEADER, Site
from spillway.drill.workload import first_output, infer_body
from spillway.twin.handle import find_twin, stop_twin
from tests.end_to_end.site import Answer, make_project, post
from tests.support.packages import small_package
from tests.support.waiting import eventually
from tests.twin.data_plane.test_processes import marked

pytestmark = pytest.mark.heavy


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "spillway.cli.main", *arguments]


def spillway(project: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        command(*arguments, "--json"), cwd=project, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a small package. No process of its twin is left."""
    project = make_project(tmp_path_factory.mktemp("project"))
    path = project / "config" / "Pulumi.local.yaml"
    stack = yaml.safe_load(path.read_text())
    stack["config"]["spillway:package"] = {"path": str(small_package(project / "package"))}
    path.write_text(yaml.safe_dump(stack))
    state = project / ".spillway" / "local"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
        yield project
    stop_twin(state)
    assert marked(state) == []


def test_ctrl_c_is_130_and_leaves_no_process(packaged: Path) -> None:
    state = packaged / ".spillway" / "local"
    with subprocess.Popen(command("up"), cwd=packaged, stderr=subprocess.DEVNULL) as process:
        eventually(lambda: process.poll() is not None or resources_in(state) > 10, within_s=240)
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert marked(state) == []
    assert spillway(packaged, "up", "--resources-only")["changes"]["create"] > 0


def test_an_answer_is_kept_where_the_stack_says_so(packaged: Path) -> None:
    """Through the front, by each tier of the twin: its Redis, and the disk when that is gone."""
    path = packaged / "config" / "Pulumi.local.yaml"
    stack = yaml.safe_load(path.read_text())
    stack["config"]["spillway:gateway"]["cache"] = {"redis": True, "disk": "64Mi"}
    path.write_text(yaml.safe_dump(stack))
    up = spillway(packaged, "up")
    gateway = up["gateways"]["private"]
    key = (packaged / ".spillway" / "local" / "secrets" / "drill_key").read_text()

    def ask(text: str, **headers: str) -> Answer:
        named = {CLIENT_KEY_HEADER: key, CLASS_HEADER: "P0", "content-type": "application/json", **headers}
        return post(f"{gateway}/v2/models/echo/infer", infer_body("TEXT", text), named)

    def kept(text: str) -> Answer:
        """Nobody waits until an answer is kept."""
        eventually(lambda: ask(text).site == CACHED_SITE, within_s=30, what="the answer is kept")
        return ask(text)

    def counted(name: str) -> float:
        port = next(one["port"] for one in up["processes"] if one["name"] == "gateway-private/agent")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(name)))

    first = ask("Hello")
    assert (first.status, first.site) == (200, Site.PRIVATE)
    assert kept("Hello").body == first.body
    assert counted('spillway_cache_hits_total{tier="redis"}') >= 1
    assert ask("Hello", **{"cache-control": "no-store"}).site == Site.PRIVATE
    twin = find_twin(packaged / ".spillway" / "local")
    assert twin is not None
    twin.fault("redis", "kill")
    assert kept("Hello").body == first.body
    assert counted('spillway_cache_hits_total{tier="disk"}') >= 1
    assert first_output(kept("Another").body) == first_output(ask("Another").body)

    def seen() -> dict[str, float]:
        return spillway(packaged, "status")["overview"]["answers"]["P0"]

    eventually(lambda: seen().get(CACHED_SITE, 0) >= 2, within_s=60, what="status tells of the cache")


def resources_in(state: Path) -> int:
    """How many the checkpoint knows."""
    checkpoint = state / "local.json"
    return len(json.loads(checkpoint.read_text())["deployment"]["resources"]) if checkpoint.exists() else 0


def test_a_twin_can_be_destroyed_though_its_stack_file_has_faults(packaged: Path) -> None:
    path = packaged / "config" / "Pulumi.local.yaml"
    sound = path.read_text()
    path.write_text(sound.replace("spillway:exposure: public", "spillway:exposure: everyone"))
    assert path.read_text() != sound
    assert spillway(packaged, "down", "--destroy")["destroyed"]["kept"] == []
