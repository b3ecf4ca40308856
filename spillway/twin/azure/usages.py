"""Quotas of a location, ``GET …/providers/<provider>/locations/<location>/usages``."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

from spillway.twin.azure.manager import ResourceManager
from spillway.twin.azure.refusals import ArmError

LIMIT: Final = 24
"""Cores of each family: a new subscription has none, one that asked has what it was given."""
_FAMILIES: Final = {
    "standardNCASv3_T4Family": re.compile(r"Standard_NC\d+as_T4_v3"),
    "StandardNCADSA100v4Family": re.compile(r"Standard_NC\d+ads_A100_v4"),
}
_DEPLOYMENTS: Final = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments"
_PROVIDERS: Final = ("Microsoft.MachineLearningServices", "Microsoft.Compute")


def usages(manager: ResourceManager, provider: str, subscription: str, location: str) -> list[dict[str, Any]]:
    """Online deployments count in a quota of their own; the stand-in has no virtual machines."""
    if provider not in _PROVIDERS:
        raise ArmError(404, "InvalidResourceType", f"the stand-in knows no usages of {provider}")
    used: Counter[str] = Counter()
    for deployment in manager.of_type(_DEPLOYMENTS, subscription) if provider == _PROVIDERS[0] else ():
        size = str(deployment["properties"].get("instanceType") or "")
        cores = re.match(r"Standard_[A-Z]+(\d+)", size)
        family = next((name for name, sizes in _FAMILIES.items() if sizes.fullmatch(size)), "")
        if cores and family and deployment.get("location") == location:
            used[family] += int(cores[1]) * int((deployment.get("sku") or {}).get("capacity") or 1)
    return [
        {
            "name": {"value": family, "localizedValue": family},
            "currentValue": used[family],
            "limit": LIMIT,
            "unit": "Count",
        }
        for family in _FAMILIES
    ]
