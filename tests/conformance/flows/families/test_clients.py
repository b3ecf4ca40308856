"""The load balancer's addresses: https://docs.aws.amazon.com/elasticloadbalancing/latest/network/edit-target-group-attributes.html"""

from __future__ import annotations

from dataclasses import replace

import pytest

from spillway.conformance.flows.families.clients import FAMILY
from spillway.contracts.health_checkers import RANGES
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import (
    asked,
    deployment,
    kubernetes,
    made,
    network,
    network_policy,
    service,
    subnet,
    world,
)

CLIENTS = "198.51.100.0/24"
_PREFIX = "service.beta.kubernetes.io/aws-load-balancer-"


def gateway(*further: str, **annotations: str) -> Resource:
    names = {"type": "external", "nlb-target-type": "ip", "scheme": "internet-facing", **annotations}
    sources = [CLIENTS, *further]
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerSourceRanges": sources}
    metadata = {"annotations": {f"{_PREFIX}{key.replace('_', '-')}": value for key, value in names.items()}}
    body = {"selector": {"app": "gateway"}, "ports": [{"port": 443, "targetPort": "http"}], **spec}
    found = kubernetes("core/v1:Service", "gateway", metadata=metadata, spec=body)
    return replace(found, outputs={"status": {"loadBalancer": {"ingress": [{"hostname": "nlb.elb.amazonaws.com"}]}}})


def admitting(*cidrs: str) -> Resource:
    blocks = [{"ipBlock": {"cidr": cidr}} for cidr in cidrs]
    return network_policy("gateway", {"app": "gateway"}, ingress=[{"ports": [{"port": 8000}], "from": blocks}])


def closed(*resources: Resource, controller: bool = True) -> dict[str, set[str]]:
    base = [one for one in network() if one.name != "public"]
    chart = made(
        "kubernetes:helm.sh/v3:Release", "lbc", {"chart": "aws-load-balancer-controller", "namespace": "kube-system"}
    )
    plan = world(
        *base,
        subnet("public", "10.0.1.0/24", tags={"kubernetes.io/role/elb": "1"}),
        made("aws:eks/cluster:Cluster", "eks", {}),
        deployment("gateway"),
        *([chart] if controller else []),
        *resources,
    )
    return {flow.source: {one.path for one in asked(flow.doors)} for flow in FAMILY.flows(plan)}


def test_a_policy_that_knows_only_clients_drops_what_the_load_balancer_sends() -> None:
    assert closed(gateway(), admitting(CLIENTS)) == {
        "clients": {"spec.ingress"},
        "load balancer's health checks": {"spec.ingress"},
    }


def test_a_policy_that_knows_the_load_balancers_subnets_lets_all_in() -> None:
    assert closed(gateway(), admitting("10.0.1.0/24")) == {"clients": set(), "load balancer's health checks": set()}


def test_kept_client_addresses_still_need_a_rule_for_health_checks() -> None:
    kept = gateway(target_group_attributes="preserve_client_ip.enabled=true")
    assert closed(kept, admitting(CLIENTS)) == {"clients": set(), "load balancer's health checks": {"spec.ingress"}}


def test_a_service_without_its_controller_gets_no_address() -> None:
    found = closed(gateway(), admitting("10.0.1.0/24"), controller=False)
    assert found["clients"] == {f"metadata.annotations.{_PREFIX}type"}


KEPT = "preserve_client_ip.enabled=true"
CHECKERS = RANGES
"""Published by AWS in ip-ranges.json."""


def way_in(port: int = 443) -> Resource:
    props = {"type": "HTTPS", "fqdn": "nlb.elb.amazonaws.com", "port": port}
    return made("aws:route53/healthCheck:HealthCheck", "way-in", props)


@pytest.mark.parametrize(
    ("balancer", "policy", "paths"),
    [
        (CHECKERS, CHECKERS, set[str]()),
        ((), CHECKERS, {"spec.loadBalancerSourceRanges"}),
        (CHECKERS, (), {"spec.ingress"}),
        (CHECKERS[1:], CHECKERS, {"spec.loadBalancerSourceRanges"}),
    ],
)
def test_route_53_has_to_be_let_in_where_it_asks(
    balancer: tuple[str, ...], policy: tuple[str, ...], paths: set[str]
) -> None:
    """A check from outside that the doors drop calls a gateway dead for ever, whose clients are served."""
    kept = gateway(*balancer, target_group_attributes=KEPT)
    found = closed(kept, admitting(CLIENTS, "10.0.1.0/24", *policy), way_in())
    assert found["Route 53's health checkers"] == paths
    assert found["clients"] == set()


def test_route_53_asks_at_the_gateways_port_and_from_the_internet() -> None:
    doors = admitting(CLIENTS, "10.0.1.0/24", *CHECKERS)
    inside = gateway(*CHECKERS, target_group_attributes=KEPT, scheme="internal")
    assert closed(gateway(*CHECKERS, target_group_attributes=KEPT), doors, way_in(80))[
        "Route 53's health checkers"
    ] == {"port"}
    assert "type" in closed(inside, doors, way_in())["Route 53's health checkers"]


@pytest.mark.parametrize(("port", "named"), [(443, False), (4444, True)])
def test_gateways_of_one_name_listen_on_one_port(port: int, named: bool) -> None:
    record = made(
        "aws:route53/record:Record", "primary", {"name": "api.", "failoverRoutingPolicies": [{"type": "PRIMARY"}]}
    )
    listener = made("aws:lb/listener:Listener", "listener", {"port": port})
    found = closed(gateway(), admitting(CLIENTS, "10.0.1.0/24"), record, listener)
    assert ("spec.ports" in found["clients"]) is named


@pytest.mark.parametrize(("internal", "path"), [(False, {"vpcs"}), (True, set[str]())])
def test_a_private_zone_is_for_private_gateways(internal: bool, path: set[str]) -> None:
    zone = made("aws:route53/zone:Zone", "zone", {"name": "example.com", "vpcs": [{"vpcId": "vpc"}]})
    balancer = made("aws:lb/loadBalancer:LoadBalancer", "alb", {"internal": internal}, dnsName="alb.elb.amazonaws.com")
    records = [
        made(
            "aws:route53/record:Record",
            role,
            {
                "name": "api.example.com",
                "zoneId": "zone",
                "setIdentifier": role,
                "failoverRoutingPolicies": [{"type": role.upper()}],
                "records": ["alb.elb.amazonaws.com"],
            },
        )
        for role in ("primary", "secondary")
    ]
    plan = world(zone, balancer, *records, service("server"))
    paths = {one.path for flow in FAMILY.flows(plan) if flow.over == "udp/53" for one in asked(flow.doors)}
    assert paths == path
