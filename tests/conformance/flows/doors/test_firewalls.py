from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.flows.addresses import ranges
from spillway.conformance.flows.doors.firewalls import Peer, groups_allow, lists_allow
from tests.conformance.flows.plans import group, made, rule, world

CLIENTS = Peer(ranges("192.0.2.0/24"))
EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"


@pytest.mark.parametrize(
    ("ingress", "path"),
    [
        ([rule(443, "192.0.2.0/24")], None),
        ([rule(443, "192.0.2.0/25", "192.0.2.128/25")], None),
        ([{"protocol": "-1", "fromPort": 0, "toPort": 0, "cidrBlocks": ["0.0.0.0/0"]}], None),
        ([rule(80, "192.0.2.0/24")], "ingress.0"),
        ([rule(443, "192.0.2.0/25")], "ingress.0"),
        ([], "ingress"),
        ([rule(443, "192.0.2.0/24", protocol="udp")], "ingress.0"),
    ],
)
def test_rules_inside_a_group(ingress: list[dict[str, Any]], path: str | None) -> None:
    found = list(groups_allow(world(group("web", ingress=ingress)), ["web"], "ingress", CLIENTS, 443))
    assert [one.path for one in found] == ([] if path is None else [path])


def test_a_rule_may_name_a_group_or_a_prefix_list_in_place_of_addresses() -> None:
    web = group("web", ingress=[rule(8080, securityGroups=["balancer"])])
    assert not list(groups_allow(world(web), ["web"], "ingress", Peer(groups=frozenset(["balancer"])), 8080))
    beside = made(
        EGRESS,
        "s3",
        {"securityGroupId": "job", "ipProtocol": "tcp", "fromPort": 443, "toPort": 443, "prefixListId": "pl-s3"},
    )
    store = Peer(ranges("0.0.0.0/0"), prefix_lists=frozenset(["pl-s3"]))
    assert not list(groups_allow(world(group("job"), beside), ["job"], "egress", store, 443))


def test_a_rule_beside_its_group_is_named_itself() -> None:
    beside = made(
        EGRESS,
        "s3",
        {"securityGroupId": "job", "ipProtocol": "tcp", "fromPort": 80, "toPort": 80, "cidrIpv4": "0.0.0.0/0"},
    )
    found = list(groups_allow(world(group("job"), beside), ["job"], "egress", Peer(ranges("0.0.0.0/0")), 443))
    assert [one.resource.name for one in found if one.resource] == ["s3"]


def test_a_group_of_the_company_is_not_judged() -> None:
    assert not list(groups_allow(world(), ["sg-of-the-company"], "ingress", CLIENTS, 443))


def acl(*entries: tuple[str, int, str, int, int], way: str = "ingress") -> dict[str, Any]:
    found = [
        {"ruleNo": number, "action": action, "protocol": "tcp", "cidrBlock": cidr, "fromPort": first, "toPort": last}
        for action, number, cidr, first, last in entries
    ]
    back = [{"ruleNo": 1, "action": "allow", "protocol": "-1", "cidrBlock": "0.0.0.0/0"}]
    return {"subnetIds": ["public"], "ingress": back, "egress": back, way: found}


@pytest.mark.parametrize(
    ("props", "open_"),
    [
        (acl(("allow", 100, "0.0.0.0/0", 443, 443)), True),
        (acl(("deny", 50, "192.0.2.0/25", 443, 443), ("allow", 100, "0.0.0.0/0", 443, 443)), False),
        (acl(("allow", 100, "0.0.0.0/0", 80, 80)), False),
        ({**acl(("allow", 100, "0.0.0.0/0", 443, 443)), "egress": []}, False),
    ],
)
def test_the_first_rule_of_an_acl_decides_and_answers_need_their_own(props: dict[str, Any], open_: bool) -> None:
    plan = world(made("aws:ec2/networkAcl:NetworkAcl", "acl", props))
    assert bool(list(lists_allow(plan, ["public"], "ingress", CLIENTS.ranges, 443))) is not open_
    assert not list(lists_allow(plan, ["elsewhere"], "ingress", CLIENTS.ranges, 443))
