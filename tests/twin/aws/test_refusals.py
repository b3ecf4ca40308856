"""What AWS refuses of well-formed calls, with its own codes: by moto, or by what our server asks before moto's turn."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.twin.aws.support import Server

pytestmark = pytest.mark.heavy

ROLE = "arn:aws:iam::123456789012:role/role"


def code_of(call: Any, **params: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**params)
    return error.value.response["Error"]["Code"]


@pytest.fixture(scope="module")
def vpc(server: Server) -> str:
    return server.client("ec2").create_vpc(CidrBlock="10.90.0.0/16")["Vpc"]["VpcId"]


def test_descriptions_of_security_groups_have_no_apostrophe(server: Server, vpc: str) -> None:
    ec2 = server.client("ec2")
    told = {"GroupName": "deployer", "VpcId": vpc}
    assert code_of(ec2.create_security_group, Description="The deployer's", **told) == "InvalidParameterValue"
    group = ec2.create_security_group(Description="Machine of the deployer (SSM), #1", **told)["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}

    def described(description: str) -> dict[str, Any]:
        ranges = [{"CidrIp": "10.0.0.0/8", "Description": description}]
        return {"GroupId": group, "IpPermissions": [{**rule, "IpRanges": ranges}]}

    assert code_of(ec2.authorize_security_group_ingress, **described("clients — all")) == "InvalidParameterValue"
    ec2.authorize_security_group_ingress(**described("clients"))


def test_a_zone_that_an_account_of_today_has_not(server: Server) -> None:
    ec2 = server.client("ec2", region="ap-northeast-1")
    vpc = ec2.create_vpc(CidrBlock="10.91.0.0/16")["Vpc"]["VpcId"]
    place = {"VpcId": vpc, "CidrBlock": "10.91.0.0/24"}
    assert code_of(ec2.create_subnet, AvailabilityZone="ap-northeast-1b", **place) == "InvalidParameterValue"
    ec2.create_subnet(AvailabilityZone="ap-northeast-1c", **place)


def test_a_hundred_executions_stay_unreserved(server: Server) -> None:
    functions = server.client("lambda")
    archive = b"PK\x05\x06" + b"\x00" * 18
    server.client("iam").create_role(RoleName="runs", AssumeRolePolicyDocument="{}")
    functions.create_function(
        FunctionName="turns",
        Role="arn:aws:iam::123456789012:role/runs",
        Runtime="python3.13",
        Handler="handler.main",
        Code={"ZipFile": archive},
    )
    reserve = functions.put_function_concurrency
    asked = {"FunctionName": "turns", "ReservedConcurrentExecutions": 901}
    assert code_of(reserve, **asked) == "InvalidParameterValueException"
    reserve(**{**asked, "ReservedConcurrentExecutions": 1})


def test_a_canary_is_at_most_half_of_the_fleet(server: Server) -> None:
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(ModelName="canary", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "i"})
    variant = {"VariantName": "main", "ModelName": "canary", "InstanceType": "ml.g5.xlarge"}
    for count in (1, 2):
        sagemaker.create_endpoint_config(
            EndpointConfigName=f"canary-{count}", ProductionVariants=[{**variant, "InitialInstanceCount": count}]
        )
    sagemaker.create_endpoint(EndpointName="canary", EndpointConfigName="canary-1")
    size = {"Type": "CAPACITY_PERCENT", "Value": 10}
    routing = {"Type": "CANARY", "WaitIntervalInSeconds": 300, "CanarySize": size}
    policy = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
    asked = {"EndpointName": "canary", "DeploymentConfig": policy}
    assert code_of(sagemaker.update_endpoint, EndpointConfigName="canary-1", **asked) == "ValidationException"
    sagemaker.update_endpoint(EndpointConfigName="canary-2", **asked)


def test_ecr_caches_some_registries_and_some_with_a_login_only(server: Server) -> None:
    """https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache-creating-rule.html"""
    make = server.client("ecr").create_pull_through_cache_rule
    other = {"ecrRepositoryPrefix": "nvidia", "upstreamRegistryUrl": "nvcr.io"}
    assert code_of(make, **other) == "UnsupportedUpstreamRegistryException"
    hub = {"ecrRepositoryPrefix": "hub", "upstreamRegistryUrl": "registry-1.docker.io"}
    assert code_of(make, **hub) == "InvalidParameterException"
    make(**hub, credentialArn="arn:aws:secretsmanager:eu-west-1:123456789012:secret:ecr-pullthroughcache/hub-AbCdEf")


def test_a_full_bucket_is_not_deleted(server: Server) -> None:
    s3 = server.client("s3", region="us-east-1")
    s3.create_bucket(Bucket="full-of-results")
    s3.put_object(Bucket="full-of-results", Key="result", Body=b"1")
    assert code_of(s3.delete_bucket, Bucket="full-of-results") == "BucketNotEmpty"


def test_a_clusters_name_is_taken_until_it_is_gone(server: Server) -> None:
    eks = server.client("eks")
    asked = {"name": "taken", "roleArn": ROLE, "resourcesVpcConfig": {"subnetIds": []}}
    eks.create_cluster(**asked)
    assert code_of(eks.create_cluster, **asked) == "ResourceInUseException"
