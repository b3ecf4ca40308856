"""Azure Cache for Redis."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import LOCATION, Action, in_group
from spillway.twin.azure.sample import PLACE, Sample

ROWS: Final = (
    in_group(
        "redis:Redis",
        "Microsoft.Cache/redis/{name}",
        "redis.RedisCreateParameters",
        create_only=LOCATION,
        computed={"hostName": "{name}.redis.cache.windows.net", "sslPort": 6380},
        identity=True,
        actions=(Action("listKeys", "redis:listRedisKeys"),),
        sample=Sample(
            {
                **PLACE,
                "name": "cache",
                "sku": {"name": "Basic", "family": "C", "capacity": 0},
                "minimumTlsVersion": "1.2",
            }
        ),
    ),
)
