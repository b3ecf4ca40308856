from __future__ import annotations

from functools import partial

from spillway.conformance.places.region_rules import RULES, table
from tests.conformance.plan import accused as _accused
from tests.conformance.plan import made

accused = partial(_accused, RULES)


def test_a_subnet_in_a_zone_that_new_accounts_lack() -> None:
    def subnet(zone: str) -> list[str]:
        return accused("ec2-zone-of-the-account", made("aws:ec2/subnet:Subnet", "s", {"availabilityZone": zone}))

    assert subnet("ap-northeast-1b") == subnet("ca-central-1c") == ["s"]
    assert subnet("ap-northeast-1d") == subnet("us-east-1b") == []


def test_zone_redundant_storage_exists_in_some_locations() -> None:
    def account(location: str, sku: str) -> list[str]:
        props = {"location": location, "sku": {"name": sku}}
        return accused("azure-zrs-of-the-location", made("azure-native:storage:StorageAccount", "a", props))

    assert account("northcentralus", "Standard_ZRS") == account("westus", "Standard_ZRS") == ["a"]
    assert account("eastus", "Standard_ZRS") == account("westus", "Standard_LRS") == []


def test_zones_are_named_where_there_are_some() -> None:
    pool = {"agentPoolProfiles": [{"availabilityZones": ["1", "2", "3"]}]}
    for kind, props in (
        ("network:PublicIPAddress", {"zones": ["1", "2", "3"]}),
        ("network:VirtualNetworkGateway", {"sku": {"name": "VpnGw2AZ"}}),
        ("containerregistry:Registry", {"zoneRedundancy": "Enabled"}),
        ("containerservice:ManagedCluster", pool),
    ):
        nowhere = made(f"azure-native:{kind}", "zoned", {**props, "location": "westcentralus"})
        assert accused("azure-zones-of-the-location", nowhere) == ["zoned"]
        somewhere = made(f"azure-native:{kind}", "zoned", {**props, "location": "westeurope"})
        assert accused("azure-zones-of-the-location", somewhere) == []
    plain = made("azure-native:network:PublicIPAddress", "plain", {"location": "westcentralus"})
    assert accused("azure-zones-of-the-location", plain) == []


def test_a_gpu_size_is_sold_where_the_price_list_has_it() -> None:
    def deployment(location: str, size: str) -> list[str]:
        props = {"location": location, "properties": {"instanceType": size}}
        found = made("azure-native:machinelearningservices:OnlineDeployment", "d", props)
        return accused("azure-gpu-of-the-location", found)

    assert deployment("canadaeast", "Standard_NC4as_T4_v3") == ["d"]
    assert deployment("eastus", "Standard_NC4as_T4_v3") == []
    assert deployment("canadaeast", "Standard_of_next_year") == deployment("nowhere", "Standard_NC4as_T4_v3") == []


def test_the_table_is_dated_and_names_its_sources() -> None:
    assert table()["read_on"]
    assert all(part["source"].startswith("https://") for part in (table()["aws"], table()["azure"]))
