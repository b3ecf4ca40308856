"""The cost guard on AWS: the signal each minute, alarms, the cut-off, a budget and anomaly detection."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from components.aws_documents import Statement, allow, assumed_by, key_for_log_groups, key_policy, partition, policy
from components.aws_parts import own_key
from components.base import Component, StackContext
from components.cost_guard.capacity import SiteCapacity
from components.cost_guard.settings import CostSettings, instance_price
from components.scheduled_function import ScheduledFunction, ScheduledFunctionArgs
from spillway.contracts import metrics
from spillway.contracts.function_config import (
    CostConfig,
    CutoffConfig,
    FunctionConfig,
    HeldTarget,
    PrivateMachines,
    SiteSource,
)
from spillway.contracts.live_instances import to_json
from spillway.contracts.names import SPILL_CUTOFF
from spillway.contracts.prices import catalogue

PUBLISHERS: Final = ("cloudwatch.amazonaws.com", "budgets.amazonaws.com", "costalerts.amazonaws.com")
GROWING: Final = (
    "sagemaker:CreateEndpoint",
    "sagemaker:UpdateEndpoint",
    "sagemaker:UpdateEndpointWeightsAndCapacities",
    "application-autoscaling:PutScalingPolicy",
    "application-autoscaling:PutScheduledAction",
    "application-autoscaling:RegisterScalableTarget",
)
"""Calls by which somebody gets more burst capacity. What scales by itself is Application Auto Scaling's own role, which
no budget can stop: the cut-off does."""
DESIRED_USD_PER_GPU_HOUR: Final = 1.2
CEILINGS: Final = ("burst-ceiling", "forecast-ceiling")
CALM: Final = ("burst-calm", "forecast-calm")


@dataclass(frozen=True)
class AwsCostGuardArgs:
    """``sites``: the burst sites, whose live instances are counted and held."""

    settings: CostSettings
    region: str
    account_id: str
    private: PrivateMachines
    sites: tuple[SiteCapacity, ...] = ()


class AwsCostGuard(Component):
    """Functions, schedule, parameter, alarms, topic, budget and anomaly monitor.

    Outputs: ``topic_arn``, ``kms_key_arn``, ``parameter_name`` (of the cut-off), ``live_parameter_name``,
    ``gateway_parameter_arns`` (what gateways read), ``alarm_arns`` and ``alarm_names``
    (by short name: ``blended``, ``burst-ceiling``, ``forecast-ceiling``, ``burst-calm``, ``forecast-calm``,
    ``rise``, ``signal-missing``, ``price-missing``), ``signal_function_name``, ``cutoff_function_name``.
    """

    def __init__(
        self, context: StackContext, args: AwsCostGuardArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("cost-guard-aws", context, opts)
        self.args = args
        self.name = f"{context.prefix}-cost"
        self.kms_key_arn = self._key()
        self.topic = self._topic()
        self.topic_arn = self.topic.arn
        self.parameter = self._parameter()
        self.live_parameter = self._live_parameter()
        self.parameter_name, self.live_parameter_name = self.parameter.name, self.live_parameter.name
        self.gateway_parameter_arns = (self.parameter.arn, self.live_parameter.arn)
        self.alarms = self._alarms()
        self.alarm_arns = {name: alarm.arn for name, alarm in self.alarms.items()}
        self.alarm_names = {name: alarm.name for name, alarm in self.alarms.items()}

        signal, cutoff = self._functions()
        self.signal_function_name, self.cutoff_function_name = signal.name, cutoff.name
        for site in args.sites:
            if site.admit:
                site.admit(signal.role_arn, cutoff.role_arn)
        self._budget()
        self._anomalies()
        if args.settings.budgets.activate_tag:
            self._count_by_tag()
        self.register_outputs(
            {
                "topicArn": self.topic_arn,
                "parameterName": self.parameter_name,
                "alarmArns": self.alarm_arns,
            }
        )

    def _arn(self, service: str, resource: str) -> str:
        args = self.args
        return f"arn:{partition(args.region)}:{service}:{args.region}:{args.account_id}:{resource}"

    def _key(self) -> pulumi.Output[str]:
        args = self.args
        publishers = {
            "Sid": "Publishers",
            "Effect": "Allow",
            "Principal": {"Service": list(PUBLISHERS)},
            "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:SourceAccount": args.account_id}},
        }
        logs = key_for_log_groups(
            args.region, args.account_id, [f"/aws/lambda/{self.name}-{short}" for short in ("signal", "cutoff")]
        )
        return own_key(
            self,
            self.name,
            f"{self.name}: notices, functions and their logs",
            key_policy(args.region, args.account_id, publishers, logs),
            holds_data=False,
        ).arn

    def _topic(self) -> aws.sns.Topic:
        """Everything that somebody should know; e-mail subscriptions from the settings."""
        topic = aws.sns.Topic(
            f"{self.name}-topic",
            name=f"{self.name}-notices",
            kms_master_key_id=self.kms_key_arn,
            tags=self.context.tags,
            opts=self.child(),
        )
        aws.sns.TopicPolicy(
            f"{self.name}-topic-policy",
            arn=topic.arn,
            policy=topic.arn.apply(
                lambda arn: policy(
                    {
                        "Sid": "Publishers",
                        "Effect": "Allow",
                        "Principal": {"Service": list(PUBLISHERS)},
                        "Action": "sns:Publish",
                        "Resource": arn,
                        "Condition": {"StringEquals": {"aws:SourceAccount": self.args.account_id}},
                    }
                )
            ),
            opts=self.child(),
        )
        for index, address in enumerate(self.args.settings.notify_emails):
            aws.sns.TopicSubscription(
                f"{self.name}-email-{index}", topic=topic.arn, protocol="email", endpoint=address, opts=self.child()
            )
        return topic

    def _parameter(self) -> aws.ssm.Parameter:
        """What gateways obey."""
        said = "Classes that may not spill, and why; written by the cut-off function"
        return self._obeyed("cutoff", SPILL_CUTOFF, said, json.dumps({"closed": []}))

    def _live_parameter(self) -> aws.ssm.Parameter:
        """Whose counts gateways follow that cannot ask a site themselves (``contracts.live_instances``)."""
        said = "Live instances of burst sites that gateways cannot ask; written by the cost signal"
        return self._obeyed("live", "live-instances", said, to_json({}))

    def _obeyed(self, label: str, name: str, description: str, value: str) -> aws.ssm.Parameter:
        """``up`` makes it with ``value`` once and never touches a live value again."""
        return aws.ssm.Parameter(
            f"{self.name}-{label}-parameter",
            name=f"/{self.context.prefix}/{name}",
            description=description,
            type="String",
            value=value,
            tags=self.context.tags,
            opts=self.child(ignore_changes=["value"]),
        )

    def _alarms(self) -> dict[str, aws.cloudwatch.MetricAlarm]:
        """Above a ceiling: ``*-ceiling``. Not yet calm: ``*-calm``. No data changes nothing, and is told."""
        settings = self.args.settings
        share = settings.cutoff.reopen_below
        blended = self._alarm(
            "blended",
            metrics.USD_PER_GPU_HOUR,
            most := self._most_per_gpu_hour(),
            f"Blended price above {most} $/GPU-hour",
            site=metrics.BLENDED,
            periods=5,
        )
        burst, forecast = settings.max_burst_usd_per_hour, settings.max_forecast_usd
        return {
            "blended": blended,
            "burst-ceiling": self._alarm(
                "burst-ceiling",
                metrics.BURST_USD_PER_HOUR,
                burst,
                f"Burst costs more than {burst} $/h: spill is being closed",
            ),
            "forecast-ceiling": self._alarm(
                "forecast-ceiling",
                metrics.FORECAST_USD_PER_MONTH,
                forecast,
                f"Burst is to cost more than {forecast} $ this month: spill is being closed",
            ),
            "burst-calm": self._alarm(
                "burst-calm",
                metrics.BURST_USD_PER_HOUR,
                burst * share,
                "Too near the ceiling to open spill",
                told=False,
            ),
            "forecast-calm": self._alarm(
                "forecast-calm",
                metrics.FORECAST_USD_PER_MONTH,
                forecast * share,
                "Too near the ceiling to open spill",
                told=False,
            ),
            "rise": self._alarm(
                "rise",
                metrics.BURST_RISE_USD_PER_HOUR,
                settings.max_rise_usd_per_hour,
                f"Burst costs {settings.max_rise_usd_per_hour} $/h more than within the last 15 minutes",
            ),
            "price-missing": self._alarm(
                "price-missing",
                metrics.PRICES_MISSING,
                0,
                "Burst capacity runs whose price nobody knows; add it to cost_guard.prices",
            ),
            "signal-missing": self._alarm(
                "signal-missing",
                metrics.COST_SIGNAL_ERRORS,
                0,
                "The cost signal fails or is silent: nobody knows what burst costs",
                missing="breaching",
                periods=3,
            ),
        }

    def _most_per_gpu_hour(self) -> float:
        """Below what always runs the alarm would never end."""
        settings, private = self.args.settings, self.args.private
        if settings.max_usd_per_gpu_hour is not None:
            return settings.max_usd_per_gpu_hour
        usd, gpus = private.gpus * private.usd_per_gpu_hour, private.gpus
        for one in (machines for site in self.args.sites for machines in site.machines):
            price, of_each = instance_price(settings, one.cloud, one.instance_type, one.region, one.model)
            usd, gpus = usd + price * one.least, gpus + of_each * one.least
        return max(DESIRED_USD_PER_GPU_HOUR, round(1.1 * usd / gpus, 2) if gpus else 0.0)

    def _alarm(
        self,
        name: str,
        metric: str,
        threshold: float,
        description: str,
        *,
        site: str | None = None,
        missing: str = "missing",
        periods: int = 1,
        told: bool = True,
    ) -> aws.cloudwatch.MetricAlarm:
        dimensions = {metrics.STACK: self.context.prefix, **({metrics.SITE: site} if site else {})}
        actions = [self.topic.arn] if told else []
        return aws.cloudwatch.MetricAlarm(
            f"{self.name}-{name}",
            name=f"{self.name}-{name}",
            alarm_description=description,
            namespace=metrics.NAMESPACE,
            metric_name=metric,
            dimensions=dimensions,
            statistic="Maximum",
            period=60,
            evaluation_periods=periods,
            comparison_operator="GreaterThanThreshold",
            threshold=threshold,
            treat_missing_data=missing,
            alarm_actions=actions,
            ok_actions=actions,
            tags=self.context.tags,
            opts=self.child(),
        )

    def _functions(self) -> tuple[ScheduledFunction, ScheduledFunction]:
        """The signal, and the cut-off that a ceiling's alarm calls at once."""
        signal = self._function(
            "signal",
            "spillway.runtime.functions.cost_signal",
            "publishes what burst costs now",
            self._signal_config(),
            self._signal_rights(),
        )
        cutoff = self._function(
            "cutoff",
            "spillway.runtime.functions.cutoff",
            "closes spill above a ceiling, and opens it again",
            self._cutoff_config(),
            self._cutoff_rights(),
            alarms=tuple(self.alarm_names[name] for name in CEILINGS),
        )
        return signal, cutoff

    def _function(
        self,
        short: str,
        module: str,
        does: str,
        config: pulumi.Output[FunctionConfig],
        rights: pulumi.Output[list[Statement]],
        alarms: tuple[pulumi.Input[str], ...] = (),
    ) -> ScheduledFunction:
        return ScheduledFunction(
            self.context,
            ScheduledFunctionArgs(
                name=f"{self.name}-{short}",
                module=module,
                loads=tuple(site.module for site in self.args.sites),
                description=f"{self.context.prefix}: {does}",
                environment=config.apply(lambda found: found.to_environment()),
                rights=rights,
                region=self.args.region,
                account_id=self.args.account_id,
                log_retention_days=self.args.settings.log_retention_days,
                topic_arn=self.topic.arn,
                alarms=alarms,
                kms_key_arn=self.kms_key_arn,
            ),
            pulumi.ResourceOptions(parent=self),
        )

    def _signal_config(self) -> pulumi.Output[FunctionConfig]:
        args = self.args
        asked = [site.asked for site in args.sites]

        def config(values: list[Any]) -> FunctionConfig:
            live_parameter, *found = values
            return CostConfig(
                stack=self.context.prefix,
                gateway=self.context.prefix,
                outage_usd=args.settings.outage_usd_per_month,
                live_parameter=live_parameter,
                private=replace(args.private, usd_per_gpu_hour=round(args.private.usd_per_gpu_hour, 6)),
                prices=self._prices(),
                sites={
                    site.site: SiteSource(site.module, own, self._most(site))
                    for site, own in zip(args.sites, found, strict=True)
                },
            )

        return pulumi.Output.all(self.live_parameter.name, *asked).apply(config)

    def _most(self, site: SiteCapacity) -> float:
        """US dollars an hour of everything that the site may grow to."""
        settings = self.args.settings
        prices = (instance_price(settings, one.cloud, one.instance_type, one.region)[0] for one in site.machines)
        return round(sum(price * one.most for price, one in zip(prices, site.machines, strict=True)), 6)

    def _prices(self) -> dict[str, tuple[float, int]]:
        """Of the types that are deployed, and of those that somebody may put in their place by hand."""
        deployed = [machines for site in self.args.sites for machines in site.machines]
        wanted = {(one.cloud, one.instance_type, one.region) for one in deployed}
        places = {(cloud, region) for cloud, _, region in wanted}
        for price in catalogue():
            if price.model == "on_demand" and (price.cloud, price.region) in places:
                wanted.add((price.cloud, price.instance_type, price.region))
        settings = self.args.settings
        found: dict[str, tuple[float, int]] = {}
        for cloud, name, region in sorted(wanted):
            price = instance_price(settings, cloud, name, region)
            # Of two regions the dearer counts: what is read does not say where it stands.
            found[name] = max(found.get(name, price), price)
        return found

    def _signal_rights(self) -> pulumi.Output[list[Statement]]:
        def rights(live_parameter_arn: str) -> list[Statement]:
            return [
                allow("ReadSignal", ["cloudwatch:GetMetricData"], "*"),
                _put_metrics(),
                allow("LiveInstances", ["ssm:GetParameter", "ssm:PutParameter"], live_parameter_arn),
            ]

        return _all_of(self.live_parameter.arn.apply(rights), [site.may_read for site in self.args.sites])

    def _cutoff_config(self) -> pulumi.Output[FunctionConfig]:
        cutoff = self.args.settings.cutoff
        held = [(site.module, one) for site in self.args.sites for one in site.held]

        def config(found: Mapping[str, Any]) -> FunctionConfig:
            targets = (
                HeldTarget(module, one.request_class.value, one.minimum, asked)
                for (module, one), asked in zip(held, found["asked"], strict=True)
            )
            return CutoffConfig(
                parameter=found["parameter"],
                ceilings=tuple(found["ceilings"]),
                calm=tuple(found["calm"]),
                order=tuple(request_class.value for request_class in cutoff.order),
                escalate_after_s=cutoff.escalate_after_s,
                reopen_after_s=cutoff.reopen_after_s,
                scale_to_minimum=cutoff.scale_to_minimum,
                targets=tuple(targets),
            )

        return pulumi.Output.all(
            parameter=self.parameter.name,
            ceilings=[self.alarm_names[name] for name in CEILINGS],
            calm=[self.alarm_names[name] for name in CALM],
            asked=[one.asked for _, one in held],
        ).apply(config)

    def _cutoff_rights(self) -> pulumi.Output[list[Statement]]:
        def rights(parameter_arn: str) -> list[Statement]:
            return [
                allow("Parameter", ["ssm:GetParameter", "ssm:PutParameter"], parameter_arn),
                allow("ReadAlarms", ["cloudwatch:DescribeAlarms"], "*"),
            ]

        return _all_of(self.parameter.arn.apply(rights), [site.may_hold for site in self.args.sites])

    def _budget(self) -> None:
        settings = self.args.settings
        notices = [("ACTUAL", percent) for percent in settings.budgets.alert_percents] + [("FORECASTED", 100)]
        budget = aws.budgets.Budget(
            f"{self.name}-budget",
            # Budgets are the account's, whatever the region.
            name=f"{self.name}-monthly-{self.args.region}",
            account_id=self.args.account_id,
            budget_type="COST",
            limit_amount=str(settings.budgets.aws_usd_per_month),
            limit_unit="USD",
            time_unit="MONTHLY",
            cost_filters=[
                aws.budgets.BudgetCostFilterArgs(name="TagKeyValue", values=[f"user:stack${self.context.prefix}"])
            ],
            notifications=[
                aws.budgets.BudgetNotificationArgs(
                    comparison_operator="GREATER_THAN",
                    notification_type=kind,
                    threshold=percent,
                    threshold_type="PERCENTAGE",
                    subscriber_sns_topic_arns=[self.topic.arn],
                    subscriber_email_addresses=list(settings.notify_emails),
                )
                for kind, percent in notices
            ],
            tags=self.context.tags,
            opts=self.child(),
        )
        if settings.budgets.stop_roles:
            self._stop_when_spent(budget, settings.budgets.stop_roles)

    def _stop_when_spent(self, budget: aws.budgets.Budget, roles: tuple[str, ...]) -> None:
        """The budget's own action: a policy that forbids new burst capacity, attached when the money is spent."""
        stop = aws.iam.Policy(
            f"{self.name}-stop",
            name=f"{self.name}-no-more-burst",
            description="The month's budget is spent: burst endpoints are neither made nor changed",
            policy=policy(
                {
                    "Sid": "NoMoreBurst",
                    "Effect": "Deny",
                    "Action": list(GROWING),
                    "Resource": "*",
                }
            ),
            tags=self.context.tags,
            opts=self.child(),
        )
        role = aws.iam.Role(
            f"{self.name}-budget-role",
            assume_role_policy=assumed_by("budgets.amazonaws.com", self.args.account_id),
            tags=self.context.tags,
            opts=self.child(),
        )
        targets = [f"arn:{partition(self.args.region)}:iam::{self.args.account_id}:role/{name}" for name in roles]
        aws.iam.RolePolicy(
            f"{self.name}-budget-rights",
            name="attach-the-stop",
            role=role.id,
            policy=stop.arn.apply(
                lambda arn: policy(
                    allow(
                        "Attach",
                        ["iam:AttachRolePolicy", "iam:DetachRolePolicy"],
                        targets,
                        {"ArnEquals": {"iam:PolicyARN": arn}},
                    )
                )
            ),
            opts=self.child(),
        )
        aws.budgets.BudgetAction(
            f"{self.name}-budget-action",
            account_id=self.args.account_id,
            budget_name=budget.name,
            action_type="APPLY_IAM_POLICY",
            approval_model="AUTOMATIC",
            notification_type="ACTUAL",
            execution_role_arn=role.arn,
            action_threshold=aws.budgets.BudgetActionActionThresholdArgs(
                action_threshold_type="PERCENTAGE", action_threshold_value=100
            ),
            definition=aws.budgets.BudgetActionDefinitionArgs(
                iam_action_definition=aws.budgets.BudgetActionDefinitionIamActionDefinitionArgs(
                    policy_arn=stop.arn, roles=list(roles)
                )
            ),
            subscribers=[aws.budgets.BudgetActionSubscriberArgs(address=self.topic.arn, subscription_type="SNS")],
            tags=self.context.tags,
            opts=self.child(),
        )

    def _anomalies(self) -> None:
        """Of this stack's tag; a monitor over services is one an account, and not ours to make."""
        monitor = aws.costexplorer.AnomalyMonitor(
            f"{self.name}-anomalies",
            name=f"{self.name}-anomalies",
            monitor_type="CUSTOM",
            monitor_specification=_whole_expression("stack", self.context.prefix),
            tags=self.context.tags,
            opts=self.child(),
        )
        aws.costexplorer.AnomalySubscription(
            f"{self.name}-anomaly-notices",
            name=f"{self.name}-anomalies",
            frequency="IMMEDIATE",
            monitor_arn_lists=[monitor.arn],
            subscribers=[aws.costexplorer.AnomalySubscriptionSubscriberArgs(address=self.topic.arn, type="SNS")],
            threshold_expression=aws.costexplorer.AnomalySubscriptionThresholdExpressionArgs(
                dimension=aws.costexplorer.AnomalySubscriptionThresholdExpressionDimensionArgs(
                    key="ANOMALY_TOTAL_IMPACT_ABSOLUTE",
                    match_options=["GREATER_THAN_OR_EQUAL"],
                    values=[str(self.args.settings.budgets.anomaly_usd)],
                )
            ),
            tags=self.context.tags,
            opts=self.child(),
        )

    def _count_by_tag(self) -> None:
        """The key is the account's: other stacks count by it, too, when this one has gone."""
        aws.costexplorer.CostAllocationTag(
            f"{self.name}-allocation-tag", tag_key="stack", status="Active", opts=self.child(retain_on_delete=True)
        )


def _whole_expression(tag: str, value: str) -> str:
    """With every member that Cost Explorer answers: the provider compares texts, and replaces the monitor otherwise."""
    tags = {"Key": tag, "Values": [value], "MatchOptions": None}
    return json.dumps({"And": None, "CostCategories": None, "Dimensions": None, "Not": None, "Or": None, "Tags": tags})


def _put_metrics() -> dict[str, Any]:
    return allow(
        "PublishSignal",
        ["cloudwatch:PutMetricData"],
        "*",
        {"StringEquals": {"cloudwatch:namespace": metrics.NAMESPACE}},
    )


def _all_of(
    own: pulumi.Input[list[Statement]], of_sites: Sequence[pulumi.Input[Sequence[Statement]]]
) -> pulumi.Output[list[Statement]]:
    return pulumi.Output.all(own, *of_sites).apply(lambda parts: [one for part in parts for one in part])
