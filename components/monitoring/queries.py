"""What is asked of Prometheus: one place for alerts, dashboard and autoscaling.

Metric names: Envoy 1.40's ``/stats/prometheus``, Triton's and vLLM's ``/metrics``, DCGM exporter's and AMD's default
counters, and the agent's own. Envoy counts time in milliseconds.
"""

from __future__ import annotations

from typing import Final, Literal

from components.private_cluster.settings import Accelerator

WINDOW: Final = "5m"
BURST: Final = "(sagemaker|azure_ml)-open"
FRONT: Final = 'envoy_http_conn_manager_prefix="front"'

LATENCY_P99_S: Final = (
    f"histogram_quantile(0.99, sum by (le) (rate(envoy_http_downstream_rq_time_bucket{{{FRONT}}}[{WINDOW}]))) / 1000"
)
"""P99 over all clients, seconds, at the gateway: spilled requests included."""

LATENCY_P99_BY_SITE_S: Final = (
    "histogram_quantile(0.99, sum by (le, envoy_cluster_name) "
    f'(rate(envoy_cluster_upstream_rq_time_bucket{{envoy_cluster_name=~".+-open"}}[{WINDOW}]))) / 1000'
)

REQUESTS_BY_SITE: Final = (
    "sum by (envoy_cluster_name) "
    f'(rate(envoy_cluster_upstream_rq_completed{{envoy_cluster_name=~".+-open"}}[{WINDOW}]))'
)
"""Requests a second that each site answered."""

SPILL_SHARE: Final = (
    f'sum(rate(envoy_cluster_upstream_rq_completed{{envoy_cluster_name=~"{BURST}"}}[{WINDOW}])) '
    f'/ sum(rate(envoy_cluster_upstream_rq_completed{{envoy_cluster_name=~".+-open"}}[{WINDOW}]))'
)
"""Share of the requests that burst sites answered, 0 to 1; nothing without requests."""

ANSWERS_BY_CODE: Final = f"sum by (envoy_response_code_class) (rate(envoy_http_downstream_rq_xx{{{FRONT}}}[{WINDOW}]))"

PRIVATE_DOWN: Final = 'max(envoy_cluster_membership_healthy{envoy_cluster_name="private-open"}) == 0'
BURST_DOWN: Final = 'max by (site) (spillway_site_open{class="P0",site!="private"}) == 0'
"""P0 is the last class that a cut-off closes, so a site that is closed for P0 is down or much too dear."""

GATEWAY_DOWN: Final = 'absent(up{namespace="spillway-gateway"} == 1)'


def queue_depth(kind: Literal["triton", "vllm"]) -> str:
    """Requests that wait in the model servers."""
    return "sum(vllm:num_requests_waiting)" if kind == "vllm" else "sum(nv_inference_pending_request_count)"


def gpu_share(accelerator: Accelerator) -> str:
    """Mean share of the GPUs' time, 0 to 1. Under MIG only the graphics engine's activity is defined."""
    if accelerator == "amd":
        return "avg(gpu_gfx_activity) / 100"
    return "avg(DCGM_FI_PROF_GR_ENGINE_ACTIVE) or avg(DCGM_FI_DEV_GPU_UTIL) / 100"


def adapter_rules(accelerator: Accelerator) -> list[dict[str, object]]:
    """prometheus-adapter's custom metrics, per pod, under the names that the model servers' autoscaler asks for."""
    # AMD's exporter has another name for the same percentage; the autoscaler knows one.
    load = "gpu_gfx_activity" if accelerator == "amd" else "DCGM_FI_DEV_GPU_UTIL"
    waited = "rate(nv_inference_queue_duration_us{<<.LabelMatchers>>}[1m])"
    # Per model, the slowest counts: an ensemble has no queue of its own and would thin the mean out.
    queue_ms = (
        f"max by (<<.GroupBy>>) ({waited} "
        "/ clamp_min(rate(nv_inference_request_success{<<.LabelMatchers>>}[1m]), 0.001)) / 1000"
    )
    average = "avg by (<<.GroupBy>>) (<<.Series>>{<<.LabelMatchers>>})"
    return [
        _rule(load, "DCGM_FI_DEV_GPU_UTIL", average),
        _rule("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_PROF_GR_ENGINE_ACTIVE", average),
        _rule("nv_inference_queue_duration_us", "triton_queue_ms", queue_ms),
        _rule(
            "vllm:num_requests_waiting",
            "vllm_num_requests_waiting",
            "sum by (<<.GroupBy>>) (<<.Series>>{<<.LabelMatchers>>})",
        ),
    ]


def _rule(series: str, name: str, query: str) -> dict[str, object]:
    return {
        "seriesQuery": f'{series}{{namespace!="",pod!=""}}',
        "resources": {"overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}},
        "name": {"matches": f"^{series}$", "as": name},
        "metricsQuery": query,
    }
