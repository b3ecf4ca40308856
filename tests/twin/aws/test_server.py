"""The server itself: repeated creates, restarts, what moto lacked."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pulumi
import pytest
from botocore.exceptions import ClientError

from spillway.twin.aws.archives import archive_bytes
from spillway.twin.aws.standin import AwsStandIn
from spillway.twin.provider import Secret, StandInError
from tests.twin.aws.support import Server, create, start, urn

pytestmark = pytest.mark.heavy

VPC = "aws:ec2/vpc:Vpc"


def vpcs(server: Server, cidr: str) -> list[str]:
    found = server.client("ec2").describe_vpcs(Filters=[{"Name": "cidr", "Values": [cidr]}])["Vpcs"]
    return [vpc["VpcId"] for vpc in found]


def test_a_repeated_create_makes_no_second_thing(server: Server) -> None:
    inputs = {"cidrBlock": "10.77.0.0/16", "enableDnsHostnames": True}
    first = AwsStandIn(server.endpoint).create(urn(VPC, "again"), VPC, inputs)
    again = AwsStandIn(server.endpoint).create(urn(VPC, "again"), VPC, inputs)
    assert again.id == first.id
    assert vpcs(server, "10.77.0.0/16") == [first.id]
    other = AwsStandIn(server.endpoint).create(urn(VPC, "other"), VPC, inputs)
    assert other.id != first.id


def test_a_gateway_that_a_killed_run_attached_is_taken_as_it_is(server: Server, stand_in: AwsStandIn) -> None:
    gateway = "aws:ec2/internetGateway:InternetGateway"
    vpc = stand_in.create(urn(VPC, "attached"), VPC, {"cidrBlock": "10.79.0.0/16"})
    first = stand_in.create(urn(gateway, "attached"), gateway, {"vpcId": vpc.id})
    again = AwsStandIn(server.endpoint).create(urn(gateway, "attached"), gateway, {"vpcId": vpc.id})
    assert again.id == first.id


def test_rules_that_a_killed_run_made_are_taken_as_they_are(server: Server, stand_in: AwsStandIn) -> None:
    group = "aws:ec2/securityGroup:SecurityGroup"
    vpc = stand_in.create(urn(VPC, "ruled"), VPC, {"cidrBlock": "10.76.0.0/16"})
    https = {"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": ["10.0.0.0/8"]}
    inputs = {"name": "ruled", "description": "For a test", "vpcId": vpc.id, "ingress": [https], "egress": [https]}
    first = stand_in.create(urn(group, "ruled"), group, inputs)
    again = AwsStandIn(server.endpoint).create(urn(group, "ruled"), group, inputs)
    assert again.id == first.id
    (found,) = server.client("ec2").describe_security_groups(GroupIds=[first.id])["SecurityGroups"]
    assert (len(found["IpPermissions"]), len(found["IpPermissionsEgress"])) == (1, 1)


def test_two_at_once_make_one(server: Server) -> None:
    states: list[Any] = []

    def make() -> None:
        states.append(AwsStandIn(server.endpoint).create(urn(VPC, "race"), VPC, {"cidrBlock": "10.78.0.0/16"}))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(states) == 4
    assert len(set(vpcs(server, "10.78.0.0/16"))) == 1


def test_a_create_after_deletion_is_a_new_thing(server: Server, stand_in: AwsStandIn) -> None:
    inputs = {"cidrBlock": "10.79.0.0/16"}
    first = stand_in.create(urn(VPC, "gone"), VPC, inputs)
    stand_in.delete(urn(VPC, "gone"), VPC, first)
    second = stand_in.create(urn(VPC, "gone"), VPC, inputs)
    assert second.id != first.id
    server.client("ec2").delete_vpc(VpcId=second.id)
    third = stand_in.create(urn(VPC, "gone"), VPC, inputs)
    assert third.id not in (first.id, second.id)
    assert stand_in.read(VPC, third.id, third) is not None


def test_memory_is_lost_with_the_process(tmp_path: Path) -> None:
    server = start(tmp_path)
    boot = server.get("/_spillway/health")["boot_id"]
    state = create(AwsStandIn(server.endpoint), VPC, "vpc", {"cidrBlock": "10.0.0.0/16"})
    stand_in = AwsStandIn(server.endpoint)
    assert stand_in.read(VPC, state.id, state) is not None
    server.stop()
    server = start(tmp_path, server.port)
    try:
        assert server.get("/_spillway/health")["boot_id"] != boot
        assert stand_in.read(VPC, state.id, state) is None
        assert stand_in.create(urn(VPC, "vpc"), VPC, state.inputs).id != state.id
    finally:
        server.stop()


def test_update_endpoint_keeps_capacity_only_when_asked(server: Server) -> None:
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(
        ModelName="keep", ExecutionRoleArn="arn:aws:iam::123456789012:role/role", PrimaryContainer={"Image": "i"}
    )
    variant = {"VariantName": "main", "ModelName": "keep", "InstanceType": "ml.p5.48xlarge", "InitialInstanceCount": 1}
    for name in ("keep-1", "keep-2"):
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="keep", EndpointConfigName="keep-1")
    wanted = [{"VariantName": "main", "DesiredInstanceCount": 5}]
    sagemaker.update_endpoint_weights_and_capacities(EndpointName="keep", DesiredWeightsAndCapacities=wanted)

    def count() -> int:
        return sagemaker.describe_endpoint(EndpointName="keep")["ProductionVariants"][0]["DesiredInstanceCount"]

    sagemaker.update_endpoint(EndpointName="keep", EndpointConfigName="keep-2", RetainAllVariantProperties=True)
    assert count() == 5
    sagemaker.update_endpoint(EndpointName="keep", EndpointConfigName="keep-1")
    assert count() == 1
    with pytest.raises(ClientError, match="Could not find"):
        sagemaker.update_endpoint(EndpointName="nobody", EndpointConfigName="keep-1")


def test_an_error_of_aws_is_one_of_ours(stand_in: AwsStandIn) -> None:
    with pytest.raises(StandInError, match=r"CreateSubnet: InvalidVpcID\.NotFound"):
        stand_in.create(
            urn("aws:ec2/subnet:Subnet", "s"), "aws:ec2/subnet:Subnet", {"vpcId": "vpc-0", "cidrBlock": "10.0.0.0/24"}
        )


def test_secrets_come_back_as_secrets(stand_in: AwsStandIn) -> None:
    parameter = create(
        stand_in, "aws:ssm/parameter:Parameter", "p", {"name": "/p", "type": "SecureString", "value": "x"}
    )
    live = stand_in.read("aws:ssm/parameter:Parameter", parameter.id, None)
    assert live is not None
    assert live.outputs["value"] == Secret("x")
    found = stand_in.invoke("aws:ssm/getParameter:getParameter", {"name": "/p"})
    assert found["value"] == Secret("x")


def test_functions(stand_in: AwsStandIn) -> None:
    assert stand_in.invoke("aws:index/getCallerIdentity:getCallerIdentity", {})["accountId"] == "123456789012"
    assert stand_in.invoke("aws:index/getRegion:getRegion", {})["region"] == "eu-west-1"
    assert len(stand_in.invoke("aws:index/getAvailabilityZones:getAvailabilityZones", {})["names"]) >= 3
    name = "com.amazonaws.eu-west-1.route53-healthchecks"
    entries = stand_in.invoke("aws:ec2/getManagedPrefixList:getManagedPrefixList", {"name": name})["entries"]
    assert {"cidr": "15.177.0.0/18"} in entries


def test_archives_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "b.py").write_text("b")
    (folder / "a.py").write_text("a")
    one = pulumi.AssetArchive({"x": pulumi.FileArchive(str(folder)), "main.py": pulumi.StringAsset("m")})
    two = pulumi.AssetArchive({"main.py": pulumi.StringAsset("m"), "x": pulumi.FileArchive(str(folder))})
    assert archive_bytes(one) == archive_bytes(two)
    (folder / "a.py").write_text("changed")
    assert archive_bytes(one) != archive_bytes(pulumi.AssetArchive({"main.py": pulumi.StringAsset("m")}))


def test_unknown_own_route(server: Server) -> None:
    with pytest.raises(OSError, match="404"):
        server.get("/_spillway/nothing")


def test_a_scalable_variant_keeps_its_instance_type(stand_in: AwsStandIn) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html"""
    role = create(stand_in, "aws:iam/role:Role", "held", {"assumeRolePolicy": "{}"})
    model = create(
        stand_in,
        "aws:sagemaker/model:Model",
        "held",
        {"executionRoleArn": role.outputs["arn"], "primaryContainer": {"image": "123456789012.dkr.ecr/triton:1"}},
    )
    endpoint_type, config_type = (
        f"aws:sagemaker/{kind}" for kind in ("endpoint:Endpoint", "endpointConfiguration:EndpointConfiguration")
    )
    small, large, renamed = (
        create(
            stand_in,
            config_type,
            f"held-{index}",
            {
                "productionVariants": [
                    {"variantName": variant, "modelName": model.id, "instanceType": type_, "initialInstanceCount": 1}
                ]
            },
        )
        for index, (variant, type_) in enumerate(
            [("main", "ml.g5.xlarge"), ("main", "ml.g5.2xlarge"), ("other", "ml.g5.2xlarge")]
        )
    )
    endpoint = create(stand_in, endpoint_type, "held", {"name": "held", "endpointConfigName": small.id})
    target = create(
        stand_in,
        "aws:appautoscaling/target:Target",
        "held",
        {
            "serviceNamespace": "sagemaker",
            "resourceId": "endpoint/held/variant/main",
            "scalableDimension": "sagemaker:variant:DesiredInstanceCount",
            "minCapacity": 1,
            "maxCapacity": 2,
        },
    )
    for config in (large, renamed):
        with pytest.raises(StandInError, match=r"ValidationException: Variants \['main'\] are scalable targets"):
            stand_in.update(
                urn(endpoint_type, "held"), endpoint_type, endpoint, {"name": "held", "endpointConfigName": config.id}
            )
    stand_in.delete(urn("aws:appautoscaling/target:Target", "held"), "aws:appautoscaling/target:Target", target)
    moved = stand_in.update(
        urn(endpoint_type, "held"), endpoint_type, endpoint, {"name": "held", "endpointConfigName": large.id}
    )
    assert moved.inputs["endpointConfigName"] == large.id


def test_a_deleted_secret_keeps_a_name_of_ones_own(stand_in: AwsStandIn) -> None:
    secret = "aws:secretsmanager/secret:Secret"
    inputs = {"name": "own/name", "recoveryWindowInDays": 7}
    first = create(stand_in, secret, "first", inputs)
    stand_in.delete(urn(secret, "first"), secret, first)
    assert stand_in.read(secret, first.id, first) is None
    with pytest.raises(StandInError, match=r"CreateSecret: \w+Exception: .*own/name"):
        create(stand_in, secret, "second", inputs)
    at_once = create(stand_in, secret, "third", {"name": "other/name", "recoveryWindowInDays": 0})
    stand_in.delete(urn(secret, "third"), secret, at_once)
    assert create(stand_in, secret, "fourth", {"name": "other/name", "recoveryWindowInDays": 0}).id


def test_a_zone_that_was_there_before_takes_records(server: Server) -> None:
    """A stack names it only (``dns.zone_id``); the twin cannot know it."""
    route53 = server.client("route53")
    assert route53.get_hosted_zone(Id="Z0123456789ABCDEFGHIJ")["HostedZone"]["Name"] == "."
    record = {"Name": "a.example.com", "Type": "A", "TTL": 5, "ResourceRecords": [{"Value": "192.0.2.1"}]}
    changes = [{"Action": "UPSERT", "ResourceRecordSet": record}]
    route53.change_resource_record_sets(HostedZoneId="Z0123456789ABCDEFGHIJ", ChangeBatch={"Changes": changes})
    found = route53.list_resource_record_sets(HostedZoneId="Z0123456789ABCDEFGHIJ")["ResourceRecordSets"]
    assert "a.example.com." in {one["Name"] for one in found}
