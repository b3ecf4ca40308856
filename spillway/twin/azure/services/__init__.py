"""The table: one row per Azure resource type, in a file for each module of Pulumi's SDK."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import Row
from spillway.twin.azure.services import (
    applicationinsights,
    authorization,
    budgets,
    containerinstance,
    containerregistry,
    containerservice,
    dns,
    eventgrid,
    keyvault,
    machinelearningservices,
    managedidentity,
    monitor,
    network,
    operationalinsights,
    portal,
    privatedns,
    redis,
    redisenterprise,
    resources,
    storage,
    trafficmanager,
    web,
)

ROWS: Final[tuple[Row, ...]] = (
    *applicationinsights.ROWS,
    *authorization.ROWS,
    *budgets.ROWS,
    *containerinstance.ROWS,
    *containerregistry.ROWS,
    *containerservice.ROWS,
    *dns.ROWS,
    *eventgrid.ROWS,
    *keyvault.ROWS,
    *machinelearningservices.ROWS,
    *managedidentity.ROWS,
    *monitor.ROWS,
    *network.ROWS,
    *operationalinsights.ROWS,
    *portal.ROWS,
    *privatedns.ROWS,
    *redis.ROWS,
    *redisenterprise.ROWS,
    *resources.ROWS,
    *storage.ROWS,
    *trafficmanager.ROWS,
    *web.ROWS,
)

BY_TOKEN: Final = {row.token: row for row in ROWS}
