"""Whether a Helm chart knows the values that it is given: Helm itself says nothing of a key that no template reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Rule, Source
from spillway.conformance.services.documented import Found, rule

RELEASE: Final = "kubernetes:helm.sh/v3:Release"


@rule(
    "helm-unknown-value",
    "A value that a chart does not know is ignored without a word.",
    Source(
        "The pinned charts' own values.yaml, as charts.json names them",
        "https://helm.sh/docs/chart_template_guide/values_files/",
        "2026-11-30",
    ),
)
def _unknown(graph: Graph) -> Iterator[Found]:
    for release in graph.of(RELEASE):
        chart = str(release.get("chart")).rpartition("/")[2]
        known = _charts().get(chart)
        # Of another version than the pinned one nothing is known here.
        if known is None or release.get("version") != known["version"]:
            continue
        for path in _strangers(release.get("values"), known["keys"]):
            yield (
                release,
                f"values.{path}",
                f"chart {chart} {known['version']} has no such value, so it changes nothing",
                "Take it away, or correct its name by the chart's values.yaml.",
            )


@rule(
    "helm-budget-in-two-ways",
    "A PodDisruptionBudget has minAvailable or maxUnavailable, never both.",
    Source(
        "Kubernetes: specifying a disruption budget",
        "https://kubernetes.io/docs/tasks/run-application/configure-pdb/",
        "2026-11-30",
    ),
)
def _budget(graph: Graph) -> Iterator[Found]:
    for release in graph.of(RELEASE):
        # Its chart prints its default of maxUnavailable beside whatever else is set.
        adapter = str(release.get("chart")).endswith("prometheus-adapter")
        budget = release.get("values.podDisruptionBudget")
        if not adapter or not isinstance(budget, Mapping) or not budget.get("minAvailable"):
            continue
        if budget.get("maxUnavailable", 1):
            yield (
                release,
                "values.podDisruptionBudget",
                "the API server refuses the chart's budget, and an atomic release is taken away again",
                "Leave minAvailable out: the chart's own maxUnavailable is 1.",
            )


def _strangers(values: Any, known: Mapping[str, Any] | None, path: str = "") -> Iterator[str]:
    if not isinstance(values, Mapping) or known is None:
        return
    for key, value in values.items():
        if key not in known:
            yield f"{path}{key}"
        else:
            yield from _strangers(value, known[key], f"{path}{key}.")


@cache
def _charts() -> dict[str, Any]:
    return json.loads(
        files("spillway.conformance.services.kubernetes").joinpath("charts.json").read_text(encoding="utf-8")
    )


RULES: Final[tuple[Rule, ...]] = (_unknown, _budget)
