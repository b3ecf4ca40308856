"""The rules in Common Expression Language that the schema of a custom kind carries (``x-kubernetes-validations``).

What an API server adds to the language: https://kubernetes.io/docs/reference/using-api/cel/. When it asks a rule:
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/ (both read on
2026-11-30). Rules about a change (``oldSelf``) are left out: there is no old object here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

EACH: Final = "*"
"""Step of a path: every item of a list, every value of a map."""


@dataclass(frozen=True)
class CelRule:
    """``path``: from the object to the value that the rule calls ``self``. ``message``: of the schema, or ours."""

    path: tuple[str, ...]
    rule: str
    message: str


def rules_of(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[CelRule]:
    """Those of an object's schema, from the outside in."""
    for one in schema.get("x-kubernetes-validations", ()):
        if not re.search(r"\boldSelf\b", one["rule"]):
            yield CelRule(path, one["rule"], one.get("message") or f"failed rule: {one['rule']}")
    for name, inner in (schema.get("properties") or {}).items():
        yield from rules_of(inner, (*path, name))
    for inner in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, Mapping):
            yield from rules_of(inner, (*path, EACH))


def broken(rules: Sequence[CelRule], value: Any, unknown: object) -> Iterator[tuple[str, str]]:
    """(dotted path, message) of each rule that a value breaks. One that holds ``unknown`` breaks none.

    ``ValueError`` for a rule that is no CEL, or uses more of Kubernetes' library than is known here.
    """
    for rule in rules:
        for path, at in _values(value, rule.path, ""):
            if not _holds(at, unknown) and not _true(rule.rule, at):
                yield path, rule.message


def _values(value: Any, steps: tuple[str, ...], path: str) -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of what is there at a path; ``null`` is not."""
    if value is None:
        return
    if not steps:
        yield path, value
        return
    step, *rest = steps
    if step == EACH:
        inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    else:
        inner = [(step, value.get(step))] if isinstance(value, Mapping) else ()
    for name, item in inner:
        yield from _values(item, tuple(rest), f"{path}.{name}".removeprefix("."))


def _holds(value: Any, unknown: object) -> bool:
    if isinstance(value, Mapping | list):
        return any(_holds(one, unknown) for one in (value.values() if isinstance(value, Mapping) else value))
    return value is unknown


def _true(rule: str, value: Any) -> bool:
    """An error while a rule is evaluated counts as broken, as for the API server."""
    from celpy.adapter import json_to_cel
    from celpy.evaluation import CELEvalError

    try:
        return bool(_program(rule).evaluate({"self": json_to_cel(_whole(value))}))
    except CELEvalError:
        return False


def _whole(value: Any) -> Any:
    """Pulumi has one kind of number, CEL has two that do not mix."""
    if isinstance(value, Mapping):
        return {key: _whole(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@cache
def _program(rule: str) -> Any:
    from celpy import Environment
    from celpy.celparser import CELParseError

    environment = Environment()
    try:
        return environment.program(environment.compile(rule), functions=_library())
    except CELParseError as error:
        raise ValueError(f"no CEL: {rule}") from error


@cache
def _library() -> dict[str, Callable[..., Any]]:
    """Of Kubernetes' own functions, those that schemas here use."""
    from celpy import celtypes

    def find(text: str, pattern: str) -> Any:
        match = re.search(pattern, text)
        return celtypes.StringType(match[0] if match else "")

    def split(text: str, separator: str) -> Any:
        return celtypes.ListType([celtypes.StringType(part) for part in text.split(separator)])

    return {"find": find, "split": split}
