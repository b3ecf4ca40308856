"""Custom roles with the actions of one caller, and their assignment to it."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
from pulumi_azure_native import authorization

from components.base import Component, unique_name
from spillway.contracts.azure_calls import ACTIONS, Caller

ROLE_NAME_LENGTH = 128


def grant_calls(
    component: Component,
    caller: Caller,
    principal_id: str,
    resource_group_id: pulumi.Input[str],
    scopes: Mapping[str, pulumi.Input[str]],
) -> None:
    """Let a service principal make this caller's calls on ``scopes`` (by a short name), and nothing else.

    Names of roles are unique in the tenant."""
    short = caller.replace(" ", "-")
    prefix = component.context.prefix
    group = pulumi.Output.from_input(resource_group_id)
    role = authorization.RoleDefinition(
        f"{prefix}-role-{short}",
        scope=group,
        role_name=group.apply(lambda id_: unique_name(prefix, short, id_, ROLE_NAME_LENGTH)),
        role_type="CustomRole",
        description=f"What the {caller} of {prefix} calls",
        assignable_scopes=[group],
        permissions=[authorization.PermissionArgs(actions=list(ACTIONS[caller]))],
        opts=component.child(),
    )
    for name, scope in scopes.items():
        authorization.RoleAssignment(
            f"{prefix}-role-{short}-{name}",
            scope=scope,
            principal_id=principal_id,
            principal_type=authorization.PrincipalType.SERVICE_PRINCIPAL,
            role_definition_id=role.id,
            opts=component.child(),
        )
