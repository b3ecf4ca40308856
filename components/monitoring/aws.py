"""Monitoring on AWS: a dashboard, and alarms for latency, queue and GPU saturation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from components.aws_documents import partition
from components.base import Component, StackContext
from components.monitoring.settings import MonitoringSettings

WIDTH: Final = 12
HEIGHT: Final = 6
SAGEMAKER: Final = "AWS/SageMaker"
INSTANCES: Final = "/aws/sagemaker/Endpoints"
MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True)
class AwsMonitoringArgs:
    """What is watched; ``None`` for what the stack does not have.

    ``gpus_per_instance``: SageMaker's GPUUtilization goes to 100 times that. ``queue_name``: the SQS queue of P2 work.
    ``load_balancer``: ``arn_suffix`` of the standby gateway's load balancer. ``topic_arn``: who is told.
    """

    settings: MonitoringSettings
    region: str
    topic_arn: pulumi.Input[str]
    endpoint_name: pulumi.Input[str] | None = None
    async_endpoint_name: pulumi.Input[str] | None = None
    variant: str = "primary"
    gpus_per_instance: int = 1
    queue_name: pulumi.Input[str] | None = None
    load_balancer: pulumi.Input[str] | None = None


class AwsMonitoring(Component):
    """Dashboard and alarms.

    Outputs: ``dashboard_name`` and ``dashboard_url`` (``None`` when switched off), ``alarm_arns`` and ``alarm_names``
    by short name (``latency-p99``, ``gateway-latency-p99``, ``queue-depth``, ``async-queue-depth``,
    ``gpu-saturation``, ``service-busy``), as far as there is something to watch.
    """

    def __init__(
        self, context: StackContext, args: AwsMonitoringArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("monitoring-aws", context, opts)
        self.args = args
        self.alarms: dict[str, aws.cloudwatch.MetricAlarm] = {}
        self._latency()
        self._queue()
        self._gpu()
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

    def _latency(self) -> None:
        args = self.args
        limit = args.settings.max_latency_p99_s
        if args.endpoint_name is not None:
            self._alarm(
                "latency-p99",
                f"P99 latency of the SageMaker endpoint above {limit} s",
                namespace=SAGEMAKER,
                metric_name="ModelLatency",
                extended_statistic="p99",
                threshold=limit * MICROSECONDS,
                dimensions={"EndpointName": args.endpoint_name, "VariantName": args.variant},
            )
        if args.load_balancer is not None:
            self._alarm(
                "gateway-latency-p99",
                f"P99 latency of the standby gateway above {limit} s",
                namespace="AWS/ApplicationELB",
                metric_name="TargetResponseTime",
                extended_statistic="p99",
                threshold=limit,
                dimensions={"LoadBalancer": args.load_balancer},
            )

    def _queue(self) -> None:
        args = self.args
        depth = args.settings.max_queue_depth
        if args.queue_name is not None:
            self._alarm(
                "queue-depth",
                f"More than {depth} requests wait in the batch queue",
                namespace="AWS/SQS",
                metric_name="ApproximateNumberOfMessagesVisible",
                statistic="Maximum",
                threshold=depth,
                dimensions={"QueueName": args.queue_name},
            )
        if args.async_endpoint_name is not None:
            self._alarm(
                "async-queue-depth",
                f"More than {depth} requests wait at the asynchronous endpoint",
                namespace=SAGEMAKER,
                metric_name="ApproximateBacklogSize",
                statistic="Maximum",
                threshold=depth,
                dimensions={"EndpointName": args.async_endpoint_name},
            )

    def _gpu(self) -> None:
        args = self.args
        if args.endpoint_name is None:
            return
        share = args.settings.max_gpu_utilisation
        self._alarm(
            "gpu-saturation",
            f"GPUs of the SageMaker endpoint are busy more than {share:.0%} of the time",
            namespace=INSTANCES,
            metric_name="GPUUtilization",
            statistic="Average",
            threshold=share * 100 * args.gpus_per_instance,
            dimensions={"EndpointName": args.endpoint_name, "VariantName": args.variant},
        )

    def _alarm(
        self, name: str, description: str, dimensions: Mapping[str, pulumi.Input[str]], **condition: Any
    ) -> None:
        """Quiet is healthy: no traffic means no data, and that is no alarm."""
        args = self.args
        full = f"{self.context.prefix}-{name}"
        self.alarms[name] = aws.cloudwatch.MetricAlarm(
            full,
            name=full,
            alarm_description=description,
            comparison_operator="GreaterThanThreshold",
            period=60,
            evaluation_periods=args.settings.alert_minutes,
            treat_missing_data="notBreaching",
            dimensions=dimensions,
            alarm_actions=[args.topic_arn],
            ok_actions=[args.topic_arn] if args.settings.notify_when_healthy else [],
            tags=self.context.tags,
            opts=self.child(),
            **condition,
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
        """Two columns of graphs: gateway, SageMaker, queue, cost."""
        graphs = [*self._gateway_graphs(), *self._sagemaker_graphs(), *self._cost_graphs()]
        widgets: list[dict[str, Any]] = [
            {
                "type": "metric",
                "x": WIDTH * (index % 2),
                "y": HEIGHT * (index // 2),
                "width": WIDTH,
                "height": HEIGHT,
                "properties": graph,
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

    def _graph(
        self, title: str, metrics: Sequence[Sequence[Any]], stat: str, limit: float | None = None
    ) -> dict[str, Any]:
        graph: dict[str, Any] = {
            "title": title,
            "region": self.args.region,
            "view": "timeSeries",
            "period": 60,
            "stat": stat,
            "metrics": [list(metric) for metric in metrics],
        }
        if limit is not None:
            graph["annotations"] = {"horizontal": [{"label": "threshold", "value": limit}]}
        return graph

    def _gateway_graphs(self) -> list[dict[str, Any]]:
        args = self.args
        graphs = [
            self._graph(
                "Private gateway alive",
                [["Spillway", "GatewayHeartbeat", "Gateway", self.context.prefix]],
                "SampleCount",
            )
        ]
        if args.load_balancer is not None:
            balancer = ["LoadBalancer", args.load_balancer]
            graphs.append(
                self._graph(
                    "Standby gateway: latency P99, s",
                    [["AWS/ApplicationELB", "TargetResponseTime", *balancer]],
                    "p99",
                    args.settings.max_latency_p99_s,
                )
            )
            graphs.append(
                self._graph(
                    "Standby gateway: answers",
                    [
                        ["AWS/ApplicationELB", metric, *balancer]
                        for metric in ("RequestCount", "HTTPCode_Target_4XX_Count", "HTTPCode_Target_5XX_Count")
                    ],
                    "Sum",
                )
            )
        return graphs

    def _sagemaker_graphs(self) -> list[dict[str, Any]]:
        args = self.args
        graphs: list[dict[str, Any]] = []
        if args.endpoint_name is not None:
            where = ["EndpointName", args.endpoint_name, "VariantName", args.variant]
            limit = args.settings.max_gpu_utilisation * 100 * args.gpus_per_instance
            graphs += [
                self._graph(
                    "SageMaker: latency P99, µs",
                    [[SAGEMAKER, metric, *where] for metric in ("ModelLatency", "OverheadLatency")],
                    "p99",
                    args.settings.max_latency_p99_s * MICROSECONDS,
                ),
                self._graph(
                    "SageMaker: invocations and errors",
                    [
                        [SAGEMAKER, metric, *where]
                        for metric in ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")
                    ],
                    "Sum",
                ),
                self._graph("SageMaker: GPU utilisation, %", [[INSTANCES, "GPUUtilization", *where]], "Average", limit),
            ]
        waiting = []
        if args.async_endpoint_name is not None:
            waiting.append([SAGEMAKER, "ApproximateBacklogSize", "EndpointName", args.async_endpoint_name])
        if args.queue_name is not None:
            waiting.append(["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", args.queue_name])
        if waiting:
            graphs.append(self._graph("Batch: waiting requests", waiting, "Maximum", args.settings.max_queue_depth))
        return graphs

    def _cost_graphs(self) -> list[dict[str, Any]]:
        stack = ["Stack", self.context.stack]
        sites = ("private", "sagemaker", "azure_ml", "blended")
        return [
            self._graph("Burst, $/h", [["Spillway", "BurstDollarsPerHour", *stack]], "Maximum"),
            self._graph("Burst, forecast of the month, $", [["Spillway", "ForecastMonthDollars", *stack]], "Maximum"),
            self._graph(
                "$/GPU-hour",
                [["Spillway", "DollarsPerGpuHour", "Site", site, *stack] for site in sites],
                "Maximum",
            ),
        ]
