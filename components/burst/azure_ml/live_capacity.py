"""How many instances an online deployment has right now: asked before it is updated (ADR 2)."""

from __future__ import annotations

import re
from typing import Final

import pulumi
from pulumi_azure_native import machinelearningservices as ml

from components.burst.unread_capacity import taken_for_none

_MISSING: Final = re.compile(r"NotFound|not found|\b404\b")


async def live_instances(
    resource_group: str, workspace: str, endpoint: str, deployment: str, options: pulumi.InvokeOptions
) -> int | None:
    """Its instance count, or ``None`` where it does not exist yet.

    A preview needs no credentials: what it cannot read is told, and taken for not there. An update raises
    ``LiveCapacityError`` then, or it would bring a deployment that has grown back to its recorded count.
    """
    try:
        found = ml.get_online_deployment(
            resource_group_name=resource_group,
            workspace_name=workspace,
            endpoint_name=endpoint,
            deployment_name=deployment,
            opts=options,
        )
    except Exception as error:  # The SDK raises nothing narrower.
        if _MISSING.search(str(error)):
            return None
        taken_for_none(
            error,
            f"the Azure ML deployment {deployment}",
            "give the deployer the right Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments/read",
        )
        return None
    return found.sku.capacity if found.sku else None
