"""Federation, VPN and the deployer's machine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.connectivity.aws_federation import AwsFederation, AwsFederationArgs
from components.connectivity.aws_vpn import AwsVpn, AwsVpnArgs
from components.connectivity.deployer import DeployerHost, DeployerHostArgs, tunnel_command
from components.connectivity.settings import DeployerHostSettings, FederationSettings, VpnSettings
from tests.support.recording import Recorded, context, of_type, record

ENDPOINT = "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/spillway-test-burst"
PARAMETERS = [
    f"arn:aws:ssm:eu-west-1:123456789012:parameter/spillway-test/{name}" for name in ("spill-cutoff", "live-instances")
]
TOPIC = "arn:aws:sns:eu-west-1:123456789012:spillway-test-notices"
ROLE = "aws:iam/role:Role"
POLICY = "aws:iam/rolePolicy:RolePolicy"
OIDC = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"


def federation(settings: dict[str, Any] | None = None, **changes: Any) -> list[Recorded]:
    args = AwsFederationArgs(
        settings=FederationSettings(**(settings or {})),
        endpoint_arns=[ENDPOINT],
        parameter_arns=PARAMETERS,
        bucket_arn="arn:aws:s3:::packages",
        bucket_key_arn="arn:aws:kms:eu-west-1:123456789012:key/k",
        topic_arn=TOPIC,
        topic_key_arn="arn:aws:kms:eu-west-1:123456789012:key/notices",
        **changes,
    )
    return record(lambda: AwsFederation(context(), args))


def statements(resources: list[Recorded], type_: str, name: str, key: str) -> list[dict[str, Any]]:
    found = next(r for r in of_type(resources, type_) if r.name == f"spillway-test-{name}")
    return json.loads(found.inputs[key])["Statement"]


def test_aks_issuer_gets_a_provider_and_one_service_account_each() -> None:
    resources = federation(oidc_issuer_url="https://oidc.example.com/abc/")
    (provider,) = of_type(resources, OIDC)
    assert provider.inputs["url"] == "https://oidc.example.com/abc/"
    assert provider.inputs["clientIdLists"] == ["sts.amazonaws.com"]
    (trust,) = statements(resources, ROLE, "private-gateway-role", "assumeRolePolicy")
    assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert trust["Condition"]["StringEquals"] == {
        "oidc.example.com/abc/:sub": "system:serviceaccount:spillway-test-gateway:gateway",
        "oidc.example.com/abc/:aud": "sts.amazonaws.com",
    }


def test_alertmanager_may_tell_one_topic_and_encrypt_what_it_tells() -> None:
    resources = federation(oidc_issuer_url="https://oidc.example.com/abc")
    (trust,) = statements(resources, ROLE, "alertmanager-role", "assumeRolePolicy")
    account = "system:serviceaccount:spillway-test-monitoring:alertmanager"
    assert account in trust["Condition"]["StringEquals"].values()
    publish, encrypt = statements(resources, POLICY, "alertmanager-policy", "policy")
    assert (publish["Action"], publish["Resource"]) == ("sns:Publish", TOPIC)
    assert encrypt["Resource"].endswith("key/notices")


def test_eks_provider_is_reused() -> None:
    resources = federation(oidc_issuer_url="https://oidc.example.com/id", oidc_provider_arn="arn:aws:iam::1:oidc/x")
    assert not of_type(resources, OIDC)
    (trust,) = statements(resources, ROLE, "model-server-role", "assumeRolePolicy")
    assert trust["Principal"] == {"Federated": "arn:aws:iam::1:oidc/x"}


def test_the_provider_of_another_stack_on_the_cluster_is_reused() -> None:
    there = "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/c"
    resources = federation({"oidc_issuer": {"url": "https://oidc.example.com/c", "provider_arn": there}})
    assert not of_type(resources, OIDC)
    (trust,) = statements(resources, ROLE, "model-server-role", "assumeRolePolicy")
    assert trust["Principal"] == {"Federated": there}
    with pytest.raises(ValueError, match=r"provider_arn is of another issuer than https://oidc\.example\.com/d"):
        federation({"oidc_issuer": {"url": "https://oidc.example.com/d", "provider_arn": there}})


def test_gateway_may_invoke_these_endpoints_and_little_else() -> None:
    resources = federation(oidc_issuer_url="https://oidc.example.com/id")
    rights = {s["Sid"]: s for s in statements(resources, POLICY, "private-gateway-policy", "policy")}
    assert rights.keys() == {"BurstEndpoints", "CostGuard", "Metrics", "Quotas"}
    assert rights["BurstEndpoints"]["Resource"] == [ENDPOINT]
    assert rights["CostGuard"]["Resource"] == PARAMETERS
    assert rights["Quotas"]["Action"] == "cloudwatch:GetMetricData"
    assert rights["Metrics"]["Condition"] == {"StringEquals": {"cloudwatch:namespace": "Spillway"}}


def test_packages_are_read_from_one_bucket() -> None:
    rights = statements(federation(oidc_issuer_url="https://o.example"), POLICY, "model-server-policy", "policy")
    assert {r["Resource"] for r in rights} == {
        "arn:aws:s3:::packages",
        "arn:aws:s3:::packages/*",
        "arn:aws:kms:eu-west-1:123456789012:key/k",
    }
    assert not any("Put" in action or "Delete" in action for r in rights for action in r["Action"])


def test_nobody_to_trust_is_an_error_that_says_what_to_give() -> None:
    with pytest.raises(ValueError, match=r"oidc_issuer\.url"):
        federation()


def vpn(asn: int = 65010) -> list[Recorded]:
    args = AwsVpnArgs(
        settings=VpnSettings(peer_address="198.51.100.9", peer_cidrs=("10.90.0.0/16",), peer_asn=asn),
        vpc_id="vpc-1",
        private_subnet_ids=["subnet-a", "subnet-b", "subnet-c"],
        private_route_table_ids=["rtb-a", "rtb-b", "rtb-c"],
        pre_shared_key="very.secret.key",
        logs_key_arn="arn:key",
        alarm_topic_arn="arn:topic",
    )
    return record(lambda: AwsVpn(context(), args))


def test_a_tunnel_that_is_down_is_told() -> None:
    alarms = {r.name: r.inputs for r in of_type(vpn(), "aws:cloudwatch/metricAlarm:MetricAlarm")}
    assert {(a["metricName"], a["statistic"], a["treatMissingData"]) for a in alarms.values()} == {
        ("TunnelState", "Maximum", "breaching"),
        ("TunnelState", "Minimum", "breaching"),
    }
    assert all(alarm["alarmActions"] == ["arn:topic"] for alarm in alarms.values())


def test_vpn_is_ikev2_with_both_tunnels_up_and_routes_learnt() -> None:
    resources = vpn()
    (connection,) = of_type(resources, "aws:ec2/vpnConnection:VpnConnection")
    for tunnel in ("tunnel1", "tunnel2"):
        assert connection.inputs[f"{tunnel}IkeVersions"] == ["ikev2"]
        assert connection.inputs[f"{tunnel}StartupAction"] == "start"
        assert connection.inputs[f"{tunnel}LogOptions"]["cloudwatchLogOptions"]["logEnabled"] is True
    assert connection.inputs["staticRoutesOnly"] is False
    propagations = of_type(resources, "aws:ec2/vpnGatewayRoutePropagation:VpnGatewayRoutePropagation")
    assert {p.inputs["routeTableId"] for p in propagations} == {"rtb-a", "rtb-b", "rtb-c"}
    (peer,) = of_type(resources, "aws:ec2/customerGateway:CustomerGateway")
    assert (peer.inputs["ipAddress"], peer.inputs["bgpAsn"]) == ("198.51.100.9", "65010")


def test_large_asn_goes_into_its_own_field() -> None:
    (peer,) = of_type(vpn(asn=4_200_000_000), "aws:ec2/customerGateway:CustomerGateway")
    assert peer.inputs["bgpAsnExtended"] == "4200000000"
    assert "bgpAsn" not in peer.inputs


def test_private_names_are_answered_to_the_peer_only() -> None:
    resources = vpn()
    (endpoint,) = of_type(resources, "aws:route53/resolverEndpoint:ResolverEndpoint")
    assert endpoint.inputs["direction"] == "INBOUND"
    assert len(endpoint.inputs["ipAddresses"]) == 2
    (group,) = of_type(resources, "aws:ec2/securityGroup:SecurityGroup")
    assert {(r["protocol"], r["fromPort"]) for r in group.inputs["ingress"]} == {("tcp", 53), ("udp", 53)}
    assert all(r["cidrBlocks"] == ["10.90.0.0/16"] for r in group.inputs["ingress"])


def deployer(purpose: Any, **settings: Any) -> list[Recorded]:
    args = DeployerHostArgs(DeployerHostSettings(**settings), purpose, "eu-west-1", "vpc-1", "subnet-a")
    return record(lambda: DeployerHost(context(), args))


def test_deployer_host_has_no_open_port_and_requires_imdsv2() -> None:
    resources = deployer("tunnel")
    (group,) = of_type(resources, "aws:ec2/securityGroup:SecurityGroup")
    assert "ingress" not in group.inputs
    (template,) = of_type(resources, "aws:ec2/launchTemplate:LaunchTemplate")
    assert template.inputs["metadataOptions"]["httpTokens"] == "required"
    assert template.inputs["blockDeviceMappings"][0]["ebs"]["encrypted"] == "true"
    (instance,) = of_type(resources, "aws:ec2/instance:Instance")
    assert "associatePublicIpAddress" not in instance.inputs
    assert "keyName" not in template.inputs


def test_only_a_runner_may_take_the_deployers_role() -> None:
    role = "arn:aws:iam::123456789012:role/deploy"
    assert not of_type(deployer("tunnel", deploy_role_arn=role), POLICY)
    (assume,) = of_type(deployer("in_vpc_runner", deploy_role_arn=role), POLICY)
    assert json.loads(assume.inputs["policy"])["Statement"][0]["Resource"] == role


def test_tunnel_command_names_the_api_server() -> None:
    command = tunnel_command("i-1", "https://ABC.eks.example.com", "eu-west-1", 8443)
    assert "--target i-1" in command
    assert command.endswith("host=ABC.eks.example.com,portNumber=443,localPortNumber=8443")
