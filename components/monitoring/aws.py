"""Monitoring on AWS: a dashboard, and alarms for the gateway and for what the burst sites bring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from components.aws_documents import partition
from components.base import Component, StackContext
from components.monitoring.settings import MonitoringSettings
from spillway.contracts import metrics
from spillway.contracts.classes import Site

WIDTH: Final = 12
HEIGHT: Final = 6
MICROSECONDS: Final = 1_000_000
DAY_S: Final = 24 * 3600


@dataclass(frozen=True)
class Alarm:
    """One alarm. ``condition``: the arguments of a CloudWatch alarm that say what is compared with what."""

    name: str
    description: str
    dimensions: Mapping[str, pulumi.Input[str]]
    condition: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """One graph of the dashboard. ``metrics``: rows as CloudWatch's dashboards have them; ``limit``: a line to mark."""

    title: str
    metrics: Sequence[Sequence[Any]]
    statistic: str
    limit: float | None = None


@dataclass(frozen=True)
class AwsMonitoringArgs:
    """What is watched. ``sites``: the burst sites by name; ``alarms`` and ``graphs``: what they bring.

    ``load_balancer``, ``target_group``: ``arn_suffix`` of the standby gateway's, ``None`` where there is none;
    ``standby_tasks``: how many tasks it has at least.
    ``certificate_arn``: ACM's, of the way in; ``gateway_certificate``: whether the private gateway shows its own.
    ``topic_arn``: who is told.
    """

    settings: MonitoringSettings
    region: str
    topic_arn: pulumi.Input[str]
    sites: Sequence[str] = ()
    alarms: Sequence[Alarm] = ()
    graphs: Sequence[Graph] = ()
    load_balancer: pulumi.Input[str] | None = None
    target_group: pulumi.Input[str] | None = None
    standby_tasks: int = 1
    certificate_arn: pulumi.Input[str] | None = None
    gateway_certificate: bool = False


class AwsMonitoring(Component):
    """Dashboard and alarms.

    Outputs: ``dashboard_name`` and ``dashboard_url`` (``None`` when switched off), ``alarm_arns`` and ``alarm_names``
    by short name (the sites', ``gateway-latency-p99``, ``acm-certificate``, ``service-busy``), as far as there is
    something to watch.
    """

    def __init__(
        self, context: StackContext, args: AwsMonitoringArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("monitoring-aws", context, opts)
        self.args = args
        self.alarms: dict[str, aws.cloudwatch.MetricAlarm] = {}
        for alarm in [*args.alarms, *self._gateway_alarms(), *self._certificate_alarms()]:
            self._alarm(alarm)
        self.alarm_arns: dict[str, pulumi.Output[str]] = {name: alarm.arn for name, alarm in self.alarms.items()}
        self.alarm_names: dict[str, pulumi.Output[str]] = {name: alarm.name for name, alarm in self.alarms.items()}
        if self.alarms:
            busy = self._service_busy()
            self.alarm_arns["service-busy"], self.alarm_names["service-busy"] = busy.arn, busy.alarm_name
        self.dashboard_name: pulumi.Output[str] | None = None
        self.dashboard_url: pulumi.Output[str] | None = None
        if args.settings.dashboard:
            self._dashboard()
        self.register_outputs({"dashboardUrl": self.dashboard_url, "alarmArns": self.alarm_arns})

    def _gateway_alarms(self) -> Iterator[Alarm]:
        args = self.args
        limit = args.settings.max_latency_p99_s
        if args.load_balancer is not None:
            yield Alarm(
                "gateway-latency-p99",
                f"P99 latency of the standby gateway above {limit} s",
                {"LoadBalancer": args.load_balancer},
                {
                    "namespace": "AWS/ApplicationELB",
                    "metric_name": "TargetResponseTime",
                    "extended_statistic": "p99",
                    "threshold": limit,
                },
            )
            yield from self._standby_alarms(args.load_balancer)

    def _certificate_alarms(self) -> Iterator[Alarm]:
        args, days = self.args, self.args.settings.min_certificate_days
        ends = {"statistic": "Minimum", "comparison_operator": "LessThanThreshold", "threshold": days}
        if args.certificate_arn is not None:
            # Told twice a day (https://docs.aws.amazon.com/acm/latest/userguide/cloudwatch-metrics.html).
            daily = {"period": DAY_S, "evaluation_periods": 1}
            yield Alarm(
                "acm-certificate",
                f"ACM's certificate of the way in ends in less than {days} days: look at its renewal in ACM",
                {"CertificateArn": args.certificate_arn},
                {"namespace": "AWS/CertificateManager", "metric_name": "DaysToExpiry", **daily, **ends},
            )
        if args.gateway_certificate:
            yield Alarm(
                "gateway-certificate",
                f"The private gateway's certificate ends in less than {days} days: renew it",
                {metrics.GATEWAY: self.context.prefix},
                {"namespace": metrics.NAMESPACE, "metric_name": metrics.CERTIFICATE_DAYS, **ends},
            )

    def _standby_alarms(self, load_balancer: pulumi.Input[str]) -> Iterator[Alarm]:
        """It answers nobody until the failover: nothing else would tell that it is dead."""
        least = self.args.standby_tasks
        yield Alarm(
            "standby-tasks",
            f"Fewer than {least} tasks of the standby gateway are healthy",
            {"LoadBalancer": load_balancer, "TargetGroup": self.args.target_group or ""},
            {
                "namespace": "AWS/ApplicationELB",
                "metric_name": "HealthyHostCount",
                "statistic": "Minimum",
                "comparison_operator": "LessThanThreshold",
                "threshold": least,
                "treat_missing_data": "breaching",
            },
        )
        yield Alarm(
            "standby-refuses",
            "The standby's load balancer answers 5xx itself: it has nobody to ask",
            {"LoadBalancer": load_balancer},
            {
                "namespace": "AWS/ApplicationELB",
                "metric_name": "HTTPCode_ELB_5XX_Count",
                "statistic": "Sum",
                "threshold": 0,
            },
        )

    def _alarm(self, alarm: Alarm) -> None:
        """Quiet is healthy: no traffic means no data, and that is no alarm."""
        args = self.args
        full = f"{self.context.prefix}-{alarm.name}"
        self.alarms[alarm.name] = aws.cloudwatch.MetricAlarm(
            full,
            name=full,
            alarm_description=alarm.description,
            dimensions=alarm.dimensions,
            alarm_actions=[args.topic_arn],
            ok_actions=[args.topic_arn] if args.settings.notify_when_healthy else [],
            tags=self.context.tags,
            opts=self.child(),
            **{
                "period": 60,
                "evaluation_periods": args.settings.alert_minutes,
                "comparison_operator": "GreaterThanThreshold",
                "treat_missing_data": "notBreaching",
                **alarm.condition,
            },
        )

    def _service_busy(self) -> aws.cloudwatch.CompositeAlarm:
        """Any of the symptoms, as one state to look at; the single alarms do the telling."""
        name = f"{self.context.prefix}-service-busy"
        rule = pulumi.Output.all(*self.alarm_names.values()).apply(
            lambda names: " OR ".join(f'ALARM("{alarm}")' for alarm in names)
        )
        return aws.cloudwatch.CompositeAlarm(
            name,
            alarm_name=name,
            alarm_description="Latency, queue or GPUs are past their threshold: the service is busy",
            alarm_rule=rule,
            tags=self.context.tags,
            opts=self.child(),
        )

    def _dashboard(self) -> None:
        name = f"{self.context.prefix}-spillway"
        region = self.args.region
        dashboard = aws.cloudwatch.Dashboard(
            name,
            dashboard_name=name,
            dashboard_body=pulumi.Output.json_dumps({"widgets": self._widgets()}),
            opts=self.child(),
        )
        self.dashboard_name = dashboard.dashboard_name
        console = "console.amazonaws.cn" if partition(region) == "aws-cn" else "console.aws.amazon.com"
        self.dashboard_url = pulumi.Output.concat(
            f"https://{console}/cloudwatch/home?region={region}#dashboards/dashboard/", dashboard.dashboard_name
        )

    def _widgets(self) -> list[dict[str, Any]]:
        """Two columns of graphs: gateway, burst sites, cost."""
        graphs = [*self._gateway_graphs(), *self.args.graphs, *self._cost_graphs()]
        widgets: list[dict[str, Any]] = [
            {
                "type": "metric",
                "x": WIDTH * (index % 2),
                "y": HEIGHT * (index // 2),
                "width": WIDTH,
                "height": HEIGHT,
                "properties": self._graph(graph),
            }
            for index, graph in enumerate(graphs)
        ]
        if self.alarms:
            below = HEIGHT * ((len(graphs) + 1) // 2)
            widgets.append(
                {
                    "type": "alarm",
                    "x": 0,
                    "y": below,
                    "width": 2 * WIDTH,
                    "height": HEIGHT,
                    "properties": {"title": "Alarms", "alarms": list(self.alarm_arns.values())},
                }
            )
        return widgets

    def _graph(self, graph: Graph) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "title": graph.title,
            "region": self.args.region,
            "view": "timeSeries",
            "period": 60,
            "stat": graph.statistic,
            "metrics": [list(metric) for metric in graph.metrics],
        }
        if graph.limit is not None:
            shown["annotations"] = {"horizontal": [{"label": "threshold", "value": graph.limit}]}
        return shown

    def _gateway_graphs(self) -> list[Graph]:
        args = self.args
        alive = [[metrics.NAMESPACE, metrics.HEARTBEAT, metrics.GATEWAY, self.context.prefix]]
        graphs = [Graph("Private gateway alive", alive, "SampleCount")]
        if args.load_balancer is None:
            return graphs
        balancer = ["LoadBalancer", args.load_balancer]
        counts = ("RequestCount", "HTTPCode_Target_4XX_Count", "HTTPCode_Target_5XX_Count")
        return [
            *graphs,
            Graph(
                "Standby gateway: latency P99, s",
                [["AWS/ApplicationELB", "TargetResponseTime", *balancer]],
                "p99",
                args.settings.max_latency_p99_s,
            ),
            Graph("Standby gateway: answers", [["AWS/ApplicationELB", name, *balancer] for name in counts], "Sum"),
        ]

    def _cost_graphs(self) -> list[Graph]:
        stack = [metrics.STACK, self.context.prefix]
        own = metrics.NAMESPACE
        per_gpu = [
            [own, metrics.USD_PER_GPU_HOUR, metrics.SITE, site, *stack]
            for site in (Site.PRIVATE, *self.args.sites, metrics.BLENDED)
        ]
        return [
            Graph("Burst, $/h", [[own, metrics.BURST_USD_PER_HOUR, *stack]], "Maximum"),
            Graph("Burst, forecast of the month, $", [[own, metrics.FORECAST_USD_PER_MONTH, *stack]], "Maximum"),
            Graph("$/GPU-hour", per_gpu, "Maximum"),
        ]
