"""Who is told that the private gateway's way in is shut: Route 53 moves the name then, and says nothing to anybody.

Its metrics are in us-east-1 alone, and an alarm calls a topic of its own region: a stack elsewhere gets one there
(https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/monitoring-health-checks.html, read 2026-11-30).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws

from components.aws_documents import key_for_alarms, key_policy
from components.aws_parts import own_key
from components.base import Component, StackContext

METRICS_REGION: Final = "us-east-1"


@dataclass(frozen=True)
class WayInAlarmArgs:
    """``check_id``: the health check that asks from outside. ``topic_arn``: who is told, in ``region``;
    ``notify_emails``: the same people."""

    region: str
    account_id: str
    check_id: pulumi.Input[str]
    topic_arn: pulumi.Input[str]
    notify_emails: tuple[str, ...]


class WayInAlarm(Component):
    """Output: ``alarm_name``."""

    def __init__(self, context: StackContext, args: WayInAlarmArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("failover-dns-way-in", context, opts)
        self.name = f"{context.prefix}-way-in"
        topic = args.topic_arn if args.region == METRICS_REGION else self._topic(args)
        alarm = aws.cloudwatch.MetricAlarm(
            self.name,
            name=self.name,
            alarm_description="Nobody reaches the private gateway from outside: DNS answers with the standby gateway.",
            namespace="AWS/Route53",
            metric_name="HealthCheckStatus",
            dimensions={"HealthCheckId": args.check_id},
            statistic="Minimum",
            comparison_operator="LessThanThreshold",
            threshold=1,
            period=60,
            evaluation_periods=1,
            treat_missing_data="notBreaching",
            alarm_actions=[topic],
            ok_actions=[topic],
            region=METRICS_REGION,
            tags=context.tags,
            opts=self.child(),
        )
        self.alarm_name = alarm.name
        self.register_outputs({"alarmName": self.alarm_name})

    def _topic(self, args: WayInAlarmArgs) -> pulumi.Output[str]:
        key = own_key(
            self,
            self.name,
            f"{self.name}: notices of alarms on Route 53",
            key_policy(METRICS_REGION, args.account_id, key_for_alarms(args.account_id)),
            holds_data=False,
            region=METRICS_REGION,
        )
        topic = aws.sns.Topic(
            f"{self.name}-topic",
            name=f"{self.name}-notices",
            kms_master_key_id=key.arn,
            region=METRICS_REGION,
            tags=self.context.tags,
            opts=self.child(),
        )
        for index, address in enumerate(args.notify_emails):
            aws.sns.TopicSubscription(
                f"{self.name}-email-{index}",
                topic=topic.arn,
                protocol="email",
                endpoint=address,
                region=METRICS_REGION,
                opts=self.child(),
            )
        return topic.arn
