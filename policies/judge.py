"""Runs policies over a stack: findings become violations, unless an exemption of the stack file covers them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from policies.catalogue import ALL
from policies.policy import Finding, Level, Policy, PolicySettings
from policies.resources import Context, Stack
from policies.settings import settings_of
from spillway.contracts.frozen import Settings
from spillway.contracts.resources import Resource


@dataclass(frozen=True)
class Violation:
    """A finding that counts, at the level that the stack gives its policy."""

    policy: Policy
    finding: Finding
    level: Level


@dataclass(frozen=True)
class Exempted:
    """A finding that the stack file exempts, and its reason."""

    policy: Policy
    finding: Finding
    reason: str


@dataclass(frozen=True)
class Verdict:
    """What the policies say of a stack. ``ran``: how many of them were not disabled."""

    violations: tuple[Violation, ...]
    exempted: tuple[Exempted, ...]
    ran: int

    @property
    def mandatory(self) -> tuple[Violation, ...]:
        return tuple(violation for violation in self.violations if violation.level == "mandatory")


def judge(
    resources: Iterable[Resource], settings: Settings, context: Context, policies: Sequence[Policy] = ALL
) -> Verdict:
    """Run ``policies`` over the resources of a stack."""
    stack = Stack(resources, context)
    violations: list[Violation] = []
    exempted: list[Exempted] = []
    ran = 0
    for policy in policies:
        own = settings_of(policy, settings)
        level = own.level or policy.level
        if level == "disabled":
            continue
        ran += 1
        for finding in policy.check(stack, own):
            reason = exemption(own, finding)
            if reason is None:
                violations.append(Violation(policy, finding, level))
            else:
                exempted.append(Exempted(policy, finding, reason))
    return Verdict(tuple(violations), tuple(exempted), ran)


def exemption(settings: PolicySettings, finding: Finding) -> str | None:
    """Why the stack file leaves this finding alone, ``None`` where it does not. The stack as a whole is ``stack``."""
    name = "stack" if finding.resource is None else finding.resource.name
    return next(
        (e.reason for e in settings.exempt if e.rule in (None, finding.rule) and fnmatchcase(name, e.resource)), None
    )


def remedy(policy: Policy, finding: Finding) -> str:
    """How to mend it."""
    return finding.remedy or policy.remediation
