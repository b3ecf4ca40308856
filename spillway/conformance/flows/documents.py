"""IAM policy documents: which statements speak of a call.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html (read 2026-11-29).
A condition on a key that the caller does not state is given the benefit of the doubt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

Context = Mapping[str, str | None]
"""Condition key → its value in the request; ``None`` where the request surely has none."""


@dataclass(frozen=True)
class Call:
    """One API call: ``action`` as IAM spells it, the ARN that it is on, and what conditions may ask of it."""

    action: str
    resource: str = "*"
    context: Context = field(default_factory=dict[str, str | None])


@lru_cache(maxsize=4096)
def _statements(text: str) -> tuple[Mapping[str, Any], ...]:
    try:
        found = json.loads(text).get("Statement", [])
    except (ValueError, AttributeError):
        return ()
    return tuple(found if isinstance(found, list) else [found])


def statements(document: Any) -> tuple[Mapping[str, Any], ...]:
    """Of a document that is text or a mapping; none of what is unknown."""
    if isinstance(document, str):
        return _statements(document)
    if isinstance(document, Mapping):
        return _statements(json.dumps(document))
    return ()


def listed(value: Any) -> list[Any]:
    """What may be one or a list, as a list."""
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


@lru_cache(maxsize=8192)
def _pattern(text: str, exact_case: bool) -> re.Pattern[str]:
    escaped = re.escape(text).replace(r"\*", ".*").replace(r"\?", ".")
    return re.compile(escaped, 0 if exact_case else re.IGNORECASE)


def like(pattern: str, value: str, exact_case: bool = True) -> bool:
    return _pattern(pattern, exact_case).fullmatch(value) is not None


def _speaks_of(statement: Mapping[str, Any], call: Call) -> bool:
    if "NotAction" in statement:
        named = not any(like(str(one), call.action, False) for one in listed(statement["NotAction"]))
    else:
        named = any(like(str(one), call.action, False) for one in listed(statement.get("Action")))
    if not named:
        return False
    if "NotResource" in statement:
        return not any(like(str(one), call.resource) for one in listed(statement["NotResource"]))
    # A trust policy has no Resource: it is on its role.
    return "Resource" not in statement or any(like(str(one), call.resource) for one in listed(statement["Resource"]))


def _met(operator: str, wanted: list[Any], key: str, context: Context, doubt: bool) -> bool:
    name = operator.rpartition(":")[2]
    if key not in context:
        return doubt
    value = context[key]
    if name == "Null":
        return str(value is None).lower() in [str(one).lower() for one in wanted]
    if value is None:
        return name.endswith("IfExists") or "Not" in name
    name = name.removesuffix("IfExists")
    found = any(_equal(name, str(one), value) for one in wanted)
    return not found if "Not" in name else found


def _equal(operator: str, wanted: str, value: str) -> bool:
    if operator in ("Bool", "StringEqualsIgnoreCase"):
        return wanted.lower() == value.lower()
    if operator == "NumericLessThanEquals":
        return float(value) <= float(wanted)
    return like(wanted, value) if "Like" in operator or "Arn" in operator else wanted == value


def _holds(statement: Mapping[str, Any], context: Context, doubt: bool) -> bool:
    return all(
        _met(operator, listed(wanted), key, context, doubt)
        for operator, keys in (statement.get("Condition") or {}).items()
        for key, wanted in keys.items()
    )


def denies(document: Any, call: Call) -> bool:
    """Whether a statement surely denies the call."""
    return any(
        statement.get("Effect") == "Deny" and _speaks_of(statement, call) and _holds(statement, call.context, False)
        for statement in statements(document)
    )


def allows(document: Any, call: Call) -> bool:
    """Whether a statement allows the call, its principal left aside."""
    return any(True for _ in allowing(document, call))


def allowing(document: Any, call: Call) -> Iterator[Mapping[str, Any]]:
    """The statements that allow the call, their principals left aside."""
    for statement in statements(document):
        allowed = statement.get("Effect") == "Allow" and _speaks_of(statement, call)
        if allowed and _holds(statement, call.context, True):
            yield statement
