"""The AWS network: three zones, closed by default, every API reached inside the VPC."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from pydantic import ValidationError

from components.connectivity.aws_network import AwsNetwork, AwsNetworkArgs, subnet_cidrs
from components.connectivity.settings import INTERFACE_ENDPOINTS, ConnectivitySettings, MirrorSettings
from tests.support.recording import Recorded, context, of_type, record

ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c")


def network(exposure: Literal["internal", "public"] = "internal", **settings: Any) -> list[Recorded]:
    args = AwsNetworkArgs(ConnectivitySettings(**settings), "eu-west-1", "123456789012", exposure, ZONES)
    return record(lambda: AwsNetwork(context(), args))


def test_private_subnets_span_three_zones_and_give_no_public_addresses() -> None:
    subnets = of_type(network(nat="none"), "aws:ec2/subnet:Subnet")
    # Resources register side by side, in no order.
    assert sorted(s.inputs["availabilityZone"] for s in subnets) == ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
    assert not any(s.inputs["mapPublicIpOnLaunch"] for s in subnets)


def test_internal_without_nat_has_no_way_to_the_internet() -> None:
    resources = network(nat="none")
    assert not of_type(resources, "aws:ec2/internetGateway:InternetGateway")
    assert not of_type(resources, "aws:ec2/route:Route")


@pytest.mark.parametrize(("nat", "gateways"), [("none", 0), ("single", 1), ("per_zone", 3)])
def test_nat_gateways_follow_the_setting(nat: str, gateways: int) -> None:
    resources = network("public", nat=nat)
    assert len(of_type(resources, "aws:ec2/natGateway:NatGateway")) == gateways
    private = [r for r in of_type(resources, "aws:ec2/route:Route") if "natGatewayId" in r.inputs]
    assert len(private) == (3 if gateways else 0)
    assert len(of_type(resources, "aws:ec2/subnet:Subnet")) == 6


def test_every_api_has_an_endpoint_with_private_dns_for_this_account_only() -> None:
    endpoints = of_type(network(), "aws:ec2/vpcEndpoint:VpcEndpoint")
    interface = [e for e in endpoints if e.inputs["vpcEndpointType"] == "Interface"]
    assert {e.inputs["serviceName"] for e in interface} == {f"com.amazonaws.eu-west-1.{s}" for s in INTERFACE_ENDPOINTS}
    assert {"ecr.api", "ecr.dkr", "sts", "logs", "sagemaker.runtime"} <= set(INTERFACE_ENDPOINTS)
    for endpoint in interface:
        assert endpoint.inputs["privateDnsEnabled"] is True
        assert len(endpoint.inputs["subnetIds"]) == 3
        condition = json.loads(endpoint.inputs["policy"])["Statement"][0]["Condition"]
        assert condition == {"StringEquals": {"aws:PrincipalAccount": "123456789012"}}
    (gateway,) = [e for e in endpoints if e.inputs["vpcEndpointType"] == "Gateway"]
    assert gateway.inputs["serviceName"].endswith(".s3")
    assert len(gateway.inputs["routeTableIds"]) == 3


def test_endpoint_group_lets_in_https_from_the_vpc_and_the_vpn_peer_only() -> None:
    vpn = {"peer_address": "198.51.100.9", "peer_cidrs": ["10.90.0.0/16"]}
    (group,) = of_type(network(burst_egress="vpn", vpn=vpn), "aws:ec2/securityGroup:SecurityGroup")
    (rule,) = group.inputs["ingress"]
    assert (rule["fromPort"], rule["toPort"], rule["cidrBlocks"]) == (443, 443, ["10.40.0.0/16", "10.90.0.0/16"])
    assert "egress" not in group.inputs


def test_default_security_group_is_closed() -> None:
    (group,) = of_type(network(), "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup")
    assert not group.inputs.get("ingress")
    assert not group.inputs.get("egress")


def test_flow_logs_are_encrypted_with_a_rotated_key() -> None:
    resources = network()
    (group,) = of_type(resources, "aws:cloudwatch/logGroup:LogGroup")
    keys = of_type(resources, "aws:kms/key:Key")
    (flow,) = of_type(resources, "aws:ec2/flowLog:FlowLog")
    (key,) = (key for key in keys if group.inputs["kmsKeyId"].endswith(key.name))
    assert group.inputs["retentionInDays"] == 90
    assert key.inputs["enableKeyRotation"] is True
    assert flow.inputs["trafficType"] == "ALL"


def test_everything_is_tagged() -> None:
    untagged = {"aws:ec2/route:Route", "aws:ec2/routeTableAssociation:RouteTableAssociation", "aws:kms/alias:Alias"}
    untagged |= {"aws:iam/rolePolicy:RolePolicy"}
    for resource in network("public"):
        if resource.type.startswith("aws:") and resource.type not in untagged:
            assert resource.inputs["tags"]["cost-centre"] == "cc-1", resource.name


def test_subnets_do_not_overlap() -> None:
    private, public = subnet_cidrs("10.40.0.0/16")
    assert private == ["10.40.0.0/20", "10.40.16.0/20", "10.40.32.0/20"]
    assert public == ["10.40.240.0/24", "10.40.241.0/24", "10.40.242.0/24"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"vpc_cidr": "10.40.0.0/24"}, "/16 to /20"),
        ({"vpc_cidr": "8.8.0.0/16"}, "not a private range"),
        ({"vpc_cidr": "10.41.0.0/16"}, "overlaps"),
        ({"zones": ["eu-west-1a"]}, "list three"),
        ({"burst_egress": "vpn"}, "vpn.peer_address"),
        ({"deployer": "authorised_cidrs"}, "deployer_cidrs is empty"),
        ({"deployer": "authorised_cidrs", "deployer_cidrs": ["0.0.0.0/0"]}, "whole Internet"),
    ],
)
def test_bad_settings_say_how_to_mend_them(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ConnectivitySettings(**given)


def test_mirror_replaces_registries_that_it_has() -> None:
    mirror = MirrorSettings(images={"nvcr.io": "mirror.test/nvcr", "docker.io": "mirror.test/hub"})
    assert mirror.image("nvcr.io/nvidia/tritonserver:25.08-py3") == "mirror.test/nvcr/nvidia/tritonserver:25.08-py3"
    assert mirror.image("redis:7") == "mirror.test/hub/library/redis:7"
    assert mirror.image("envoyproxy/envoy:v1.40.0") == "mirror.test/hub/envoyproxy/envoy:v1.40.0"
    assert mirror.image("quay.io/a/b:1") == "quay.io/a/b:1"
