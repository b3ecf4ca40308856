"""Function apps."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import LOCATION, in_group
from spillway.twin.azure.sample import PLACE, Sample, at

ROWS: Final = (
    in_group(
        "web:AppServicePlan",
        "Microsoft.Web/serverfarms/{name}",
        "web.AppServicePlan",
        create_only=LOCATION,
        sample=Sample(
            {
                **PLACE,
                "name": "plan",
                "kind": "functionapp",
                "sku": {"name": "Y1", "tier": "Dynamic"},
                "reserved": True,
            }
        ),
    ),
    in_group(
        "web:WebApp",
        "Microsoft.Web/sites/{name}",
        "web.Site",
        create_only=LOCATION | {"kind"},
        computed={"defaultHostName": "{name}.azurewebsites.net", "state": "Running"},
        identity=True,
        sample=Sample(
            {
                **PLACE,
                "name": "flipper",
                "kind": "functionapp,linux",
                "serverFarmId": at("Microsoft.Web/serverfarms/plan"),
                "httpsOnly": True,
                "siteConfig": {"linuxFxVersion": "Python|3.11", "appSettings": [{"name": "A", "value": "b"}]},
            }
        ),
    ),
)
