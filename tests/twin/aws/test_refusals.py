"""What AWS refuses of well-formed calls, with its own codes: by moto, or by what our server asks before moto's turn."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from spillway.twin.aws.standin import AwsStandIn
from spillway.twin.provider import StandInError
from tests.twin.aws.support import Server, create

pytestmark = pytest.mark.heavy

ROLE = "arn:aws:iam::123456789012:role/role"
VALIDATION = "aws:acm/certificateValidation:CertificateValidation"
MONITOR = "aws:costexplorer/anomalyMonitor:AnomalyMonitor"


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


def test_a_certificate_is_issued_once_public_dns_proves_its_name(server: Server, stand_in: AwsStandIn) -> None:
    """https://docs.aws.amazon.com/acm/latest/userguide/troubleshooting-DNS-validation.html: a new zone whose name
    servers the parent zone does not name answers nobody."""
    acm, route53 = server.client("acm"), server.client("route53")
    zone = route53.create_hosted_zone(Name="new.example.org", CallerReference="new")
    arn = acm.request_certificate(DomainName="api.new.example.org", ValidationMethod="DNS")["CertificateArn"]
    proof = acm.describe_certificate(CertificateArn=arn)["Certificate"]["DomainValidationOptions"][0]["ResourceRecord"]
    upsert(route53, zone["HostedZone"]["Id"], proof["Name"], "CNAME", proof["Value"])

    waits = {"certificateArn": arn, "validationRecordFqdns": [proof["Name"]]}
    with pytest.raises(StandInError, match=r"last state: 'PENDING_VALIDATION'"):
        create(stand_in, VALIDATION, "too-early", waits)
    balancer = server.client("elbv2")
    listener = {"Protocol": "HTTPS", "Port": 443, "Certificates": [{"CertificateArn": arn}], "DefaultActions": []}
    asked = {"LoadBalancerArn": "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/x/1", **listener}
    assert code_of(balancer.create_listener, **asked) == "UnsupportedCertificate"

    # What a registrar does, or whoever has the parent zone: here one that was there before.
    upsert(route53, "ZPARENT", "new.example.org", "NS", *zone["DelegationSet"]["NameServers"])
    assert create(stand_in, VALIDATION, "delegated", waits).outputs["certificateArn"] == arn
    assert acm.describe_certificate(CertificateArn=arn)["Certificate"]["Status"] == "ISSUED"


def test_no_record_no_certificate(server: Server, stand_in: AwsStandIn) -> None:
    acm = server.client("acm")
    arn = acm.request_certificate(DomainName="unproved.example.org", ValidationMethod="DNS")["CertificateArn"]
    with pytest.raises(StandInError, match="validation records"):
        create(stand_in, VALIDATION, "unproved", {"certificateArn": arn})


def test_where_somebody_delegates_a_new_zone_proves_names(server: Server) -> None:
    """A rehearsal goes on as a deployment does after its wait for the delegation."""
    helped = AwsStandIn(server.endpoint, delegates=True)
    zone = create(helped, "aws:route53/zone:Zone", "helped", {"name": "helped.example.net"})
    asked = {"domainName": "api.helped.example.net", "validationMethod": "DNS"}
    certificate = create(helped, "aws:acm/certificate:Certificate", "helped", asked)
    proof = certificate.outputs["domainValidationOptions"][0]
    name, value = proof["resourceRecordName"], proof["resourceRecordValue"]
    record = {"zoneId": zone.outputs["zoneId"], "name": name, "type": "CNAME", "ttl": 60, "records": [value]}
    create(helped, "aws:route53/record:Record", "helped-proof", record)
    create(helped, VALIDATION, "helped", {"certificateArn": certificate.outputs["arn"]})


def upsert(route53: Any, zone: str, name: str, type_: str, *values: str) -> None:
    record = {"Name": name, "Type": type_, "TTL": 60, "ResourceRecords": [{"Value": value} for value in values]}
    changes = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}
    route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=changes)


def test_a_short_expression_replaces_the_anomaly_monitor_each_time(stand_in: AwsStandIn) -> None:
    """The provider keeps the expression as Cost Explorer answers it, with every member, and compares texts
    (terraform-provider-aws, internal/service/ce/anomaly_monitor.go)."""
    tags = {"Key": "stack", "Values": ["prod"], "MatchOptions": None}
    whole = {"And": None, "CostCategories": None, "Dimensions": None, "Not": None, "Or": None, "Tags": tags}
    short = ("monitorSpecification",)
    unmatched = {**whole, "Tags": {"Key": "stack", "Values": ["prod"]}}
    for number, (expression, replaced) in enumerate([(whole, ()), ({"Tags": tags}, short), (unmatched, short)]):
        inputs = {"name": f"m{number}", "monitorType": "CUSTOM", "monitorSpecification": json.dumps(expression)}
        state = create(stand_in, MONITOR, f"m{number}", inputs)
        found = stand_in.diff(MONITOR, state, state.inputs, ())
        assert found.replaces == replaced
        assert not stand_in.diff(MONITOR, state, state.inputs, ("monitorSpecification",))
