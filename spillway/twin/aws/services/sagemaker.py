"""Models and endpoints."""

from __future__ import annotations

import math
from typing import Any

from spillway.twin.aws.recorder import Call, RefusedError
from spillway.twin.aws.row import Part, Row, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import QueueCall, Service

_TAGS = Tags("AddTags", "DeleteTags", {"ResourceArn": "{arn}"})

_ROWS = (
    Row(
        token="aws:sagemaker/model:Model",
        service="sagemaker",
        create="CreateModel",
        id="{name}",
        rename={
            "primaryContainer.modelDataSource.s3DataSources": "S3DataSource",
            "containers.modelDataSource.s3DataSources": "S3DataSource",
        },
        key={"ModelName": "{id}"},
        read="DescribeModel",
        delete="DeleteModel",
        tags=_TAGS,
        samples=(
            Sample(
                "model",
                {
                    "executionRoleArn": "$role.arn",
                    "enableNetworkIsolation": True,
                    "primaryContainer": {
                        "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/triton:1",
                        "environment": {"A": "b"},
                        "modelDataSource": {
                            "s3DataSources": [
                                {"s3Uri": "s3://models/m.tar.gz", "s3DataType": "S3Object", "compressionType": "Gzip"}
                            ]
                        },
                    },
                    "vpcConfig": {"subnets": ["$subnet.id"], "securityGroupIds": ["$group.id"]},
                    "tags": OWNED,
                },
            ),
        ),
    ),
    Row(
        token="aws:sagemaker/endpointConfiguration:EndpointConfiguration",
        service="sagemaker",
        create="CreateEndpointConfig",
        id="{name}",
        noun="EndpointConfig",
        rename={
            "kmsKeyArn": "KmsKeyId",
            "productionVariants.serverlessConfig.memorySizeInMb": "MemorySizeInMB",
        },
        key={"EndpointConfigName": "{id}"},
        read="DescribeEndpointConfig",
        delete="DeleteEndpointConfig",
        tags=_TAGS,
        samples=(
            Sample(
                "config",
                {
                    "kmsKeyArn": "$key.arn",
                    "productionVariants": [
                        {
                            "variantName": "main",
                            "modelName": "$model.name",
                            "instanceType": "ml.g6.xlarge",
                            "initialInstanceCount": 1,
                            "inferenceAmiVersion": "al2-ami-sagemaker-inference-gpu-3-1",
                            "containerStartupHealthCheckTimeoutInSeconds": 600,
                            "managedInstanceScaling": {
                                "status": "ENABLED",
                                "minInstanceCount": 1,
                                "maxInstanceCount": 2,
                            },
                        }
                    ],
                    "dataCaptureConfig": {
                        "enableCapture": True,
                        "initialSamplingPercentage": 1,
                        "destinationS3Uri": "s3://models/capture",
                        "captureOptions": [{"captureMode": "Input"}],
                    },
                    "tags": OWNED,
                },
            ),
            Sample(
                "config-async",
                {
                    "productionVariants": [
                        {
                            "variantName": "main",
                            "modelName": "$model.name",
                            "instanceType": "ml.g6.xlarge",
                            "initialInstanceCount": 2,
                        }
                    ],
                    "asyncInferenceConfig": {
                        "outputConfig": {
                            "s3OutputPath": "s3://models/out",
                            "notificationConfig": {"errorTopic": "$topic.arn", "successTopic": "$topic.arn"},
                        },
                        "clientConfig": {"maxConcurrentInvocationsPerInstance": 4},
                    },
                },
            ),
        ),
    ),
    Row(
        token="aws:sagemaker/endpoint:Endpoint",
        service="sagemaker",
        create="CreateEndpoint",
        id="{name}",
        rename={"deploymentConfig.autoRollbackConfiguration.alarms": "Alarms"},
        key={"EndpointName": "{id}"},
        read="DescribeEndpoint",
        delete="DeleteEndpoint",
        parts=(Part("UpdateEndpoint", ("endpointConfigName", "deploymentConfig"), update_only=True),),
        drift={"endpointConfigName": "EndpointConfigName"},
        tags=_TAGS,
        note="in service at once; UpdateEndpoint is our server's, and rolls back while one of its alarms fires",
        coverage="filled",
        samples=(
            Sample(
                "endpoint",
                {
                    "endpointConfigName": "$config.name",
                    "deploymentConfig": {
                        "blueGreenUpdatePolicy": {
                            "trafficRoutingConfiguration": {
                                "type": "CANARY",
                                "waitIntervalInSeconds": 300,
                                "canarySize": {"type": "CAPACITY_PERCENT", "value": 10},
                            },
                            "terminationWaitInSeconds": 300,
                        },
                        "autoRollbackConfiguration": {"alarms": [{"alarmName": "$alarm.name"}]},
                    },
                    "tags": OWNED,
                },
                change={"endpointConfigName": "$config-async.name"},
                replace={"name": "other"},
            ),
        ),
    ),
    Row(
        token="aws:sagemaker/modelPackageGroup:ModelPackageGroup",
        service="sagemaker",
        create="CreateModelPackageGroup",
        id="{modelPackageGroupName}",
        key={"ModelPackageGroupName": "{id}"},
        read="DescribeModelPackageGroup",
        delete="DeleteModelPackageGroup",
        name="",
        tags=_TAGS,
        samples=(Sample("packages", {"modelPackageGroupName": "spillway", "tags": OWNED}),),
    ),
)


def _update_endpoint(call: Call) -> dict[str, Any]:
    """A new configuration for a live endpoint. Capacity goes back to the configuration's, unless asked to be kept."""
    from moto.core.utils import utcnow
    from moto.sagemaker.models import sagemaker_backends

    backend: Any = sagemaker_backends[call.account][call.region]
    endpoint = backend.endpoints.get(call.params["EndpointName"])
    config = backend.endpoint_configs.get(call.params["EndpointConfigName"])
    if endpoint is None or config is None:
        what = "endpoint" if endpoint is None else "endpoint configuration"
        raise RefusedError("ValidationException", f"Could not find {what}.")
    _refuse_under_target(call, endpoint, config)
    _roll_back_by_alarm(call, endpoint)
    kept = {variant["VariantName"]: variant for variant in endpoint.production_variants}
    variants = endpoint._process_production_variants(config.production_variants)
    excluded = {e["VariantPropertyType"] for e in call.params.get("ExcludeRetainedVariantProperties", [])}
    if call.params.get("RetainAllVariantProperties"):
        for variant in variants:
            _retain(variant, kept.get(variant["VariantName"], {}), excluded)
    _refuse_traffic_step(call, variants)
    endpoint.production_variants = variants
    endpoint.endpoint_config_name = config.endpoint_config_name
    endpoint.last_modified_time = utcnow()
    if "DeploymentConfig" in call.params:
        endpoint.last_deployment_config = call.params["DeploymentConfig"]
    return {"EndpointArn": endpoint.arn}


def _refuse_traffic_step(call: Call, variants: list[dict[str, Any]]) -> None:
    """API model, `CanarySize` and `LinearStepSize`: at most half of the variant's instances. The words are ours."""
    policy = (call.params.get("DeploymentConfig") or {}).get("BlueGreenUpdatePolicy") or {}
    routing = policy.get("TrafficRoutingConfiguration") or {}
    size = routing.get({"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}.get(routing.get("Type", ""), ""))
    if not size:
        return
    for variant in variants:
        count = variant.get("DesiredInstanceCount") or variant.get("InitialInstanceCount") or 0
        share = math.ceil(count * size["Value"] / 100) if size["Type"] == "CAPACITY_PERCENT" else size["Value"]
        if count and max(share, 1) > count / 2:
            raise RefusedError(
                "ValidationException",
                f"{max(share, 1)} of {count} instances of variant {variant['VariantName']} are more than half of them:"
                " a traffic shift takes at most 50 % at once.",
            )


def _refuse_under_target(call: Call, endpoint: Any, config: Any) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html: neither the instance type of a
    scalable variant changes, nor is it removed, before DeregisterScalableTarget. The words are ours."""
    from moto.applicationautoscaling.models import applicationautoscaling_backends

    targets = applicationautoscaling_backends[call.account][call.region].targets
    scaled = targets.get("sagemaker:variant:DesiredInstanceCount", {})
    old = _types(endpoint.endpoint_config_name, call)
    new = {variant["VariantName"]: variant.get("InstanceType") for variant in config.production_variants}
    stuck = [
        name
        for name, type_ in old.items()
        if f"endpoint/{endpoint.endpoint_name}/variant/{name}" in scaled and new.get(name) != type_
    ]
    if stuck:
        raise RefusedError(
            "ValidationException",
            f"Variants {stuck} are scalable targets: deregister them before they are removed or their instance type"
            " changes.",
        )


def _roll_back_by_alarm(call: Call, endpoint: Any) -> None:
    """A blue/green update ends where it began once an alarm of it fires, and the provider says so as a failure; here it
    does at once, and nothing has changed
    (https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html). The words are ours."""
    from moto.cloudwatch.models import cloudwatch_backends

    named = (call.params.get("DeploymentConfig") or {}).get("AutoRollbackConfiguration", {}).get("Alarms", ())
    alarms = cloudwatch_backends[call.account][call.region].alarms
    names = [alarm["AlarmName"] for alarm in named]
    firing = [name for name in names if name in alarms and alarms[name].state_value == "ALARM"]
    if firing:
        raise RefusedError(
            "ValidationException",
            f"unexpected state 'RollingBack' of {endpoint.endpoint_name}: alarms {firing} fired, and it serves"
            f" {endpoint.endpoint_config_name} as before.",
        )


def _types(config_name: str, call: Call) -> dict[str, Any]:
    from moto.sagemaker.models import sagemaker_backends

    config = sagemaker_backends[call.account][call.region].endpoint_configs.get(config_name)
    return {v["VariantName"]: v.get("InstanceType") for v in config.production_variants} if config else {}


def _retain(variant: dict[str, Any], old: dict[str, Any], excluded: set[str]) -> None:
    if "DesiredInstanceCount" not in excluded and "DesiredInstanceCount" in old:
        variant["DesiredInstanceCount"] = variant["CurrentInstanceCount"] = old["DesiredInstanceCount"]
    if "DesiredWeight" not in excluded and "DesiredWeight" in old:
        variant["DesiredWeight"] = variant["CurrentWeight"] = old["DesiredWeight"]


def _delete_package_group(call: Call) -> dict[str, Any]:
    from moto.sagemaker.models import sagemaker_backends

    groups = sagemaker_backends[call.account][call.region].model_package_groups
    if call.params["ModelPackageGroupName"] not in groups:
        raise RefusedError("ValidationException", "Could not find model package group.")
    groups.pop(call.params["ModelPackageGroupName"])
    return {}


def _patch(_: QueueCall) -> None:
    """Moto's list of instance types is years old: take AWS's own."""
    from moto.core.utils import get_service_model
    from moto.sagemaker.exceptions import ValidationError
    from moto.sagemaker.models import FakeEndpointConfig

    shape: Any = get_service_model("sagemaker").shape_for("ProductionVariantInstanceType")
    known: frozenset[Any] = frozenset(shape.enum)

    def validate_instance_type(_: Any, instance_type: str) -> None:
        if instance_type not in known:
            raise ValidationError(message=f"Value '{instance_type}' at 'instanceType' is no SageMaker instance type")

    configurations: Any = FakeEndpointConfig
    configurations.validate_instance_type = validate_instance_type


SERVICE = Service(
    "sagemaker",
    _ROWS,
    answers={"UpdateEndpoint": _update_endpoint, "DeleteModelPackageGroup": _delete_package_group},
    patch=_patch,
)
