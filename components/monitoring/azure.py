"""Monitoring on Azure: alerts on the online endpoint's latency, failures and GPUs, and a portal dashboard.

Metrics: learn.microsoft.com/azure/azure-monitor/reference/supported-metrics, Microsoft.MachineLearningServices
workspaces/onlineEndpoints (latency in milliseconds) and workspaces/onlineEndpoints/deployments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi
from pulumi_azure_native import monitor, portal

from components.base import Component, StackContext, unique_name
from components.monitoring.settings import MonitoringSettings

ENDPOINTS: Final = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
DEPLOYMENTS: Final = f"{ENDPOINTS}/deployments"
_NAME_LENGTH: Final = 24
"""Of a dashboard (azure-mgmt-portal's own pattern); what people read is its hidden title."""
WINDOWS: Final = (1, 5, 15, 30, 60)
"""Minutes over which Azure evaluates a metric alert."""
AVERAGE: Final = 4
"""The portal's number for the aggregation."""


@dataclass(frozen=True)
class AzureMonitoringArgs:
    """``endpoint_id``, ``deployment_ids`` (by name): of the online endpoint, resource ids.

    ``depends_on``: what makes them. ``notify_emails``: who is told.
    """

    settings: MonitoringSettings
    resource_group_name: pulumi.Input[str]
    location: str
    tenant_id: str
    endpoint_id: pulumi.Input[str]
    deployment_ids: Mapping[str, pulumi.Input[str]]
    notify_emails: tuple[str, ...] = ()
    depends_on: tuple[pulumi.Resource, ...] = ()


class AzureMonitoring(Component):
    """Outputs: ``action_group_id``, ``alarm_names`` by short name (``latency-p99``, ``failures``, ``refusals``,
    ``gpu-saturation-<deployment>``), ``dashboard_url`` (``None`` when switched off)."""

    def __init__(
        self, context: StackContext, args: AzureMonitoringArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("monitoring-azure", context, opts)
        self.args = args
        self.group = self._action_group()
        self.action_group_id = self.group.id
        settings = args.settings
        failures = settings.max_failures_per_minute
        self.alarm_names = {
            "latency-p99": self._alert(
                "latency-p99",
                f"P99 latency of the Azure ML endpoint above {settings.max_latency_p99_s} s",
                args.endpoint_id,
                ENDPOINTS,
                "RequestLatency_P99",
                settings.max_latency_p99_s * 1000,
            ),
            "failures": self._alert(
                "failures",
                f"The Azure ML endpoint fails more than {failures} requests a minute",
                args.endpoint_id,
                ENDPOINTS,
                "RequestsPerMinute",
                failures,
                ("statusCodeClass", "5xx"),
            ),
            "refusals": self._alert(
                "refusals",
                f"The Azure ML endpoint refuses more than {failures} requests a minute",
                args.endpoint_id,
                ENDPOINTS,
                "RequestsPerMinute",
                failures,
                ("statusCode", "429"),
            ),
            **self._gpu_alerts(),
        }
        self.dashboard_url = self._dashboard() if settings.dashboard else None
        self.register_outputs({"action_group_id": self.action_group_id, "dashboard_url": self.dashboard_url})

    def _gpu_alerts(self) -> dict[str, pulumi.Output[str]]:
        most = self.args.settings.max_gpu_utilisation
        return {
            f"gpu-saturation-{name}": self._alert(
                f"gpu-saturation-{name}",
                f"GPUs of the Azure ML deployment {name} are busy more than {most:.0%} of the time",
                id_,
                DEPLOYMENTS,
                "GpuUtilizationPercentage",
                most * 100,
            )
            for name, id_ in self.args.deployment_ids.items()
        }

    def _action_group(self) -> monitor.ActionGroup:
        return monitor.ActionGroup(
            f"{self.context.prefix}-notices",
            resource_group_name=self.args.resource_group_name,
            action_group_name=f"{self.context.prefix}-notices",
            # Shown as the sender of text messages; twelve characters at most.
            group_short_name=self.context.prefix[:12],
            location="global",
            enabled=True,
            email_receivers=[
                monitor.MicrosoftCommonEmailReceiverArgs(
                    name=f"email-{index}", email_address=address, use_common_alert_schema=True
                )
                for index, address in enumerate(self.args.notify_emails)
            ],
            tags=self.context.tags,
            opts=self.child(),
        )

    def _alert(
        self,
        name: str,
        description: str,
        scope: pulumi.Input[str],
        namespace: str,
        metric: str,
        threshold: float,
        only: tuple[str, str] | None = None,
    ) -> pulumi.Output[str]:
        """Quiet is healthy: Azure takes a metric without data for no breach."""
        settings = self.args.settings
        dimensions = [monitor.MetricDimensionArgs(name=only[0], operator="Include", values=[only[1]])] if only else []
        rule = monitor.MetricAlert(
            f"{self.context.prefix}-azure-{name}",
            resource_group_name=self.args.resource_group_name,
            rule_name=f"{self.context.prefix}-{name}",
            description=description,
            location="global",
            enabled=True,
            severity=2,
            scopes=[scope],
            evaluation_frequency="PT1M",
            window_size=window(settings.alert_minutes),
            auto_mitigate=settings.notify_when_healthy,
            criteria=monitor.MetricAlertSingleResourceMultipleMetricCriteriaArgs(
                odata_type="Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria",
                all_of=[
                    monitor.MetricCriteriaArgs(
                        criterion_type="StaticThresholdCriterion",
                        name=name,
                        metric_namespace=namespace,
                        metric_name=metric,
                        dimensions=dimensions,
                        operator=monitor.Operator.GREATER_THAN,
                        threshold=threshold,
                        time_aggregation=monitor.AggregationTypeEnum.AVERAGE,
                        # A new endpoint has not reported anything yet.
                        skip_metric_validation=True,
                    )
                ],
            ),
            actions=[monitor.MetricAlertActionArgs(action_group_id=self.group.id)],
            tags=self.context.tags,
            opts=self.child(depends_on=list(self.args.depends_on)),
        )
        return rule.name

    def _dashboard(self) -> pulumi.Output[str]:
        args = self.args
        charts = (
            ("Latency P99, ms", args.endpoint_id, ENDPOINTS, "RequestLatency_P99"),
            ("Requests a minute", args.endpoint_id, ENDPOINTS, "RequestsPerMinute"),
        )
        for name, id_ in args.deployment_ids.items():
            charts += (
                (f"GPU utilisation of {name}, %", id_, DEPLOYMENTS, "GpuUtilizationPercentage"),
                (f"Instances of {name}", id_, DEPLOYMENTS, "DeploymentCapacity"),
            )
        parts = [
            portal.DashboardPartsArgs(
                position=portal.DashboardPartsPositionArgs(x=6 * (i % 2), y=4 * (i // 2), col_span=6, row_span=4),
                metadata=_chart(*chart),
            )
            for i, chart in enumerate(charts)
        ]
        dashboard = portal.Dashboard(
            f"{self.context.prefix}-azure-dashboard",
            resource_group_name=args.resource_group_name,
            location=args.location,
            dashboard_name=unique_name(self.context.prefix, "board", self.context.prefix, _NAME_LENGTH),
            properties=portal.DashboardPropertiesWithProvisioningStateArgs(
                lenses=[portal.DashboardLensArgs(order=0, parts=parts)]
            ),
            tags={**self.context.tags, "hidden-title": f"Spillway {self.context.stack}"},
            opts=self.child(depends_on=list(args.depends_on)),
        )
        return pulumi.Output.concat(f"https://portal.azure.com/#@{args.tenant_id}/dashboard/arm", dashboard.id)


def window(minutes: int) -> str:
    """The shortest window that Azure offers and that holds so many minutes, ISO 8601."""
    chosen = next(offered for offered in WINDOWS if offered >= minutes)
    return "PT1H" if chosen == 60 else f"PT{chosen}M"


def _chart(title: str, resource_id: pulumi.Input[str], namespace: str, metric: str) -> portal.DashboardPartMetadataArgs:
    chart: dict[str, Any] = {
        "title": title,
        "titleKind": 2,
        "visualization": {"chartType": 2},
        "metrics": [
            {
                "resourceMetadata": {"id": resource_id},
                "namespace": namespace,
                "name": metric,
                "aggregationType": AVERAGE,
                "metricVisualization": {"displayName": title},
            }
        ],
    }
    return portal.DashboardPartMetadataArgs(
        type="Extension/HubsExtension/PartType/MonitorChartPart",
        inputs=[{"name": "options", "value": {"chart": chart}}, {"name": "sharedTimeRange", "isOptional": True}],
        settings={"content": {"options": {"chart": chart}}},
    )
