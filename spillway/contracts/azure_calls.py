"""What Spillway's own functions and gateways call in Azure, as the actions that a role has to allow.

A test holds the table against the calls that they make; the components make a custom role of each row.
"""

from __future__ import annotations

from typing import Final, Literal

Caller = Literal["cost signal", "cut-off", "traffic switch", "gateway"]

TOKEN_AUDIENCE: Final = "api://AzureADTokenExchange"
"""Whom a token is for that Entra takes in exchange for one of its own."""
TOKEN_LIFETIME_S: Final = 300
"""Of the token that AWS gives; the exchange follows at once."""
TOKEN_ALGORITHM: Final = "RS256"
"""The one that Entra is documented to take (learn.microsoft.com/entra/workload-id/
workload-identity-federation-considerations, read on 2026-11-30)."""

TENANT_VARIABLE: Final = "AZURE_TENANT_ID"
CLIENT_VARIABLE: Final = "AZURE_CLIENT_ID"
"""Of the managed identity that a gateway is."""
TOKEN_FILE_VARIABLE: Final = "AZURE_FEDERATED_TOKEN_FILE"
"""File with a cluster's token about the pod; where there is none, AWS's word is asked for. All three as Azure's own
libraries name them (https://azure.github.io/azure-workload-identity/docs/installation/mutating-admission-webhook.html).
"""

SCORING_AUDIENCE: Final = "https://ml.azure.com"
"""Whom a token is for that an online endpoint takes; one for Resource Manager opens none
(https://learn.microsoft.com/azure/machine-learning/how-to-authenticate-online-endpoint, read on 2026-11-30)."""

_SCORED: Final = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
_DEPLOYMENTS: Final = f"{_SCORED}/deployments"
_AUTOSCALE: Final = "Microsoft.Insights/autoscaleSettings"
_ENDPOINTS: Final = "Microsoft.Network/trafficManagerProfiles/externalEndpoints"

ACTIONS: Final[dict[Caller, tuple[str, ...]]] = {
    "cost signal": (f"{_DEPLOYMENTS}/read",),
    "cut-off": (f"{_AUTOSCALE}/read", f"{_AUTOSCALE}/write", f"{_DEPLOYMENTS}/read", f"{_DEPLOYMENTS}/write"),
    "traffic switch": (f"{_ENDPOINTS}/read", f"{_ENDPOINTS}/write"),
    # On the endpoint: https://learn.microsoft.com/azure/machine-learning/concept-endpoints-online-auth.
    "gateway": (f"{_SCORED}/score/action",),
}
"""Caller → every action that it needs, and no other."""

API_VERSIONS: Final = {
    "deployments": "2024-10-01",
    "autoscaleSettings": "2022-10-01",
    "externalEndpoints": "2022-04-01",
}
"""Type of what is called → version of its API; a template names an endpoint's deployments by the first."""
