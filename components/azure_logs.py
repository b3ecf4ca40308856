"""What a resource in Azure logs of itself, sent to a Log Analytics workspace, and such workspaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pulumi
from pulumi_azure_native import monitor, operationalinsights

from components.base import Component

BLOBS: Final = ("StorageRead", "StorageWrite", "StorageDelete")
VAULT: Final = ("AuditEvent",)
REGISTRY: Final = ("ContainerRegistryLoginEvents", "ContainerRegistryRepositoryEvents")
VPN_GATEWAY: Final = ("GatewayDiagnosticLog", "TunnelDiagnosticLog", "RouteDiagnosticLog", "IKEDiagnosticLog")
ML_WORKSPACE: Final = ("DataStoreChangeEvent", "EnvironmentChangeEvent", "ModelsChangeEvent")
ML_ENDPOINT: Final = ("AmlOnlineEndpointTrafficLog", "AmlOnlineEndpointConsoleLog", "AmlOnlineEndpointEventLog")
"""Categories by type: https://learn.microsoft.com/azure/azure-monitor/reference/logs-index, read on 2026-11-30."""


def send_logs(
    component: Component,
    name: str,
    resource_id: pulumi.Input[str],
    workspace_id: pulumi.Input[str],
    categories: Sequence[str],
    metrics: str = "AllMetrics",
) -> None:
    """``name``: of the setting in the stack, behind the prefix; in Azure each resource has one, called ``spillway``."""
    monitor.DiagnosticSetting(
        f"{component.context.prefix}-{name}",
        name="spillway",
        resource_uri=resource_id,
        workspace_id=workspace_id,
        logs=[monitor.DiagnosticsLogSettingsArgs(category=category, enabled=True) for category in categories],
        metrics=[monitor.DiagnosticsMetricSettingsArgs(category=metrics, enabled=True)],
        opts=component.child(),
    )


def log_workspace(
    component: Component,
    name: str,
    resource_group_name: pulumi.Input[str],
    location: str,
    workspace_name: str,
    retention_days: int,
) -> operationalinsights.Workspace:
    """``name``: in the stack, and ``workspace_name`` in Azure, both behind the prefix."""
    prefix = component.context.prefix
    return operationalinsights.Workspace(
        f"{prefix}-{name}",
        resource_group_name=resource_group_name,
        location=location,
        workspace_name=f"{prefix}-{workspace_name}",
        sku=operationalinsights.WorkspaceSkuArgs(name="PerGB2018"),
        retention_in_days=retention_days,
        tags=component.context.tags,
        opts=component.child(),
    )
