"""Dashboards and alerts: the stack file's ``monitoring`` part; one set of thresholds for CloudWatch and Prometheus."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from spillway.contracts.classes import RequestClass
from spillway.contracts.frozen import Settings
from spillway.contracts.traces import Traces

Version = Annotated[str, Field(pattern=r"^v?\d+\.\d+\.\d+$")]
Repository = Annotated[str, Field(pattern=r"^(https|oci)://")]


class MonitoringChart(Settings):
    """A pinned Helm chart of the monitoring stack."""

    enabled: bool = True
    """Off where the cluster already has it."""
    version: Version
    """Exact chart version."""
    repository: Repository = "https://prometheus-community.github.io/helm-charts"
    """Chart repository; ``connectivity.mirror.charts`` replaces it."""
    values: dict[str, Any] = Field(default_factory=dict)
    """Further chart values, merged over ours: Alertmanager's receivers, for one. No secrets: name a Secret instead."""


class PrometheusChart(MonitoringChart):
    """``kube-prometheus-stack``: Prometheus, Alertmanager, Grafana, and the operator with its custom resources."""

    version: Version = "77.5.0"
    """Exact chart version."""
    retention_days: int = Field(default=15, ge=1, le=365)
    """Days that Prometheus keeps metrics."""
    storage: Annotated[str, Field(pattern=r"^\d+(\.\d+)?(Mi|Gi|Ti)$")] | None = None
    """Size of Prometheus' volume; without one its metrics last as long as its pod."""
    storage_class: str | None = None
    """Storage class of that volume; by default the stack's own on EKS, which has none, else the cluster's."""


class AdapterChart(MonitoringChart):
    """``prometheus-adapter``: gives the model servers' autoscaler its metrics."""

    version: Version = "5.1.0"
    """Exact chart version."""


class ChartsSettings(Settings):
    """What is installed in the private cluster to watch it."""

    prometheus: PrometheusChart = PrometheusChart()
    """Prometheus, Alertmanager and Grafana."""
    adapter: AdapterChart = AdapterChart()
    """Custom metrics for autoscaling."""


Percent = Annotated[float, Field(ge=94, lt=100)]
"""Below 94 no failure could burn an hour's budget 14.4 times too fast."""


class ObjectivesSettings(Settings):
    """Streams of each class, of a hundred, whose first token comes within ``first_token_s`` and whose further ones take
    ``token_s`` on average (``gateway.classes``); alerts fire where too many are late, those refused among them."""

    p0: Percent = 99.9
    """Interactive."""
    p1: Percent = 99.0
    """Near real time."""
    p2: Percent = 95.0
    """Batch that came over the gateway."""

    def allowed(self, request_class: RequestClass) -> float:
        """The share of a class's streams that may be late."""
        percent = {RequestClass.P0: self.p0, RequestClass.P1: self.p1, RequestClass.P2: self.p2}
        return 1 - percent[request_class] / 100


class MonitoringSettings(Settings):
    """Thresholds of the three symptoms this kit exists for, and how long logs stay."""

    max_latency_p99_s: float = Field(default=5.0, gt=0)
    """P99 latency, in seconds, above which an alert fires."""
    max_queue_depth: int = Field(default=1000, ge=1)
    """Waiting requests above which an alert fires."""
    max_gpu_utilisation: float = Field(default=0.9, gt=0, le=1)
    """Share of a GPU's time, 0 to 1, above which it counts as saturated."""
    max_spill_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the requests, 0 to 1, that burst sites may answer before an alert fires."""
    max_failures_per_minute: float = Field(default=10.0, gt=0)
    """Requests a minute that the Azure ML endpoint may fail or refuse before an alert fires, 5xx and 429 each."""
    min_certificate_days: int = Field(default=21, ge=1, le=60)
    """Days that a certificate of the way in must have left; renewals begin earlier, so one that fails is noticed."""
    alert_minutes: int = Field(default=5, ge=1, le=60)
    """Minutes in a row above a threshold before its alert fires."""
    objectives: ObjectivesSettings = ObjectivesSettings()
    """What is promised of generated text, by class; of packages for vLLM."""
    scrape_interval_s: int = Field(default=15, ge=5, le=60)
    """Seconds between two readings of Prometheus; the autoscaler's windows hold four of them."""
    dashboard: bool = True
    """Whether dashboards are made."""
    notify_when_healthy: bool = True
    """Whether the end of an alert is told too."""
    runbooks: Annotated[str, Field(pattern=r"^https://\S+$")] | None = None
    """Where your people read ``docs/reference/alerts.md``, e.g. in your Git server; each alert in the cluster links to
    its part of it. When left out they name the page."""
    traces: Traces | None = None
    """Where traces go; none are made when left out."""
    charts: ChartsSettings = ChartsSettings()
    """Helm charts in the private cluster."""
