"""Route 53 failover between the two gateways: judged from inside by an alarm on the private gateway's heartbeat and,
where it has a public address, from outside by Route 53's own checkers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_aws as aws

from components.base import Component, StackContext
from components.failover_dns.settings import Route53Settings
from spillway.contracts import metrics

PERIOD_S = 60
"""Route 53 follows standard-resolution alarms only, so a minute is the shortest period."""

ASKED_EVERY_S = 30
"""By each of Route 53's checkers, some fifteen of them; every 10 s costs more."""
FAILURES = 3
"""In a row, for one checker to call the way in shut: as slow as the heartbeat's alarm, and no lost packet moves DNS."""


@dataclass(frozen=True)
class Route53FailoverArgs:
    """``primary_address``: of the private gateway; ``primary_kind`` says what it is, which decides the records' type.
    ``way_in``: what the Internet's side of it is asked over, ``None`` where the Internet does not reach it.
    ``zone_id``: the zone of ``Route53Zone``. ``standby_dns_name``, ``standby_zone_id``: of the standby gateway's load
    balancer. ``alarm_topic_arn``: told when the heartbeat stops and when it is back."""

    settings: Route53Settings
    region: str
    zone_id: pulumi.Input[str]
    primary_address: pulumi.Input[str]
    primary_kind: Literal["ip", "hostname"]
    standby_dns_name: pulumi.Input[str]
    standby_zone_id: pulumi.Input[str]
    way_in: Literal["HTTPS", "HTTP"] | None = None
    alarm_topic_arn: pulumi.Input[str] | None = None


class Route53Failover(Component):
    """Outputs: ``host`` (what clients call), ``alarm_name``, ``alarm_arn``, ``health_check_id``, ``way_in_check_id``
    (of the check from outside, ``None`` where there is none)."""

    def __init__(
        self, context: StackContext, args: Route53FailoverArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("failover-dns", context, opts)
        self.args = args
        self.host = args.settings.host
        alarm = self._heartbeat_alarm()
        heartbeat = self._health_check(alarm)
        self.way_in_check_id: pulumi.Output[str] | None = None
        health_check = self._both(heartbeat, args.way_in) if args.way_in else heartbeat
        self._records(health_check)
        self.alarm_name = alarm.name
        self.alarm_arn = alarm.arn
        self.health_check_id = health_check.id
        self.register_outputs(
            {
                "host": self.host,
                "alarm_arn": self.alarm_arn,
                "health_check_id": self.health_check_id,
            }
        )

    def _heartbeat_alarm(self) -> aws.cloudwatch.MetricAlarm:
        topic = [self.args.alarm_topic_arn] if self.args.alarm_topic_arn is not None else None
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
            evaluation_periods=1,
            treat_missing_data="breaching",
            alarm_actions=topic,
            ok_actions=topic,
            tags=self.context.tags,
            opts=self.child(),
        )

    def _health_check(self, alarm: aws.cloudwatch.MetricAlarm) -> aws.route53.HealthCheck:
        return aws.route53.HealthCheck(
            f"{self.context.prefix}-private-gateway",
            type="CLOUDWATCH_METRIC",
            cloudwatch_alarm_name=alarm.name,
            cloudwatch_alarm_region=self.args.region,
            insufficient_data_health_status="Unhealthy",
            # Route 53 copies the alarm's rule when the check is made: a changed rule has to make it look again.
            triggers={
                "alarm": alarm.arn,
                "threshold": alarm.threshold.apply(str),
                "period": alarm.period.apply(str),
            },
            tags={**self.context.tags, "Name": f"{self.context.prefix}-private-gateway"},
            opts=self.child(),
        )

    def _both(self, heartbeat: aws.route53.HealthCheck, way_in: Literal["HTTPS", "HTTP"]) -> aws.route53.HealthCheck:
        """Hearts beat behind a shut door, and Envoy answers before a cluster that is dead: both have to be well.

        Envoy itself answers what is asked. Certificates are not looked at
        (https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/dns-failover-determining-health-of-endpoints.html).
        """
        name, address = f"{self.context.prefix}-way-in", self.args.primary_address
        is_ip = self.args.primary_kind == "ip"
        outside = aws.route53.HealthCheck(
            name,
            type=way_in,
            ip_address=address if is_ip else None,
            fqdn=self.host if is_ip else address,
            port=443 if way_in == "HTTPS" else 80,
            resource_path="/healthz",
            request_interval=ASKED_EVERY_S,
            failure_threshold=FAILURES,
            enable_sni=way_in == "HTTPS",
            tags={**self.context.tags, "Name": name},
            opts=self.child(),
        )
        self.way_in_check_id = outside.id
        both = f"{self.context.prefix}-private-gateway-reached"
        return aws.route53.HealthCheck(
            both,
            type="CALCULATED",
            child_health_threshold=2,
            child_healthchecks=[heartbeat.id, outside.id],
            tags={**self.context.tags, "Name": both},
            opts=self.child(),
        )

    def _records(self, health_check: aws.route53.HealthCheck) -> None:
        """Both records of a failover pair have one type: address records (the standby's an alias) where the private
        gateway has an address, else CNAMEs."""
        args, prefix = self.args, self.context.prefix
        is_ip = args.primary_kind == "ip"
        type_ = "A" if is_ip else "CNAME"
        aws.route53.Record(
            f"{prefix}-primary",
            zone_id=args.zone_id,
            name=self.host,
            type=type_,
            ttl=args.settings.ttl_s,
            records=[args.primary_address],
            set_identifier="primary",
            health_check_id=health_check.id,
            failover_routing_policies=[aws.route53.RecordFailoverRoutingPolicyArgs(type="PRIMARY")],
            opts=self.child(),
        )
        alias = aws.route53.RecordAliasArgs(
            name=args.standby_dns_name, zone_id=args.standby_zone_id, evaluate_target_health=True
        )
        aws.route53.Record(
            f"{prefix}-secondary",
            zone_id=args.zone_id,
            name=self.host,
            type=type_,
            ttl=None if is_ip else args.settings.ttl_s,
            records=None if is_ip else [args.standby_dns_name],
            aliases=[alias] if is_ip else None,
            set_identifier="secondary",
            failover_routing_policies=[aws.route53.RecordFailoverRoutingPolicyArgs(type="SECONDARY")],
            opts=self.child(),
        )
