"""Roles."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.account import SUBSCRIPTION_ID
from spillway.twin.azure.row import Row
from spillway.twin.azure.sample import ACCOUNT, GROUP, Sample

_ROLES: Final = f"/subscriptions/{SUBSCRIPTION_ID}/providers/Microsoft.Authorization/roleDefinitions"
_ROLE: Final = f"{_ROLES}/ba92f5b4-2d11-453d-a403-e96b0029c9fe"
_PRINCIPAL: Final = "33333333-3333-3333-3333-333333333333"

ROWS: Final = (
    Row(
        "authorization:RoleAssignment",
        "/{scope}/providers/Microsoft.Authorization/roleAssignments/{roleAssignmentName}",
        "authorization.v2022_04_01.RoleAssignmentCreateParameters",
        computed={"scope": "{home}", "createdOn": "{created}"},
        create_only=frozenset({"principalId", "roleDefinitionId", "principalType"}),
        named_by_uuid=True,
        sample=Sample(
            {
                "scope": ACCOUNT,
                "principalId": _PRINCIPAL,
                "principalType": "ServicePrincipal",
                "roleDefinitionId": _ROLE,
            }
        ),
    ),
    Row(
        "authorization:RoleDefinition",
        "/{scope}/providers/Microsoft.Authorization/roleDefinitions/{roleDefinitionId}",
        "authorization.v2022_04_01.RoleDefinition",
        renames={"roleType": "type"},
        computed={"createdOn": "{created}"},
        named_by_uuid=True,
        sample=Sample(
            {
                "scope": GROUP,
                "roleName": "flipper",
                "description": "flips endpoints",
                "roleType": "CustomRole",
                "assignableScopes": [GROUP],
                "permissions": [{"actions": ["Microsoft.Network/trafficManagerProfiles/*/write"]}],
            }
        ),
    ),
)
