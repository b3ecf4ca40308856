"""A stack with a cluster of its own, on the twin with ``--serve``: one model server a site, and it is drilled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from spillway.contracts.classes import Site
from spillway.twin.handle import stop_twin
from tests.end_to_end.site import make_project
from tests.support.packages import small_package
from tests.support.pages import shell

pytestmark = [pytest.mark.heavy, pytest.mark.soak, pytest.mark.timeout(600)]

PLAN = """
name: brief
phases:
  - { name: baseline, duration_s: 3 }
  - { name: private killed, duration_s: 5, faults: [{ group: private, action: kill }], broken: [private] }
  - { name: back, duration_s: 15, faults: [{ group: private, action: start }], back_on: private }
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    folder = make_project(tmp_path)
    packages = folder / ".spillway" / "packages"
    packages.unlink()
    small_package(packages / "minilm" / "current")
    (folder / "plan.yaml").write_text(PLAN)
    yield folder
    stop_twin(folder / ".spillway" / "prod")


def test_prod_is_served_and_drilled(project: Path) -> None:
    up = json.loads(shell("spillway up -s prod --serve --json", project))
    assert [(site["name"], site["ready"]) for site in up["sites"]] == [(place, True) for place in Site]
    # Its gateways take nobody without a key, and its keys are in the stack file.
    assert '-H "x-spillway-key: $ASSISTANT_KEY"' in up["curl"][0]
    drilled = json.loads(shell("spillway drill -s prod --plan plan.yaml --json", project))
    killed = next(phase for phase in drilled["phases"] if phase["name"] == "private killed")
    assert killed["classes"]["P0"]["lost"] == 0
    assert drilled["passed"], drilled["checks"]
