"""Monitoring inside the private cluster: Prometheus, its scrape targets, alerts, a dashboard, autoscaling metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, StackContext
from components.chart_values import Form, at, merged, pulled
from components.connectivity.settings import MirrorSettings
from components.kubernetes_documents import aws_token_values, metadata, selector
from components.monitoring.grafana import dashboard
from components.monitoring.objectives import burn_alerts, recordings
from components.monitoring.queries import Queries, adapter_rules
from components.monitoring.settings import MonitoringChart, MonitoringSettings
from components.private_cluster.settings import Accelerator
from spillway.contracts.names import ALERTMANAGER, CANARY, GATEWAY, LABEL_PREFIX, MODEL_SERVER
from spillway.contracts.quantities import parse_quantity
from spillway.contracts.routing import DEFAULT_CLASSES, ClassRoute

STACK: Final = "kube-prometheus-stack"
ADAPTER: Final = "prometheus-adapter"
RUNBOOKS: Final = "docs/reference/alerts.md"
"""In this repository: a heading for each alert."""
_NOBODY, _TOPIC = "null", "topic"
"""Alertmanager's receivers; the chart's own rules are for the first."""

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

PULL_SECRETS: Final[dict[str, dict[str, Form]]] = {
    # Grafana and the exporters are charts inside this one, and see what is global.
    STACK: {"global.imagePullSecrets": "references"},
    ADAPTER: {"image.pullSecrets": "names"},
}
"""Where the charts take the secret that their images are pulled with."""

UNREAD: Final = (
    "Gateway {{ $labels.pod }} cannot read the spill cut-off: what it read last holds, whatever burst costs by now"
)
GPU_EXPORTER_PORTS: Final[dict[Accelerator, int]] = {"nvidia": 9400, "amd": 5000}
"""DCGM exporter's and AMD device metrics exporter's: nothing else in the operators' namespace has this port."""


@dataclass(frozen=True)
class Notices:
    """Who is told of alerts: the topic of all other notices. ``role_arn``: what Alertmanager publishes to it with."""

    topic_arn: pulumi.Input[str]
    role_arn: pulumi.Input[str]
    region: str


@dataclass(frozen=True)
class KubernetesMonitoringArgs:
    """``kind``: of the package, which decides what the model servers' metrics are called. ``priority_class``: of the
    pods that watch. ``storage_class``: of Prometheus' volume, if the settings name none. ``classes``: whose limits are
    watched. ``servers``: the model servers' workloads. ``depends_on``: the platform, which makes the namespaces."""

    settings: MonitoringSettings
    mirror: MirrorSettings
    accelerator: Accelerator
    kind: Literal["triton", "vllm"]
    priority_class: pulumi.Input[str]
    notices: Notices
    storage_class: pulumi.Input[str] | None = None
    classes: tuple[ClassRoute, ...] = DEFAULT_CLASSES
    servers: tuple[str, ...] = (MODEL_SERVER,)
    depends_on: tuple[pulumi.Resource, ...] = ()


class KubernetesMonitoring(Component):
    """Outputs: ``prometheus_url`` (inside the cluster)."""

    def __init__(
        self, context: StackContext, args: KubernetesMonitoringArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("monitoring-kubernetes", context, opts)
        self.args = args
        self.prometheus_url = f"http://{STACK}-prometheus.{context.namespaces.monitoring}.svc"
        self.queries = Queries(context.namespaces, args.accelerator, args.kind)
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
        secret = self.context.pull_secret if self.args.mirror.pull_secret else None
        is_oci = repository.startswith("oci://")
        return k8s.helm.v3.Release(
            f"{self.context.prefix}-{chart}",
            name=f"{self.context.prefix}-{chart}",
            chart=f"{repository}/{chart}" if is_oci else chart,
            repository_opts=None if is_oci else k8s.helm.v3.RepositoryOptsArgs(repo=repository),
            version=settings.version,
            namespace=self.context.namespaces.monitoring,
            values=merged(merged(values, pulled(secret, PULL_SECRETS[chart])), settings.values),
            atomic=True,
            timeout=900,
            opts=self.child(depends_on=after),
        )

    def _stack_values(self) -> dict[str, Any]:
        settings, chart = self.args.settings, self.args.settings.charts.prometheus
        # Without requests, and of no priority, what watches the site is the first to be evicted.
        important = {"priorityClassName": self.args.priority_class}
        spec: dict[str, Any] = {
            "resources": _requests("500m", "2Gi"),
            "scrapeInterval": f"{settings.scrape_interval_s}s",
            "retention": f"{chart.retention_days}d",
            "enableRemoteWriteReceiver": False,
            # Ours are not made by the chart, so they do not carry its label.
            "serviceMonitorSelectorNilUsesHelmValues": False,
            "podMonitorSelectorNilUsesHelmValues": False,
            "ruleSelectorNilUsesHelmValues": False,
        }
        if chart.storage is not None:
            spec |= _volume(chart.storage, chart.storage_class or self.args.storage_class)
        values: dict[str, Any] = {
            "fullnameOverride": STACK,
            # The chart has its own app.kubernetes.io/managed-by.
            "commonLabels": {k: v for k, v in self.context.labels.items() if k.startswith(LABEL_PREFIX)},
            # A managed control plane cannot be scraped; an existing one is watched by its owners.
            **{
                part: {"enabled": False} for part in ("kubeControllerManager", "kubeScheduler", "kubeEtcd", "kubeProxy")
            },
            "prometheus": {"prometheusSpec": {**spec, **important}},
            "alertmanager": self._alertmanager(important),
            "prometheusOperator": {**important, "resources": _requests("100m", "128Mi")},
            "kube-state-metrics": {**important, "resources": _requests("50m", "128Mi")},
            "prometheus-node-exporter": {**important, "resources": _requests("50m", "64Mi")},
            "grafana": {
                **important,
                "resources": _requests("100m", "256Mi"),
                # The chart's time-out of 30 s is longer than our interval, which the operator refuses.
                "serviceMonitor": {"interval": f"{settings.scrape_interval_s}s", "scrapeTimeout": ""},
                # Empty: the chart draws a password of its own and keeps it in a Secret.
                "adminPassword": "",
                "sidecar": {"dashboards": {"enabled": True, "label": "grafana_dashboard", "labelValue": "1"}},
            },
        }
        for path, upstream in STACK_REGISTRIES.items():
            values = merged(values, self._mirrored(path, upstream))
        return values

    def _alertmanager(self, important: dict[str, Any]) -> dict[str, Any]:
        """Spillway's alerts go where all notices go; the chart's own are for whoever looks at them.

        https://prometheus.io/docs/alerting/latest/configuration/#sns_config
        """
        notices = self.args.notices
        token = aws_token_values(ALERTMANAGER, notices.role_arn, notices.region)
        topic = {
            "topic_arn": notices.topic_arn,
            "sigv4": {"region": notices.region},
            "send_resolved": self.args.settings.notify_when_healthy,
        }
        return {
            "serviceAccount": {"create": True, "name": ALERTMANAGER},
            "alertmanagerSpec": {**important, "resources": _requests("50m", "128Mi"), **token},
            "config": {
                "route": {
                    "receiver": _NOBODY,
                    "group_by": ["alertname", "site"],
                    "routes": [{"receiver": _TOPIC, "matchers": ['service = "spillway"']}],
                },
                "receivers": [{"name": _NOBODY}, {"name": _TOPIC, "sns_configs": [topic]}],
            },
        }

    def _mirrored(self, path: str, upstream: str) -> dict[str, Any]:
        images = self.args.mirror.images
        mirror = images.get(upstream, images.get("*"))
        return {} if mirror is None else at(f"{path}.registry", mirror.rstrip("/"))

    def _adapter_values(self) -> dict[str, Any]:
        args = self.args
        return {
            "prometheus": {"url": self.prometheus_url, "port": 9090},
            "replicas": 2,
            # With the chart's own maxUnavailable of 1: a minAvailable beside it is refused.
            "podDisruptionBudget": {"enabled": True},
            "priorityClassName": args.priority_class,
            "resources": _requests("100m", "256Mi"),
            "image": {"repository": args.mirror.image("registry.k8s.io/prometheus-adapter/prometheus-adapter")},
            "rules": adapter_rules(args.accelerator, args.settings.scrape_interval_s),
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
        for name in self.args.servers:
            self._custom(
                name,
                "ServiceMonitor",
                self.context.namespaces.serving,
                {
                    "selector": {"matchLabels": selector(name)},
                    "endpoints": [{"port": port, "path": "/metrics", "interval": interval}],
                },
                after,
            )
        # The gateway's Service is for clients only, so its pods are asked.
        self._custom(
            GATEWAY,
            "PodMonitor",
            self.context.namespaces.gateway,
            {
                "selector": {"matchLabels": selector(GATEWAY)},
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
            self.context.namespaces.gpu_operator,
            {"selector": {}, "podMetricsEndpoints": [{**exporter, "path": "/metrics"}]},
            after,
        )

    def _alerts(self, after: list[pulumi.Resource]) -> None:
        settings, minutes = self.args.settings, f"{self.args.settings.alert_minutes}m"
        latency, depth = settings.max_latency_p99_s, settings.max_queue_depth
        busy, spilled = settings.max_gpu_utilisation, settings.max_spill_share
        queries = self.queries
        queue, gpu = queries.queue_depth, queries.gpu_share
        rules = [
            _alert("SpillwayLatencyHigh", f"{queries.latency_p99_s} > {latency}", minutes, f"P99 above {latency} s"),
            _alert("SpillwayQueueDeep", f"{queue} > {depth}", minutes, f"More than {depth} requests wait"),
            _alert("SpillwayGpuSaturated", f"({gpu}) > {busy}", minutes, f"GPUs busy more than {busy:.0%} of the time"),
            _alert(
                "SpillwaySpillHigh",
                f"{queries.spill_share} > {spilled}",
                minutes,
                f"Burst sites answer more than {spilled:.0%} of the requests",
            ),
            _alert("SpillwayPrivateSiteDown", queries.private_down, "1m", "No private model server is up", "critical"),
            _alert("SpillwayBurstSiteDown", queries.burst_down, "2m", "Burst site {{ $labels.site }} takes nothing"),
            _alert("SpillwayGatewayDown", queries.gateway_down, "1m", "No private gateway is alive", "critical"),
            _alert("SpillwayCutoffUnread", f"{queries.cutoff_unread_s} > 300", "1m", UNREAD),
        ]
        if CANARY in self.args.servers:
            ended = "Release {{ $labels.version }} on trial failed: a gateway sends it nothing any more"
            rules.append(_alert("SpillwayCanaryEnded", queries.canary_ended, "0m", ended))
        rules += [*self._cause_alerts(), *self._objective_alerts()]
        every = [_with_runbook(rule, settings.runbooks) for rule in rules]
        groups = [{"name": "spillway", "rules": every}]
        if self.args.kind == "vllm":
            recorded = list(recordings(self.context.namespaces, self.args.classes))
            groups.insert(0, {"name": "spillway-objectives", "rules": recorded})
        self._custom(
            "spillway-alerts",
            "PrometheusRule",
            self.context.namespaces.monitoring,
            {"groups": groups},
            after,
        )

    def _cause_alerts(self) -> list[dict[str, Any]]:
        """Of compute, network, storage and scheduling. Their bounds follow from other settings (ADR 0159)."""
        args, queries, minutes = self.args, self.queries, f"{self.args.settings.alert_minutes}m"
        text = args.kind == "vllm"
        half_s = min(route.first_token_s if text else route.try_timeout_s for route in args.classes) / 2
        connect_s = min(route.try_timeout_s for route in args.classes) / 2
        idle = f"({queries.gpu_share}) < {args.settings.max_gpu_utilisation}"
        return [
            _alert(
                "SpillwayComputeSlow",
                f"{queries.work_growth} > 2",
                minutes,
                "A request takes more than twice the work that it took a day ago",
            ),
            _alert(
                "SpillwayNetworkSlow",
                f"{queries.connect_p99_s} > {connect_s:g}",
                minutes,
                f"Connections to {{{{ $labels.envoy_cluster_name }}}} take more than {connect_s:g} s, P99",
            ),
            _alert("SpillwayServersLoading", f"{queries.servers_loading} > 0", "15m", "Model servers do not get ready"),
            _alert("SpillwayServersPending", f"{queries.servers_pending} > 0", "15m", "Model servers get no node"),
            _alert(
                "SpillwayQueueSlow",
                f"{queries.queued_s} > {half_s:g} and on () {idle}",
                minutes,
                f"Requests wait more than {half_s:g} s in servers whose GPUs have time",
            ),
        ]

    def _objective_alerts(self) -> list[dict[str, Any]]:
        """Of generated text. Their windows are what they wait for."""
        found = burn_alerts(self.context.namespaces, self.args.settings.objectives) if self.args.kind == "vllm" else ()
        return [_alert(name, asked, "0m", summary, severity) for name, asked, summary, severity in found]

    def _dashboard(self, after: list[pulumi.Resource]) -> None:
        args = self.args
        k8s.core.v1.ConfigMap(
            f"{self.context.prefix}-grafana-dashboard",
            metadata=metadata(
                self.context,
                "spillway-dashboard",
                self.context.namespaces.monitoring,
                labels={"grafana_dashboard": "1"},
            ),
            data={"spillway.json": dashboard(self.context.stack, args.settings, self.queries)},
            opts=self.child(depends_on=after),
        )


def _volume(size: str, storage_class: pulumi.Input[str] | None) -> dict[str, Any]:
    """Old blocks go before the volume is full, which would end Prometheus: at most 85 % of it are recommended
    (https://prometheus.io/docs/prometheus/latest/storage/#right-sizing-retention-size). Its MB has 2^20 bytes."""
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
        **({"storageClassName": storage_class} if storage_class else {}),
    }
    kept_mib = int(parse_quantity(size)) * 4 // 5 // 2**20
    return {"retentionSize": f"{kept_mib}MB", "storageSpec": {"volumeClaimTemplate": {"spec": claim}}}


def _requests(cpu: str, memory: str) -> dict[str, Any]:
    return {"requests": {"cpu": cpu, "memory": memory}}


def _with_runbook(alert: dict[str, Any], page: str | None) -> dict[str, Any]:
    """What to do about it; the annotation that Prometheus' own mixins and Grafana know
    (https://grafana.com/docs/grafana/latest/alerting/alerting-rules/annotation-label/)."""
    link = f"{page or RUNBOOKS}#{alert['alert'].lower()}"
    return {**alert, "annotations": {**alert["annotations"], "runbook_url": link}}


def _alert(name: str, query: str, duration: str, summary: str, severity: str = "warning") -> dict[str, Any]:
    return {
        "alert": name,
        "expr": query,
        "for": duration,
        "labels": {"severity": severity, "service": "spillway"},
        "annotations": {"summary": summary},
    }
