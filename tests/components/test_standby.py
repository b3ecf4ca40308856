"""The standby gateway on Fargate."""

from __future__ import annotations

import json
import random
from typing import Any, Literal

import pytest

from components.connectivity.settings import MirrorSettings
from components.gateway.settings import GatewaySettings, StandbySettings
from components.gateway.standby import StandbyGateway, StandbyGatewayArgs
from spillway.contracts.task_files import FILES_VARIABLE, SECRETS_VARIABLE, pack, unpack
from tests.support.recording import Recorded, context, of_type, record

ENDPOINT = "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/spillway-test-burst"
KEY_FILE = "/run/secrets/spillway/azure-ml-key"
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/c"
ACM_OUTPUTS = {
    "domainValidationOptions": [
        {"resourceRecordName": "_x.example.com", "resourceRecordType": "CNAME", "resourceRecordValue": "_y.aws"}
    ]
}


def standby(
    exposure: Literal["internal", "public"] = "internal", zone: str | None = None, **settings: Any
) -> list[Recorded]:
    given = {"certificate_arn": None if zone else CERTIFICATE, **settings}
    args = StandbyGatewayArgs(
        mirror=MirrorSettings(),
        settings=GatewaySettings(standby=StandbySettings(**given)),
        region="eu-west-1",
        account_id="123456789012",
        exposure=exposure,
        host="inference.example.com",
        vpc_id="vpc-1",
        vpc_cidr="10.40.0.0/16",
        private_subnet_ids=["private-a", "private-b", "private-c"],
        public_subnet_ids=["public-a", "public-b", "public-c"],
        client_cidrs=["10.0.0.0/8"],
        logs_key_arn="arn:logs-key",
        envoy_yaml="static_resources: {}",
        routing_json='{"role": "standby"}',
        endpoint_arns=[ENDPOINT],
        cutoff_parameter_arn="arn:cutoff",
        secret_files={KEY_FILE: "azure-key-value"},
        certificate_zone_id=zone,
    )
    return record(
        lambda: StandbyGateway(context(), args),
        outputs={
            "aws:acm/certificate:Certificate": ACM_OUTPUTS,
            "aws:route53/record:Record": {"fqdn": "_x.example.com"},
        },
    )


@pytest.fixture(scope="module")
def resources() -> list[Recorded]:
    return standby()


def containers(resources: list[Recorded]) -> dict[str, dict[str, Any]]:
    (definition,) = of_type(resources, "aws:ecs/taskDefinition:TaskDefinition")
    return {c["name"]: c for c in json.loads(definition.inputs["containerDefinitions"])}


def test_task_brings_its_configuration_along(resources: list[Recorded]) -> None:
    environment = {v["name"]: v["value"] for v in containers(resources)["files"]["environment"]}
    assert unpack(environment[FILES_VARIABLE]) == {
        "/etc/spillway/envoy.yaml": "static_resources: {}",
        "/etc/spillway/routing.json": '{"role": "standby"}',
    }


def test_key_comes_from_secrets_manager_and_stands_nowhere_else(resources: list[Recorded]) -> None:
    found = containers(resources)
    (definition,) = of_type(resources, "aws:ecs/taskDefinition:TaskDefinition")
    assert "azure-key-value" not in json.dumps(definition.inputs)
    environment = {v["name"]: v["value"] for v in found["files"]["environment"]}
    assert json.loads(environment[SECRETS_VARIABLE]) == {KEY_FILE: "SECRET_0"}
    (secret,) = found["files"]["secrets"]
    assert "secret" in secret["valueFrom"].lower()
    assert not any("secrets" in found[name] for name in ("envoy", "agent"))


def test_what_serves_runs_without_root_on_a_read_only_disk(resources: list[Recorded]) -> None:
    found = containers(resources)
    assert all(c["readonlyRootFilesystem"] for c in found.values())
    for name in ("envoy", "agent"):
        assert found[name]["user"].split(":")[0] not in ("0", "root")
        assert found[name]["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}
        assert found[name]["dependsOn"] == [{"containerName": "files", "condition": "SUCCESS"}]
    assert all(mount["readOnly"] for mount in found["envoy"]["mountPoints"])


def test_task_may_invoke_and_read_the_cutoff_only(resources: list[Recorded]) -> None:
    policies = {r.name: json.loads(r.inputs["policy"]) for r in of_type(resources, "aws:iam/rolePolicy:RolePolicy")}
    rights = policies["spillway-test-standby-task-policy"]["Statement"]
    assert {s["Sid"] for s in rights} == {"BurstEndpoints", "SpillCutoff"}
    assert rights[0]["Resource"] == [ENDPOINT]


def test_tasks_are_private_and_reached_from_the_load_balancer_only(resources: list[Recorded]) -> None:
    (service,) = of_type(resources, "aws:ecs/service:Service")
    network = service.inputs["networkConfiguration"]
    assert network["assignPublicIp"] is False
    assert network["subnets"] == ["private-a", "private-b", "private-c"]
    groups = {r.name: r for r in of_type(resources, "aws:ec2/securityGroup:SecurityGroup")}
    (rule,) = groups["spillway-test-standby-tasks"].inputs["ingress"]
    assert rule["securityGroups"] == ["spillway-test-standby-clients-id"]
    assert service.inputs["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}


@pytest.mark.parametrize(
    ("exposure", "internal", "subnet"), [("internal", True, "private-a"), ("public", False, "public-a")]
)
def test_scheme_follows_the_exposure(exposure: Any, internal: bool, subnet: str) -> None:
    resources = standby(exposure)
    (balancer,) = of_type(resources, "aws:lb/loadBalancer:LoadBalancer")
    assert balancer.inputs["internal"] is internal
    assert balancer.inputs["subnets"][0] == subnet
    assert bool(of_type(resources, "aws:wafv2/webAcl:WebAcl")) is not internal
    assert len(balancer.inputs["name"]) <= 32


def test_listener_speaks_tls_with_the_given_certificate(resources: list[Recorded]) -> None:
    (listener,) = of_type(resources, "aws:lb/listener:Listener")
    assert listener.inputs["protocol"] == "HTTPS"
    assert listener.inputs["certificateArn"] == CERTIFICATE
    assert "TLS13" in listener.inputs["sslPolicy"]
    (target_group,) = of_type(resources, "aws:lb/targetGroup:TargetGroup")
    assert target_group.inputs["healthCheck"]["path"] == "/healthz"


def test_certificate_is_requested_where_a_public_zone_can_prove_it() -> None:
    resources = standby("public", zone="Z0PUBLIC")
    (certificate,) = of_type(resources, "aws:acm/certificate:Certificate")
    (proof,) = of_type(resources, "aws:route53/record:Record")
    assert certificate.inputs["domainName"] == "inference.example.com"
    assert (proof.inputs["zoneId"], proof.inputs["name"]) == ("Z0PUBLIC", "_x.example.com")


def test_no_way_to_a_certificate_is_an_error_that_says_what_to_give() -> None:
    with pytest.raises(ValueError, match="certificate_zone_id"):
        standby(certificate_arn=None)


def test_service_grows_between_its_bounds() -> None:
    resources = standby(desired_count=3, max_count=9)
    (target,) = of_type(resources, "aws:appautoscaling/target:Target")
    assert (target.inputs["minCapacity"], target.inputs["maxCapacity"]) == (3, 9)
    (policy,) = of_type(resources, "aws:appautoscaling/policy:Policy")
    assert policy.inputs["targetTrackingScalingPolicyConfiguration"]["targetValue"] == 60.0


def test_logs_are_encrypted(resources: list[Recorded]) -> None:
    (group,) = of_type(resources, "aws:cloudwatch/logGroup:LogGroup")
    assert group.inputs["kmsKeyId"] == "arn:logs-key"
    assert group.inputs["name"] == "/spillway/spillway-test/standby-gateway"


def test_too_large_a_configuration_is_refused() -> None:
    noise = random.Random(1).randbytes(40_000).hex()
    with pytest.raises(ValueError, match="a task holds"):
        pack({"/etc/spillway/envoy.yaml": noise})
