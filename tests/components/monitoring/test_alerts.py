"""Each alert by promtool's unit tests: what fires it, and what nearly does.

The series are written as Envoy, Triton, vLLM, the GPUs' exporters and the agent write them: a scrape each 15 s.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from components.monitoring.exported import PROMETHEUS
from components.monitoring.queries import adapter_rules
from components.monitoring.settings import MonitoringSettings
from scripts.promtool import RELEASE, built
from spillway.contracts.names import CANARY, MODEL_SERVER
from tests.components.monitoring.test_kubernetes import alerts, build, rules
from tests.support.recording import Recorded

GATEWAY, SERVING = 'namespace="spillway-test-gateway"', 'namespace="spillway-test-serving"'
OTHERS = 'namespace="other-stack-gateway"'
EVER = 80
"""Scrapes: 20 minutes."""
FOR_GOOD = "20m"
LIMITS = MonitoringSettings()
Series = dict[str, str]

needs_promtool = pytest.mark.skipif(not built().is_file(), reason="promtool is not built: python scripts/promtool.py")


@dataclass(frozen=True)
class Case:
    """``fires``: series that fire the alert; ``quiet``: those that nearly do. ``labels``: of the alert, beside ours.
    ``value``: that its summary tells. ``interval``: between scrapes; ``at``: when it is looked."""

    alert: str
    fires: Series
    quiet: Series
    labels: dict[str, str] = field(default_factory=dict)
    value: str = ""
    interval: str = "15s"
    at: str = FOR_GOOD
    kind: Literal["triton", "vllm"] = "triton"
    accelerator: Literal["nvidia", "amd"] = "nvidia"


def constant(value: float) -> str:
    return f"{value}x{EVER}"


def growing(by: float) -> str:
    """A counter."""
    return f"0+{by}x{EVER}"


def latency(slowest_ms: int, name: str = GATEWAY) -> Series:
    """Ten requests a scrape, each within the bucket that ends at ``slowest_ms`` and beyond the one before it."""
    bounds = (1000, 2500, 5000, 10000)
    labels = f'{name},envoy_http_conn_manager_prefix="front"'
    series = f"envoy_http_downstream_rq_time_bucket{{{labels},le="
    counts = {str(bound): growing(10 if bound >= slowest_ms else 0) for bound in bounds}
    return {f'{series}"{bound}"}}': values for bound, values in {**counts, "+Inf": growing(10)}.items()}


def completed(**sites: float) -> Series:
    name = "envoy_cluster_upstream_rq_completed"
    return {f'{name}{{{GATEWAY},envoy_cluster_name="{site}"}}': growing(by) for site, by in sites.items()}


def healthy(**sites: float) -> Series:
    name = "envoy_cluster_membership_healthy"
    return {
        f'{name}{{{GATEWAY},pod="{pod}",envoy_cluster_name="private-{what}"}}': constant(value)
        for key, value in sites.items()
        for pod, _, what in [key.partition("_")]
    }


def site_open(site: str, class_: str, value: int) -> Series:
    return {f'spillway_site_open{{{GATEWAY},site="{site}",class="{class_}"}}': constant(value)}


def streams(metric: str, class_: str, end: str, of_a_thousand: float, name: str = GATEWAY) -> Series:
    """A thousand a scrape, of which so many end beyond the bucket that ends there."""
    own = f'{name},class="{class_}"'
    return {
        f'{metric}_bucket{{{own},le="{end}"}}': growing(1000 - of_a_thousand),
        f'{metric}_bucket{{{own},le="+Inf"}}': growing(1000),
        f"{metric}_count{{{own}}}": growing(1000),
    }


def cutoff_read(pod: str) -> str:
    return f'spillway_cutoff_read_timestamp_seconds{{{GATEWAY},pod="{pod}",parameter="/spillway-test/spill-cutoff"}}'


def waiting(metric: str, *values: int) -> Series:
    return {f'{metric}{{{SERVING},pod="{pod}"}}': constant(value) for pod, value in enumerate(values)}


def pod(name: str, phase: str, scheduled: bool, space: str = SERVING) -> Series:
    """As kube-state-metrics writes one: each phase and each condition's value is a series, 1 or 0.

    kubernetes/kube-state-metrics docs/metrics/workload/pod-metrics.md
    """
    own = f'{space},pod="{name}"'
    phases = {f'kube_pod_status_phase{{{own},phase="{one}"}}': one == phase for one in ("Pending", "Running", "Failed")}
    values = {"true": scheduled, "false": not scheduled, "unknown": False}
    conditions = {f'kube_pod_status_scheduled{{{own},condition="{one}"}}': so for one, so in values.items()}
    return {series: constant(int(so)) for series, so in {**phases, **conditions}.items()}


def worked(metric: str, *labels: str, before: int, now: int) -> Series:
    """A counter, read every four minutes: it grew by ``before`` each time for a day, and by ``now`` since."""
    own = ",".join((SERVING, *labels))
    return {f"{metric}{{{own}}}": f"0+{before}x360 {before * 360 + now}+{now}x5"}


def of_triton(before_s: float, now_s: float) -> Series:
    """Ten requests a scrape of a model, beside an ensemble that does nothing itself."""
    work, done = "nv_inference_compute_infer_duration_us", "nv_inference_request_success"
    return {
        **worked(work, 'model="m"', before=int(before_s * 10e6), now=int(now_s * 10e6)),
        **worked(done, 'model="m"', before=10, now=10),
        **worked(work, 'model="all"', before=0, now=0),
        **worked(done, 'model="all"', before=10, now=10),
    }


def of_vllm(before_s: int, now_s: int) -> Series:
    name = "vllm:request_inference_time_seconds"
    return {
        **worked(f"{name}_sum", before=before_s * 10, now=now_s * 10),
        **worked(f"{name}_count", before=10, now=10),
    }


def connected(slowest_ms: int, site: str) -> Series:
    """Ten connections a scrape, each within the bucket that ends there and beyond the one before it."""
    series = f'envoy_cluster_upstream_cx_connect_ms_bucket{{{GATEWAY},envoy_cluster_name="{site}",le='
    counts = {str(bound): growing(10 if bound >= slowest_ms else 0) for bound in (100, 250, 500, 1000)}
    return {f'{series}"{bound}"}}': values for bound, values in {**counts, "+Inf": growing(10)}.items()}


def queued(seconds: float, gpu: int) -> Series:
    """Ten requests a scrape, and the GPUs' use of a hundred."""
    own = f'{SERVING},model="m"'
    return {
        f"nv_inference_queue_duration_us{{{own}}}": growing(seconds * 10e6),
        f"nv_inference_request_success{{{own}}}": growing(10),
        f"DCGM_FI_DEV_GPU_UTIL{{{SERVING}}}": constant(gpu),
    }


def waited(seconds: float) -> Series:
    """The same of vLLM."""
    name = "vllm:request_queue_time_seconds"
    times = {f"{name}_sum{{{SERVING}}}": growing(seconds * 10), f"{name}_count{{{SERVING}}}": growing(10)}
    return {**times, f"DCGM_FI_DEV_GPU_UTIL{{{SERVING}}}": constant(50)}


CASES = (
    Case("SpillwayLatencyHigh", latency(10000), {**latency(5000), **latency(10000, OTHERS)}),
    Case(
        "SpillwayQueueDeep",
        waiting("nv_inference_pending_request_count", 600, 401),
        waiting("nv_inference_pending_request_count", 600, 400),
    ),
    Case(
        "SpillwayQueueDeep",
        waiting("vllm:num_requests_waiting", 600, 401),
        waiting("vllm:num_requests_waiting", 600, 400),
        kind="vllm",
    ),
    Case("SpillwayGpuSaturated", waiting("DCGM_FI_DEV_GPU_UTIL", 95, 87), waiting("DCGM_FI_DEV_GPU_UTIL", 95, 85)),
    Case(
        "SpillwayGpuSaturated",
        # Under MIG the other one is not there, or nought.
        {f"DCGM_FI_PROF_GR_ENGINE_ACTIVE{{{SERVING}}}": constant(0.91), f"DCGM_FI_DEV_GPU_UTIL{{{SERVING}}}": "0x80"},
        {f"DCGM_FI_PROF_GR_ENGINE_ACTIVE{{{SERVING}}}": constant(0.89), f"DCGM_FI_DEV_GPU_UTIL{{{SERVING}}}": "99x80"},
    ),
    Case(
        "SpillwayGpuSaturated",
        waiting("gpu_gfx_activity", 95, 87),
        waiting("gpu_gfx_activity", 95, 85),
        accelerator="amd",
    ),
    Case(
        "SpillwaySpillHigh",
        completed(**{"private-open": 45, "private-canary": 4, "sagemaker-open": 30, "azure_ml-open": 21}),
        completed(**{"private-open": 45, "private-canary": 6, "sagemaker-open": 30, "azure_ml-open": 20}),
    ),
    Case("SpillwayPrivateSiteDown", healthy(a_open=0, b_open=0, a_canary=1), healthy(a_open=0, b_open=1)),
    Case(
        "SpillwayBurstSiteDown",
        {**site_open("sagemaker", "P0", 0), **site_open("azure_ml", "P0", 1)},
        # A cut-off closes the other classes first; the private site is Envoy's to judge.
        {**site_open("sagemaker", "P1", 0), **site_open("sagemaker", "P0", 1), **site_open("private", "P0", 0)},
        labels={"site": "sagemaker"},
    ),
    Case(
        "SpillwayComputeSlow",
        of_triton(before_s=0.1, now_s=0.21),
        of_triton(before_s=0.1, now_s=0.19),
        labels={"model": "m"},
        interval="4m",
        at="1460m",
    ),
    Case("SpillwayComputeSlow", of_vllm(10, 21), of_vllm(10, 19), interval="4m", at="1460m", kind="vllm"),
    # Half of a try of P0, which is 0.6 s.
    Case(
        "SpillwayNetworkSlow",
        {**connected(500, "sagemaker-open"), **connected(100, "private-open")},
        {**connected(250, "sagemaker-open"), **connected(1000, "cache")},
        labels={"envoy_cluster_name": "sagemaker-open"},
    ),
    Case(
        "SpillwayServersLoading",
        {**pod("model-server-a", "Pending", scheduled=True), **pod("model-server-b", "Pending", scheduled=False)},
        {
            **pod("model-server-a", "Running", scheduled=True),
            **pod("model-server-b", "Pending", scheduled=False),
            **pod("model-server-c", "Pending", scheduled=True, space=OTHERS),
        },
    ),
    Case(
        "SpillwayServersPending",
        {**pod("model-server-a", "Running", scheduled=True), **pod("model-server-b", "Pending", scheduled=False)},
        {
            **pod("model-server-a", "Pending", scheduled=True),
            **pod("spare-server-a", "Pending", scheduled=False),
            **pod("model-server-c", "Pending", scheduled=False, space=OTHERS),
        },
    ),
    Case("SpillwayQueueSlow", queued(0.31, gpu=50), queued(0.29, gpu=50), labels={"model": "m"}),
    # Of too little capacity the other alerts tell.
    Case("SpillwayQueueSlow", queued(0.31, gpu=89), queued(9, gpu=90), labels={"model": "m"}),
    # Half of P0's time to the first token.
    Case("SpillwayQueueSlow", waited(1.1), waited(0.9), kind="vllm"),
    Case(
        "SpillwayGatewayDown",
        {f'up{{{GATEWAY},pod="a"}}': constant(0), f"up{{{OTHERS}}}": constant(1)},
        {f'up{{{GATEWAY},pod="a"}}': constant(0), f'up{{{GATEWAY},pod="b"}}': constant(1)},
    ),
    Case(
        "SpillwayCutoffUnread",
        # Prometheus' clock begins at 0 here; one gateway reads it at each scrape, the other never did.
        {cutoff_read("a"): growing(15), cutoff_read("b"): constant(0)},
        {cutoff_read("a"): growing(15), cutoff_read("b"): "0+15x70 1050x10"},
        labels={"pod": "b"},
    ),
    Case(
        "SpillwayCanaryEnded",
        {f'spillway_canary_ended{{{GATEWAY},pod="{pod}",version="v2"}}': constant(int(pod == "b")) for pod in "ab"},
        {f'spillway_canary_ended{{{GATEWAY},pod="{pod}",version="v2"}}': constant(0) for pod in "ab"},
        labels={"version": "v2"},
    ),
    # 99.9 % of P0, burnt six times as fast as allowed, over six hours and over half an hour.
    Case(
        "SpillwayFirstTokensLateFast",
        streams("spillway_first_token_seconds", "P0", "2.0", 7),
        {
            **streams("spillway_first_token_seconds", "P0", "2.0", 5),
            **streams("spillway_first_token_seconds", "P1", "6.0", 50),
            **streams("spillway_first_token_seconds", "P0", "2.0", 500, OTHERS),
        },
        labels={"class": "P0", "namespace": "spillway-test-gateway"},
        value="0.7%",
        kind="vllm",
    ),
    Case(
        "SpillwayFirstTokensLateSlow",
        streams("spillway_first_token_seconds", "P1", "6.0", 12),
        streams("spillway_first_token_seconds", "P1", "6.0", 8),
        labels={"class": "P1", "namespace": "spillway-test-gateway"},
        value="1.2%",
        kind="vllm",
    ),
    Case(
        "SpillwayTokensSlowFast",
        streams("spillway_token_seconds", "P2", "1.0", 310),
        streams("spillway_token_seconds", "P2", "1.0", 290),
        labels={"class": "P2", "namespace": "spillway-test-gateway"},
        value="31%",
        kind="vllm",
    ),
    Case(
        "SpillwayTokensSlowSlow",
        streams("spillway_token_seconds", "P0", "0.1", 2),
        streams("spillway_token_seconds", "P0", "0.1", 0.5),
        labels={"class": "P0", "namespace": "spillway-test-gateway"},
        value="0.2%",
        kind="vllm",
    ),
)


def built_for(case: Case) -> list[Recorded]:
    return build(kind=case.kind, accelerator=case.accelerator, servers=(MODEL_SERVER, CANARY))


def told(case: Case, rule: dict[str, Any]) -> dict[str, Any]:
    """The alert as Alertmanager gets it."""
    summary = rule["annotations"]["summary"]
    for label, value in case.labels.items():
        summary = summary.replace(f"{{{{ $labels.{label} }}}}", value)
    summary = summary.replace("{{ $value | humanizePercentage }}", case.value)
    return {
        "exp_labels": {**rule["labels"], **case.labels},
        "exp_annotations": {**rule["annotations"], "summary": summary},
    }


def one_test(
    series: Series, *checks: dict[str, Any], what: str = "alert_rule_test", interval: str = "15s"
) -> dict[str, Any]:
    given = [{"series": name, "values": values} for name, values in series.items()]
    return {"interval": interval, "input_series": given, what: list(checks)}


def promtool(folder: Path, found: list[Recorded], tests: list[dict[str, Any]]) -> None:
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "s", "rules": rules(found)}]}))
    described = {"rule_files": ["rules.yaml"], "evaluation_interval": tests[0]["interval"], "tests": tests}
    (folder / "tests.yaml").write_text(yaml.safe_dump(described))
    for command in (["check", "rules", "--lint-fatal", "rules.yaml"], ["test", "rules", "tests.yaml"]):
        done = subprocess.run([built(), *command], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}-{case.kind}-{case.accelerator}")
def test_an_alert_fires_when_it_should_and_only_then(tmp_path: Path, case: Case) -> None:
    found = built_for(case)
    fired = {"eval_time": case.at, "alertname": case.alert}
    expected = {**fired, "exp_alerts": [told(case, alerts(found)[case.alert])]}
    given = ((case.fires, expected), (case.quiet, {**fired, "exp_alerts": []}))
    promtool(tmp_path, found, [one_test(series, check, interval=case.interval) for series, check in given])


def test_every_alert_has_a_case() -> None:
    every = {name for case in CASES for name in alerts(built_for(case))}
    assert {case.alert for case in CASES} == every


@needs_promtool
def test_an_alert_waits_as_long_as_it_says(tmp_path: Path) -> None:
    """So that a server that restarts wakes nobody."""
    found = built_for(CASES[0])
    (case,) = [case for case in CASES if case.alert == "SpillwayPrivateSiteDown"]
    early = {"eval_time": "45s", "alertname": case.alert, "exp_alerts": []}
    promtool(tmp_path, found, [one_test(case.fires, early)])


@needs_promtool
def test_ten_bad_minutes_are_told_at_once_and_no_longer_than_they_last(tmp_path: Path) -> None:
    """Every tenth stream of P0 is late for ten minutes after six good hours, and then none: a hundred a minute. Of an
    hour that is 1.7 %, above 14.4 times what is allowed; of six it is too little. Afterwards the five minutes end it.
    """
    (case,) = [replace(case, value="1.695%") for case in CASES if case.alert == "SpillwayFirstTokensLateFast"]
    found = built_for(case)
    own = f'{GATEWAY},class="P0"'
    series = {
        f"spillway_first_token_seconds_count{{{own}}}": "0+100x400",
        f'spillway_first_token_seconds_bucket{{{own},le="2.0"}}': "0+100x360 36090+90x9 37000+100x29",
    }
    given = [{"series": name, "values": values} for name, values in series.items()]
    fired = told(case, alerts(found)[case.alert])
    checks = [
        {"eval_time": "360m", "alertname": case.alert, "exp_alerts": []},
        {"eval_time": "370m", "alertname": case.alert, "exp_alerts": [fired]},
        {"eval_time": "376m", "alertname": case.alert, "exp_alerts": []},
    ]
    promtool(tmp_path, found, [{"interval": "1m", "input_series": given, "alert_rule_test": checks}])


@needs_promtool
@pytest.mark.parametrize(
    ("metric", "by", "series", "value"),
    [
        # 30 requests a scrape waited 6 s in all, 200 ms each; the ensemble before them waits nowhere.
        (
            "triton_queue_ms",
            "namespace,pod",
            {
                f'nv_inference_queue_duration_us{{{SERVING},pod="a",model="encoder"}}': growing(6_000_000),
                f'nv_inference_request_success{{{SERVING},pod="a",model="encoder"}}': growing(30),
                f'nv_inference_queue_duration_us{{{SERVING},pod="a",model="ensemble"}}': growing(0),
                f'nv_inference_request_success{{{SERVING},pod="a",model="ensemble"}}': growing(30),
            },
            200.0,
        ),
        # Two gateways, two sites, and another stack's.
        (
            "spillway_requests_in_flight",
            "",
            {
                f'envoy_cluster_upstream_rq_active{{{GATEWAY},pod="a",envoy_cluster_name="private-open"}}': "7x80",
                f'envoy_cluster_upstream_rq_active{{{GATEWAY},pod="b",envoy_cluster_name="private-open"}}': "5x80",
                f'envoy_cluster_upstream_rq_active{{{GATEWAY},pod="b",envoy_cluster_name="sagemaker-open"}}': "4x80",
                # The gates before a site count the same requests again.
                f'envoy_cluster_upstream_rq_active{{{GATEWAY},pod="b",envoy_cluster_name="sagemaker-batch"}}': "3x80",
                f'envoy_cluster_upstream_rq_active{{{OTHERS},pod="c",envoy_cluster_name="private-open"}}': "100x80",
            },
            16.0,
        ),
    ],
)
def test_the_adapters_questions_have_the_value_that_is_meant(
    tmp_path: Path, metric: str, by: str, series: Series, value: float
) -> None:
    every: Any = adapter_rules("nvidia", LIMITS.scrape_interval_s)
    (rule,) = [one for one in (*every["custom"], *every["external"]) if one["name"]["as"] == metric]
    space = SERVING if by else GATEWAY
    query = rule["metricsQuery"].replace("<<.LabelMatchers>>", space).replace("<<.GroupBy>>", by)
    query = query.replace("<<.Series>>", rule["seriesQuery"].partition("{")[0])
    labels = '{namespace="spillway-test-serving", pod="a"}' if by else "{}"
    check = {"expr": query, "eval_time": FOR_GOOD, "exp_samples": [{"labels": labels, "value": value}]}
    promtool(tmp_path, built_for(CASES[0]), [one_test(series, check, what="promql_expr_test")])


def test_promtool_is_of_the_prometheus_that_is_installed() -> None:
    assert PROMETHEUS.version == f"v{RELEASE}"
