"""Examples of a resource type, beside its row: the tests make, read, tag and delete each on a Resource Manager."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from spillway.twin.azure.account import SUBSCRIPTION_ID

GROUP: Final = f"/subscriptions/{SUBSCRIPTION_ID}/resourceGroups/rg"
IN_GROUP: Final = {"resourceGroupName": "rg"}
PLACE: Final = {**IN_GROUP, "location": "westeurope"}
IN_WORKSPACE: Final = {**IN_GROUP, "workspaceName": "ml-ws"}


def at(path: str) -> str:
    """The id of a sample."""
    return f"{GROUP}/providers/{path}"


ACCOUNT: Final = at("Microsoft.Storage/storageAccounts/spillstore")
ENDPOINT: Final = at("Microsoft.MachineLearningServices/workspaces/ml-ws/onlineEndpoints/spill")
IDENTITY: Final = at("Microsoft.ManagedIdentity/userAssignedIdentities/agent")
LOGS: Final = at("Microsoft.OperationalInsights/workspaces/logs")
SUBNET: Final = at("Microsoft.Network/virtualNetworks/vnet/subnets/gpu")


@dataclass(frozen=True)
class Sample:
    """``inputs``: of one resource of the type; an id in them is another sample's. ``after``: types whose samples have
    to be there before, although no id names them."""

    inputs: Mapping[str, Any]
    after: tuple[str, ...] = ()
