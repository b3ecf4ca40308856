from __future__ import annotations

from typing import Any

import pytest

from components.connectivity.settings import MirrorSettings
from components.monitoring.kubernetes import KubernetesMonitoring, KubernetesMonitoringArgs, Notices
from components.monitoring.settings import MonitoringSettings
from components.private_cluster.platform import KubernetesPlatform, KubernetesPlatformArgs
from components.private_cluster.settings import AksSettings, EksSettings, ExistingSettings
from spillway.conformance.services.kubernetes.charts import RELEASE
from spillway.contracts.resources import Resource
from tests.conformance.support import found, made
from tests.support.recording import Recorded, context, record

STACK = {"chart": "kube-prometheus-stack", "version": "77.5.0"}
MI300X = {"vm_size": "Standard_ND96isr_MI300X_v5"}
DRIVER = {"driver": True, "driver_image": "registry.example.com/amdgpu"}
ANYWHERE = {"kind": "existing", "kubeconfig_path": "k", "usd_per_node_hour": 1.0}
ADMINS = {"admin_group_ids": ["g"]}
TAINT = {"key": "team", "value": "ml"}


@pytest.mark.parametrize(
    ("values", "strangers"),
    [
        ({"prometheus": {"prometheusSpec": {"retention": "15d"}}, "grafana": {"adminPassword": ""}}, []),
        ({"prometheus": {"prometheusSpec": {"retentionn": "15d"}}}, ["values.prometheus.prometheusSpec.retentionn"]),
        ({"grafana": {"no_such": 1}, "other": 2}, ["values.grafana.no_such", "values.other"]),
        # What is empty in the chart's own values may hold anything.
        ({"commonLabels": {"a": "b"}, "prometheus": {"prometheusSpec": {"resources": {"requests": {}}}}}, []),
    ],
)
def test_a_key_that_the_chart_lacks_is_told(values: dict[str, Any], strangers: list[str]) -> None:
    findings = found("helm-unknown-value", made(RELEASE, {**STACK, "values": values}))
    assert [finding.path for finding in findings] == strangers


def test_another_version_of_a_chart_is_not_judged() -> None:
    release = made(RELEASE, {**STACK, "version": "99.0.0", "values": {"other": 2}})
    assert found("helm-unknown-value", release) == []


@pytest.mark.parametrize(
    ("budget", "bad"), [({"minAvailable": 1}, 1), ({}, 0), ({"minAvailable": 1, "maxUnavailable": None}, 0)]
)
def test_the_adapters_budget_is_said_in_one_way(budget: dict[str, Any], bad: int) -> None:
    values = {"podDisruptionBudget": {"enabled": True, **budget}}
    release = made(RELEASE, {"chart": "prometheus-adapter", "version": "5.1.0", "values": values})
    assert len(found("helm-budget-in-two-ways", release)) == bad


@pytest.mark.parametrize(
    "settings",
    [
        EksSettings.model_validate({"gpu_pool": {"taints": [TAINT]}}),
        EksSettings.model_validate({"nvidia_operator": {"enabled": False}}),
        AksSettings.model_validate({"kind": "aks", **ADMINS, "nvidia_operator": {"driver": False}}),
        AksSettings.model_validate(
            {"kind": "aks", **ADMINS, "accelerator": "amd", "gpu_pool": MI300X, "amd_operator": DRIVER}
        ),
        ExistingSettings.model_validate({**ANYWHERE, "metrics_server": {"enabled": True}}),
    ],
    ids=["eks", "eks without the operator", "azure's driver", "amd", "existing"],
)
def test_every_value_that_we_give_exists_in_its_chart(settings: Any) -> None:
    platform = KubernetesPlatformArgs(
        settings=settings,
        mirror=MirrorSettings(images={"*": "registry.example.com"}),
        gateway_clients=(),
        model_port=8000,
        metrics_port=8002,
        cluster_name="c",
        region="eu-west-1",
        vpc_id="vpc-1",
        grouped=True,
    )
    disk = {"storage": "10Gi", "storage_class": "a"}
    monitoring = KubernetesMonitoringArgs(
        settings=MonitoringSettings.model_validate({"charts": {"prometheus": disk}}),
        mirror=MirrorSettings(images={"*": "registry.example.com"}),
        accelerator=settings.accelerator,
        kind="triton",
        priority_class="p1",
        notices=Notices("arn:aws:sns:eu-west-1:1:t", "arn:aws:iam::1:role/alerts", "eu-west-1"),
    )

    def both() -> None:
        KubernetesPlatform(context(), platform)
        KubernetesMonitoring(context(), monitoring)

    releases = [_plain(one) for one in record(both) if one.type == RELEASE]
    assert len(releases) >= 3
    assert found("helm-unknown-value", *releases) == []
    assert found("helm-budget-in-two-ways", *releases) == []


def _plain(one: Recorded) -> Resource:
    return made(one.type, one.inputs, one.name)
