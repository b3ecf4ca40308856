"""Whether the live cost signal counts what costs by the hour."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Rule, Source
from spillway.conformance.services.documented import Found, rule
from spillway.contracts.property_values import document
from spillway.contracts.resources import Resource

_SIGNAL: Final = "spillway.runtime.functions.cost_signal"
_BURST: Final = (
    "aws:sagemaker/endpoint:Endpoint",
    "azure-native:machinelearningservices:OnlineDeployment",
    "azure-native:machinelearningservices:Compute",
)


@rule(
    "cost-signal-counts",
    "Budgets learn of costs hours later; until then only what the cost signal asks for counts against a ceiling.",
    Source(
        "AWS Budgets API: the status of a budget is updated several times a day",
        "https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_Operations_AWS_Budgets.html",
        "2026-11-30",
    ),
)
def _counts(graph: Graph) -> Iterator[Found]:
    for function in graph.of("aws:lambda/function:Function"):
        if str(function.get("handler")).rpartition(".")[0] != _SIGNAL:
            continue
        told = document(function.get("environment.variables.SPILLWAY_COST"))
        asked = json.dumps(told.get("sites")).lower() if isinstance(told, dict) else ""
        for burst in graph.of(*_BURST) if asked else ():
            if (name := _name(burst)) and name.lower() not in asked:
                yield (
                    burst,
                    "",
                    f"{function.name} does not ask how many instances of it are live: they are outside the burst"
                    " ceiling and the cut-off",
                    "Count it in the cost signal, or leave it out.",
                )


def _name(burst: Resource) -> str:
    """What the signal asks for: an endpoint's name in quotes, or the end of a path in Azure."""
    if burst.type == _BURST[0]:
        return json.dumps(burst.get("name")) if isinstance(burst.get("name"), str) else ""
    return f"{burst.id}?" if burst.id else ""


RULES: Final[tuple[Rule, ...]] = (_counts,)
