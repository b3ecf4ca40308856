"""Azure Traffic Manager over the two gateways, by priority.

It probes from the Internet and follows no alarm, so the private endpoint is never probed: a function in AWS, where the
heartbeat is judged, enables and disables it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pulumi
import pulumi_aws as aws
from pulumi_azure_native import authorization, dns, trafficmanager

from components.aws_documents import assumed_by, partition, policy
from components.base import Component, StackContext
from components.failover_dns.settings import TrafficManagerSettings

ROOT: Final = Path(__file__).resolve().parents[2]
RUNTIME: Final = "python3.13"
MODULES: Final = ("spillway/__init__.py", "spillway/runtime/__init__.py", "spillway/runtime/traffic_switch.py")
API_VERSION: Final = "2022-04-01"
"""Of Microsoft.Network/trafficManagerProfiles."""
TRAFFIC_MANAGER_CONTRIBUTOR: Final = "a4b10055-b0c7-44c2-b00f-c7b5b3550cf7"
"""Built-in role id. Source: learn.microsoft.com/azure/role-based-access-control/built-in-roles."""
PERIOD_S: Final = 60


@dataclass(frozen=True)
class TrafficManagerArgs:
    """``region``, ``account_id``: of AWS, where the function runs. ``primary_address``: of the private gateway.

    ``standby_dns_name``: ``None`` without a standby; then there is nothing to fail over to, and no function.
    ``credentials``: secret JSON ``{"tenant_id", "client_id", "client_secret"}`` with which the function calls Azure,
    needed with a standby.
    """

    settings: TrafficManagerSettings
    region: str
    account_id: str
    subscription_id: str
    resource_group_name: pulumi.Input[str]
    primary_address: pulumi.Input[str]
    standby_dns_name: pulumi.Input[str] | None
    alarm_topic_arn: pulumi.Input[str]
    credentials: pulumi.Input[str] | None = None

    def __post_init__(self) -> None:
        if self.standby_dns_name is not None and self.credentials is None:
            raise ValueError("traffic manager: there is a standby to fail over to and credentials is missing")


class TrafficManager(Component):
    """Outputs: ``host`` (what clients call), ``alarm_name``, ``alarm_arn``, ``profile_host`` (the profile's own name),
    ``name_servers`` (of a zone made here, else empty), ``function_name`` (``None`` without a standby)."""

    def __init__(
        self, context: StackContext, args: TrafficManagerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("failover_dns", context, opts)
        self.args = args
        self.settings = args.settings
        self.name = f"{context.prefix}-traffic-switch"
        self.host = args.settings.host
        relative_name = args.settings.relative_name or context.prefix
        self.profile_host = f"{relative_name}.trafficmanager.net"
        self.profile = self._profile(relative_name)
        private = self._endpoint("private", args.primary_address, 1, is_probed=False)
        self.name_servers: pulumi.Input[Any] = []
        self._record()
        alarm = self._heartbeat_alarm()
        self.alarm_name, self.alarm_arn = alarm.name, alarm.arn
        self.function_name: pulumi.Output[str] | None = None
        if args.standby_dns_name is not None:
            self._endpoint("standby", args.standby_dns_name, 2, is_probed=True)
            self._grant()
            self.function_name = self._switch(private, alarm)
        self.register_outputs({"host": self.host, "alarm_arn": self.alarm_arn, "profile_host": self.profile_host})

    def _profile(self, relative_name: str) -> trafficmanager.Profile:
        settings = self.settings
        return trafficmanager.Profile(
            f"{self.context.prefix}-traffic",
            resource_group_name=self.args.resource_group_name,
            profile_name=f"{self.context.prefix}-traffic",
            location="global",
            profile_status=trafficmanager.ProfileStatus.ENABLED,
            traffic_routing_method=trafficmanager.TrafficRoutingMethod.PRIORITY,
            dns_config=trafficmanager.DnsConfigArgs(relative_name=relative_name, ttl=settings.ttl_s),
            monitor_config=trafficmanager.MonitorConfigArgs(
                protocol=trafficmanager.MonitorProtocol.HTTPS,
                port=settings.probe_port,
                path=settings.probe_path,
                interval_in_seconds=settings.probe_interval_s,
                timeout_in_seconds=settings.probe_timeout_s,
                tolerated_number_of_failures=settings.tolerated_failures,
                custom_headers=[trafficmanager.MonitorConfigCustomHeadersItemArgs(name="host", value=settings.host)],
            ),
            tags=self.context.tags,
            # Endpoints are resources of their own; the profile reports them too, which is no change of ours.
            opts=self.child(ignore_changes=["endpoints"]),
        )

    def _endpoint(
        self, name: str, target: pulumi.Input[str], priority: int, *, is_probed: bool
    ) -> trafficmanager.Endpoint:
        return trafficmanager.Endpoint(
            f"{self.context.prefix}-traffic-{name}",
            resource_group_name=self.args.resource_group_name,
            profile_name=self.profile.name,
            endpoint_type="ExternalEndpoints",
            endpoint_name=name,
            target=target,
            priority=priority,
            endpoint_status=trafficmanager.EndpointStatus.ENABLED,
            always_serve=trafficmanager.AlwaysServe.DISABLED if is_probed else trafficmanager.AlwaysServe.ENABLED,
            # The function owns the private endpoint's status once it is there.
            opts=self.child(ignore_changes=None if is_probed else ["endpointStatus"]),
        )

    def _record(self) -> None:
        """The name that clients use, in a zone of ours or in one that is there."""
        settings = self.settings
        group, zone_name = self.args.resource_group_name, pulumi.Output.from_input(settings.zone_name)
        if settings.zone_id:
            parts = settings.zone_id.split("/")
            group = parts[4]
        else:
            zone = dns.Zone(
                f"{self.context.prefix}-zone",
                resource_group_name=group,
                zone_name=settings.zone_name,
                location="global",
                zone_type=dns.ZoneType.PUBLIC,
                tags=self.context.tags,
                opts=self.child(holds_data=True),
            )
            zone_name, self.name_servers = zone.name, zone.name_servers
        dns.RecordSet(
            f"{self.context.prefix}-name",
            resource_group_name=group,
            zone_name=zone_name,
            record_type="CNAME",
            relative_record_set_name=settings.record_name,
            ttl=settings.ttl_s,
            cname_record=dns.CnameRecordArgs(cname=self.profile_host),
            opts=self.child(depends_on=[self.profile]),
        )

    def _heartbeat_alarm(self) -> aws.cloudwatch.MetricAlarm:
        return aws.cloudwatch.MetricAlarm(
            f"{self.context.prefix}-heartbeat",
            name=f"{self.context.prefix}-gateway-heartbeat",
            alarm_description="No heartbeat from the private gateway: DNS answers with the standby gateway.",
            namespace="Spillway",
            metric_name="GatewayHeartbeat",
            dimensions={"Gateway": self.context.prefix},
            statistic="Sum",
            comparison_operator="LessThanThreshold",
            threshold=1,
            period=PERIOD_S,
            evaluation_periods=-(-self.settings.heartbeat_stale_after_s // PERIOD_S),
            treat_missing_data="breaching",
            alarm_actions=[self.args.alarm_topic_arn],
            ok_actions=[self.args.alarm_topic_arn],
            tags=self.context.tags,
            opts=self.child(),
        )

    def _grant(self) -> None:
        principal = self.settings.switch_principal_id
        if principal is None:
            return
        roles = f"/subscriptions/{self.args.subscription_id}/providers/Microsoft.Authorization/roleDefinitions"
        authorization.RoleAssignment(
            f"{self.name}-role-assignment",
            scope=self.profile.id,
            principal_id=principal,
            principal_type=authorization.PrincipalType.SERVICE_PRINCIPAL,
            role_definition_id=f"{roles}/{TRAFFIC_MANAGER_CONTRIBUTOR}",
            opts=self.child(),
        )

    def _switch(self, private: trafficmanager.Endpoint, alarm: aws.cloudwatch.MetricAlarm) -> pulumi.Output[str]:
        secret_arn = self._secret()
        dead_letters = aws.sqs.Queue(
            f"{self.name}-dead-letters",
            name=f"{self.name}-dead-letters",
            message_retention_seconds=14 * 24 * 3600,
            sqs_managed_sse_enabled=True,
            tags=self.context.tags,
            opts=self.child(),
        )
        logs = aws.cloudwatch.LogGroup(
            f"{self.name}-logs",
            name=f"/aws/lambda/{self.name}",
            retention_in_days=self.settings.log_retention_days,
            tags=self.context.tags,
            opts=self.child(),
        )
        role, rights = self._role(secret_arn, dead_letters)
        config = pulumi.Output.json_dumps(
            {
                "alarm": alarm.name,
                "endpoint_url": pulumi.Output.concat(
                    "https://management.azure.com", private.id, f"?api-version={API_VERSION}"
                ),
                "secret": secret_arn,
            }
        )
        function = aws.lambda_.Function(
            f"{self.name}-function",
            name=self.name,
            description=f"{self.context.prefix}: enables and disables the private gateway in Traffic Manager",
            runtime=RUNTIME,
            architectures=["arm64"],
            handler="spillway.runtime.traffic_switch.handler",
            code=pulumi.AssetArchive({path: pulumi.FileAsset(str(ROOT / path)) for path in MODULES}),
            role=role.arn,
            timeout=50,
            memory_size=256,
            # Two at a time could undo each other.
            reserved_concurrent_executions=1,
            environment=aws.lambda_.FunctionEnvironmentArgs(variables={"SPILLWAY_SWITCH": config}),
            dead_letter_config=aws.lambda_.FunctionDeadLetterConfigArgs(target_arn=dead_letters.arn),
            tracing_config=aws.lambda_.FunctionTracingConfigArgs(mode="Active"),
            logging_config=aws.lambda_.FunctionLoggingConfigArgs(log_format="JSON", log_group=logs.name),
            tags=self.context.tags,
            opts=self.child(depends_on=[rights]),
        )
        self._subscribe(function, alarm)
        self._each_minute(function)
        return function.name

    def _secret(self) -> pulumi.Output[str]:
        secret = aws.secretsmanager.Secret(
            f"{self.name}-credential",
            name=f"{self.context.prefix}/traffic-switch",
            description="Service principal that changes the status of the private gateway in Traffic Manager",
            recovery_window_in_days=7,
            tags=self.context.tags,
            opts=self.child(),
        )
        version = aws.secretsmanager.SecretVersion(
            f"{self.name}-credential-value",
            secret_id=secret.id,
            secret_string=pulumi.Output.secret(self.args.credentials),
            opts=self.child(),
        )
        # Whoever reads the secret waits for its value, not only for its name.
        return pulumi.Output.all(secret.arn, version.id).apply(lambda found: found[0])

    def _role(
        self, secret_arn: pulumi.Output[str], dead_letters: aws.sqs.Queue
    ) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
        args = self.args
        role = aws.iam.Role(
            f"{self.name}-role",
            name=self.name,
            assume_role_policy=assumed_by("lambda.amazonaws.com"),
            tags=self.context.tags,
            opts=self.child(),
        )
        logs = f"arn:{partition(args.region)}:logs:{args.region}:{args.account_id}:log-group:/aws/lambda/{self.name}:*"
        document = pulumi.Output.all(secret_arn, dead_letters.arn).apply(
            lambda arns: policy(
                _allow("ReadAlarm", ["cloudwatch:DescribeAlarms"], "*"),
                _allow("Credential", ["secretsmanager:GetSecretValue"], arns[0]),
                _allow("Logs", ["logs:CreateLogStream", "logs:PutLogEvents"], logs),
                _allow("DeadLetters", ["sqs:SendMessage"], arns[1]),
                _allow("Traces", ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*"),
            )
        )
        rights = aws.iam.RolePolicy(
            f"{self.name}-rights", name="rights", role=role.id, policy=document, opts=self.child()
        )
        return role, rights

    def _subscribe(self, function: aws.lambda_.Function, alarm: aws.cloudwatch.MetricAlarm) -> None:
        allowed = aws.lambda_.Permission(
            f"{self.name}-permission",
            action="lambda:InvokeFunction",
            function=function.name,
            principal="sns.amazonaws.com",
            source_arn=self.args.alarm_topic_arn,
            opts=self.child(),
        )
        aws.sns.TopicSubscription(
            f"{self.name}-subscription",
            topic=self.args.alarm_topic_arn,
            protocol="lambda",
            endpoint=function.arn,
            filter_policy_scope="MessageBody",
            filter_policy=pulumi.Output.json_dumps({"AlarmName": [alarm.name]}),
            opts=self.child(depends_on=[allowed]),
        )

    def _each_minute(self, function: aws.lambda_.Function) -> None:
        role = aws.iam.Role(
            f"{self.name}-schedule-role",
            name=f"{self.name}-schedule",
            assume_role_policy=assumed_by("scheduler.amazonaws.com", self.args.account_id),
            tags=self.context.tags,
            opts=self.child(),
        )
        aws.iam.RolePolicy(
            f"{self.name}-schedule-rights",
            name="rights",
            role=role.id,
            policy=function.arn.apply(lambda arn: policy(_allow("Call", ["lambda:InvokeFunction"], arn))),
            opts=self.child(),
        )
        aws.scheduler.Schedule(
            f"{self.name}-schedule",
            name=self.name,
            schedule_expression="rate(1 minute)",
            flexible_time_window=aws.scheduler.ScheduleFlexibleTimeWindowArgs(mode="OFF"),
            target=aws.scheduler.ScheduleTargetArgs(
                arn=function.arn,
                role_arn=role.arn,
                # The next minute is at hand: an old call is worth nothing.
                retry_policy=aws.scheduler.ScheduleTargetRetryPolicyArgs(
                    maximum_retry_attempts=2, maximum_event_age_in_seconds=60
                ),
            ),
            opts=self.child(),
        )


def _allow(sid: str, actions: list[str], resource: str) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}
