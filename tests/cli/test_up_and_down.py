"""Ctrl-C in the middle of ``spillway up``, and a way down that needs no sound stack file. One twin, in order."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from spillway.twin.handle import stop_twin
from tests.end_to_end.site import make_project
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
