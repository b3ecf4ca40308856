from __future__ import annotations

from spillway.contracts.classes import Site
from spillway.contracts.resources import Resource
from spillway.contracts.routing import (
    ActiveCheck,
    AgentCheck,
    Client,
    MaySpill,
    Probe,
    RoutingTable,
    SiteRoute,
    hash_key,
)
from tests.policies.support import Case, check_case, found, resource


def config_map(may_spill: MaySpill) -> Resource:
    """A gateway's config map, with the real routing table of two sites and one client."""
    private = SiteRoute(site=Site.PRIVATE, host="server", port=80, region="private", slots=2, health=ActiveCheck())
    burst = SiteRoute(site=Site.SAGEMAKER, host="sm", port=443, region="us-east-1", slots=2, health=AgentCheck())
    table = RoutingTable(
        model="echo",
        sites=(private, burst),
        clients=(Client(name="records", key_sha256=hash_key("key"), may_spill=may_spill),),
        anonymous=None,
        probe=Probe(path="/", body=""),
    )
    return resource("kubernetes:core/v1:ConfigMap", data={"routing.json": table.model_dump_json()})


def test_policy() -> None:
    check_case("data-residency", Case([config_map("never")], [config_map("anywhere")], {"clients": {"records": []}}))


def test_a_region_is_allowed_by_name() -> None:
    settings = {"clients": {"records": ["us-*"]}, "burst_regions": ["us-east-1"]}
    assert found("data-residency", [config_map(("us-east-1",))], settings).violations == ()
    assert found("data-residency", [config_map("anywhere")], {"burst_regions": ["eu-*"]}).violations


def test_a_bound_client_that_is_gone_and_a_table_that_is_none() -> None:
    assert found("data-residency", [config_map("never")], {"clients": {"patients": []}}).violations
    broken = resource("kubernetes:core/v1:ConfigMap", data={"routing.json": "{}"})
    assert found("data-residency", [broken]).violations
