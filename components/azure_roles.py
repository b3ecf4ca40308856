"""Custom roles with the actions of one identity, its assignments, and the wait until they are in force."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

import pulumi
from pulumi_azure_native import authorization

from components.base import Component, unique_name

ROLE_NAME_LENGTH = 128
IN_FORCE_S: Final = 180.0
"""Seconds after which an assignment is taken to be in force. Azure says that it may take ten minutes, and most take one
(https://learn.microsoft.com/azure/role-based-access-control/troubleshooting, read on 2026-11-30); azurerm tries again
for five minutes at most. What uses the rights takes longer than the rest by itself."""
IN_FORCE_VARIABLE: Final = "SPILLWAY_AZURE_RIGHTS_IN_FORCE_S"
"""Says otherwise where there is no Azure: the twin sets it."""


def grant_actions(
    component: Component,
    short: str,
    actions: Sequence[str],
    principal_id: pulumi.Input[str],
    resource_group_id: pulumi.Input[str],
    scopes: Mapping[str, pulumi.Input[str]],
) -> list[authorization.RoleAssignment]:
    """Let an identity do this on ``scopes`` (by a short name), and nothing else. ``short``: of who it is.

    Names of roles are unique in the tenant."""
    prefix = component.context.prefix
    group = pulumi.Output.from_input(resource_group_id)
    role = authorization.RoleDefinition(
        f"{prefix}-role-{short}",
        scope=group,
        role_name=group.apply(lambda id_: unique_name(prefix, short, id_, ROLE_NAME_LENGTH)),
        role_type="CustomRole",
        description=f"What the {short} of {prefix} does",
        assignable_scopes=[group],
        permissions=[authorization.PermissionArgs(actions=list(actions))],
        opts=component.child(),
    )
    return [
        authorization.RoleAssignment(
            f"{prefix}-role-{short}-{name}",
            scope=scope,
            principal_id=principal_id,
            principal_type=authorization.PrincipalType.SERVICE_PRINCIPAL,
            role_definition_id=role.id,
            # Azure keeps roles in several places: for a while after it was made one of them does not know it.
            opts=component.child(depends_on=[in_force([role])]),
        )
        for name, scope in scopes.items()
    ]


def in_force(
    rights: Sequence[authorization.RoleAssignment] | Sequence[authorization.RoleDefinition],
) -> pulumi.Output[pulumi.Resource]:
    """To be depended on by what uses the rights at once: the last one, once all of them are old enough.

    Only an update waits, and only for rights of its own: Azure tells when each was made.
    """
    made = pulumi.Output.all(*(one.created_on for one in rights))
    return made.apply(partial(_wait, rights[-1]))


async def _wait(last: pulumi.Resource, made: list[str | None]) -> pulumi.Resource:
    if not pulumi.runtime.is_dry_run():
        within = float(os.environ.get(IN_FORCE_VARIABLE, IN_FORCE_S))
        await asyncio.sleep(left_s([one for one in made if one], within, datetime.now(UTC)))
    return last


def left_s(made: Sequence[str], within_s: float, now: datetime) -> float:
    """Seconds until the youngest is ``within_s`` old; no more than that, whatever the clocks say."""
    ages = [(now - datetime.fromisoformat(one)).total_seconds() for one in made]
    return min(within_s, max(0.0, within_s - min(ages))) if ages else 0.0
