"""What people see when it rings: a dashboard that Grafana takes, and for each alert a page that says what to do."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from components.monitoring.settings import MonitoringSettings
from spillway.contracts.names import CANARY, MODEL_SERVER
from tests.components.monitoring.test_kubernetes import alerts, build
from tests.support.paths import ROOT
from tests.support.recording import of_type

SCHEMA = json.loads(Path(__file__).with_name("dashboard.schema.json").read_text(encoding="utf-8"))
EVERY = [(kind, accelerator) for kind in ("triton", "vllm") for accelerator in ("nvidia", "amd")]
PAGE = ROOT / "docs" / "reference" / "alerts.md"


def panels(kind: Any, accelerator: Any = "nvidia") -> dict[str, dict[str, Any]]:
    (config,) = of_type(build(kind=kind, accelerator=accelerator), "kubernetes:core/v1:ConfigMap")
    shown = json.loads(config.inputs["data"]["spillway.json"])
    jsonschema.validate(shown, SCHEMA, cls=jsonschema.Draft202012Validator)
    return {panel["title"]: panel for panel in shown["panels"]}


@pytest.mark.parametrize(("kind", "accelerator"), EVERY)
def test_grafana_takes_the_dashboard_and_no_panel_covers_another(kind: str, accelerator: str) -> None:
    places = [panel["gridPos"] for panel in panels(kind, accelerator).values()]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below


@pytest.mark.parametrize("kind", ["triton", "vllm"])
def test_the_three_symptoms_stand_first_with_their_bounds_and_the_causes_after_them(kind: str) -> None:
    limits, shown = MonitoringSettings(), panels(kind)
    bounds = {
        title: [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        for title, panel in list(shown.items())[:3]
    }
    assert bounds == {
        "Latency P99": [None, limits.max_latency_p99_s],
        "Waiting requests": [None, limits.max_queue_depth],
        "GPU time used": [None, limits.max_gpu_utilisation],
    }
    causes = [title.partition(":")[0] for title in list(shown)[3:8]]
    assert causes == ["Compute", "Network", "Storage", "Scheduling", "Scheduling"]


@pytest.mark.parametrize("given", [None, "https://git.example.com/team/site/docs/alerts"])
def test_each_alert_leads_to_its_part_of_the_page(given: str | None) -> None:
    """Anchors are made of headings as Git servers make them: in small letters."""
    anchors = {title.lower() for title in re.findall(r"^## (\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)}
    settings = {"runbooks": given} if given else {}
    for kind in ("triton", "vllm"):
        for alert in alerts(build(settings, kind=kind, servers=(MODEL_SERVER, CANARY))).values():
            page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
            assert page == (given or str(PAGE.relative_to(ROOT)))
            assert anchor in anchors, f"docs/reference/alerts.md says nothing of {alert['alert']}"


def test_the_page_has_no_alert_that_there_is_not() -> None:
    named = {name for kind in ("triton", "vllm") for name in alerts(build(kind=kind, servers=(MODEL_SERVER, CANARY)))}
    assert set(re.findall(r"^## (Spillway\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) == named
