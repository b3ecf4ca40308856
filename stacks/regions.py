"""Regions that a stack file may name."""

from __future__ import annotations

from functools import cache
from typing import Final

from components.burst.sagemaker.images import table
from spillway.contracts.prices import catalogue

_LOCATIONS: Final = """
australiacentral australiacentral2 australiaeast australiasoutheast austriaeast belgiumcentral brazilsouth
brazilsoutheast canadacentral canadaeast centralindia centralus chilecentral eastasia eastus eastus2 francecentral
francesouth germanynorth germanywestcentral indonesiacentral israelcentral italynorth japaneast japanwest
jioindiacentral jioindiawest koreacentral koreasouth malaysiawest mexicocentral newzealandnorth northcentralus
northeurope norwayeast norwaywest polandcentral qatarcentral southafricanorth southafricawest southcentralus
southeastasia southindia spaincentral swedencentral swedensouth switzerlandnorth switzerlandwest uaecentral uaenorth
uksouth ukwest westcentralus westeurope westindia westus westus2 westus3
"""
AZURE_LOCATIONS: Final = frozenset(_LOCATIONS.split())
"""Azure's public regions (https://learn.microsoft.com/azure/reliability/regions-list, late 2025)."""


@cache
def aws_regions() -> frozenset[str]:
    """Regions of the table of serving containers and of the price catalogue."""
    containers = table()["containers"].values()
    served = {region for versions in containers for row in versions.values() for region in row["accounts"]}
    return frozenset(served | {price.region for price in catalogue() if price.cloud != "azure"})
