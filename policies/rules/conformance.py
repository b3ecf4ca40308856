"""Conformance: what the clouds themselves would refuse or never serve, by their own rules ([rules](conformance.md))."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack
from spillway.conformance.catalogue import QUESTIONS

_MEND: Final = "Each finding says how; docs/reference/conformance.md names its source."


def _asked(question: str) -> Callable[[Stack, PolicySettings], Iterator[Finding]]:
    def check(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
        for rule in QUESTIONS[question]:
            for found in rule.check(stack):
                where = f"{found.path}: " if found.path else ""
                yield Finding(found.resource, f"{where}{found.message}", found.rule, found.remedy)

    return check


POLICIES = (
    Policy(
        "services-accept",
        "Each service would accept what it is asked for.",
        _MEND,
        _asked("services-accept"),
        severity="high",
        whole_stack=True,
    ),
    Policy(
        "flows-open",
        "Each arrow of the architecture can be walked: names, routes, firewalls, policies, identities.",
        _MEND,
        _asked("flows-open"),
        severity="high",
        whole_stack=True,
    ),
    Policy(
        "changes-go-through",
        "The stack can be changed and taken down again.",
        _MEND,
        _asked("changes-go-through"),
        severity="high",
        whole_stack=True,
    ),
    Policy(
        "places-allow",
        "Region, partition, names and limits allow the plan.",
        _MEND,
        _asked("places-allow"),
        severity="high",
        whole_stack=True,
    ),
)
