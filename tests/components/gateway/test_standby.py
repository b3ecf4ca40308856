"""The standby gateway on Fargate."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from pydantic import ValidationError

from components.gateway.settings import StandbySettings
from components.gateway.standby_peers import host_of_all
from spillway.contracts.task_files import FILES_VARIABLE, SECRETS_VARIABLE, pack, unpack
from tests.components.gateway.recorded import CERTIFICATE, ENDPOINT, KEY_FILE, containers, standby
from tests.support.recording import Recorded, of_type


@pytest.fixture(scope="module")
def resources() -> list[Recorded]:
    return standby()


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
    arn, version = secret["valueFrom"].split(":::")
    assert arn.endswith("/spillway-test-standby-azure-ml-key")
    assert version == "v1", "a rotated key makes new tasks"
    assert not any("secrets" in found[name] for name in ("envoy", "agent"))


def test_what_serves_runs_without_root_on_a_read_only_disk(resources: list[Recorded]) -> None:
    found = containers(resources)
    assert all(c["readonlyRootFilesystem"] for c in found.values())
    for name in ("envoy", "agent"):
        assert found[name]["user"].split(":")[0] not in ("0", "root")
        assert found[name]["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}
        assert found[name]["dependsOn"] == [{"containerName": "files", "condition": "SUCCESS"}]
    assert all(mount["readOnly"] for mount in found["envoy"]["mountPoints"])


def test_task_may_invoke_read_what_the_cost_guard_says_and_tell_metrics_only(resources: list[Recorded]) -> None:
    policies = {r.name: json.loads(r.inputs["policy"]) for r in of_type(resources, "aws:iam/rolePolicy:RolePolicy")}
    rights = policies["spillway-test-standby-task-policy"]["Statement"]
    assert [s["Sid"] for s in rights] == ["BurstEndpoints", "CostGuard", "Metrics", "Quotas"]
    assert [s["Resource"] for s in rights] == [[ENDPOINT], ["arn:cutoff", "arn:live"], "*", "*"]
    assert rights[2]["Condition"] == {"StringEquals": {"cloudwatch:namespace": "Spillway"}}


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


def test_service_grows_between_its_bounds() -> None:
    resources = standby(min_replicas=3, max_replicas=8)
    (target,) = of_type(resources, "aws:appautoscaling/target:Target")
    assert (target.inputs["minCapacity"], target.inputs["maxCapacity"]) == (3, 8)
    (policy,) = of_type(resources, "aws:appautoscaling/policy:Policy")
    assert policy.inputs["targetTrackingScalingPolicyConfiguration"]["targetValue"] == 60.0


def test_tasks_stand_behind_one_name_that_the_network_alone_knows(resources: list[Recorded]) -> None:
    """By which they count themselves; no answer of DNS has more than eight addresses."""
    (service,) = of_type(resources, "aws:ecs/service:Service")
    (registry,) = of_type(resources, "aws:servicediscovery/service:Service")
    (namespace,) = of_type(resources, "aws:servicediscovery/privateDnsNamespace:PrivateDnsNamespace")
    assert service.inputs["serviceRegistries"]["registryArn"].endswith(registry.name)
    assert f"{registry.inputs['name']}.{namespace.inputs['name']}" == host_of_all("spillway-test")
    assert namespace.inputs["vpc"] == "vpc-1"
    config = registry.inputs["dnsConfig"]
    assert (config["routingPolicy"], [one["type"] for one in config["dnsRecords"]]) == ("MULTIVALUE", ["A"])
    with pytest.raises(ValidationError, match="less than or equal to 8"):
        StandbySettings(max_replicas=9)


def test_up_waits_for_a_standby_that_serves(resources: list[Recorded]) -> None:
    (service,) = of_type(resources, "aws:ecs/service:Service")
    assert service.inputs["waitForSteadyState"] is True


def test_what_a_platform_team_asks_of_the_load_balancer() -> None:
    found = standby("public", logs="company-logs")
    (balancer,) = of_type(found, "aws:lb/loadBalancer:LoadBalancer")
    assert balancer.inputs["enableDeletionProtection"] is True, "as long as the stack's data is protected"
    assert balancer.inputs["accessLogs"] == {
        "bucket": "company-logs",
        "prefix": "spillway-test-standby",
        "enabled": True,
    }
    (logging,) = of_type(found, "aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration")
    hidden = {field["singleHeader"]["name"] for field in logging.inputs["redactedFields"]}
    assert hidden == {"authorization", "x-spillway-key"}
    groups = {r.inputs["name"] for r in of_type(found, "aws:cloudwatch/logGroup:LogGroup")}
    assert {
        "aws-waf-logs-spillway-test-standby",
        "/aws/ecs/containerinsights/spillway-test-standby/performance",
    } < groups


@pytest.mark.parametrize(("answer_s", "idle_s"), [(30.0, 130), (600.0, 610), (7200.0, 4000)])
def test_the_load_balancer_waits_longer_than_the_gateway(answer_s: float, idle_s: int) -> None:
    (balancer,) = of_type(standby(answer_timeout_s=answer_s), "aws:lb/loadBalancer:LoadBalancer")
    assert balancer.inputs["idleTimeout"] == idle_s


def test_logs_are_encrypted(resources: list[Recorded]) -> None:
    groups = {r.inputs["name"]: r.inputs for r in of_type(resources, "aws:cloudwatch/logGroup:LogGroup")}
    assert "/spillway/spillway-test/standby-gateway" in groups
    for group in groups.values():
        assert group["kmsKeyId"] == "arn:logs-key"
        assert group["retentionInDays"] > 0


def test_too_large_a_configuration_is_refused() -> None:
    noise = random.Random(1).randbytes(40_000).hex()
    with pytest.raises(ValueError, match="a task holds"):
        pack({"/etc/spillway/envoy.yaml": noise})
