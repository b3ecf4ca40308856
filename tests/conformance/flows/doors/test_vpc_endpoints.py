from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.flows.documents import Call
from spillway.conformance.flows.doors.vpc_endpoints import ENDPOINT, Place, api, caller_context, service_of
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import ACCOUNT, allow, asked, group, made, network, policy, rule, vpc, world

OURS = allow("*", Condition={"StringEquals": {"aws:PrincipalAccount": ACCOUNT}})
SIGNED = Call("ssm:GetParameter", "*", caller_context(ACCOUNT))


def interface(**props: Any) -> Resource:
    found = {"serviceName": "com.amazonaws.us-east-1.ssm", "vpcEndpointType": "Interface", "privateDnsEnabled": True}
    found |= {"vpcId": "vpc", "subnetIds": ["private"], "securityGroupIds": ["ends"], "policy": policy(OURS)}
    return made(ENDPOINT, "ssm", found | props)


ADMITS = group("ends", ingress=[rule(443, "10.0.0.0/16")])
PLACE = Place(("private",))


def named(*resources: Resource, place: Place = PLACE, call: Call = SIGNED) -> list[tuple[str, str]]:
    found = asked(api(world(*resources), place, "ssm", [call]))
    return [(one.resource.name if one.resource else "", one.path) for one in found]


def test_names_of_aws_are_read_backwards() -> None:
    assert service_of("api.ecr.us-east-1.amazonaws.com", "us-east-1") == "ecr.api"
    assert service_of("sts.us-east-1.amazonaws.com", "us-east-1") == "sts"
    assert service_of("ghcr.io", "us-east-1") is None


def test_an_endpoint_serves_the_network_without_nat() -> None:
    assert named(*network(nat=False), interface(), ADMITS) == []


@pytest.mark.parametrize(
    ("endpoint", "ends", "at"),
    [
        (interface(), group("ends", ingress=[rule(443, "10.9.0.0/16")]), ("ends", "ingress.0")),
        (interface(policy=policy(allow("s3:*"))), ADMITS, ("ssm", "policy")),
        (interface(subnetIds=[]), ADMITS, ("ssm", "subnetIds")),
    ],
)
def test_an_endpoint_that_takes_the_name_over_has_to_let_through(
    endpoint: Resource, ends: Resource, at: tuple[str, str]
) -> None:
    assert named(*network(), endpoint, ends) == [at]


def test_without_private_names_calls_go_out_by_nat() -> None:
    assert named(*network(), interface(privateDnsEnabled=False), ADMITS) == []
    assert named(*network(nat=False), interface(privateDnsEnabled=False), ADMITS) == [("inner", "routes")]


def test_without_a_resolver_no_name_is_found() -> None:
    assert named(vpc(enableDnsSupport=False), *network()[1:], interface(), ADMITS) == [("vpc", "enableDnsSupport")]


def test_the_callers_own_group_has_to_let_it_out() -> None:
    shut = group("job", egress=[rule(80, "0.0.0.0/0")])
    assert named(*network(), interface(), ADMITS, shut, place=Place(("private",), ("job",))) == [("job", "egress.0")]


def gateway(**statement: Any) -> Resource:
    props = {"serviceName": "com.amazonaws.us-east-1.s3", "vpcEndpointType": "Gateway", "vpcId": "vpc"}
    return made(
        ENDPOINT, "s3", {**props, "routeTableIds": ["inner"], "policy": policy(OURS, *[statement] * bool(statement))}
    )


def test_the_s3_endpoint_takes_unsigned_downloads_of_public_registries_over() -> None:
    """https://github.com/prometheus-community/helm-charts/issues/2421: images of registry.k8s.io in a closed VPC."""
    layer = Call("s3:GetObject", "arn:aws:s3:::prod-registry-k8s-io-us-east-1/x", {"aws:PrincipalAccount": None})
    shut = asked(api(world(*network(), gateway()), PLACE, "s3", [layer]))
    assert [(one.resource.name, one.path) for one in shut if one.resource] == [("s3", "policy")]
    mirror = allow("s3:GetObject", "arn:aws:s3:::prod-registry-k8s-io-us-east-1/*")
    assert not asked(api(world(*network(), gateway(**mirror)), PLACE, "s3", [layer]))
