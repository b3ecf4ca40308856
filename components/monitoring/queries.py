"""What is asked of Prometheus: one place for alerts, dashboard and autoscaling.

Metric names: Envoy 1.40's ``/stats/prometheus``, Triton's and vLLM's ``/metrics``, DCGM exporter's and AMD's default
counters, and the agent's own. Envoy counts time in milliseconds. Each question is about one stack's namespaces, for one
Prometheus may watch several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from components.private_cluster.settings import Accelerator
from spillway.contracts.names import MODEL_SERVER, Namespaces

WINDOW: Final = "5m"
DEMAND: Final = "spillway_requests_in_flight"
"""What prometheus-adapter calls :attr:`Queries.in_flight`."""


@dataclass(frozen=True)
class Queries:
    """``kind``: of the package, which decides what the model servers' metrics are called."""

    namespaces: Namespaces
    accelerator: Accelerator
    kind: Literal["triton", "vllm"]

    @property
    def _front(self) -> str:
        return f'namespace="{self.namespaces.gateway}",envoy_http_conn_manager_prefix="front"'

    def _sites(self, names: str = ".+") -> str:
        # A release on trial answers for its site, too.
        return f'namespace="{self.namespaces.gateway}",envoy_cluster_name=~"{names}-(open|canary)"'

    @property
    def latency_p99_s(self) -> str:
        """P99 over all clients, seconds, at the gateway: spilled requests included."""
        rate = f"rate(envoy_http_downstream_rq_time_bucket{{{self._front}}}[{WINDOW}])"
        return f"histogram_quantile(0.99, sum by (le) ({rate})) / 1000"

    @property
    def latency_p99_by_site_s(self) -> str:
        rate = f"rate(envoy_cluster_upstream_rq_time_bucket{{{self._sites()}}}[{WINDOW}])"
        return f"histogram_quantile(0.99, sum by (le, envoy_cluster_name) ({rate})) / 1000"

    @property
    def requests_by_site(self) -> str:
        """Requests a second that each site answered."""
        rate = f"rate(envoy_cluster_upstream_rq_completed{{{self._sites()}}}[{WINDOW}])"
        return f"sum by (envoy_cluster_name) ({rate})"

    @property
    def spill_share(self) -> str:
        """Share of the requests that burst sites answered, 0 to 1; nothing without requests."""
        burst, all_ = (
            f"sum(rate(envoy_cluster_upstream_rq_completed{{{self._sites(names)}}}[{WINDOW}]))"
            for names in ("(sagemaker|azure_ml)", ".+")
        )
        return f"{burst} / {all_}"

    @property
    def answers_by_code(self) -> str:
        rate = f"rate(envoy_http_downstream_rq_xx{{{self._front}}}[{WINDOW}])"
        return f"sum by (envoy_response_code_class) ({rate})"

    @property
    def private_down(self) -> str:
        healthy = 'envoy_cluster_membership_healthy{namespace="%s",envoy_cluster_name="private-open"}'
        return f"max({healthy % self.namespaces.gateway}) == 0"

    @property
    def burst_down(self) -> str:
        """P0 is the last class that a cut-off closes, so a site closed for P0 is down or much too dear."""
        open_ = f'spillway_site_open{{namespace="{self.namespaces.gateway}",class="P0",site!="private"}}'
        return f"max by (site) ({open_}) == 0"

    @property
    def sites_open(self) -> str:
        return f'min by (site, class) (spillway_site_open{{namespace="{self.namespaces.gateway}"}})'

    @property
    def gateway_down(self) -> str:
        return f'absent(up{{namespace="{self.namespaces.gateway}"}} == 1)'

    @property
    def cutoff_unread_s(self) -> str:
        """Seconds since each gateway last read the spill cut-off; since 1970 where it never did."""
        read = f'spillway_cutoff_read_timestamp_seconds{{namespace="{self.namespaces.gateway}"}}'
        return f"time() - max by (pod) ({read})"

    @property
    def canary_ended(self) -> str:
        return f'max by (version) (spillway_canary_ended{{namespace="{self.namespaces.gateway}"}}) == 1'

    @property
    def queue_depth(self) -> str:
        """Requests that wait in the model servers."""
        name = "vllm:num_requests_waiting" if self.kind == "vllm" else "nv_inference_pending_request_count"
        return f'sum({name}{{namespace="{self.namespaces.serving}"}})'

    def p95_by_class_s(self, metric: str) -> str:
        """Of one of the agent's histograms of generated text."""
        rate = f'rate({metric}_bucket{{namespace="{self.namespaces.gateway}"}}[{WINDOW}])'
        return f"histogram_quantile(0.95, sum by (le, class) ({rate}))"

    @property
    def kv_share(self) -> str:
        """Mean share of the servers' KV caches in use, 0 to 1."""
        return f'avg(vllm:kv_cache_usage_perc{{namespace="{self.namespaces.serving}"}})'

    @property
    def working_s(self) -> str:
        """Cause: compute. Seconds that a server works on a request, on average."""
        return self._worked()

    @property
    def work_growth(self) -> str:
        """Cause: compute. How many times as long a server works on a request as a day ago; nothing on the first day."""
        return f"({self._worked()}) / ({self._worked(' offset 1d')})"

    def _worked(self, offset: str = "") -> str:
        names = "nv_inference_compute_infer_duration_us", "vllm:request_inference_time_seconds"
        return self._per_request(*names, offset)

    @property
    def queued_s(self) -> str:
        """Cause: scheduling. Seconds that a request waits in a server, on average."""
        return self._per_request("nv_inference_queue_duration_us", "vllm:request_queue_time_seconds")

    def _per_request(self, of_triton: str, of_vllm: str, offset: str = "") -> str:
        """Of Triton by model: an ensemble does nothing itself and would thin the mean out."""
        own = f'{{namespace="{self.namespaces.serving}"}}[{WINDOW}]{offset}'
        if self.kind == "vllm":
            return f"sum(rate({of_vllm}_sum{own})) / sum(rate({of_vllm}_count{own}))"
        requests = f"sum by (model) (rate(nv_inference_request_success{own}))"
        return f"sum by (model) (rate({of_triton}{own})) / {requests} / 1000000"

    @property
    def connect_p99_s(self) -> str:
        """Cause: network. P99 of the seconds until a site's server has taken a connection, TLS included."""
        rate = f"rate(envoy_cluster_upstream_cx_connect_ms_bucket{{{self._sites()}}}[{WINDOW}])"
        return f"histogram_quantile(0.99, sum by (le, envoy_cluster_name) ({rate})) / 1000"

    @property
    def servers_pending(self) -> str:
        """Cause: scheduling. Model servers that have no node."""
        return f'sum(kube_pod_status_scheduled{{{self._servers},condition="false"}})'

    @property
    def servers_loading(self) -> str:
        """Cause: storage. Model servers that have a node and still wait for their image, a volume or the package."""
        return f'sum(kube_pod_status_phase{{{self._servers},phase="Pending"}}) - {self.servers_pending}'

    @property
    def _servers(self) -> str:
        # Places that are kept for further ones wait for nodes as a matter of course.
        return f'namespace="{self.namespaces.serving}",pod=~"{MODEL_SERVER}-.+"'

    @property
    def gpu_share(self) -> str:
        """Mean share of the model servers' GPU time, 0 to 1. Under MIG only the graphics engine's activity is
        defined."""
        own = f'{{namespace="{self.namespaces.serving}"}}'
        if self.accelerator == "amd":
            return f"avg(gpu_gfx_activity{own}) / 100"
        return f"avg(DCGM_FI_PROF_GR_ENGINE_ACTIVE{own}) or avg(DCGM_FI_DEV_GPU_UTIL{own}) / 100"


def adapter_rules(accelerator: Accelerator, scrape_interval_s: int) -> dict[str, object]:
    """prometheus-adapter's rules: ``custom`` metrics, per pod, and the ``external`` one, under the names that the model
    servers' autoscaler asks for."""
    # AMD's exporter has another name for the same percentage; the autoscaler knows one.
    load = "gpu_gfx_activity" if accelerator == "amd" else "DCGM_FI_DEV_GPU_UTIL"
    # A rate needs two readings, and one may be late.
    window = f"[{max(60, 4 * scrape_interval_s)}s]"
    waited = f"rate(nv_inference_queue_duration_us{{<<.LabelMatchers>>}}{window})"
    # Per model, the slowest counts: an ensemble has no queue of its own and would thin the mean out.
    queue_ms = (
        f"max by (<<.GroupBy>>) ({waited} "
        f"/ clamp_min(rate(nv_inference_request_success{{<<.LabelMatchers>>}}{window}), 0.001)) / 1000"
    )
    average, total = (f"{how} by (<<.GroupBy>>) (<<.Series>>{{<<.LabelMatchers>>}})" for how in ("avg", "sum"))
    return {
        "default": False,
        "custom": [
            _rule(load, "DCGM_FI_DEV_GPU_UTIL", average),
            _rule("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_PROF_GR_ENGINE_ACTIVE", average),
            _rule("nv_inference_queue_duration_us", "triton_queue_ms", queue_ms),
            _rule("vllm:num_requests_waiting", "vllm_num_requests_waiting", total),
            _rule("vllm:kv_cache_usage_perc", "vllm_kv_cache_usage", average),
        ],
        "external": [_in_flight()],
    }


def _in_flight() -> dict[str, object]:
    """Requests that are being answered, at whatever site: those that spill are demand, too."""
    series = "envoy_cluster_upstream_rq_active"
    return {
        "seriesQuery": f'{series}{{envoy_cluster_name=~".+-open"}}',
        # The autoscaler's namespace is not the gateways', which it names itself.
        "resources": {"namespaced": False},
        "name": {"matches": f"^{series}$", "as": DEMAND},
        "metricsQuery": 'sum(<<.Series>>{envoy_cluster_name=~".+-open",<<.LabelMatchers>>})',
    }


def _rule(series: str, name: str, query: str) -> dict[str, object]:
    return {
        "seriesQuery": f'{series}{{namespace!="",pod!=""}}',
        "resources": {"overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}},
        "name": {"matches": f"^{series}$", "as": name},
        "metricsQuery": query,
    }
