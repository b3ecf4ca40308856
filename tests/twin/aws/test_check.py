"""What is refused before anything is made, and how names come about."""

from __future__ import annotations

from typing import Any

import pytest

from spillway.twin.aws.standin import AwsStandIn
from spillway.twin.provider import UNKNOWN, ResourceState, StandInError

VARIANT = {"variantName": "main", "modelName": "m", "instanceType": "ml.g5.xlarge", "initialInstanceCount": 1}


@pytest.fixture
def offline() -> AwsStandIn:
    """A check asks no server."""
    return AwsStandIn("http://127.0.0.1:1")


def failures(stand_in: AwsStandIn, type_: str, inputs: dict[str, Any]) -> dict[str, str]:
    checked = stand_in.check(f"urn:pulumi:a::b::{type_}::thing", type_, None, inputs, b"seed")
    reasons: dict[str, str] = {}
    for failure in checked.failures:
        reasons[failure.path] = f"{reasons.get(failure.path, '')} {failure.reason}"
    return reasons


def test_wrong_instance_type_is_named_with_its_path(offline: AwsStandIn) -> None:
    variants = [{**VARIANT, "instanceType": "ml.g99.xlarge"}]
    found = failures(
        offline, "aws:sagemaker/endpointConfiguration:EndpointConfiguration", {"productionVariants": variants}
    )
    assert list(found) == ["productionVariants[0].instanceType"]
    assert "ml.g99.xlarge" in found["productionVariants[0].instanceType"]


@pytest.mark.parametrize(
    ("type_", "inputs", "path", "says"),
    [
        ("aws:sagemaker/endpoint:Endpoint", {}, "endpointConfigName", "required"),
        ("aws:sagemaker/endpoint:Endpoint", {"endpointConfigName": "a", "colour": "red"}, "colour", "not known"),
        ("aws:sagemaker/endpoint:Endpoint", {"endpointConfigName": "a b"}, "endpointConfigName", "does not match"),
        ("aws:sagemaker/endpoint:Endpoint", {"endpointConfigName": "a" * 64}, "endpointConfigName", "most is 63"),
        (
            "aws:sagemaker/endpointConfiguration:EndpointConfiguration",
            {"productionVariants": [{**VARIANT, "speed": 1}]},
            "productionVariants[0].speed",
            "not known",
        ),
        (
            "aws:sagemaker/endpointConfiguration:EndpointConfiguration",
            {"productionVariants": [{**VARIANT, "initialInstanceCount": "many"}]},
            "productionVariants[0].initialInstanceCount",
            "type int",
        ),
        (
            "aws:kms/key:Key",
            {"keyUsage": "LOCKING"},
            "keyUsage",
            "not one of",
        ),
        ("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/16", "instanceTenancy": "shared"}, "instanceTenancy", "not one of"),
        (
            "aws:lambda/function:Function",
            {"role": "arn:aws:iam::123456789012:role/a", "memorySize": 64},
            "memorySize",
            "least is 128",
        ),
        ("aws:cloudwatch/logGroup:LogGroup", {"retentionInDays": "soon"}, "retentionInDays", "type int"),
    ],
)
def test_wrong_inputs(offline: AwsStandIn, type_: str, inputs: dict[str, Any], path: str, says: str) -> None:
    found = failures(offline, type_, inputs)
    assert path in found, found
    assert says in found[path]


def test_secret_values_are_not_repeated(offline: AwsStandIn) -> None:
    found = failures(
        offline, "aws:ssm/parameter:Parameter", {"name": "/a", "type": "SecureString", "value": 1, "tier": "x"}
    )
    assert set(found) == {"tier"}
    environment = {"variables": {"1bad": "hunter2"}}
    inputs = {"role": "arn:aws:iam::123456789012:role/a", "environment": environment}
    assert "hunter2" not in str(failures(offline, "aws:lambda/function:Function", inputs))


def test_unknown_values_pass(offline: AwsStandIn) -> None:
    variants = [{**VARIANT, "modelName": UNKNOWN, "instanceType": UNKNOWN}]
    inputs = {"productionVariants": variants, "kmsKeyArn": UNKNOWN, "tags": UNKNOWN}
    assert not failures(offline, "aws:sagemaker/endpointConfiguration:EndpointConfiguration", inputs)


def test_names_are_automatic_and_kept(offline: AwsStandIn) -> None:
    type_ = "aws:sagemaker/endpoint:Endpoint"
    urn = f"urn:pulumi:a::b::{type_}::burst"
    first = offline.check(urn, type_, None, {"endpointConfigName": "a"}, b"one").inputs
    assert first["name"].startswith("burst-")
    assert len(first["name"]) == len("burst-") + 7
    assert offline.check(urn, type_, first, {"endpointConfigName": "b"}, b"two").inputs["name"] == first["name"]
    assert offline.check(urn, type_, None, {"endpointConfigName": "b"}, b"two").inputs["name"] != first["name"]
    prefixed = offline.check(
        "urn:pulumi:a::b::c::role", "aws:iam/role:Role", None, {"namePrefix": "gpu-", "assumeRolePolicy": "{}"}, b"s"
    )
    assert prefixed.inputs["name"].startswith("gpu-")


def test_balancer_names_fit(offline: AwsStandIn) -> None:
    name = "spillway-production-standby-gateway"
    checked = offline.check(f"urn:pulumi:a::b::c::{name}", "aws:lb/loadBalancer:LoadBalancer", None, {}, b"s")
    assert len(checked.inputs["name"]) <= 32


def test_replacing_a_thing_named_by_hand_deletes_first(offline: AwsStandIn) -> None:
    type_ = "aws:sagemaker/model:Model"
    old = ResourceState("m", {"name": "mine", "executionRoleArn": "a"})
    assert offline.diff(type_, old, {"name": "mine", "executionRoleArn": "b"}, ()).delete_before_replace
    automatic = ResourceState("m", {"name": "m-0123abc", "executionRoleArn": "a"})
    assert not offline.diff(type_, automatic, {"name": "m-0123abc", "executionRoleArn": "b"}, ()).delete_before_replace


def test_ignored_changes_do_not_count(offline: AwsStandIn) -> None:
    old = ResourceState("x", {"minCapacity": 1, "maxCapacity": 2})
    assert not offline.diff(
        "aws:appautoscaling/target:Target", old, {"minCapacity": 1, "maxCapacity": 9}, ("maxCapacity",)
    )


def test_preview_knows_inputs_and_not_outputs(offline: AwsStandIn) -> None:
    outputs = offline.preview("aws:sagemaker/endpoint:Endpoint", None, {"name": "e", "endpointConfigName": UNKNOWN})
    assert outputs["name"] == "e"
    assert outputs["arn"] is UNKNOWN
    assert outputs["endpointConfigName"] is UNKNOWN


def test_provider_settings(offline: AwsStandIn) -> None:
    provider = "pulumi:providers:aws"
    good = {
        "region": "eu-central-1",
        "defaultTags": {"tags": {"a": "b"}},
        "assumeRoles": [],
        "endpoints": [{"s3": "x"}],
    }
    assert not offline.check("urn", provider, None, good, b"").failures
    assert offline.check("urn", provider, None, {"region": "the-moon"}, b"").failures[0].path == "region"
    assert offline.check("urn", provider, None, {"planet": "mars"}, b"").failures[0].path == "planet"
    offline.configure(good)
    assert offline.region == "eu-central-1"
    vpc = offline.preview("aws:ec2/vpc:Vpc", None, {"cidrBlock": "10.0.0.0/16", "tags": {"c": "d"}})
    assert vpc["tagsAll"] == {"a": "b", "c": "d"}
    with pytest.raises(StandInError, match="planet"):
        offline.configure({"planet": "mars"})
