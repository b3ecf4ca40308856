"""What Spillway's own functions call of Azure's Resource Manager, as the actions that a role has to allow.

A test holds the table against the calls that the functions make; the components make a custom role of each row.
"""

from __future__ import annotations

from typing import Final, Literal

Caller = Literal["cost signal", "cut-off", "traffic switch"]

_DEPLOYMENTS: Final = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments"
_AUTOSCALE: Final = "Microsoft.Insights/autoscaleSettings"
_ENDPOINTS: Final = "Microsoft.Network/trafficManagerProfiles/externalEndpoints"

ACTIONS: Final[dict[Caller, tuple[str, ...]]] = {
    "cost signal": (f"{_DEPLOYMENTS}/read",),
    "cut-off": (f"{_AUTOSCALE}/read", f"{_AUTOSCALE}/write", f"{_DEPLOYMENTS}/read", f"{_DEPLOYMENTS}/write"),
    "traffic switch": (f"{_ENDPOINTS}/read", f"{_ENDPOINTS}/write"),
}
"""Caller → every action that it needs, and no other."""

API_VERSIONS: Final = {
    "deployments": "2024-10-01",
    "autoscaleSettings": "2022-10-01",
    "externalEndpoints": "2022-04-01",
}
"""Type of what is called → version of its API; a template names an endpoint's deployments by the first."""
