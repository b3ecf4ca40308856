from __future__ import annotations

import json
import re
from typing import Any

import pytest

from components.chart_values import merged
from components.connectivity.settings import MirrorSettings
from components.model_server.server import ModelServer, ModelServerArgs
from components.model_server.settings import ModelServerSettings
from components.monitoring.kubernetes import KubernetesMonitoring, KubernetesMonitoringArgs, Notices
from components.monitoring.settings import MonitoringSettings
from tests.support.recording import Recorded, context, of_type, record

MONITORING = "kubernetes:monitoring.coreos.com/v1"


def build(settings: dict[str, Any] | None = None, **changes: Any) -> list[Recorded]:
    args: dict[str, Any] = {
        "settings": MonitoringSettings.model_validate(settings or {}),
        "mirror": MirrorSettings(),
        "accelerator": "nvidia",
        "kind": "triton",
        "priority_class": "spillway-test-p1",
        "notices": Notices("arn:aws:sns:eu-west-1:123456789012:notices", "arn:aws:iam::1:role/alerts", "eu-west-1"),
    }
    return record(lambda: KubernetesMonitoring(context(), KubernetesMonitoringArgs(**{**args, **changes})))


def releases(found: list[Recorded]) -> dict[str, dict[str, Any]]:
    return {r.name.removeprefix("spillway-test-"): r.inputs for r in of_type(found, "kubernetes:helm.sh/v3:Release")}


def custom(found: list[Recorded], kind: str) -> dict[str, dict[str, Any]]:
    return {r.inputs["metadata"]["name"]: r.inputs for r in of_type(found, f"{MONITORING}:{kind}")}


def alerts(found: list[Recorded]) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules(found) if "alert" in rule}


def recordings(found: list[Recorded]) -> list[dict[str, Any]]:
    return [rule for rule in rules(found) if "record" in rule]


def rules(found: list[Recorded]) -> list[dict[str, Any]]:
    groups = custom(found, "PrometheusRule")["spillway-alerts"]["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_charts_are_pinned_and_see_our_monitors() -> None:
    found = releases(build())
    stack, adapter = found["kube-prometheus-stack"], found["prometheus-adapter"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", stack["version"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", adapter["version"])
    assert {stack["namespace"], adapter["namespace"]} == {"spillway-test-monitoring"}
    spec = stack["values"]["prometheus"]["prometheusSpec"]
    assert spec["serviceMonitorSelectorNilUsesHelmValues"] is False
    assert spec["podMonitorSelectorNilUsesHelmValues"] is False
    assert spec["ruleSelectorNilUsesHelmValues"] is False
    assert stack["values"]["grafana"]["adminPassword"] == ""
    assert (
        adapter["values"]["prometheus"]["url"] == "http://kube-prometheus-stack-prometheus.spillway-test-monitoring.svc"
    )
    assert stack["values"]["fullnameOverride"] == "kube-prometheus-stack"


@pytest.mark.parametrize(("named", "used"), [(None, "stack-gp3"), ("fast", "fast")])
def test_prometheus_volume_is_of_the_stacks_class_and_never_full(named: str | None, used: str) -> None:
    chart = {"storage": "50Gi", **({"storage_class": named} if named else {})}
    found = build({"charts": {"prometheus": chart}}, storage_class="stack-gp3")
    spec = releases(found)["kube-prometheus-stack"]["values"]["prometheus"]["prometheusSpec"]
    claim = spec["storageSpec"]["volumeClaimTemplate"]["spec"]
    assert claim["storageClassName"] == used
    assert claim["resources"]["requests"]["storage"] == "50Gi"
    assert spec["retentionSize"] == f"{40 * 1024}MB"


@pytest.mark.parametrize(("kind", "mig"), [("triton", False), ("triton", True), ("vllm", False)])
def test_autoscaler_finds_every_metric_it_asks_for(kind: Any, mig: bool) -> None:
    settings = ModelServerSettings.model_validate({"autoscaling": {"mig": mig}})
    server = ModelServerArgs(
        settings=settings,
        mirror=MirrorSettings(),
        accelerator="nvidia",
        kind=kind,
        entry_model="minilm",
        package_uri="s3://b/k",
        package_sha256="a" * 64,
        aws_region="eu-west-1",
        priority_class="p0",
        slots=4,
        cpu="4",
        memory="16Gi",
        role_arn="arn:aws:iam::123456789012:role/r",
    )
    found = record(lambda: ModelServer(context(), server))
    (hpa,) = of_type(found, "kubernetes:autoscaling/v2:HorizontalPodAutoscaler")
    metrics = hpa.inputs["spec"]["metrics"]
    wanted = {metric["pods"]["metric"]["name"] for metric in metrics if metric["type"] == "Pods"}
    rules = releases(build(kind=kind))["prometheus-adapter"]["values"]["rules"]
    assert wanted <= {rule["name"]["as"] for rule in rules["custom"]}
    demanded = [metric["external"]["metric"] for metric in metrics if metric["type"] == "External"]
    assert [one["name"] for one in demanded] == [rule["name"]["as"] for rule in rules["external"]]
    # It is the gateways' own number, and the autoscaler stands in another namespace.
    assert demanded[0]["selector"]["matchLabels"] == {"namespace": "spillway-test-gateway"}
    for rule in rules["custom"]:
        assert re.search(rule["name"]["matches"], rule["seriesQuery"].split("{")[0])
        assert set(rule["resources"]["overrides"]) == {"namespace", "pod"}


def test_what_watches_is_not_the_first_to_go() -> None:
    """Without a class of their own its pods are preempted by every one of ours. Keys: charts' default values."""
    values = releases(build())["kube-prometheus-stack"]["values"]
    specs = [values["prometheus"]["prometheusSpec"], values["alertmanager"]["alertmanagerSpec"]]
    parts = ("prometheusOperator", "kube-state-metrics", "prometheus-node-exporter", "grafana")
    assert {part["priorityClassName"] for part in (*specs, *(values[name] for name in parts))} == {"spillway-test-p1"}


def test_queue_time_comes_from_tritons_counters() -> None:
    rules = releases(build())["prometheus-adapter"]["values"]["rules"]["custom"]
    (query,) = [rule["metricsQuery"] for rule in rules if rule["name"]["as"] == "triton_queue_ms"]
    assert "nv_inference_queue_duration_us" in query
    assert "nv_inference_request_success" in query
    assert query.endswith("/ 1000")


def test_amd_serves_the_load_under_the_autoscalers_name() -> None:
    rules = releases(build(accelerator="amd"))["prometheus-adapter"]["values"]["rules"]["custom"]
    load = next(rule for rule in rules if rule["name"]["as"] == "DCGM_FI_DEV_GPU_UTIL")
    assert load["seriesQuery"].startswith("gpu_gfx_activity")


@pytest.mark.parametrize(("kind", "port"), [("triton", "metrics"), ("vllm", "http")])
def test_model_servers_and_gateway_are_scraped(kind: Any, port: str) -> None:
    found = build(kind=kind)
    server = custom(found, "ServiceMonitor")["model-server"]
    assert server["metadata"]["namespace"] == "spillway-test-serving"
    assert server["spec"]["selector"] == {"matchLabels": {"app.kubernetes.io/name": "model-server"}}
    assert server["spec"]["endpoints"][0]["port"] == port
    gateway = custom(found, "PodMonitor")["gateway"]["spec"]["podMetricsEndpoints"]
    assert [(e["port"], e["path"]) for e in gateway] == [("metrics", "/metrics"), ("metrics", "/agent/metrics")]
    (gpu,) = custom(found, "PodMonitor")["gpu-metrics"]["spec"]["podMetricsEndpoints"]
    assert gpu["honorLabels"] is True


def test_alerts_carry_the_settings_thresholds() -> None:
    settings = {"max_latency_p99_s": 3.5, "max_queue_depth": 77, "max_gpu_utilisation": 0.6, "max_spill_share": 0.25}
    found = alerts(build({**settings, "alert_minutes": 7}))
    assert found["SpillwayLatencyHigh"]["expr"].endswith("> 3.5")
    assert "histogram_quantile(0.99" in found["SpillwayLatencyHigh"]["expr"]
    assert (
        found["SpillwayQueueDeep"]["expr"]
        == 'sum(nv_inference_pending_request_count{namespace="spillway-test-serving"}) > 77'
    )
    assert found["SpillwayGpuSaturated"]["expr"].endswith("> 0.6")
    assert found["SpillwaySpillHigh"]["expr"].endswith("> 0.25")
    assert found["SpillwayLatencyHigh"]["for"] == "7m"
    assert {"SpillwayPrivateSiteDown", "SpillwayBurstSiteDown", "SpillwayGatewayDown"} <= set(found)


def test_default_thresholds_are_the_kits() -> None:
    found = alerts(build())
    assert found["SpillwayLatencyHigh"]["expr"].endswith("> 5.0")
    assert found["SpillwayQueueDeep"]["expr"].endswith("> 1000")


def test_dashboard_is_found_by_grafana_and_can_be_left_out() -> None:
    (config,) = of_type(build(), "kubernetes:core/v1:ConfigMap")
    assert config.inputs["metadata"]["labels"]["grafana_dashboard"] == "1"
    shown = json.loads(config.inputs["data"]["spillway.json"])
    titles = {panel["title"] for panel in shown["panels"]}
    assert {"Latency P99", "Waiting requests", "GPU time used", "Requests by site"} <= titles
    assert len({panel["id"] for panel in shown["panels"]}) == len(shown["panels"])
    assert of_type(build({"dashboard": False}), "kubernetes:core/v1:ConfigMap") == []


def test_cluster_with_its_own_prometheus_keeps_it() -> None:
    found = build({"charts": {"prometheus": {"enabled": False}, "adapter": {"enabled": False}}})
    assert releases(found) == {}
    assert custom(found, "PrometheusRule")


def test_mirror_replaces_charts_and_images() -> None:
    charts = {"https://prometheus-community.github.io/helm-charts": "oci://registry.example.com/charts"}
    mirror = MirrorSettings(images={"quay.io": "registry.example.com/quay"}, charts=charts)
    stack = releases(build(mirror=mirror))["kube-prometheus-stack"]
    assert stack["chart"] == "oci://registry.example.com/charts/kube-prometheus-stack"
    assert stack["values"]["prometheus"]["prometheusSpec"]["image"] == {"registry": "registry.example.com/quay"}


def test_a_mirror_with_a_log_in_is_told_to_both_charts() -> None:
    found = releases(build(mirror=MirrorSettings(images={"*": "registry.example.com"}, pull_secret="mirror_login")))
    assert found["kube-prometheus-stack"]["values"]["global"] == {"imagePullSecrets": [{"name": "spillway-test-pull"}]}
    assert found["prometheus-adapter"]["values"]["image"]["pullSecrets"] == ["spillway-test-pull"]


def test_team_values_win_and_leave_the_rest() -> None:
    values = {"alertmanager": {"config": {"route": {"receiver": "team"}}}, "grafana": {"replicas": 2}}
    stack = releases(build({"charts": {"prometheus": {"values": values}}}))["kube-prometheus-stack"]["values"]
    assert stack["alertmanager"]["config"]["route"]["receiver"] == "team"
    assert stack["grafana"]["replicas"] == 2
    assert stack["grafana"]["sidecar"]["dashboards"]["enabled"] is True
    assert merged({"a": {"b": 1}}, {"a": 2}) == {"a": 2}


def test_spillways_alerts_go_where_all_notices_go() -> None:
    """And the chart's own to nobody. Alertmanager's keys: https://prometheus.io/docs/alerting/latest/configuration/; it
    publishes as its service account, whose token AWS exchanges."""
    (values,) = (one["values"] for name, one in releases(build()).items() if name == "kube-prometheus-stack")
    alertmanager = values["alertmanager"]
    route, receivers = alertmanager["config"]["route"], alertmanager["config"]["receivers"]
    named = {one["name"]: one for one in receivers}
    assert named.keys() == {route["receiver"], *(one["receiver"] for one in route["routes"])}
    assert named[route["receiver"]].keys() == {"name"}
    (ours,) = route["routes"]
    assert ours["matchers"] == ['service = "spillway"']
    assert all(rule["labels"]["service"] == "spillway" for rule in alerts(build()).values())
    (topic,) = named[ours["receiver"]]["sns_configs"]
    assert topic["topic_arn"] == "arn:aws:sns:eu-west-1:123456789012:notices"
    assert topic["sigv4"] == {"region": "eu-west-1"}
    assert topic["send_resolved"] is True
    pod = alertmanager["alertmanagerSpec"]
    (container,) = pod["containers"]
    variables = {one["name"]: one["value"] for one in container["env"]}
    (mounted,) = container["volumeMounts"]
    assert variables["AWS_WEB_IDENTITY_TOKEN_FILE"].startswith(mounted["mountPath"])
    assert {volume["name"] for volume in pod["volumes"]} == {mounted["name"]}
    assert alertmanager["serviceAccount"]["name"] == "alertmanager"
    quiet = releases(build({"notify_when_healthy": False}))["kube-prometheus-stack"]["values"]["alertmanager"]
    assert not quiet["config"]["receivers"][1]["sns_configs"][0]["send_resolved"]
