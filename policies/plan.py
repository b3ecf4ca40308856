"""The pack as a stack configures it, over a plan: what a deployer takes as its policies, and what `check` judges."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from policies.catalogue import ALL
from policies.judge import Exempted, Verdict, Violation, judge, remedy
from policies.resources import Context
from policies.rules import secrets
from spillway.contracts import resources as contract
from spillway.contracts.frozen import Settings
from spillway.contracts.resources import Resource

_ALONE: Final = tuple(policy for policy in ALL if not policy.whole_stack)


@dataclass(frozen=True)
class StackPolicies:
    """``settings``: the stack's :data:`policies.settings.PoliciesSettings`."""

    settings: Settings
    context: Context

    def __call__(self, resources: Sequence[Resource], *, whole: bool = True) -> list[contract.Violation]:
        """See :class:`spillway.contracts.resources.Policies`."""
        verdict = judge(resources, self.settings, self.context, ALL if whole else _ALONE)
        return [_told(violation) for violation in verdict.violations]

    def with_secrets(self, secrets: Iterable[str]) -> StackPolicies:
        """Knowing the values of the stack's secrets, which must stand nowhere in clear."""
        texts = frozenset(text for secret in secrets for text in _texts_of(secret))
        return replace(self, context=replace(self.context, secrets=texts))

    def verdict(self, planned: Sequence[Resource], deployed: Sequence[Resource] | None = None) -> Verdict:
        """Of a plan and, where something is ``deployed``, of the secrets that leaked into that.

        Whatever else is wrong with what stands, the plan mends it or shows it.
        """
        plan = judge(planned, self.settings, self.context)
        if deployed is None:
            return plan
        told = {_key(found) for found in (*plan.violations, *plan.exempted)}
        more = judge(deployed, self.settings, self.context, secrets.POLICIES).violations
        return replace(plan, violations=(*plan.violations, *(v for v in more if _key(v) not in told)))


def _told(violation: Violation) -> contract.Violation:
    resource = violation.finding.resource
    message = f"{violation.finding.message}. {remedy(violation.policy, violation.finding)}"
    return contract.Violation(
        violation.policy.name, resource.urn if resource else "", message, violation.level == "mandatory"
    )


def _texts_of(secret: str) -> list[str]:
    """A secret as it is, and where it is JSON, those of its values that are the secret part."""
    try:
        value = json.loads(secret)
    except ValueError:
        return [secret]
    parts = value.items() if isinstance(value, dict) else ()
    return [secret, *(str(part) for name, part in parts if "secret" in name or "password" in name)]


def _key(found: Violation | Exempted) -> tuple[str, str, str]:
    resource = found.finding.resource
    return found.policy.name, resource.name if resource else "", found.finding.message
