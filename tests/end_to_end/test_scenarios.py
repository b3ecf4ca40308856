"""Each drill that Spillway ships, on a whole twin, with the words a user types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from spillway.contracts.classes import RequestClass, Site
from spillway.drill.plan_file import find_plan, shipped
from tests.end_to_end.site import LocalSite, make_project, standing
from tests.support.packages import small_package
from tests.support.pages import block, shell
from tests.support.paths import DOCS
from tests.support.waiting import eventually

pytestmark = [pytest.mark.timed, pytest.mark.timeout(900)]
HOW_TO = DOCS / "how-to"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSite]:
    """With as many slots as the example's package has."""
    project = make_project(tmp_path_factory.mktemp("site"))
    path = project / "config" / "Pulumi.local.yaml"
    stack = yaml.safe_load(path.read_text())
    package = small_package(tmp_path_factory.mktemp("package"), slots=32)
    stack["config"]["spillway:package"] = {"path": str(package)}
    path.write_text(yaml.safe_dump(stack))
    with standing(project) as local:
        yield local


def drilled(site: LocalSite, name: str) -> dict[str, Any]:
    if name != "full":
        return site.spillway("drill", "--plan", name)
    # As its page has it, `up` included, which finds everything there.
    shell(block(HOW_TO / "drill.md", "spillway up").text, site.project, timeout_s=800)
    return json.loads((site.state_dir / "drill.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_drill_passes(site: LocalSite, name: str) -> None:
    eventually(lambda: all(found["ready"] for found in site.spillway("status")["sites"]), 60, "every site is ready")
    result = drilled(site, name)
    assert result["passed"], result["checks"]
    plan = find_plan(name)
    offered = sum(found["requests"] for found in result["totals"].values())
    assert offered == len(plan.arrivals())
    urgent = result["totals"][RequestClass.P0]["answered"]
    assert set(urgent) <= set(Site)
