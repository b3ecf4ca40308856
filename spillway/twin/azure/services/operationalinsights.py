"""Log Analytics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spillway.twin.azure.row import LOCATION, Action, Keys, encoded, in_group
from spillway.twin.azure.sample import PLACE, Sample


def _shared_keys(_: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    return {"primarySharedKey": encoded(keys[0]), "secondarySharedKey": encoded(keys[1])}


ROWS: Final = (
    in_group(
        "operationalinsights:Workspace",
        "Microsoft.OperationalInsights/workspaces/{workspaceName}",
        "loganalytics.Workspace",
        create_only=LOCATION,
        computed={"customerId": "{uuid}"},
        identity=True,
        actions=(Action("sharedKeys", "operationalinsights:getSharedKeys", _shared_keys),),
        sample=Sample(
            {
                **PLACE,
                "workspaceName": "logs",
                "sku": {"name": "PerGB2018"},
                "retentionInDays": 30,
            }
        ),
    ),
)
