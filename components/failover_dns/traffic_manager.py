"""Azure Traffic Manager over the two gateways, by priority.

It probes from the Internet and follows no alarm, so neither endpoint is probed: a function in AWS, where the heartbeat
is judged, enables and disables the private one. The standby is what is left then, whatever a probe of it would say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws
from pulumi_azure_native import dns, trafficmanager

from components.aws_documents import allow
from components.azure_caller import MAY_ASK_FOR_TOKENS, AzureCaller, AzureCallerArgs
from components.base import Component, StackContext, unique_name
from components.failover_dns.settings import TrafficManagerSettings
from components.scheduled_function import ScheduledFunction, ScheduledFunctionArgs
from spillway.contracts import metrics
from spillway.contracts.azure_calls import API_VERSIONS
from spillway.contracts.function_config import SwitchConfig
from spillway.contracts.names import AZURE_MANAGER_URL

"""Of Microsoft.Network/trafficManagerProfiles."""
PERIOD_S: Final = 60


@dataclass(frozen=True)
class TrafficManagerArgs:
    """``region``, ``account_id``: of AWS, where the function runs. ``primary_address``: of the private gateway.

    ``standby_dns_name``: ``None`` without a standby; then there is nothing to fail over to, and no function.
    ``location``: of the identity with which it calls Azure.
    """

    settings: TrafficManagerSettings
    region: str
    account_id: str
    subscription_id: str
    tenant_id: str
    location: str
    resource_group_name: pulumi.Input[str]
    primary_address: pulumi.Input[str]
    standby_dns_name: pulumi.Input[str] | None
    alarm_topic_arn: pulumi.Input[str]


class TrafficManager(Component):
    """Outputs: ``host`` (what clients call), ``alarm_name``, ``alarm_arn``, ``profile_host`` (the profile's own name),
    ``name_servers`` (of a zone made here, else empty), ``function_name`` (``None`` without a standby)."""

    def __init__(
        self, context: StackContext, args: TrafficManagerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("failover-dns", context, opts)
        self.args = args
        self.settings = args.settings
        self.name = f"{context.prefix}-traffic-switch"
        self.host = args.settings.host
        subscription = f"{context.prefix}/{args.subscription_id}"
        relative_name = args.settings.relative_name or unique_name(context.prefix, "traffic", subscription, 63)
        self.profile_host = f"{relative_name}.trafficmanager.net"
        self.profile = self._profile(relative_name)
        private = self._endpoint("private", args.primary_address, 1)
        self.name_servers: pulumi.Input[Any] = []
        self._record()
        alarm = self._heartbeat_alarm()
        self.alarm_name, self.alarm_arn = alarm.name, alarm.arn
        self.function_name: pulumi.Output[str] | None = None
        if args.standby_dns_name is not None:
            self._endpoint("standby", args.standby_dns_name, 2)
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
                # Asked for of each profile, and used for no endpoint that is always served.
                protocol=trafficmanager.MonitorProtocol.HTTPS,
                port=443,
                path="/healthz",
            ),
            tags=self.context.tags,
            # Endpoints are resources of their own; the profile reports them too, which is no change of ours.
            opts=self.child(ignore_changes=["endpoints"]),
        )

    def _endpoint(self, name: str, target: pulumi.Input[str], priority: int) -> trafficmanager.Endpoint:
        return trafficmanager.Endpoint(
            f"{self.context.prefix}-traffic-{name}",
            resource_group_name=self.args.resource_group_name,
            profile_name=self.profile.name,
            endpoint_type="ExternalEndpoints",
            endpoint_name=name,
            target=target,
            priority=priority,
            endpoint_status=trafficmanager.EndpointStatus.ENABLED,
            always_serve=trafficmanager.AlwaysServe.ENABLED,
            # The function owns the private endpoint's status once it is there.
            opts=self.child(ignore_changes=["endpointStatus"] if name == "private" else None),
        )

    def _record(self) -> None:
        """The name that clients use, in a zone of ours or in one that is there."""
        settings = self.settings
        group, zone_name = self.args.resource_group_name, pulumi.Output.from_input(settings.zone_name)
        options = self.child(depends_on=[self.profile])
        if settings.zone_id:
            _, _, subscription, _, group, *_ = settings.zone_id.split("/")
            if subscription != self.args.subscription_id:
                options = pulumi.ResourceOptions.merge(options, self._other_subscription(subscription))
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
            opts=options,
        )

    def _other_subscription(self, subscription: str) -> pulumi.ResourceOptions:
        """For a zone that belongs to another subscription of the tenant."""
        import pulumi_azure_native as azure_native

        provider = azure_native.Provider(
            f"{self.context.prefix}-azure-dns", subscription_id=subscription, opts=pulumi.ResourceOptions(parent=self)
        )
        return pulumi.ResourceOptions(provider=provider)

    def _heartbeat_alarm(self) -> aws.cloudwatch.MetricAlarm:
        return aws.cloudwatch.MetricAlarm(
            f"{self.context.prefix}-heartbeat",
            name=f"{self.context.prefix}-gateway-heartbeat",
            alarm_description="No heartbeat from the private gateway: DNS answers with the standby gateway.",
            namespace=metrics.NAMESPACE,
            metric_name=metrics.HEARTBEAT,
            dimensions={metrics.GATEWAY: self.context.prefix},
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

    def _switch(self, private: trafficmanager.Endpoint, alarm: aws.cloudwatch.MetricAlarm) -> pulumi.Output[str]:
        args = self.args
        caller = AzureCaller(
            self.context,
            AzureCallerArgs(
                "traffic switch",
                args.resource_group_name,
                args.location,
                args.subscription_id,
                args.tenant_id,
                {"profile": self.profile.id},
            ),
            pulumi.ResourceOptions(parent=self),
        )
        url = pulumi.Output.concat(AZURE_MANAGER_URL, private.id, f"?api-version={API_VERSIONS['externalEndpoints']}")
        config = pulumi.Output.all(alarm.name, url, caller.identity).apply(lambda found: SwitchConfig(*found))
        function = ScheduledFunction(
            self.context,
            ScheduledFunctionArgs(
                name=self.name,
                module="spillway.runtime.functions.traffic_switch",
                description=f"{self.context.prefix}: enables and disables the private gateway in Traffic Manager",
                environment=config.apply(lambda found: found.to_environment()),
                rights=[allow("ReadAlarm", ["cloudwatch:DescribeAlarms"], "*"), MAY_ASK_FOR_TOKENS],
                region=args.region,
                account_id=args.account_id,
                log_retention_days=self.settings.log_retention_days,
                topic_arn=args.alarm_topic_arn,
                alarms=(alarm.name,),
            ),
            pulumi.ResourceOptions(parent=self),
        )
        caller.trust(function.role_arn)
        return function.name
