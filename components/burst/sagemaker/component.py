"""The burst site on SageMaker: a real-time endpoint for P0 and P1, an asynchronous one for P2."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from components.aws_documents import (
    allow,
    assumed_by,
    key_for_alarms,
    key_for_log_groups,
    key_policy,
    partition,
    policy,
)
from components.aws_parts import own_key, secure_bucket
from components.base import Component, StackContext
from components.burst.sagemaker.batch_clients import ClientPrefixes, client_policy
from components.burst.sagemaker.images import ContainerImage, Kind, image
from components.burst.sagemaker.job_queue import Waiting, job_queue
from components.burst.sagemaker.settings import SageMakerAsync, SageMakerSettings, has_local_storage
from spillway.contracts.vllm_options import sagemaker_environment
from spillway.contracts.vllm_serving import SWITCHED_OFF

MODEL_FOLDER: Final = "/opt/ml/model"
"""Where SageMaker puts the package."""
VARIANT: Final = "primary"
"""The production variant's name; autoscaling, alarms and the cost signal address it."""

LEAST_BUSY: Final = "LEAST_OUTSTANDING_REQUESTS"
"""How a real-time endpoint chooses an instance; by default it draws one
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProductionVariantRoutingConfig.html)."""
INPUT_PREFIX: Final = "requests/"
OUTPUT_PREFIX: Final = "results/"
FAILURE_PREFIX: Final = "failures/"

SCALABLE_DIMENSION: Final = "sagemaker:variant:DesiredInstanceCount"
METRIC_NAMESPACES: Final = ["AWS/SageMaker", "/aws/sagemaker/Endpoints", "/aws/sagemaker/InferenceComponents"]

TRACKED_METRICS: Final = {
    "invocations_per_instance": "SageMakerVariantInvocationsPerInstance",
    "concurrency_per_model": "SageMakerVariantConcurrentRequestsPerModelHighResolution",
}


@dataclass(frozen=True)
class SageMakerBurstArgs:
    """What the site is made of.

    ``package_key``: S3 key of the archive; for a ``vllm`` package the prefix of its files, ending in ``/``.
    ``package_sha256``: its digest; another one rolls out a new configuration. ``package_version``: the manifest's.
    ``slots``: requests that one instance serves at once. ``vllm_arguments``: of ``contracts.vllm_serving``, where vLLM
    serves. ``live_instances``: instances that serve right now (``live_capacity.live_instances``), ``None`` on the first
    deployment.
    ``s3_prefix_list_id``: AWS's prefix list of S3, which the subnets' gateway endpoint routes.
    """

    settings: SageMakerSettings
    region: str
    account_id: str
    vpc_id: pulumi.Input[str]
    vpc_cidr: pulumi.Input[str]
    subnet_ids: pulumi.Input[list[str]]
    s3_prefix_list_id: pulumi.Input[str]
    package_bucket_name: pulumi.Input[str]
    package_bucket_arn: pulumi.Input[str]
    package_kms_key_arn: pulumi.Input[str]
    package_key: str
    package_sha256: str
    package_version: str
    kind: Kind
    entry_model: str
    slots: int
    vllm_arguments: Mapping[str, Any] = field(default_factory=dict)
    live_instances: int | None = None


class SageMakerBurst(Component):
    """Model, endpoints, their autoscaling, rollback alarms and role.

    Outputs: ``endpoint_name``, ``endpoint_arn``, ``async_endpoint_name``, ``async_endpoint_arn``, ``async_bucket``,
    ``async_bucket_arn``, ``jobs`` (the queue of what the gateways take), ``async_client_policy_arn``,
    ``async_resource_id``, ``success_topic_arn``, ``error_topic_arn`` (these nine ``None`` without an asynchronous
    endpoint), ``resource_id`` (Application Auto Scaling's), ``variant``, ``alarm_names``,
    ``alarm_arns``, ``kms_key_arn``, ``role_arn``, ``image``.
    """

    def __init__(
        self, context: StackContext, args: SageMakerBurstArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("burst-sagemaker", context, opts)
        self.args = args
        self.prefix = f"{context.prefix}-burst"
        self.variant = VARIANT
        self.image = _image(args)
        self.names = endpoint_names(context.prefix, args.settings)

        self.kms_key_arn = self._key()
        self.log_groups = [self._log_group(kind) for kind in self.names]
        self.grants: list[pulumi.Resource] = []
        self.role = self._role()
        self.role_arn = self.role.arn
        group = self._security_group()
        self.model = self._model(group)

        self.alarm_names: list[pulumi.Output[str]] = []
        self.alarm_arns: list[pulumi.Output[str]] = []
        self._real_time()

        self.async_endpoint_name: pulumi.Output[str] | None = None
        self.async_endpoint_arn: pulumi.Output[str] | None = None
        self.async_resource_id: pulumi.Output[str] | None = None
        self.async_bucket: pulumi.Output[str] | None = None
        self.async_bucket_arn: pulumi.Output[str] | None = None
        self.jobs: Waiting | None = None
        self.async_client_policy_arn: pulumi.Output[str] | None = None
        self.success_topic_arn: pulumi.Output[str] | None = None
        self.error_topic_arn: pulumi.Output[str] | None = None
        if args.settings.asynchronous is not None:
            self._asynchronous(args.settings.asynchronous)
        self.register_outputs(
            {
                "endpointName": self.endpoint_name,
                "endpointArn": self.endpoint_arn,
                "asyncEndpointName": self.async_endpoint_name,
                "asyncBucket": self.async_bucket,
                "variant": self.variant,
                "image": self.image,
            }
        )

    def _log_group_name(self, kind: str) -> str:
        return f"/aws/sagemaker/Endpoints/{self.names[kind]}"

    def _key(self) -> pulumi.Input[str]:
        """The customer-managed key: of the settings, or a new one that rotates."""
        args = self.args
        if args.settings.kms_key_arn:
            return args.settings.kms_key_arn
        # Of both endpoints, whatever their instance type: during a change of it there are two log groups.
        logs = key_for_log_groups(args.region, args.account_id, [f"/aws/sagemaker/Endpoints/{self.prefix}-*"])
        return own_key(
            self,
            self.prefix,
            f"{self.prefix}: requests, results and logs of the SageMaker burst site",
            key_policy(args.region, args.account_id, logs, key_for_alarms(args.account_id)),
            holds_data=True,
        ).arn

    def _log_group(self, kind: str) -> aws.cloudwatch.LogGroup:
        """SageMaker would make it without a retention time and without our key."""
        return aws.cloudwatch.LogGroup(
            f"{self.prefix}-{kind}-logs",
            name=self._log_group_name(kind),
            retention_in_days=self.args.settings.log_retention_days,
            kms_key_id=self.kms_key_arn,
            tags=self.context.tags,
            opts=self.child(),
        )

    def _role(self) -> aws.iam.Role:
        args = self.args
        role = aws.iam.Role(
            f"{self.prefix}-role",
            description="What the SageMaker burst containers may do",
            assume_role_policy=assumed_by("sagemaker.amazonaws.com", args.account_id),
            tags=self.context.tags,
            opts=self.child(),
        )
        document = pulumi.Output.all(args.package_bucket_arn, args.package_kms_key_arn).apply(
            lambda arns: policy(*self._statements(*arns))
        )
        self.role_policy = aws.iam.RolePolicy(
            f"{self.prefix}-role-policy", name="serve-the-package", role=role.id, policy=document, opts=self.child()
        )
        return role

    def _statements(self, bucket_arn: str, package_key_arn: str) -> list[dict[str, Any]]:
        args = self.args
        part = partition(args.region)
        # Of every version: during a canary and after a rollback the old fleet still loads its own.
        key = args.package_key.replace(args.package_version, "*", 1)
        statements = [
            allow("Package", ["s3:GetObject"], f"{bucket_arn}/{key}{'*' if key.endswith('/') else ''}"),
            allow(
                "ListPackage",
                ["s3:ListBucket"],
                bucket_arn,
                {"StringLike": {"s3:prefix": [f"{key}*"]}},
            ),
            allow("DecryptPackage", ["kms:Decrypt"], package_key_arn),
            allow("RegistryLogin", ["ecr:GetAuthorizationToken"], "*"),
            allow(
                "Logs",
                ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
                [
                    f"arn:{part}:logs:{args.region}:{args.account_id}:log-group:{self._log_group_name(kind)}:*"
                    for kind in self.names
                ],
            ),
            allow(
                "Metrics",
                ["cloudwatch:PutMetricData"],
                "*",
                {"StringEquals": {"cloudwatch:namespace": METRIC_NAMESPACES}},
            ),
            allow(
                "LookAtNetwork",
                [
                    "ec2:DescribeDhcpOptions",
                    "ec2:DescribeNetworkInterfaces",
                    "ec2:DescribeSecurityGroups",
                    "ec2:DescribeSubnets",
                    "ec2:DescribeVpcEndpoints",
                    "ec2:DescribeVpcs",
                ],
                "*",
            ),
            allow(
                "AttachToNetwork",
                [
                    "ec2:CreateNetworkInterface",
                    "ec2:CreateNetworkInterfacePermission",
                    "ec2:DeleteNetworkInterface",
                    "ec2:DeleteNetworkInterfacePermission",
                ],
                [
                    f"arn:{part}:ec2:{args.region}:{args.account_id}:{kind}/*"
                    for kind in ("network-interface", "security-group", "subnet")
                ],
            ),
        ]
        if repository := _repository_arn(self.image, args.region):
            statements.append(
                allow(
                    "Image",
                    ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
                    repository,
                )
            )
        return statements

    def _security_group(self) -> aws.ec2.SecurityGroup:
        """Nothing comes in; out goes HTTPS to S3 and to the VPC's interface endpoints, nowhere else."""
        args = self.args
        group = aws.ec2.SecurityGroup(
            f"{self.prefix}-sg",
            name=f"{self.prefix}-sagemaker",
            description="SageMaker burst containers",
            vpc_id=args.vpc_id,
            revoke_rules_on_delete=True,
            tags={**self.context.tags, "Name": f"{self.prefix}-sagemaker"},
            opts=self.child(),
        )
        endpoints = aws.vpc.SecurityGroupEgressRule(
            f"{self.prefix}-sg-endpoints",
            security_group_id=group.id,
            description="Interface endpoints",
            cidr_ipv4=args.vpc_cidr,
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            tags=self.context.tags,
            opts=self.child(),
        )
        storage = aws.vpc.SecurityGroupEgressRule(
            f"{self.prefix}-sg-s3",
            security_group_id=group.id,
            description="S3 through its gateway endpoint",
            prefix_list_id=args.s3_prefix_list_id,
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            tags=self.context.tags,
            opts=self.child(),
        )
        self.group_rules: list[pulumi.Resource] = [endpoints, storage]
        return group

    def _model(self, group: aws.ec2.SecurityGroup) -> aws.sagemaker.Model:
        args = self.args
        container: dict[str, Any] = {"image": self.image, "environment": _environment(args)}
        uri = pulumi.Output.concat("s3://", args.package_bucket_name, "/", args.package_key)
        if args.kind == "vllm":
            source = aws.sagemaker.ModelPrimaryContainerModelDataSourceS3DataSourceArgs(
                s3_uri=uri, s3_data_type="S3Prefix", compression_type="None"
            )
            container["model_data_source"] = aws.sagemaker.ModelPrimaryContainerModelDataSourceArgs(
                s3_data_sources=[source]
            )
        else:
            container["model_data_url"] = uri
        return aws.sagemaker.Model(
            f"{self.prefix}-model",
            execution_role_arn=self.role.arn,
            primary_container=aws.sagemaker.ModelPrimaryContainerArgs(**container),
            vpc_config=aws.sagemaker.ModelVpcConfigArgs(security_group_ids=[group.id], subnets=args.subnet_ids),
            enable_network_isolation=True,
            tags={**self.context.tags, "spillway-package": args.package_version},
            # The fleet of before still serves from the old one after a rollback: `spillway sweep` ends it another day.
            opts=self.child(depends_on=[self.role_policy, *self.group_rules], retain_on_delete=True),
        )

    def _real_time(self) -> None:
        settings = self.args.settings
        configuration = self._configuration("real-time", settings.instance_type, self._first_count())
        rollback = self._rollback_alarms()
        endpoint = self._endpoint("real-time", configuration, rollback)
        self.endpoint_name, self.endpoint_arn = endpoint.name, endpoint.arn
        self.resource_id = _resource_id(endpoint)
        target = self._scaling_target("real-time", endpoint, settings.min_instances, settings.max_instances)
        tracked = aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs(
            target_value=settings.autoscaling.target_for(self.args.slots),
            scale_out_cooldown=settings.autoscaling.scale_out_cooldown_s,
            scale_in_cooldown=settings.autoscaling.scale_in_cooldown_s,
            predefined_metric_specification=(
                aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationPredefinedMetricSpecificationArgs(
                    predefined_metric_type=TRACKED_METRICS[settings.autoscaling.metric]
                )
            ),
        )
        self._tracking_policy("real-time", target, tracked)

    def _first_count(self) -> int:
        """Instances that a new endpoint configuration starts with: the live count, inside the bounds."""
        settings = self.args.settings
        wanted = self.args.live_instances or settings.initial_instances or settings.min_instances
        return max(settings.min_instances, min(wanted, settings.max_instances))

    def _configuration(
        self,
        kind: str,
        instance_type: str,
        count: int,
        async_config: aws.sagemaker.EndpointConfigurationAsyncInferenceConfigArgs | None = None,
    ) -> aws.sagemaker.EndpointConfiguration:
        """An immutable, auto-named configuration, under a logical name that follows what it holds.

        A change of shape is thereby a *new* resource, which starts with the live count; while nothing changes,
        ``ignore_changes`` keeps the count of the day it was made (docs/decisions/0002-keep-scaled-out-capacity.md).
        """
        settings = self.args.settings
        own_disks = has_local_storage(instance_type)
        routing = aws.sagemaker.EndpointConfigurationProductionVariantRoutingConfigArgs(routing_strategy=LEAST_BUSY)
        variant = aws.sagemaker.EndpointConfigurationProductionVariantArgs(
            variant_name=VARIANT,
            model_name=self.model.name,
            instance_type=instance_type,
            initial_instance_count=count,
            initial_variant_weight=1,
            inference_ami_version=settings.inference_ami_version,
            container_startup_health_check_timeout_in_seconds=settings.container_startup_timeout_s,
            model_data_download_timeout_in_seconds=settings.model_download_timeout_s,
            volume_size_in_gb=None if own_disks else settings.volume_gb,
            enable_ssm_access=False,
            routing_configs=None if async_config else [routing],
        )
        shape = _digest(
            {
                "instance_type": instance_type,
                **({} if async_config else {"routing": LEAST_BUSY}),
                "image": self.image,
                "environment": _environment(self.args),
                "package": [self.args.package_key, self.args.package_sha256],
                "settings": settings.model_dump(
                    mode="json",
                    include={
                        "inference_ami_version",
                        "container_startup_timeout_s",
                        "model_download_timeout_s",
                        "volume_gb",
                        "kms_key_arn",
                        "data_capture",
                        "asynchronous" if async_config else "data_capture",
                    },
                ),
            }
        )
        return aws.sagemaker.EndpointConfiguration(
            f"{self.prefix}-{kind}-{shape}",
            production_variants=[variant],
            kms_key_arn=None if own_disks else self.kms_key_arn,
            async_inference_config=async_config,
            data_capture_config=self._data_capture() if kind == "real-time" else None,
            tags=self.context.tags,
            opts=self.child(ignore_changes=["productionVariants[0].initialInstanceCount"], retain_on_delete=True),
        )

    def _data_capture(self) -> aws.sagemaker.EndpointConfigurationDataCaptureConfigArgs | None:
        capture = self.args.settings.data_capture
        if capture is None:
            return None
        bucket = self._data_bucket("capture", days=30)
        self._grant("capture", bucket, ["s3:PutObject"], ["captured/*"])
        return aws.sagemaker.EndpointConfigurationDataCaptureConfigArgs(
            enable_capture=True,
            initial_sampling_percentage=capture.sampling_percent,
            destination_s3_uri=pulumi.Output.concat("s3://", bucket.bucket, "/captured"),
            kms_key_id=self.kms_key_arn,
            capture_options=[
                aws.sagemaker.EndpointConfigurationDataCaptureConfigCaptureOptionArgs(capture_mode=mode)
                for mode in ("Input", "Output")
            ],
        )

    def _endpoint(
        self, kind: str, configuration: aws.sagemaker.EndpointConfiguration, rollback: list[aws.cloudwatch.MetricAlarm]
    ) -> aws.sagemaker.Endpoint:
        rollout = self.args.settings.rollout
        canary = aws.sagemaker.EndpointDeploymentConfigBlueGreenUpdatePolicyTrafficRoutingConfigurationCanarySizeArgs(
            type="CAPACITY_PERCENT", value=rollout.canary_percent
        )
        # One instance cannot be shared out: a canary is at most half of the fleet. The alarms still roll it back.
        # By the settings, not by what runs: autoscaling is no change of the stack.
        shared = self.args.settings.min_instances > 1
        routing = aws.sagemaker.EndpointDeploymentConfigBlueGreenUpdatePolicyTrafficRoutingConfigurationArgs(
            type="CANARY" if shared else "ALL_AT_ONCE",
            wait_interval_in_seconds=rollout.canary_wait_s,
            canary_size=canary if shared else None,
        )
        alarms = [
            aws.sagemaker.EndpointDeploymentConfigAutoRollbackConfigurationAlarmArgs(alarm_name=alarm.name)
            for alarm in rollback
        ]
        return aws.sagemaker.Endpoint(
            f"{self.prefix}-{kind}",
            name=self.names[kind],
            endpoint_config_name=configuration.name,
            deployment_config=aws.sagemaker.EndpointDeploymentConfigArgs(
                blue_green_update_policy=aws.sagemaker.EndpointDeploymentConfigBlueGreenUpdatePolicyArgs(
                    traffic_routing_configuration=routing,
                    termination_wait_in_seconds=rollout.termination_wait_s,
                    maximum_execution_timeout_in_seconds=rollout.max_execution_s,
                ),
                auto_rollback_configuration=aws.sagemaker.EndpointDeploymentConfigAutoRollbackConfigurationArgs(
                    alarms=alarms
                ),
            ),
            tags=self.context.tags,
            opts=self.child(depends_on=[*self.log_groups, *self.grants]),
        )

    def _rollback_alarms(self) -> list[aws.cloudwatch.MetricAlarm]:
        """They exist before the endpoint, which names them; no data is no fault."""
        rollout = self.args.settings.rollout
        dimensions = {"EndpointName": self.names["real-time"], "VariantName": VARIANT}
        errors = self._alarm(
            "5xx",
            description=f"More than {rollout.max_5xx_rate:.0%} of invocations answered 5xx: roll an update back",
            metric_name="Invocation5XXErrors",
            statistic="Average",
            threshold=rollout.max_5xx_rate,
            evaluation_periods=rollout.alarm_periods,
            dimensions=dimensions,
        )
        if self.args.kind == "vllm":
            # A generated answer takes as long as it is: its time says nothing about the model's health.
            return [errors]
        latency = self._alarm(
            "latency-p99",
            description=f"P99 model latency above {rollout.max_model_latency_p99_us} µs: roll an update back",
            metric_name="ModelLatency",
            extended_statistic="p99",
            threshold=rollout.max_model_latency_p99_us,
            evaluation_periods=rollout.alarm_periods,
            dimensions=dimensions,
        )
        return [errors, latency]

    def _alarm(self, name: str, *, description: str, **condition: Any) -> aws.cloudwatch.MetricAlarm:
        comparison = condition.pop("comparison_operator", "GreaterThanThreshold")
        alarm = aws.cloudwatch.MetricAlarm(
            f"{self.prefix}-{name}",
            name=f"{self.prefix}-{name}",
            alarm_description=description,
            namespace="AWS/SageMaker",
            comparison_operator=comparison,
            period=60,
            treat_missing_data="notBreaching",
            tags=self.context.tags,
            opts=self.child(),
            **condition,
        )
        self.alarm_names.append(alarm.name)
        self.alarm_arns.append(alarm.arn)
        return alarm

    def _scaling_target(
        self, kind: str, endpoint: aws.sagemaker.Endpoint, minimum: int, maximum: int
    ) -> aws.appautoscaling.Target:
        """Bounds of the live count. The cut-off suspends scaling here, and an `up` leaves that as it is."""
        return aws.appautoscaling.Target(
            f"{self.prefix}-{kind}-scaling",
            service_namespace="sagemaker",
            resource_id=_resource_id(endpoint),
            scalable_dimension=SCALABLE_DIMENSION,
            min_capacity=minimum,
            max_capacity=maximum,
            tags=self.context.tags,
            opts=self.child(ignore_changes=["suspendedState"]),
        )

    def _tracking_policy(
        self,
        kind: str,
        target: aws.appautoscaling.Target,
        tracked: aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs,
    ) -> None:
        aws.appautoscaling.Policy(
            f"{self.prefix}-{kind}-tracking",
            name=f"{self.names[kind]}-tracking",
            policy_type="TargetTrackingScaling",
            service_namespace=target.service_namespace,
            resource_id=target.resource_id,
            scalable_dimension=target.scalable_dimension,
            target_tracking_scaling_policy_configuration=tracked,
            opts=self.child(),
        )

    def _asynchronous(self, settings: SageMakerAsync) -> None:
        bucket = self._data_bucket("async", settings.result_days)
        success, error = self._topic("success"), self._topic("error")
        self.async_bucket, self.success_topic_arn, self.error_topic_arn = bucket.bucket, success.arn, error.arn
        self.async_bucket_arn, self.jobs = bucket.arn, job_queue(self, self.prefix, self.kms_key_arn, settings)
        grant = self._grant(
            "async",
            bucket,
            ["s3:GetObject", "s3:PutObject"],
            [f"{prefix}*" for prefix in (INPUT_PREFIX, OUTPUT_PREFIX, FAILURE_PREFIX)],
            topics=[success.arn, error.arn],
        )
        notify = aws.sagemaker.EndpointConfigurationAsyncInferenceConfigOutputConfigNotificationConfigArgs(
            success_topic=success.arn, error_topic=error.arn
        )
        configuration = self._configuration(
            "async",
            settings.instance_type,
            1,
            aws.sagemaker.EndpointConfigurationAsyncInferenceConfigArgs(
                output_config=aws.sagemaker.EndpointConfigurationAsyncInferenceConfigOutputConfigArgs(
                    s3_output_path=pulumi.Output.concat("s3://", bucket.bucket, "/", OUTPUT_PREFIX.rstrip("/")),
                    s3_failure_path=pulumi.Output.concat("s3://", bucket.bucket, "/", FAILURE_PREFIX.rstrip("/")),
                    kms_key_id=self.kms_key_arn,
                    notification_config=notify,
                ),
                client_config=aws.sagemaker.EndpointConfigurationAsyncInferenceConfigClientConfigArgs(
                    max_concurrent_invocations_per_instance=settings.invocations_per_instance
                ),
            ),
        )
        endpoint = aws.sagemaker.Endpoint(
            f"{self.prefix}-async",
            name=self.names["async"],
            endpoint_config_name=configuration.name,
            tags=self.context.tags,
            opts=self.child(depends_on=[*self.log_groups, grant]),
        )
        self.async_endpoint_name, self.async_endpoint_arn = endpoint.name, endpoint.arn
        self.async_resource_id = _resource_id(endpoint)
        target = self._scaling_target("async", endpoint, 0, settings.max_instances)
        self._track_backlog(target, settings)
        self._leave_zero(target, settings)
        prefixes = ClientPrefixes(INPUT_PREFIX, OUTPUT_PREFIX, FAILURE_PREFIX)
        client = client_policy(self, self.prefix, prefixes, bucket.arn, endpoint.arn, self.kms_key_arn)
        self.async_client_policy_arn = client.arn

    def _track_backlog(self, target: aws.appautoscaling.Target, settings: SageMakerAsync) -> None:
        backlog = aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationCustomizedMetricSpecificationArgs(
            namespace="AWS/SageMaker",
            metric_name="ApproximateBacklogSizePerInstance",
            statistic="Average",
            dimensions=[
                aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationCustomizedMetricSpecificationDimensionArgs(
                    name="EndpointName", value=self.names["async"]
                )
            ],
        )
        self._tracking_policy(
            "async",
            target,
            aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs(
                target_value=settings.backlog_per_instance,
                scale_out_cooldown=settings.scale_out_cooldown_s,
                scale_in_cooldown=settings.scale_in_cooldown_s,
                customized_metric_specification=backlog,
            ),
        )

    def _leave_zero(self, target: aws.appautoscaling.Target, settings: SageMakerAsync) -> None:
        """A backlog per instance is undefined at zero instances: only this step policy starts the first one."""
        step = aws.appautoscaling.Policy(
            f"{self.prefix}-async-from-zero",
            name=f"{self.names['async']}-from-zero",
            policy_type="StepScaling",
            service_namespace=target.service_namespace,
            resource_id=target.resource_id,
            scalable_dimension=target.scalable_dimension,
            step_scaling_policy_configuration=aws.appautoscaling.PolicyStepScalingPolicyConfigurationArgs(
                adjustment_type="ChangeInCapacity",
                metric_aggregation_type="Average",
                cooldown=settings.scale_out_cooldown_s,
                step_adjustments=[
                    aws.appautoscaling.PolicyStepScalingPolicyConfigurationStepAdjustmentArgs(
                        metric_interval_lower_bound="0", scaling_adjustment=1
                    )
                ],
            ),
            opts=self.child(),
        )
        self._alarm(
            "async-backlog-without-capacity",
            description="Requests wait and no instance runs: start one",
            metric_name="HasBacklogWithoutCapacity",
            statistic="Average",
            comparison_operator="GreaterThanOrEqualToThreshold",
            threshold=1,
            evaluation_periods=2,
            datapoints_to_alarm=2,
            dimensions={"EndpointName": self.names["async"]},
            alarm_actions=[step.arn],
        )

    def _topic(self, name: str) -> aws.sns.Topic:
        return aws.sns.Topic(
            f"{self.prefix}-async-{name}",
            name=f"{self.prefix}-async-{name}",
            kms_master_key_id=self.kms_key_arn,
            tags=self.context.tags,
            opts=self.child(),
        )

    def _data_bucket(self, name: str, days: int) -> aws.s3.Bucket:
        """A bucket for requests and answers: encrypted, TLS only, no public access, emptied after ``days``."""
        args = self.args
        label = f"{self.prefix}-{name}"
        bucket = secure_bucket(
            self,
            label,
            f"{label}-{args.account_id}-{args.region}",
            self.kms_key_arn,
            force_destroy=not self.context.protect_data,
        ).bucket
        aws.s3.BucketLifecycleConfiguration(
            f"{label}-expiry",
            bucket=bucket.id,
            rules=[
                aws.s3.BucketLifecycleConfigurationRuleArgs(
                    id="expire",
                    status="Enabled",
                    filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
                    expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(days=days),
                    abort_incomplete_multipart_upload=(
                        aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                            days_after_initiation=1
                        )
                    ),
                )
            ],
            opts=self.child(),
        )
        return bucket

    def _grant(
        self,
        name: str,
        bucket: aws.s3.Bucket,
        actions: list[str],
        keys: list[str],
        topics: list[pulumi.Output[str]] | None = None,
    ) -> aws.iam.RolePolicy:
        """Lets the containers' role use a bucket of ours, its key, and the topics."""
        document = pulumi.Output.all(bucket.arn, self.kms_key_arn, pulumi.Output.all(*(topics or []))).apply(
            lambda values: policy(
                allow("Objects", actions, [f"{values[0]}/{key}" for key in keys]),
                allow("Key", ["kms:Decrypt", "kms:GenerateDataKey"], values[1]),
                *([allow("Notify", ["sns:Publish"], list(values[2]))] if values[2] else []),
            )
        )
        grant = aws.iam.RolePolicy(
            f"{self.prefix}-{name}-grant", name=name, role=self.role.id, policy=document, opts=self.child()
        )
        self.grants.append(grant)
        return grant


def endpoint_names(prefix: str, settings: SageMakerSettings) -> dict[str, str]:
    """The endpoints' names, by kind. They carry the instance type: SageMaker refuses another type while a variant is
    scalable, so that a change of type makes a new endpoint with a target of its own, and then deletes the old one
    (https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html)."""
    types = {"real-time": settings.instance_type}
    if settings.asynchronous:
        types["async"] = settings.asynchronous.instance_type
    return {kind: f"{prefix}-burst-{kind}-{type_.replace('.', '-')}" for kind, type_ in types.items()}


def _image(args: SageMakerBurstArgs) -> str:
    settings = args.settings
    if settings.container_image:
        return settings.container_image
    found: ContainerImage = image(
        args.kind, args.region, settings.container_version, inference_ami=settings.inference_ami_version
    )
    return found.address


def _environment(args: SageMakerBurstArgs) -> dict[str, str]:
    """Tells the serving container what to serve; AWS's vLLM makes its command line of these variables."""
    if args.kind == "triton":
        own = {"SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": args.entry_model}
    else:
        options = sagemaker_environment(args.vllm_arguments, MODEL_FOLDER)
        own = {"SM_VLLM_MODEL": MODEL_FOLDER, **options, **SWITCHED_OFF}
    return {**own, **args.settings.environment}


def _repository_arn(address: str, region: str) -> str | None:
    """ARN of an ECR image's repository; ``None`` for another registry."""
    host, _, path = address.partition("/")
    if ".dkr.ecr." not in host:
        return None
    account = host.split(".")[0]
    home = host.split(".")[3]
    repository = path.split("@")[0].rsplit(":", 1)[0]
    return f"arn:{partition(region)}:ecr:{home}:{account}:repository/{repository}"


def _resource_id(endpoint: aws.sagemaker.Endpoint) -> pulumi.Output[str]:
    return pulumi.Output.concat("endpoint/", endpoint.name, "/variant/", VARIANT)


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
