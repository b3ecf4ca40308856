"""Azure Managed Redis."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import LOCATION, Action, in_group
from spillway.twin.azure.sample import IN_GROUP, PLACE, Sample

ROWS: Final = (
    in_group(
        "redisenterprise:RedisEnterprise",
        "Microsoft.Cache/redisEnterprise/{clusterName}",
        "redisenterprise.Cluster",
        create_only=LOCATION,
        computed={"hostName": "{name}.{location}.redis.azure.net"},
        identity=True,
        sample=Sample(
            {
                **PLACE,
                "clusterName": "cachex",
                "sku": {"name": "Balanced_B0"},
                "publicNetworkAccess": "Disabled",
            }
        ),
    ),
    in_group(
        "redisenterprise:Database",
        "Microsoft.Cache/redisEnterprise/{clusterName}/databases/{databaseName}",
        "redisenterprise.Database",
        actions=(Action("listKeys", "redisenterprise:listDatabaseKeys"),),
        sample=Sample(
            {
                **IN_GROUP,
                "clusterName": "cachex",
                "databaseName": "default",
                "clientProtocol": "Encrypted",
            }
        ),
    ),
)
