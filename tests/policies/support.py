"""Stack fragments: a few resources, the policy they are about, and what it says of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from policies.catalogue import ALL
from policies.judge import Verdict, Violation, judge
from policies.resources import Context, paths_of_texts
from policies.settings import PoliciesSettings
from spillway.contracts.resources import Resource

BY_NAME = {policy.name: policy for policy in ALL}
_COUNT = itertools.count()


@dataclass(frozen=True)
class Case:
    """``passing`` and ``failing``: two fragments. ``settings``: of the policy in both."""

    passing: Sequence[Resource]
    failing: Sequence[Resource]
    settings: Mapping[str, Any] = field(default_factory=dict)
    passing_context: Context = field(default_factory=Context)
    failing_context: Context = field(default_factory=Context)


def resource(type_: str, *, protected: bool = False, in_region: str = "", **props: Any) -> Resource:
    """A resource of a fragment, with these properties and a name of its own."""
    label = f"resource-{next(_COUNT)}"
    urn = f"urn:pulumi:test::fragment::{type_}::{label}"
    return Resource(
        type_, label, urn, props, protect=protected, region=in_region, dependencies=frozenset(), clear=dict(props)
    )


def found(
    policy: str,
    resources: Iterable[Resource],
    settings: Mapping[str, Any] | None = None,
    context: Context | None = None,
) -> Verdict:
    """What one policy says."""
    own = BY_NAME[policy]
    given = PoliciesSettings.model_validate({own.key: settings or {}})
    return judge(resources, given, context or Context(), [own])


def check_case(policy: str, case: Case) -> None:
    """The passing fragment has no violation, the failing one has, and no message repeats one of its values."""
    good = found(policy, case.passing, case.settings, case.passing_context)
    assert [violation.finding.message for violation in good.violations] == []
    bad = found(policy, case.failing, case.settings, case.failing_context)
    assert bad.violations
    for violation in bad.violations:
        assert repeated(violation, case.failing, case.settings) == []


def repeated(violation: Violation, resources: Iterable[Resource], settings: Mapping[str, Any]) -> list[str]:
    """Values of the resources that a message repeats. What the policy's own settings say is no secret."""
    own = str(violation.policy.settings.model_validate(settings).model_dump())
    values = {text for item in resources for _, text in paths_of_texts(item.props) if len(text) > 4}
    return [value for value in values if value in violation.finding.message and value not in own]
