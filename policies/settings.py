"""The ``policies:`` block of a stack file: one key a policy, typed by that policy's own settings."""

from __future__ import annotations

from pydantic import Field, create_model

from policies.catalogue import ALL
from policies.policy import Policy, PolicySettings
from spillway.contracts.frozen import Settings

PoliciesSettings = create_model(
    "PoliciesSettings",
    __base__=Settings,
    __doc__="Levels, parameters and exemptions of the policies; docs/reference/policies.md lists them.",
    **{policy.key: (policy.settings, Field(policy.settings(), description=policy.description)) for policy in ALL},  # pyright: ignore[reportArgumentType, reportCallIssue]
)


def settings_of(policy: Policy, settings: Settings) -> PolicySettings:
    """One policy's part of :data:`PoliciesSettings`."""
    return getattr(settings, policy.key)
