"""The cost guard on AWS: the signal each minute, alarms, the cut-off, a budget and anomaly detection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from components.aws_documents import assumed_by, key_for_log_groups, key_policy, partition, policy
from components.base import Component, StackContext
from components.cost_guard.settings import CostSettings, instance_price
from components.scheduled_function import ScheduledFunction, ScheduledFunctionArgs, Statement, allow
from spillway.contracts.classes import RequestClass
from spillway.contracts.prices import Cloud, catalogue

PUBLISHERS: Final = ("cloudwatch.amazonaws.com", "budgets.amazonaws.com", "costalerts.amazonaws.com")
CEILINGS: Final = ("burst-ceiling", "forecast-ceiling")
CALM: Final = ("burst-calm", "forecast-calm")


@dataclass(frozen=True)
class SageMakerCapacity:
    """An endpoint whose live instances are counted.

    ``request_class``: the class whose closing holds it at ``minimum``: P1 for the real-time one, P2 for the queue's.
    """

    endpoint_name: pulumi.Input[str]
    endpoint_arn: pulumi.Input[str]
    resource_id: pulumi.Input[str]
    variant: str
    instance_type: str
    minimum: int
    request_class: RequestClass


@dataclass(frozen=True)
class AzureCapacity:
    """Azure instances that are counted: ``url`` is a Resource Manager address, ``field`` and ``size`` the paths of the
    count and of the machines' size in its answer. ``vm_size``: as deployed.

    An online deployment: ``…/onlineEndpoints/<e>/deployments/<d>?api-version=…``, ``("sku", "capacity")`` and
    ``("properties", "instanceType")``. A batch cluster: ``…/computes/<c>?api-version=…``, ``("properties",
    "properties", "currentNodeCount")`` and ``("properties", "properties", "vmSize")``.

    ``autoscale_url``: of the autoscale setting that the cut-off switches off; ``None`` for what it leaves alone.
    ``minimum`` and ``request_class`` as in :class:`SageMakerCapacity`.
    """

    url: pulumi.Input[str]
    field: tuple[str, ...]
    size: tuple[str, ...]
    vm_size: str
    region: str
    autoscale_url: pulumi.Input[str] | None = None
    minimum: int = 0
    request_class: RequestClass = RequestClass.P1


@dataclass(frozen=True)
class PrivateCapacity:
    """What the private site is and costs. ``gpus_per_server``: of one model server, where the cluster says from inside
    how many of them are up; ``None`` where it does not. ``elastic``: whether it is paid by the node, and grows and
    shrinks; machines of one's own cost the same whether they work or not."""

    gpus: int
    usd_per_gpu_hour: float
    gpus_per_server: int | None = None
    elastic: bool = False


@dataclass(frozen=True)
class AwsCostGuardArgs:
    """``azure_secret_arn``: Secrets Manager secret ``{tenant_id, client_id, client_secret}`` of a reader in Azure,
    needed with ``azure``; ``azure_scaler_secret_arn``: of somebody who may change its instance counts, ``None`` to
    count only; ``azure_secret_kms_key_arn``: their key where it is not AWS's own."""

    settings: CostSettings
    region: str
    account_id: str
    private: PrivateCapacity
    sagemaker: tuple[SageMakerCapacity, ...] = ()
    azure: tuple[AzureCapacity, ...] = ()
    azure_secret_arn: pulumi.Input[str] | None = None
    azure_scaler_secret_arn: pulumi.Input[str] | None = None
    azure_secret_kms_key_arn: pulumi.Input[str] | None = None

    def __post_init__(self) -> None:
        if self.azure and self.azure_secret_arn is None:
            raise ValueError("cost guard: Azure capacity is to be counted and azure_secret_arn is missing")


class AwsCostGuard(Component):
    """Functions, schedule, parameter, alarms, topic, budget and anomaly monitor.

    Outputs: ``topic_arn``, ``kms_key_arn``, ``parameter_name``, ``parameter_arn``, ``alarm_arns`` and ``alarm_names``
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
        self.parameter_name, self.parameter_arn = self.parameter.name, self.parameter.arn
        self.alarms = self._alarms()
        self.alarm_arns = {name: alarm.arn for name, alarm in self.alarms.items()}
        self.alarm_names = {name: alarm.name for name, alarm in self.alarms.items()}

        signal, cutoff = self._functions()
        self.signal_function_name, self.cutoff_function_name = signal.name, cutoff.name
        self._budget()
        self._anomalies()
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
        key = aws.kms.Key(
            f"{self.name}-key",
            description=f"{self.name}: notices, functions and their logs",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            policy=key_policy(args.region, args.account_id, publishers, logs),
            tags=self.context.tags,
            opts=self.child(),
        )
        aws.kms.Alias(f"{self.name}-key-alias", name=f"alias/{self.name}", target_key_id=key.key_id, opts=self.child())
        return key.arn

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
        """What gateways obey. ``up`` makes it open once and never touches a live value again."""
        return aws.ssm.Parameter(
            f"{self.name}-cutoff-parameter",
            name=f"/{self.context.prefix}/spill-cutoff",
            description="Classes that may not spill, and why; written by the cut-off function",
            type="String",
            value=json.dumps({"closed": []}),
            tags=self.context.tags,
            opts=self.child(ignore_changes=["value"]),
        )

    def _alarms(self) -> dict[str, aws.cloudwatch.MetricAlarm]:
        """Above a ceiling: ``*-ceiling``. Not yet calm: ``*-calm``. No data changes nothing, and is told."""
        settings = self.args.settings
        share = settings.cutoff.reopen_below
        blended = self._alarm(
            "blended",
            "DollarsPerGpuHour",
            settings.max_usd_per_gpu_hour,
            f"Blended price above {settings.max_usd_per_gpu_hour} $/GPU-hour",
            site="blended",
            periods=5,
        )
        burst, forecast = settings.max_burst_usd_per_hour, settings.max_forecast_usd
        return {
            "blended": blended,
            "burst-ceiling": self._alarm(
                "burst-ceiling",
                "BurstDollarsPerHour",
                burst,
                f"Burst costs more than {burst} $/h: spill is being closed",
            ),
            "forecast-ceiling": self._alarm(
                "forecast-ceiling",
                "ForecastMonthDollars",
                forecast,
                f"Burst is to cost more than {forecast} $ this month: spill is being closed",
            ),
            "burst-calm": self._alarm(
                "burst-calm", "BurstDollarsPerHour", burst * share, "Too near the ceiling to open spill", told=False
            ),
            "forecast-calm": self._alarm(
                "forecast-calm",
                "ForecastMonthDollars",
                forecast * share,
                "Too near the ceiling to open spill",
                told=False,
            ),
            "rise": self._alarm(
                "rise",
                "BurstDollarsPerHourRise",
                settings.max_rise_usd_per_hour,
                f"Burst costs {settings.max_rise_usd_per_hour} $/h more than within the last 15 minutes",
            ),
            "price-missing": self._alarm(
                "price-missing",
                "PricesMissing",
                0,
                "Burst capacity runs whose price nobody knows; add it to cost_guard.prices",
            ),
            "signal-missing": self._alarm(
                "signal-missing",
                "CostSignalErrors",
                0,
                "The cost signal fails or is silent: nobody knows what burst costs",
                missing="breaching",
                periods=3,
            ),
        }

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
        dimensions = {"Stack": self.context.stack, **({"Site": site} if site else {})}
        actions = [self.topic.arn] if told else []
        return aws.cloudwatch.MetricAlarm(
            f"{self.name}-{name}",
            name=f"{self.name}-{name}",
            alarm_description=description,
            namespace="Spillway",
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
            "cost_signal",
            "publishes what burst costs now",
            {"SPILLWAY_COST": self._signal_config()},
            self._signal_rights(),
        )
        cutoff = self._function(
            "cutoff",
            "cutoff",
            "closes spill above a ceiling, and opens it again",
            {"SPILLWAY_CUTOFF": self._cutoff_config()},
            self._cutoff_rights(),
            alarms=tuple(self.alarm_names[name] for name in CEILINGS),
        )
        return signal, cutoff

    def _function(
        self,
        short: str,
        module: str,
        does: str,
        environment: Mapping[str, pulumi.Input[str]],
        rights: pulumi.Output[list[Statement]],
        alarms: tuple[pulumi.Input[str], ...] = (),
    ) -> ScheduledFunction:
        return ScheduledFunction(
            self.context,
            ScheduledFunctionArgs(
                name=f"{self.name}-{short}",
                module=module,
                needs=("aws_api", "azure_api"),
                description=f"{self.context.prefix}: {does}",
                environment=environment,
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

    def _signal_config(self) -> pulumi.Output[str]:
        args = self.args
        own, private = args.settings, args.private
        config: dict[str, Any] = {
            "stack": self.context.stack,
            "gateway": self.context.prefix,
            "ceiling": own.max_burst_usd_per_hour,
            "private": {
                "gpus": private.gpus,
                "usd_per_gpu_hour": round(private.usd_per_gpu_hour, 6),
                "gpus_per_server": private.gpus_per_server,
                "elastic": private.elastic,
            },
            "prices": self._prices(),
            "sagemaker": [one.endpoint_name for one in args.sagemaker],
            "azure": [{"url": one.url, "field": list(one.field), "size": list(one.size)} for one in args.azure],
        }
        if args.azure:
            config["azure_secret"] = args.azure_secret_arn
        return pulumi.Output.json_dumps(config)

    def _prices(self) -> dict[str, tuple[float, int]]:
        """Of the types that are deployed, and of those that somebody may put in their place by hand."""
        args = self.args
        wanted: set[tuple[Cloud, str, str]] = {("sagemaker", one.instance_type, args.region) for one in args.sagemaker}
        wanted |= {("azure", one.vm_size, one.region) for one in args.azure}
        places = {(cloud, region) for cloud, _, region in wanted}
        for price in catalogue():
            if price.model == "on_demand" and (price.cloud, price.region) in places:
                wanted.add((price.cloud, price.instance_type, price.region))
        return {name: instance_price(args.settings, cloud, name, region) for cloud, name, region in sorted(wanted)}

    def _signal_rights(self) -> pulumi.Output[list[Statement]]:
        args = self.args
        endpoints = pulumi.Output.all(*[one.endpoint_arn for one in args.sagemaker])
        secret = pulumi.Output.all(args.azure_secret_arn, args.azure_secret_kms_key_arn)

        def statements(values: list[Any]) -> list[Statement]:
            arns, (secret_arn, secret_key) = values
            found = [allow("ReadSignal", ["cloudwatch:GetMetricData"], "*"), _put_metrics()]
            if arns:
                # A configuration's name is drawn anew with each change.
                configurations = self._arn("sagemaker", "endpoint-config/*")
                found.append(allow("ReadCapacity", ["sagemaker:DescribeEndpoint"], list(arns)))
                found.append(allow("ReadTypes", ["sagemaker:DescribeEndpointConfig"], configurations))
            if args.azure:
                found.append(allow("AzureCredential", ["secretsmanager:GetSecretValue"], secret_arn))
            if args.azure and secret_key:
                found.append(allow("AzureCredentialKey", ["kms:Decrypt"], secret_key))
            return found

        return pulumi.Output.all(endpoints, secret).apply(statements)

    def _cutoff_config(self) -> pulumi.Output[str]:
        args, cutoff = self.args, self.args.settings.cutoff
        config: dict[str, Any] = {
            "parameter": self.parameter.name,
            "ceilings": [self.alarm_names[name] for name in CEILINGS],
            "calm": [self.alarm_names[name] for name in CALM],
            "order": [request_class.value for request_class in cutoff.order],
            "escalate_after_s": cutoff.escalate_after_s,
            "reopen_after_s": cutoff.reopen_after_s,
            "scale_to_minimum": cutoff.scale_to_minimum,
            "targets": [
                {
                    "endpoint": one.endpoint_name,
                    "variant": one.variant,
                    "resource_id": one.resource_id,
                    "minimum": one.minimum,
                    "class": one.request_class.value,
                }
                for one in args.sagemaker
            ],
        }
        if args.azure_scaler_secret_arn is not None:
            config["azure_secret"] = args.azure_scaler_secret_arn
            config["azure"] = [
                {
                    "deployment_url": one.url,
                    "autoscale_url": one.autoscale_url,
                    "minimum": one.minimum,
                    "class": one.request_class.value,
                }
                for one in args.azure
                if one.autoscale_url is not None
            ]
        return pulumi.Output.json_dumps(config)

    def _cutoff_rights(self) -> pulumi.Output[list[Statement]]:
        args = self.args
        endpoints = pulumi.Output.all(*[one.endpoint_arn for one in args.sagemaker])
        secret = pulumi.Output.all(args.azure_scaler_secret_arn, args.azure_secret_kms_key_arn)

        def statements(values: list[Any]) -> list[Statement]:
            parameter, arns, (secret_arn, secret_key) = values
            found = [
                allow("Parameter", ["ssm:GetParameter", "ssm:PutParameter"], parameter),
                allow("ReadAlarms", ["cloudwatch:DescribeAlarms"], "*"),
                allow("ReadScaling", ["application-autoscaling:DescribeScalableTargets"], "*"),
                allow(
                    "SuspendScaling",
                    ["application-autoscaling:RegisterScalableTarget"],
                    self._arn("application-autoscaling", "scalable-target/*"),
                ),
            ]
            if arns:
                shrink = [
                    "sagemaker:DescribeEndpoint",
                    "sagemaker:DescribeEndpointConfig",
                    "sagemaker:UpdateEndpointWeightsAndCapacities",
                ]
                configurations = self._arn("sagemaker", "endpoint-config/*")
                found.append(allow("Shrink", shrink, [*arns, configurations]))
            if secret_arn:
                found.append(allow("AzureCredential", ["secretsmanager:GetSecretValue"], secret_arn))
            if secret_arn and secret_key:
                found.append(allow("AzureCredentialKey", ["kms:Decrypt"], secret_key))
            return found

        return pulumi.Output.all(self.parameter.arn, endpoints, secret).apply(statements)

    def _budget(self) -> None:
        settings = self.args.settings
        notices = [("ACTUAL", percent) for percent in settings.budgets.alert_percents] + [("FORECASTED", 100)]
        budget = aws.budgets.Budget(
            f"{self.name}-budget",
            name=f"{self.name}-monthly",
            account_id=self.args.account_id,
            budget_type="COST",
            limit_amount=str(settings.budgets.aws_usd_per_month),
            limit_unit="USD",
            time_unit="MONTHLY",
            cost_filters=[
                aws.budgets.BudgetCostFilterArgs(name="TagKeyValue", values=[f"user:stack${self.context.stack}"])
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
                    "Action": ["sagemaker:CreateEndpoint", "sagemaker:UpdateEndpoint"],
                    "Resource": "*",
                }
            ),
            tags=self.context.tags,
            opts=self.child(),
        )
        role = aws.iam.Role(
            f"{self.name}-budget-role",
            name=f"{self.name}-budget",
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
            monitor_specification=json.dumps({"Tags": {"Key": "stack", "Values": [self.context.stack]}}),
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


def _put_metrics() -> dict[str, Any]:
    return allow(
        "PublishSignal",
        ["cloudwatch:PutMetricData"],
        "*",
        {"StringEquals": {"cloudwatch:namespace": "Spillway"}},
    )
