"""Monitoring inside the private cluster: Prometheus, its scrape targets, alerts, a dashboard, autoscaling metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, StackContext
from components.connectivity.settings import MirrorSettings
from components.kubernetes_documents import (
    GATEWAY_NAMESPACE,
    GPU_OPERATOR_NAMESPACE,
    MONITORING_NAMESPACE,
    SERVING_NAMESPACE,
    metadata,
    selector,
)
from components.monitoring import queries
from components.monitoring.grafana import dashboard
from components.monitoring.settings import MonitoringChart, MonitoringSettings
from components.private_cluster.settings import Accelerator

STACK: Final = "kube-prometheus-stack"
ADAPTER: Final = "prometheus-adapter"
PROMETHEUS_URL: Final = f"http://{STACK}-prometheus.{MONITORING_NAMESPACE}.svc"

STACK_REGISTRIES: Final = {
    "prometheusOperator.image": "quay.io",
    "prometheusOperator.prometheusConfigReloader.image": "quay.io",
    "prometheusOperator.admissionWebhooks.patch.image": "registry.k8s.io",
    "prometheus.prometheusSpec.image": "quay.io",
    "alertmanager.alertmanagerSpec.image": "quay.io",
    "grafana.image": "docker.io",
    "grafana.sidecar.image": "quay.io",
    "kube-state-metrics.image": "registry.k8s.io",
    "prometheus-node-exporter.image": "quay.io",
}
"""Where the chart's images come from, by the path of their ``registry`` value: what a mirror has to replace."""

GPU_EXPORTER_PORTS: Final[dict[Accelerator, int]] = {"nvidia": 9400, "amd": 5000}
"""DCGM exporter's and AMD device metrics exporter's: nothing else in the operators' namespace has this port."""

CONTROL_PLANE: Final = ("kubeControllerManager", "kubeScheduler", "kubeEtcd", "kubeProxy")


@dataclass(frozen=True)
class KubernetesMonitoringArgs:
    """``kind``: of the package, which decides what the model servers' metrics are called. ``depends_on``: the platform,
    which makes the namespaces."""

    settings: MonitoringSettings
    mirror: MirrorSettings
    accelerator: Accelerator
    kind: Literal["triton", "vllm"]
    depends_on: tuple[pulumi.Resource, ...] = ()


class KubernetesMonitoring(Component):
    """Outputs: ``prometheus_url`` (inside the cluster)."""

    def __init__(
        self, context: StackContext, args: KubernetesMonitoringArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("monitoring_kubernetes", context, opts)
        self.args = args
        self.prometheus_url = PROMETHEUS_URL
        charts = args.settings.charts
        after: list[pulumi.Resource] = list(args.depends_on)
        # The custom resources' kinds come with the chart.
        if charts.prometheus.enabled:
            after = [self._release(STACK, charts.prometheus, self._stack_values(), after)]
        if charts.adapter.enabled:
            self._release(ADAPTER, charts.adapter, self._adapter_values(), after)
        self._monitors(after)
        self._alerts(after)
        if args.settings.dashboard:
            self._dashboard(list(args.depends_on))
        self.register_outputs({"prometheus_url": self.prometheus_url})

    def _release(
        self, chart: str, settings: MonitoringChart, values: dict[str, Any], after: list[pulumi.Resource]
    ) -> k8s.helm.v3.Release:
        repository = self.args.mirror.chart_repository(settings.repository)
        is_oci = repository.startswith("oci://")
        return k8s.helm.v3.Release(
            f"{self.context.prefix}-{chart}",
            name=chart,
            chart=f"{repository}/{chart}" if is_oci else chart,
            repository_opts=None if is_oci else k8s.helm.v3.RepositoryOptsArgs(repo=repository),
            version=settings.version,
            namespace=MONITORING_NAMESPACE,
            values=merged(values, settings.values),
            atomic=True,
            timeout=900,
            opts=self.child(depends_on=after),
        )

    def _stack_values(self) -> dict[str, Any]:
        settings, chart = self.args.settings, self.args.settings.charts.prometheus
        spec: dict[str, Any] = {
            "scrapeInterval": f"{settings.scrape_interval_s}s",
            "retention": f"{chart.retention_days}d",
            "enableRemoteWriteReceiver": False,
            # Ours are not made by the chart, so they do not carry its label.
            "serviceMonitorSelectorNilUsesHelmValues": False,
            "podMonitorSelectorNilUsesHelmValues": False,
            "ruleSelectorNilUsesHelmValues": False,
        }
        if chart.storage is not None:
            claim: dict[str, Any] = {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": chart.storage}},
            }
            if chart.storage_class is not None:
                claim["storageClassName"] = chart.storage_class
            spec["storageSpec"] = {"volumeClaimTemplate": {"spec": claim}}
        values: dict[str, Any] = {
            "fullnameOverride": STACK,
            "commonLabels": self.context.labels,
            # A managed control plane cannot be scraped; an existing one is watched by its owners.
            **{
                part: {"enabled": False} for part in ("kubeControllerManager", "kubeScheduler", "kubeEtcd", "kubeProxy")
            },
            "prometheus": {"prometheusSpec": spec},
            "grafana": {
                # Empty: the chart draws a password of its own and keeps it in a Secret.
                "adminPassword": "",
                "sidecar": {"dashboards": {"enabled": True, "label": "grafana_dashboard", "labelValue": "1"}},
            },
        }
        for path, upstream in STACK_REGISTRIES.items():
            values = merged(values, self._mirrored(path, upstream))
        return values

    def _mirrored(self, path: str, upstream: str) -> dict[str, Any]:
        images = self.args.mirror.images
        mirror = images.get(upstream, images.get("*"))
        if mirror is None:
            return {}
        nested: dict[str, Any] = {"registry": mirror.rstrip("/")}
        for key in reversed(path.split(".")):
            nested = {key: nested}
        return nested

    def _adapter_values(self) -> dict[str, Any]:
        args = self.args
        return {
            "prometheus": {"url": PROMETHEUS_URL, "port": 9090},
            "replicas": 2,
            "podDisruptionBudget": {"enabled": True, "minAvailable": 1},
            "image": {"repository": args.mirror.image("registry.k8s.io/prometheus-adapter/prometheus-adapter")},
            "rules": {"default": False, "custom": queries.adapter_rules(args.accelerator)},
        }

    def _custom(
        self, name: str, kind: str, namespace: str, spec: dict[str, Any], after: list[pulumi.Resource]
    ) -> k8s.apiextensions.CustomResource:
        return k8s.apiextensions.CustomResource(
            f"{self.context.prefix}-{name}-{kind.lower()}",
            api_version="monitoring.coreos.com/v1",
            kind=kind,
            metadata=metadata(self.context, name, namespace),
            spec=spec,
            opts=self.child(depends_on=after),
        )

    def _monitors(self, after: list[pulumi.Resource]) -> None:
        interval = f"{self.args.settings.scrape_interval_s}s"
        # vLLM has its metrics on the port that serves.
        port = "http" if self.args.kind == "vllm" else "metrics"
        self._custom(
            "model-server",
            "ServiceMonitor",
            SERVING_NAMESPACE,
            {
                "selector": {"matchLabels": selector("model-server")},
                "endpoints": [{"port": port, "path": "/metrics", "interval": interval}],
            },
            after,
        )
        # The gateway's Service is for clients only, so its pods are asked.
        self._custom(
            "gateway",
            "PodMonitor",
            GATEWAY_NAMESPACE,
            {
                "selector": {"matchLabels": selector("gateway")},
                "podMetricsEndpoints": [
                    {"port": "metrics", "path": path, "interval": interval} for path in ("/metrics", "/agent/metrics")
                ],
            },
            after,
        )
        # The exporter says itself which pod uses a GPU: its labels win over those of its own pod.
        exporter = {"portNumber": GPU_EXPORTER_PORTS[self.args.accelerator], "interval": interval, "honorLabels": True}
        self._custom(
            "gpu-metrics",
            "PodMonitor",
            GPU_OPERATOR_NAMESPACE,
            {"selector": {}, "podMetricsEndpoints": [{**exporter, "path": "/metrics"}]},
            after,
        )

    def _alerts(self, after: list[pulumi.Resource]) -> None:
        settings, minutes = self.args.settings, f"{self.args.settings.alert_minutes}m"
        latency, depth = settings.max_latency_p99_s, settings.max_queue_depth
        busy, spilled = settings.max_gpu_utilisation, settings.max_spill_share
        queue, gpu = queries.queue_depth(self.args.kind), queries.gpu_share(self.args.accelerator)
        rules = [
            _alert("SpillwayLatencyHigh", f"{queries.LATENCY_P99_S} > {latency}", minutes, f"P99 above {latency} s"),
            _alert("SpillwayQueueDeep", f"{queue} > {depth}", minutes, f"More than {depth} requests wait"),
            _alert("SpillwayGpuSaturated", f"({gpu}) > {busy}", minutes, f"GPUs busy more than {busy:.0%} of the time"),
            _alert(
                "SpillwaySpillHigh",
                f"{queries.SPILL_SHARE} > {spilled}",
                minutes,
                f"Burst sites answer more than {spilled:.0%} of the requests",
            ),
            _alert("SpillwayPrivateSiteDown", queries.PRIVATE_DOWN, "1m", "No private model server is up", "critical"),
            _alert("SpillwayBurstSiteDown", queries.BURST_DOWN, "2m", "Burst site {{ $labels.site }} takes nothing"),
            _alert("SpillwayGatewayDown", queries.GATEWAY_DOWN, "1m", "No private gateway is alive", "critical"),
        ]
        self._custom(
            "spillway-alerts",
            "PrometheusRule",
            MONITORING_NAMESPACE,
            {"groups": [{"name": "spillway", "rules": rules}]},
            after,
        )

    def _dashboard(self, after: list[pulumi.Resource]) -> None:
        args = self.args
        k8s.core.v1.ConfigMap(
            f"{self.context.prefix}-grafana-dashboard",
            metadata=metadata(
                self.context, "spillway-dashboard", MONITORING_NAMESPACE, labels={"grafana_dashboard": "1"}
            ),
            data={"spillway.json": dashboard(self.context.stack, args.settings, args.accelerator, args.kind)},
            opts=self.child(depends_on=after),
        )


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Chart values as Helm merges them: maps by key, everything else replaced."""
    result = dict(base)
    for key, value in over.items():
        mine = result.get(key)
        result[key] = merged(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return result


def _alert(name: str, query: str, duration: str, summary: str, severity: str = "warning") -> dict[str, Any]:
    return {
        "alert": name,
        "expr": query,
        "for": duration,
        "labels": {"severity": severity, "service": "spillway"},
        "annotations": {"summary": summary},
    }
