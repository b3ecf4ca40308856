"""Whether objects of custom kinds keep the CEL rules of their schemas: a generated file of rules by type."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Rule, Source
from spillway.conformance.services.documented import Found, rule
from spillway.contracts.cel import CelRule, broken
from spillway.contracts.resources import UNKNOWN

_FILE: Final = Path(__file__).with_name("custom_kinds.json")


@cache
def _document() -> dict[str, Any]:
    return json.loads(_FILE.read_text(encoding="utf-8"))


def types() -> dict[str, tuple[CelRule, ...]]:
    """Type token → its rules."""
    return {
        type_: tuple(CelRule(tuple(one["path"]), one["rule"], one["message"]) for one in rules)
        for type_, rules in _document()["types"].items()
    }


@rule(
    "kubernetes-cel",
    "An object of a custom kind keeps the rules (x-kubernetes-validations) that its CustomResourceDefinition states.",
    Source(
        "the CustomResourceDefinitions of cert-manager, Karpenter and KEDA",
        "https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/",
        ", ".join(f"{name} {version}" for name, version in _document()["sources"].items()),
    ),
)
def _keeps(graph: Graph) -> Iterator[Found]:
    for type_, rules in types().items():
        for resource in graph.of(type_):
            for path, message in broken(rules, dict(resource.props), UNKNOWN):
                yield resource, path, f"the API server refuses it: {message}", "Write it so that the rule holds."


RULES: Final[tuple[Rule, ...]] = (_keeps,)
