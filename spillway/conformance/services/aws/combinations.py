"""cfn-lint's rules over several properties of one resource, run as the JSON schemas that they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Rule, Source
from spillway.conformance.services.documented import Found, rule
from spillway.conformance.services.fits import fits
from spillway.contracts.property_values import document
from spillway.contracts.resources import UNKNOWN

_FILE: Final = Path(__file__).with_name("combinations.json")


@cache
def _document() -> dict[str, Any]:
    return json.loads(_FILE.read_text(encoding="utf-8"))


@rule(
    "aws-property-combinations",
    "Properties go together as cfn-lint's rules for the resource type demand.",
    Source(
        "cfn-lint's schemas of resource types",
        "https://github.com/aws-cloudformation/cfn-lint/blob/main/docs/rules.md",
        _document()["sources"]["cfn-lint"],
    ),
)
def _combinations(graph: Graph) -> Iterator[Found]:
    for type_, rules in _document()["types"].items():
        for resource in graph.of(type_):
            instance = _plain(resource.props, _document()["names"].get(type_, {}))
            for id_, about in rules.items():
                # What is not known yet could be anything.
                if not _mentions_unknown(instance, about["schema"]) and not fits(instance, about["schema"]):
                    yield (
                        resource,
                        "",
                        f"{about['says']} (cfn-lint {id_}): it does not",
                        f"See what {id_} says of its properties.",
                    )


def _plain(value: Any, names: Mapping[str, str]) -> Any:
    """With names as the schemas have them, and without what is left out."""
    if isinstance(value, Mapping):
        named = ((names.get(key) or _normalised(key), item) for key, item in value.items())
        return {key: _plain(item, names) for key, item in named if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item, names) for item in value]
    # Containers are a list here, and a text for the provider.
    inside = document(value) if isinstance(value, str) and value.startswith("[") else None
    return value if inside is None else _plain(inside, names)


def _normalised(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _mentions_unknown(instance: Mapping[str, Any], schema: Any) -> bool:
    mentioned = set(re.findall(r'"(\w+)"', json.dumps(schema)))
    return any(key in mentioned and _has_unknown(value) for key, value in instance.items())


def _has_unknown(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_unknown, value.values()))
    return any(map(_has_unknown, value)) if isinstance(value, list) else value is UNKNOWN


RULES: Final[tuple[Rule, ...]] = (_combinations,)
