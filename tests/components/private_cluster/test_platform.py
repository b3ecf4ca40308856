from __future__ import annotations

import json
from functools import reduce
from importlib.resources import files
from typing import Any

import pytest

from components.connectivity.settings import MirrorSettings
from components.monitoring.kubernetes import PULL_SECRETS as MONITORING_SECRETS
from components.private_cluster.operators import PULL_SECRETS
from components.private_cluster.platform import KubernetesPlatform, KubernetesPlatformArgs
from components.private_cluster.settings import AksSettings, EksSettings, ExistingSettings
from tests.support.recording import Recorded, context, of_type, record

AMD_ON_AZURE = AksSettings.model_validate(
    {
        "kind": "aks",
        "admin_group_ids": ["g"],
        "accelerator": "amd",
        "gpu_pool": {"vm_size": "Standard_ND96isr_MI300X_v5", "gpus_per_node": 8},
        "amd_operator": {"driver": True, "driver_image": "registry.example.com/amdgpu"},
    }
)


def build(
    settings: Any,
    metrics_port: int = 8002,
    mirror: MirrorSettings | None = None,
    pull_config: str | None = None,
    **changes: Any,
) -> list[Recorded]:
    args = KubernetesPlatformArgs(
        settings=settings,
        mirror=mirror or MirrorSettings(),
        gateway_clients=("10.0.0.0/8",),
        model_port=8000,
        metrics_port=metrics_port,
        cluster_name="spillway-test",
        region="eu-west-1",
        vpc_id="vpc-1",
        pull_config=pull_config,
        **changes,
    )
    return record(lambda: KubernetesPlatform(context(), args))


def releases(found: list[Recorded]) -> dict[str, dict[str, Any]]:
    return {r.name.removeprefix("spillway-test-"): r.inputs for r in of_type(found, "kubernetes:helm.sh/v3:Release")}


def test_namespaces_carry_pod_security_labels_and_default_deny() -> None:
    found = build(EksSettings())
    namespaces = {
        r.inputs["metadata"]["name"]: r.inputs["metadata"]["labels"]
        for r in of_type(found, "kubernetes:core/v1:Namespace")
    }
    for name in ("spillway-test-serving", "spillway-test-gateway", "spillway-test-system"):
        assert namespaces[name]["pod-security.kubernetes.io/enforce"] == "restricted"
    policies = [r.inputs for r in of_type(found, "kubernetes:networking.k8s.io/v1:NetworkPolicy")]
    denied = {p["metadata"]["namespace"] for p in policies if p["metadata"]["name"] == "default-deny"}
    assert denied == {"spillway-test-serving", "spillway-test-gateway", "spillway-test-system"}
    for policy in policies:
        if policy["metadata"]["name"] == "default-deny":
            assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
            assert policy["spec"]["podSelector"] in ({}, {"matchLabels": {}})
            assert "ingress" not in policy["spec"]


def test_eks_gets_a_storage_class_whose_disks_the_stack_encrypts_and_pays() -> None:
    """Parameters: github.com/kubernetes-sigs/aws-ebs-csi-driver, docs/parameters.md and docs/tagging.md."""
    key = "arn:aws:kms:eu-west-1:123456789012:key/volumes"
    found = build(EksSettings(), volumes_key_arn=key)
    (made,) = (one.inputs for one in of_type(found, "kubernetes:storage.k8s.io/v1:StorageClass"))
    assert (made["metadata"]["name"], made["provisioner"]) == ("spillway-test-gp3", "ebs.csi.aws.com")
    # A disk is of one zone: it is made where the pod finds a node.
    assert made["volumeBindingMode"] == "WaitForFirstConsumer"
    assert {name: made["parameters"][name] for name in ("type", "encrypted", "kmsKeyId")} == {
        "type": "gp3",
        "encrypted": "true",
        "kmsKeyId": key,
    }
    tags = {value for name, value in made["parameters"].items() if name.startswith("tagSpecification_")}
    assert tags == {f"{name}={value}" for name, value in context().tags.items()}
    assert of_type(build(AMD_ON_AZURE), "kubernetes:storage.k8s.io/v1:StorageClass") == []


@pytest.mark.parametrize("metrics_port", [8002, 8000])
def test_the_model_server_is_asked_by_gateways_and_its_metrics_by_monitoring(metrics_port: int) -> None:
    """Triton's metrics have a port of their own, so monitoring does not reach what it serves; there is no gRPC."""
    policies = of_type(build(EksSettings(), metrics_port), "kubernetes:networking.k8s.io/v1:NetworkPolicy")
    policy = next(r.inputs for r in policies if r.inputs["metadata"]["name"] == "model-server")
    opened = {
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]: {p["port"] for p in rule["ports"]}
        for rule in policy["spec"]["ingress"]
        for peer in rule["from"]
    }
    assert opened == {"spillway-test-gateway": {8000}, "spillway-test-monitoring": {metrics_port}}


def test_three_priority_classes_in_order() -> None:
    values = {
        r.inputs["metadata"]["name"]: r.inputs["value"]
        for r in of_type(build(EksSettings()), "kubernetes:scheduling.k8s.io/v1:PriorityClass")
    }
    assert values["spillway-test-p0"] > values["spillway-test-p1"] > values["spillway-test-p2"]


def test_gpu_quota_follows_the_pool() -> None:
    settings = EksSettings.model_validate({"kind": "eks", "gpu_pool": {"max_nodes": 3, "gpus_per_node": 4}})
    quotas = {
        r.inputs["metadata"]["namespace"]: r.inputs["spec"]["hard"]
        for r in of_type(build(settings), "kubernetes:core/v1:ResourceQuota")
    }
    assert quotas["spillway-test-serving"]["requests.nvidia.com/gpu"] == "12"
    assert quotas["spillway-test-gateway"]["requests.nvidia.com/gpu"] == "0"


def test_operator_leaves_driver_to_the_image_on_managed_clusters() -> None:
    azure = releases(build(AksSettings(kind="aks", admin_group_ids=("g",))))["gpu-operator"]
    assert azure["values"]["driver"] == azure["values"]["toolkit"] == {"enabled": True}
    managed = releases(build(EksSettings()))["gpu-operator"]
    assert managed["values"]["driver"] == {"enabled": False}
    assert managed["values"]["dcgmExporter"]["enabled"] is True
    assert managed["version"] == EksSettings().nvidia_operator.version
    existing = ExistingSettings(kind="existing", kubeconfig_path="k", usd_per_node_hour=1.0)
    assert releases(build(existing))["gpu-operator"]["values"]["driver"] == {"enabled": True}


def test_a_pod_has_its_own_gpus_alone_where_the_node_brings_the_toolkit() -> None:
    """Containers there run under NVIDIA's runtime whether they ask for it or not, and CUDA images ask for all GPUs."""
    by_node, by_operator = ({"nvidia_operator": {"toolkit": given}} for given in (False, True))
    azures = {"kind": "aks", "admin_group_ids": ["g"], "nvidia_operator": {"driver": False}}
    for settings in (EksSettings(), EksSettings.model_validate(by_node), AksSettings.model_validate(azures)):
        assert releases(build(settings))["gpu-operator"]["values"]["cdi"] == {"enabled": False}
    operated = EksSettings.model_validate(by_operator)
    assert "cdi" not in releases(build(operated))["gpu-operator"]["values"]


def test_amd_gets_its_own_operator() -> None:
    settings = AksSettings.model_validate(
        {
            "kind": "aks",
            "admin_group_ids": ["g"],
            "accelerator": "amd",
            "gpu_pool": {"vm_size": "Standard_ND96isr_MI300X_v5"},
        }
    )
    found = releases(build(settings))
    assert "gpu-operator" not in found
    assert "cert-manager" not in found
    values = found["gpu-operator-charts"]["values"]
    # Without a driver to build, nothing needs cert-manager; and nothing of the operator tolerates a taint by itself.
    assert values["kmm"] == {"enabled": False}
    plugin = values["deviceConfig"]["spec"]["devicePlugin"]
    taint = [{"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert (plugin["devicePluginTolerations"], plugin["nodeLabellerTolerations"]) == (taint, taint)


def test_amd_names_the_device_plugins_that_its_chart_takes_as_latest() -> None:
    """Of a mirror, too, where what builds the driver comes from there as well."""
    tags = {"devicePluginImage": "1.31.0.9", "nodeLabellerImage": "labeller-1.31.0.9"}
    for host, mirror in (("docker.io", {}), ("registry.example.com", {"*": "registry.example.com"})):
        values = releases(build(AMD_ON_AZURE, mirror=MirrorSettings(images=mirror)))["gpu-operator-charts"]["values"]
        plugin = values["deviceConfig"]["spec"]["devicePlugin"]
        assert {name: plugin[name] for name in tags} == {
            name: f"{host}/rocm/k8s-device-plugin:{tag}" for name, tag in tags.items()
        }
        assert plugin["devicePluginTolerations"]
    driver = values["kmm"]["controller"]["manager"]["env"]
    assert driver["relatedImageBuild"] == "registry.example.com/kaniko-project/executor:v1.23.2"


def test_amd_driver_is_built_on_the_cluster() -> None:
    operator = {"driver": True, "driver_image": "registry.example.com/amdgpu"}
    pool = {"vm_size": "Standard_ND96isr_MI300X_v5"}
    aks = {"kind": "aks", "admin_group_ids": ["g"], "accelerator": "amd", "gpu_pool": pool}
    found = releases(build(AksSettings.model_validate({**aks, "amd_operator": operator})))
    assert found["cert-manager"]["values"]["crds"] == {"enabled": True}
    driver = found["gpu-operator-charts"]["values"]["deviceConfig"]["spec"]["driver"]
    assert (driver["enable"], driver["image"], driver["version"]) == (True, "registry.example.com/amdgpu", "6.4")
    with pytest.raises(ValueError, match="no driver_image"):
        AksSettings.model_validate({**aks, "amd_operator": {"driver": True}})


def test_azures_own_driver_has_another_runtime() -> None:
    settings = AksSettings.model_validate(
        {"kind": "aks", "admin_group_ids": ["g"], "nvidia_operator": {"driver": False}}
    )
    values = releases(build(settings))["gpu-operator"]["values"]
    assert values["operator"] == {"runtimeClass": "nvidia-container-runtime"}


def test_autoscaler_only_on_eks() -> None:
    assert "cluster-autoscaler" in releases(build(EksSettings()))
    existing = ExistingSettings(kind="existing", kubeconfig_path="k", usd_per_node_hour=1.0)
    assert "cluster-autoscaler" not in releases(build(existing))


def test_eks_gets_a_load_balancer_controller_that_asks_no_metadata_service() -> None:
    chart = releases(build(EksSettings()))["aws-load-balancer-controller"]
    assert chart["values"]["vpcId"] == "vpc-1"
    assert chart["values"]["region"] == "eu-west-1"
    assert chart["values"]["clusterName"] == "spillway-test"
    assert "aws-load-balancer-controller" not in releases(build(AksSettings(kind="aks", admin_group_ids=("g",))))


def test_values_of_ones_own_go_over_ours() -> None:
    own = {"image": {"tag": "v3.5.0-ours"}, "replicaCount": 3, "region": "eu-central-1"}
    settings = EksSettings.model_validate({"kind": "eks", "load_balancer_controller": {"values": own}})
    mirror = MirrorSettings(images={"public.ecr.aws": "registry.example.com/aws"})
    values = releases(build(settings, mirror=mirror))["aws-load-balancer-controller"]["values"]
    repository = "registry.example.com/aws/eks/aws-load-balancer-controller"
    assert values["image"] == {"repository": repository, "tag": "v3.5.0-ours"}
    assert (values["replicaCount"], values["region"]) == (3, "eu-central-1")


def test_images_of_the_charts_come_from_the_mirror() -> None:
    mirror = MirrorSettings(
        images={"nvcr.io": "registry.example.com/nvcr", "registry.k8s.io": "registry.example.com/k8s"}
    )
    found = releases(build(EksSettings(), mirror=mirror))
    gpu = found["gpu-operator"]["values"]
    assert gpu["operator"]["repository"] == "registry.example.com/nvcr/nvidia"
    assert gpu["driver"] == {
        "enabled": False,
        "repository": "registry.example.com/nvcr/nvidia",
        "manager": {"repository": "registry.example.com/nvcr/nvidia/cloud-native"},
    }
    scaler = found["cluster-autoscaler"]["values"]["image"]
    assert scaler == {"repository": "registry.example.com/k8s/autoscaling/cluster-autoscaler"}
    # Nobody mirrors this registry.
    assert "image" not in found["aws-load-balancer-controller"]["values"]


@pytest.mark.parametrize("settings", [EksSettings(), AMD_ON_AZURE], ids=["eks", "amd"])
def test_everything_may_log_in_to_the_mirror(settings: Any) -> None:
    mirror = MirrorSettings(images={"*": "registry.example.com"}, pull_secret="mirror_login")
    config = '{"auths": {"registry.example.com": {"auth": "dXNlcjpwYXNzd29yZA=="}}}'
    found = build(settings, mirror=mirror, pull_config=config)
    secrets = [one.inputs for one in of_type(found, "kubernetes:core/v1:Secret")]
    assert {one["metadata"]["name"] for one in secrets} == {"spillway-test-pull"}
    assert {one["type"] for one in secrets} == {"kubernetes.io/dockerconfigjson"}
    # Where a chart goes, and where the servers do.
    spaces = {one["metadata"]["namespace"] for one in secrets}
    namespaces = {one.inputs["metadata"]["name"] for one in of_type(found, "kubernetes:core/v1:Namespace")}
    assert spaces == namespaces | {one["namespace"] for one in releases(found).values()}
    for chart, release in releases(found).items():
        for path, form in PULL_SECRETS[chart].items():
            told = reduce(lambda values, key: values[key], path.split("."), release["values"])
            one = {"name": "spillway-test-pull"} if form.startswith("reference") else "spillway-test-pull"
            assert told == ([one] if form.endswith("s") else one), path


def test_the_charts_know_where_they_are_told_of_the_log_in() -> None:
    known = json.loads(files("spillway.conformance.services.kubernetes").joinpath("charts.json").read_text())
    for chart, paths in {**PULL_SECRETS, **MONITORING_SECRETS}.items():
        for path in paths:
            keys = known[chart]["keys"]
            for key in path.split("."):
                assert key in keys, f"{chart}: {path}"
                keys = keys[key] or {}


def test_without_a_log_in_nothing_names_a_secret() -> None:
    found = build(EksSettings())
    assert of_type(found, "kubernetes:core/v1:Secret") == []
    assert "ullSecrets" not in str(releases(found))


@pytest.mark.parametrize("settings", [EksSettings(), AMD_ON_AZURE], ids=["eks", "aks-amd"])
def test_cert_manager_for_certificates_is_alone_in_a_namespace_that_lets_it_out(settings: Any) -> None:
    """The network's own resolver may answer the name from a private zone, so that proofs are looked for over HTTPS."""
    found = build(settings, certificates=True)
    chart = releases(found)["cert-manager"]
    assert (chart["namespace"], chart["values"]["serviceAccount"]["name"]) == ("cert-manager", "cert-manager")
    assert chart["values"]["dns01RecursiveNameserversOnly"] is True
    assert chart["values"]["dns01RecursiveNameservers"].startswith("https://")
    policies = [r.inputs for r in of_type(found, "kubernetes:networking.k8s.io/v1:NetworkPolicy")]
    (own,) = [one["spec"] for one in policies if one["metadata"]["namespace"] == "cert-manager"]
    assert own["policyTypes"] == ["Ingress", "Egress"]
    assert [port["port"] for rule in own["ingress"] for port in rule["ports"]] == [10250]
    assert {port["port"] for rule in own["egress"] for port in rule["ports"]} == {53, 443, 6443}


def test_a_cluster_with_a_cert_manager_of_its_own_gets_no_second() -> None:
    own = EksSettings.model_validate({"cert_manager": {"enabled": False}})
    assert "cert-manager" not in releases(build(own, certificates=True))
    assert "cert-manager" not in releases(build(EksSettings()))


def test_servers_of_several_nodes_bring_their_controller_and_talk_among_themselves() -> None:
    """NCCL, Gloo and ZeroMQ choose their ports, so no rule between the pods of servers names one."""

    def server(found: list[Recorded]) -> dict[str, Any]:
        policies = [one.inputs for one in of_type(found, "kubernetes:networking.k8s.io/v1:NetworkPolicy")]
        (own,) = (one["spec"] for one in policies if one["metadata"]["name"] == "model-server")
        return own

    alone, grouped = build(EksSettings()), build(EksSettings(), grouped=True)
    assert "lws" not in releases(alone)
    assert releases(grouped)["lws"]["values"]["image"]["manager"]["tag"] == "v0.9.0"
    among = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "model-server"}}}
    for way, peers in (("ingress", "from"), ("egress", "to")):
        assert {peers: [among]} in server(grouped)[way]
        assert all(rule.get("ports") for rule in server(alone)[way])
    there = EksSettings.model_validate({"leader_worker_set": {"enabled": False}})
    assert "lws" not in releases(build(there, grouped=True))


def test_metrics_server_comes_where_an_existing_cluster_has_none() -> None:
    def existing(**more: Any) -> dict[str, dict[str, Any]]:
        cluster = {"kind": "existing", "kubeconfig_path": "k", "usd_per_node_hour": 1.0}
        return releases(build(ExistingSettings.model_validate({**cluster, **more})))

    assert "metrics-server" not in existing()
    chart = existing(metrics_server={"enabled": True})["metrics-server"]
    assert chart["values"]["replicas"] == 2
    assert chart["version"] == "3.13.1"


def test_the_quota_counts_parts_of_gpus() -> None:
    settings = EksSettings.model_validate({"gpu_pool": {"max_nodes": 3, "gpus_per_node": 8}})
    quotas = of_type(build(settings, parts=7, surge_gpus=1), "kubernetes:core/v1:ResourceQuota")
    hard = {one.inputs["metadata"]["namespace"]: one.inputs["spec"]["hard"] for one in quotas}
    assert hard["spillway-test-serving"]["requests.nvidia.com/gpu"] == str(3 * 8 * 7 + 1)
