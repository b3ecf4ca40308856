"""Resource groups, and deployments of templates."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import GROUP_PATH, LOCATION, Row, in_group
from spillway.twin.azure.sample import IDENTITY, IN_GROUP, PLACE, Sample

ROWS: Final = (
    Row(
        "resources:ResourceGroup",
        GROUP_PATH,
        "resource.resources.ResourceGroup",
        create_only=LOCATION,
        sample=Sample({**PLACE, "tags": {"owner": "platform"}}),
    ),
    in_group(
        "resources:Deployment",
        "Microsoft.Resources/deployments/{deploymentName}",
        note="the template's resources are created; expressions in templates are refused",
        sample=Sample(
            {
                **IN_GROUP,
                "deploymentName": "traffic",
                "properties": {
                    "mode": "Incremental",
                    "template": {
                        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
                        "contentVersion": "1.0.0.0",
                        "resources": [
                            {
                                "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
                                "apiVersion": "2024-10-01",
                                "name": "ml-ws/spill",
                                "location": "westeurope",
                                "kind": "Managed",
                                "identity": {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}},
                                "properties": {
                                    "authMode": "Key",
                                    "publicNetworkAccess": "Disabled",
                                    "traffic": {"blue": 100},
                                },
                            }
                        ],
                    },
                },
            },
            after=("machinelearningservices:OnlineDeployment",),
        ),
    ),
)
