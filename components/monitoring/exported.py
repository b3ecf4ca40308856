"""Who exports each metric that an alert, the dashboard or an autoscaler names, in the version that a stack runs.

A name that nobody exports makes a rule that never fires and an autoscaler that never moves, silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from spillway.contracts.schema_tables import table
from spillway.contracts.server_routes import TRITON_VERSION, VLLM_VERSION


@dataclass(frozen=True)
class Exporter:
    """``pinned``: what decides its version. ``source``: where its names were read; empty where a test asks it."""

    name: str
    version: str
    pinned: str
    source: str = ""


ENVOY: Final = Exporter("Envoy", "1.40.0", "`gateway.image`")
AGENT: Final = Exporter("the gateway's agent", "Spillway's own", "`gateway.agent_image`")
TRITON: Final = Exporter("Triton", TRITON_VERSION, "`model_server.triton_image`")
VLLM: Final = Exporter(
    "vLLM", VLLM_VERSION, "`model_server.vllm_image`", "wheel vllm 0.30.0, vllm/v1/metrics/loggers.py"
)
DCGM: Final = Exporter(
    "DCGM exporter",
    "4.4.1-4.6.0",
    "chart gpu-operator v25.10.0 (`dcgmExporter.version`), chart dcgm-exporter 4.6.0",
    "NVIDIA/dcgm-exporter 13ad457 etc/dcp-metrics-included.csv, which the operator's assets/state-dcgm-exporter names, "
    "and etc/default-counters.csv, which the chart names",
)
AMD: Final = Exporter(
    "AMD device metrics exporter",
    "v1.4.0",
    "chart gpu-operator-charts v1.4.0",
    "ROCm/device-metrics-exporter d222ad9a pkg/amdgpu/gpuagent/gpuagent_metrics.go; not on partitioned GPUs",
)
PROMETHEUS: Final = Exporter(
    "Prometheus", "v3.5.0", "chart kube-prometheus-stack 77.5.0", "https://prometheus.io/docs/concepts/jobs_instances/"
)

KUBE_STATE: Final = Exporter(
    "kube-state-metrics",
    "2.17.0",
    "chart kube-prometheus-stack 77.5.0, chart kube-state-metrics 6.3.0",
    "kubernetes/kube-state-metrics docs/metrics/workload/pod-metrics.md",
)

EXPORTED: Final[dict[str, Exporter]] = {
    "DCGM_FI_DEV_GPU_UTIL": DCGM,
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": DCGM,
    "envoy_cluster_membership_healthy": ENVOY,
    "envoy_cluster_upstream_cx_connect_ms_bucket": ENVOY,
    "envoy_cluster_upstream_rq_active": ENVOY,
    "envoy_cluster_upstream_rq_completed": ENVOY,
    "envoy_cluster_upstream_rq_time_bucket": ENVOY,
    "envoy_http_downstream_rq_time_bucket": ENVOY,
    "envoy_http_downstream_rq_xx": ENVOY,
    "gpu_gfx_activity": AMD,
    "kube_pod_status_phase": KUBE_STATE,
    "kube_pod_status_scheduled": KUBE_STATE,
    "nv_inference_compute_infer_duration_us": TRITON,
    "nv_inference_pending_request_count": TRITON,
    "nv_inference_queue_duration_us": TRITON,
    "nv_inference_request_success": TRITON,
    "spillway_canary_ended": AGENT,
    "spillway_cutoff_read_timestamp_seconds": AGENT,
    "spillway_first_token_seconds_bucket": AGENT,
    "spillway_first_token_seconds_count": AGENT,
    "spillway_site_open": AGENT,
    "spillway_token_seconds_bucket": AGENT,
    "spillway_token_seconds_count": AGENT,
    "up": PROMETHEUS,
    "vllm:kv_cache_usage_perc": VLLM,
    "vllm:num_requests_waiting": VLLM,
    "vllm:request_inference_time_seconds_count": VLLM,
    "vllm:request_inference_time_seconds_sum": VLLM,
    "vllm:request_queue_time_seconds_count": VLLM,
    "vllm:request_queue_time_seconds_sum": VLLM,
}
"""Metric: its exporter."""


def exported() -> str:
    """The reference page's table."""
    rows = [
        (f"`{metric}`", who.name, who.version, who.pinned, who.source or "asked itself, in a test")
        for metric, who in EXPORTED.items()
    ]
    return table(("Metric", "Exported by", "Version", "Pinned by", "Read in"), rows)
