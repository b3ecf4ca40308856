"""The SageMaker burst site's resources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from components.burst.sagemaker.images import ENGINES, ImageError, image, table
from components.burst.sagemaker.route import route
from components.burst.sagemaker.settings import SageMakerSettings, has_local_storage
from components.burst.settings import BurstSettings
from spillway.contracts.manifest import read_manifest
from spillway.contracts.server_routes import VLLM_VERSION
from tests.support.packages import small_package
from tests.support.recording import Recorded, context, of_type, record


def build(settings: dict[str, Any] | None = None, **changes: Any) -> list[Recorded]:
    from components.burst.sagemaker.component import SageMakerBurst, SageMakerBurstArgs

    values: dict[str, Any] = {
        "settings": SageMakerSettings(**(settings or {})),
        "region": "eu-west-1",
        "account_id": "123456789012",
        "vpc_id": "vpc-1",
        "vpc_cidr": "10.40.0.0/16",
        "subnet_ids": ["subnet-1", "subnet-2"],
        "s3_prefix_list_id": "pl-1",
        "package_bucket_name": "packages",
        "package_bucket_arn": "arn:aws:s3:::packages",
        "package_kms_key_arn": "arn:aws:kms:eu-west-1:123456789012:key/k",
        "package_key": "packages/minilm/abc/model.tar.gz",
        "package_sha256": "a" * 64,
        "package_version": "abc",
        "kind": "triton",
        "entry_model": "minilm",
        "slots": 8,
    }
    return record(lambda: SageMakerBurst(context(), SageMakerBurstArgs(**{**values, **changes})))


def only(resources: list[Recorded], type_: str) -> Recorded:
    (found,) = of_type(resources, type_)
    return found


def configuration(resources: list[Recorded], kind: str) -> Recorded:
    (found,) = [
        r
        for r in of_type(resources, "aws:sagemaker/endpointConfiguration:EndpointConfiguration")
        if f"-{kind}-" in r.name
    ]
    return found


def endpoint(resources: list[Recorded], name: str) -> Recorded:
    (found,) = [r for r in of_type(resources, "aws:sagemaker/endpoint:Endpoint") if r.inputs["name"] == name]
    return found


def test_model_is_isolated_in_the_vpc_and_serves_the_entry_model() -> None:
    model = only(build(), "aws:sagemaker/model:Model").inputs
    assert model["enableNetworkIsolation"] is True
    assert model["vpcConfig"]["subnets"] == ["subnet-1", "subnet-2"]
    assert model["primaryContainer"]["modelDataUrl"] == "s3://packages/packages/minilm/abc/model.tar.gz"
    assert model["primaryContainer"]["environment"]["SAGEMAKER_TRITON_DEFAULT_MODEL_NAME"] == "minilm"
    assert model["primaryContainer"]["image"] == image("triton", "eu-west-1").address
    assert "name" not in model


def test_vllm_package_is_an_uncompressed_data_source() -> None:
    model = only(build(kind="vllm", package_key="packages/llm/abc/vllm/"), "aws:sagemaker/model:Model").inputs
    source = model["primaryContainer"]["modelDataSource"]["s3DataSources"][0]
    assert source == {
        "s3Uri": "s3://packages/packages/llm/abc/vllm/",
        "s3DataType": "S3Prefix",
        "compressionType": "None",
    }
    assert "modelDataUrl" not in model["primaryContainer"]


def test_configuration_is_auto_named_with_timeouts_and_ami() -> None:
    inputs = configuration(build(), "real-time").inputs
    assert "name" not in inputs
    (variant,) = inputs["productionVariants"]
    assert variant["inferenceAmiVersion"] == "al2023-ami-sagemaker-inference-gpu-4-1"
    assert variant["containerStartupHealthCheckTimeoutInSeconds"] == 900
    assert variant["modelDataDownloadTimeoutInSeconds"] == 900
    assert variant["initialInstanceCount"] == 1


def test_key_only_where_the_instance_has_no_disks_of_its_own() -> None:
    assert "kmsKeyArn" not in configuration(build(), "real-time").inputs
    plain = configuration(build({"instance_type": "ml.c6i.xlarge"}), "real-time").inputs
    assert plain["kmsKeyArn"]
    assert plain["productionVariants"][0]["volumeSizeInGb"] == 100


def test_families_with_disks_are_those_that_ec2_tells() -> None:
    """What DescribeInstanceTypes says (moto keeps a copy), over every type that SageMaker's own model knows."""
    from botocore.session import get_session
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    model: Any = get_session().get_service_model("sagemaker")
    told = {name: bool(each.get("InstanceStorageSupported")) for name, each in INSTANCE_TYPES.items()}
    known = [type_ for type_ in model.shape_for("ProductionVariantInstanceType").enum if type_[3:] in told]
    assert len(known) > 150
    assert {type_ for type_ in known if has_local_storage(type_) is not told[type_[3:]]} == set()
    # Of these EC2's copy has nothing.
    assert has_local_storage("ml.p6e-gb200.36xlarge")
    assert has_local_storage("ml.dl1.24xlarge")
    assert not has_local_storage("ml.p3.2xlarge")


def test_requests_go_to_the_least_busy_instance() -> None:
    """By default an endpoint draws one, whatever it is doing (API_ProductionVariantRoutingConfig)."""
    variant = configuration(build(), "real-time").inputs["productionVariants"][0]
    assert variant["routingConfigs"] == [{"routingStrategy": "LEAST_OUTSTANDING_REQUESTS"}]


def test_one_instance_is_switched_all_at_once() -> None:
    """A canary is at most half of the variant's instances (TrafficRoutingConfig.CanarySize)."""
    deployment = endpoint(build(), "spillway-test-burst-real-time-ml-g5-xlarge").inputs["deploymentConfig"]
    routing = deployment["blueGreenUpdatePolicy"]["trafficRoutingConfiguration"]
    assert routing == {"type": "ALL_AT_ONCE", "waitIntervalInSeconds": 300}
    assert deployment["autoRollbackConfiguration"]["alarms"]


def test_canary_with_rollback_on_both_alarms() -> None:
    resources = build({"min_instances": 2})
    deployment = endpoint(resources, "spillway-test-burst-real-time-ml-g5-xlarge").inputs["deploymentConfig"]
    routing = deployment["blueGreenUpdatePolicy"]["trafficRoutingConfiguration"]
    assert routing["type"] == "CANARY"
    assert routing["canarySize"] == {"type": "CAPACITY_PERCENT", "value": 10}
    named = {alarm["alarmName"] for alarm in deployment["autoRollbackConfiguration"]["alarms"]}
    alarms = {
        r.inputs["name"]: r.inputs
        for r in of_type(resources, "aws:cloudwatch/metricAlarm:MetricAlarm")
        if r.inputs["name"] in named
    }
    assert {alarm["metricName"] for alarm in alarms.values()} == {"Invocation5XXErrors", "ModelLatency"}
    assert all(alarm["treatMissingData"] == "notBreaching" for alarm in alarms.values())
    assert alarms["spillway-test-burst-latency-p99"]["extendedStatistic"] == "p99"


def test_scaling_bounds_and_policies() -> None:
    resources = build({"min_instances": 2, "max_instances": 6})
    targets = {r.inputs["resourceId"]: r.inputs for r in of_type(resources, "aws:appautoscaling/target:Target")}
    real_time = targets["endpoint/spillway-test-burst-real-time-ml-g5-xlarge/variant/primary"]
    assert (real_time["minCapacity"], real_time["maxCapacity"]) == (2, 6)
    queue = targets["endpoint/spillway-test-burst-async-ml-g5-xlarge/variant/primary"]
    assert (queue["minCapacity"], queue["maxCapacity"]) == (0, 2)
    policies = {r.inputs["name"]: r.inputs for r in of_type(resources, "aws:appautoscaling/policy:Policy")}
    tracked = policies["spillway-test-burst-real-time-ml-g5-xlarge-tracking"][
        "targetTrackingScalingPolicyConfiguration"
    ]
    assert tracked["predefinedMetricSpecification"]["predefinedMetricType"] == (
        "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    )
    assert tracked["targetValue"] == 5.6, "70 % of the slots: at or above them it would never be passed"


def test_a_target_that_was_given_is_held_and_invocations_have_no_default() -> None:
    given = build({"autoscaling": {"metric": "invocations_per_instance", "target": 600}})
    policies = {r.inputs["name"]: r.inputs for r in of_type(given, "aws:appautoscaling/policy:Policy")}
    real_time = policies["spillway-test-burst-real-time-ml-g5-xlarge-tracking"]
    assert real_time["targetTrackingScalingPolicyConfiguration"]["targetValue"] == 600
    with pytest.raises(ValidationError, match="so give target"):
        SageMakerSettings.model_validate({"autoscaling": {"metric": "invocations_per_instance"}})


def test_asynchronous_endpoint_leaves_zero() -> None:
    resources = build()
    policies = {r.inputs["name"]: r.inputs for r in of_type(resources, "aws:appautoscaling/policy:Policy")}
    step = policies["spillway-test-burst-async-ml-g5-xlarge-from-zero"]
    assert step["policyType"] == "StepScaling"
    assert step["stepScalingPolicyConfiguration"]["stepAdjustments"] == [
        {"metricIntervalLowerBound": "0", "scalingAdjustment": 1}
    ]
    (alarm,) = [
        r.inputs
        for r in of_type(resources, "aws:cloudwatch/metricAlarm:MetricAlarm")
        if r.inputs["metricName"] == "HasBacklogWithoutCapacity"
    ]
    assert alarm["dimensions"] == {"EndpointName": "spillway-test-burst-async-ml-g5-xlarge"}
    assert len(alarm["alarmActions"]) == 1
    backlog = policies["spillway-test-burst-async-ml-g5-xlarge-tracking"]["targetTrackingScalingPolicyConfiguration"]
    assert backlog["customizedMetricSpecification"]["metricName"] == "ApproximateBacklogSizePerInstance"


def test_a_client_of_the_queue_may_submit_and_fetch_and_no_more() -> None:
    (client,) = of_type(build(), "aws:iam/policy:Policy")
    statements = {s["Sid"]: s for s in json.loads(client.inputs["policy"])["Statement"]}
    assert statements["Submit"]["Action"] == ["sagemaker:InvokeEndpointAsync"]
    assert statements["Submit"]["Resource"].endswith("Endpoint/spillway-test-burst-async")
    assert statements["Request"]["Resource"].endswith("/requests/*")
    assert [r.rpartition("/")[0].rpartition("/")[2] for r in statements["Results"]["Resource"]] == [
        "results",
        "failures",
    ]
    assert "*" not in {s["Resource"] for s in statements.values() if isinstance(s["Resource"], str)}


def test_asynchronous_endpoint_can_be_left_out() -> None:
    resources = build({"asynchronous": None})
    assert len(of_type(resources, "aws:sagemaker/endpoint:Endpoint")) == 1
    assert not of_type(resources, "aws:sns/topic:Topic")
    assert not of_type(resources, "aws:s3/bucket:Bucket")


def test_role_reads_only_its_package_in_every_version() -> None:
    (document,) = [
        json.loads(r.inputs["policy"])
        for r in of_type(build(), "aws:iam/rolePolicy:RolePolicy")
        if r.inputs["name"] == "serve-the-package"
    ]
    statements = {statement["Sid"]: statement for statement in document["Statement"]}
    assert statements["Package"]["Resource"] == "arn:aws:s3:::packages/packages/minilm/*/model.tar.gz"
    assert statements["Image"]["Resource"].endswith(":763104351884:repository/sagemaker-tritonserver")
    everywhere = {sid for sid, statement in statements.items() if statement["Resource"] == "*"}
    assert everywhere == {"RegistryLogin", "Metrics", "LookAtNetwork"}
    assert not any("*" in action for statement in statements.values() for action in statement["Action"])


def test_security_group_opens_https_outwards_only() -> None:
    resources = build()
    assert not of_type(resources, "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
    rules = [r.inputs for r in of_type(resources, "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule")]
    assert {(rule["fromPort"], rule["toPort"]) for rule in rules} == {(443, 443)}
    assert {rule.get("cidrIpv4") or rule["prefixListId"] for rule in rules} == {"10.40.0.0/16", "pl-1"}


def test_live_count_starts_a_changed_shape_and_stays_inside_the_bounds() -> None:
    quiet, busy = configuration(build(), "real-time"), configuration(build(live_instances=3), "real-time")
    assert busy.name == quiet.name, "the live count alone must not make a new configuration"
    changed = configuration(build({"instance_type": "ml.g6.xlarge"}, live_instances=3), "real-time")
    assert changed.name != quiet.name
    assert changed.inputs["productionVariants"][0]["initialInstanceCount"] == 3
    capped = configuration(build(live_instances=30), "real-time")
    assert capped.inputs["productionVariants"][0]["initialInstanceCount"] == 4
    new_package = configuration(build(package_sha256="b" * 64), "real-time")
    assert new_package.name != quiet.name


def test_everything_that_takes_tags_carries_them() -> None:
    for resource in build():
        if "tags" in resource.inputs:
            assert {"owner", "cost-centre", "stack"} <= resource.inputs["tags"].keys()


def test_table_names_its_source_and_knows_all_kinds() -> None:
    assert table()["source"].startswith("sagemaker-core ")
    assert table()["generated"] >= "2026-11-24"


def test_slots_follow_the_endpoints_live_instances(tmp_path: Path) -> None:
    """Instances that autoscaling adds are used before the next site is."""
    manifest = read_manifest(small_package(tmp_path))
    found = route(SageMakerSettings(min_instances=2), "eu-west-1", manifest, "burst", 5.0)
    assert (found.capacity, found.instances, found.slots) == ("endpoint", 2, 8)
    assert found.with_instances(5).slots == 20


def test_vllm_is_awss_own_container_of_the_version_that_every_site_runs() -> None:
    found = image("vllm", "us-east-1")
    assert found.address == "763104351884.dkr.ecr.us-east-1.amazonaws.com/vllm:server-sagemaker-cuda-v2.5"
    assert ENGINES[found.version] == VLLM_VERSION
    assert found.cuda_major == 13


def test_vllm_is_started_by_variables() -> None:
    """AWS's entry point makes an option of each ``SM_VLLM_``; an answer's length rolls nothing back."""
    made = build(kind="vllm", package_key="packages/llm/abc/vllm/", vllm_arguments={"scheduling-policy": "priority"})
    environment = only(made, "aws:sagemaker/model:Model").inputs["primaryContainer"]["environment"]
    assert environment["SM_VLLM_MODEL"] == "/opt/ml/model"
    assert environment["SM_VLLM_SCHEDULING_POLICY"] == "priority"
    assert environment["HF_HUB_OFFLINE"] == "1"
    deployment = endpoint(made, "spillway-test-burst-real-time-ml-g5-xlarge").inputs["deploymentConfig"]
    watched = deployment["autoRollbackConfiguration"]["alarms"]
    assert [alarm["alarmName"] for alarm in watched] == ["spillway-test-burst-5xx"]


def test_image_fits_the_driver() -> None:
    old_driver = image("triton", "eu-west-1", inference_ami="al2-ami-sagemaker-inference-gpu-3-1")
    assert old_driver.cuda_major == 12
    with pytest.raises(ImageError, match="al2023-ami-sagemaker-inference-gpu-4-1"):
        image("triton", "eu-west-1", "26.05", inference_ami="al2-ami-sagemaker-inference-gpu-3-1")
    with pytest.raises(ImageError, match=r"allowed for triton: 26\.05"):
        image("triton", "eu-west-1", "1.0")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"sagemaker": {"instance_type": "g5.xlarge"}}, "start with 'ml.'"),
        ({"sagemaker": {"min_instances": 5, "max_instances": 4}}, "min_instances 5 is above max_instances 4"),
        ({"sagemaker": {"initial_instances": 9}}, "outside min_instances 1 to max_instances 4"),
        ({"sagemaker": {"rollout": {"canary_wait_s": 3600}}}, "raise max_execution_s"),
        ({"azure_ml": {"deployments": {"blue": {"traffic": 90}}}}, "make it 100"),
        ({"azure_ml": {"deployments": {"blue": {"traffic": 100, "mirror": 10}}}}, "takes no live traffic"),
    ],
)
def test_settings_say_what_is_allowed(part: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BurstSettings(**part)
