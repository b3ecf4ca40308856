from __future__ import annotations

from typing import Any

from components.connectivity.settings import MirrorSettings
from components.private_cluster.platform import KubernetesPlatform, KubernetesPlatformArgs
from components.private_cluster.settings import AksSettings, EksSettings, ExistingSettings
from tests.support.recording import Recorded, context, of_type, record


def build(settings: Any) -> list[Recorded]:
    args = KubernetesPlatformArgs(
        settings=settings,
        mirror=MirrorSettings(),
        gateway_clients=("10.0.0.0/8",),
        cluster_name="spillway-test",
        region="eu-west-1",
    )
    return record(lambda: KubernetesPlatform(context(), args))


def releases(found: list[Recorded]) -> dict[str, dict[str, Any]]:
    return {r.inputs["name"]: r.inputs for r in of_type(found, "kubernetes:helm.sh/v3:Release")}


def test_namespaces_carry_pod_security_labels_and_default_deny() -> None:
    found = build(EksSettings())
    namespaces = {
        r.inputs["metadata"]["name"]: r.inputs["metadata"]["labels"]
        for r in of_type(found, "kubernetes:core/v1:Namespace")
    }
    for name in ("spillway-serving", "spillway-gateway", "spillway-system"):
        assert namespaces[name]["pod-security.kubernetes.io/enforce"] == "restricted"
    policies = [r.inputs for r in of_type(found, "kubernetes:networking.k8s.io/v1:NetworkPolicy")]
    denied = {p["metadata"]["namespace"] for p in policies if p["metadata"]["name"] == "default-deny"}
    assert denied == {"spillway-serving", "spillway-gateway", "spillway-system"}
    for policy in policies:
        if policy["metadata"]["name"] == "default-deny":
            assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
            assert policy["spec"]["podSelector"] in ({}, {"matchLabels": {}})
            assert "ingress" not in policy["spec"]


def test_three_priority_classes_in_order() -> None:
    values = {
        r.inputs["metadata"]["name"]: r.inputs["value"]
        for r in of_type(build(EksSettings()), "kubernetes:scheduling.k8s.io/v1:PriorityClass")
    }
    assert values["spillway-p0"] > values["spillway-p1"] > values["spillway-p2"]


def test_gpu_quota_follows_the_pool() -> None:
    settings = EksSettings.model_validate({"kind": "eks", "gpu_pool": {"max_size": 3, "gpus_per_node": 4}})
    quotas = {
        r.inputs["metadata"]["namespace"]: r.inputs["spec"]["hard"]
        for r in of_type(build(settings), "kubernetes:core/v1:ResourceQuota")
    }
    assert quotas["spillway-serving"]["requests.nvidia.com/gpu"] == "12"
    assert quotas["spillway-gateway"]["requests.nvidia.com/gpu"] == "0"


def test_operator_leaves_driver_to_the_image_on_managed_clusters() -> None:
    managed = releases(build(EksSettings()))["gpu-operator"]
    assert managed["values"]["driver"] == {"enabled": False}
    assert managed["values"]["dcgmExporter"]["enabled"] is True
    assert managed["version"] == EksSettings().nvidia_operator.version
    existing = ExistingSettings(kind="existing", kubeconfig_path="k", dollars_per_node_hour=1.0)
    assert releases(build(existing))["gpu-operator"]["values"]["driver"] == {"enabled": True}


def test_amd_gets_its_own_operator() -> None:
    settings = AksSettings.model_validate(
        {"kind": "aks", "accelerator": "amd", "gpu_pool": {"vm_size": "Standard_ND96isr_MI300X_v5"}}
    )
    assert "gpu-operator-charts" in releases(build(settings))
    assert "gpu-operator" not in releases(build(settings))


def test_autoscaler_only_on_eks() -> None:
    assert "cluster-autoscaler" in releases(build(EksSettings()))
    existing = ExistingSettings(kind="existing", kubeconfig_path="k", dollars_per_node_hour=1.0)
    assert "cluster-autoscaler" not in releases(build(existing))
