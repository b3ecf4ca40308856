"""NetworkPolicies as https://kubernetes.io/docs/concepts/services-networking/network-policies/ tells them."""

from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.flows.addresses import ranges
from spillway.conformance.flows.doors.pod_policies import Peer, allow
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import deployment, network_policy, world

SERVER = deployment("server")
GATEWAY = Peer("edge", {"app": "gateway"})
FROM_EDGE = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}}}
DENY = network_policy("default-deny", {}, ingress=[], egress=[])


def closed(*policies: Resource, peer: Peer = GATEWAY, port: int = 8000, way: Any = "ingress") -> list[tuple[str, str]]:
    plan = world(SERVER, *policies)
    found = allow(plan, plan.pods[0], way, peer, port)
    return [(one.resource.name if one.resource else "", one.path) for one in found]


def ingress(*peers: dict[str, Any], port: Any = 8000) -> list[dict[str, Any]]:
    return [{"ports": [{"protocol": "TCP", "port": port}], **({"from": list(peers)} if peers else {})}]


def test_a_pod_that_no_policy_selects_is_open() -> None:
    assert closed() == []
    assert closed(network_policy("other", {"app": "other"}, ingress=[])) == []
    assert closed(network_policy("out", {}, egress=[])) == []


@pytest.mark.parametrize(
    "rules",
    [
        ingress(FROM_EDGE),
        ingress(),
        ingress(FROM_EDGE, port="http"),
        [{"from": [FROM_EDGE]}],
        ingress({**FROM_EDGE, "podSelector": {"matchLabels": {"app": "gateway"}}}),
        [{"ports": [{"port": 7000, "endPort": 9000}]}],
    ],
)
def test_policies_that_let_the_gateway_in(rules: list[dict[str, Any]]) -> None:
    assert closed(DENY, network_policy("server", {"app": "server"}, ingress=rules)) == []


@pytest.mark.parametrize(
    "rules",
    [
        ingress(FROM_EDGE, port=8001),
        ingress({"podSelector": {"matchLabels": {"app": "gateway"}}}),
        ingress({**FROM_EDGE, "podSelector": {"matchLabels": {"app": "other"}}}),
        ingress({"ipBlock": {"cidr": "10.0.0.0/8"}}),
        [],
    ],
)
def test_policies_that_keep_it_out_are_named(rules: list[dict[str, Any]]) -> None:
    assert closed(DENY, network_policy("server", {"app": "server"}, ingress=rules)) == [("server", "spec.ingress")]


def test_a_policy_that_selects_nobody_was_meant_for_somebody() -> None:
    lost = network_policy("server", {"app": "servr"}, ingress=ingress(FROM_EDGE))
    assert closed(DENY, lost) == [("server", "spec.podSelector")]


def test_address_blocks_with_holes() -> None:
    block = {"ipBlock": {"cidr": "10.0.0.0/16", "except": ["10.0.9.0/24"]}}
    policy = network_policy("server", {"app": "server"}, ingress=ingress(block))
    assert closed(policy, peer=Peer(ranges=ranges(["10.0.1.0/24"]))) == []
    assert closed(policy, peer=Peer(ranges=ranges(["10.0.1.0/24", "10.0.9.0/24"]))) == [("server", "spec.ingress")]
    assert closed(policy, peer=Peer(ranges=ranges(["192.0.2.0/24"]))) == [("server", "spec.ingress")]


def test_egress_has_rules_of_its_own() -> None:
    https = network_policy("server", {"app": "server"}, egress=[{"ports": [{"port": 443}]}])
    anywhere = Peer(ranges=ranges("0.0.0.0/0"))
    assert closed(DENY, https, peer=anywhere, port=443, way="egress") == []
    assert closed(DENY, https, peer=anywhere, port=80, way="egress") == [("server", "spec.egress")]
