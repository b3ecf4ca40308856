"""Which controller each object on a private cluster needs, who brings it, and what an existing cluster has to have.

What the stack does not install on a cluster of somebody else's is asked for before anything is made there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from components.private_cluster.settings import GPU_TAINT_KEYS, ExistingSettings
from stacks.cluster_access import ClusterAccess
from stacks.settings import StackSettings
from stacks.support import ClusterKind

Object = dict[str, Any]
_MINOR: Final = 31
"""Kubernetes' minor version from which everything that is asked for is on: ``matchLabelKeys`` of pod affinities, 1.31
(https://kubernetes.io/docs/reference/command-line-tools-reference/feature-gates/)."""


@dataclass(frozen=True)
class Controller:
    """``serves``: what of the stack's objects needs it. By kind of cluster: the stack's chart or add-on, ``provider``
    for what the cloud brings, ``checked`` for what :func:`findings` looks for, alone or where the chart is off."""

    name: str
    serves: str
    eks: str
    aks: str
    existing: str

    def of(self, kind: ClusterKind) -> str:
        return getattr(self, kind)


_ADAPTER, _OPERATOR = "prometheus-adapter", "kube-prometheus-stack"
CONTROLLERS: Final = (
    Controller("load balancers", "Service LoadBalancer", "aws-load-balancer-controller", "provider", "checked"),
    Controller(
        "resource metrics", "HorizontalPodAutoscaler Resource", "add-on", "provider", "metrics-server or checked"
    ),
    Controller("metrics of pods", "HorizontalPodAutoscaler Pods", _ADAPTER, _ADAPTER, f"{_ADAPTER} or checked"),
    Controller("metrics of gateways", "HorizontalPodAutoscaler External", _ADAPTER, _ADAPTER, f"{_ADAPTER} or checked"),
    Controller("monitors and rules", "monitoring.coreos.com", _OPERATOR, _OPERATOR, f"{_OPERATOR} or checked"),
    Controller("network policies", "NetworkPolicy", "add-on", "provider", "checked"),
    Controller("NVIDIA's GPUs", "nvidia.com/gpu", "gpu-operator", "gpu-operator", "gpu-operator or checked"),
    Controller("AMD's GPUs", "amd.com/gpu", "refused", "gpu-operator-charts", "gpu-operator-charts or checked"),
    Controller("fabric", "vpc.amazonaws.com/efa", "aws-efa-k8s-device-plugin", "refused", "refused"),
    Controller("groups of pods", "leaderworkerset.x-k8s.io", "lws", "lws", "lws or checked"),
    Controller("certificates", "cert-manager.io", "cert-manager", "cert-manager", "cert-manager or checked"),
    Controller("volumes", "storage class", "add-on", "provider", "checked"),
)


def needs(thing: Object) -> Iterator[str]:
    """What ``serves`` of an object's controllers."""
    kind, group, spec = thing["kind"], thing["apiVersion"].rpartition("/")[0], thing.get("spec") or {}
    if kind == "Service" and spec.get("type") == "LoadBalancer":
        yield "Service LoadBalancer"
    if kind == "HorizontalPodAutoscaler":
        yield from (f"HorizontalPodAutoscaler {metric['type']}" for metric in spec["metrics"])
    if kind == "NetworkPolicy":
        yield "NetworkPolicy"
    if group in ("monitoring.coreos.com", "leaderworkerset.x-k8s.io", "cert-manager.io"):
        yield group
    text = str(spec)
    for name in ("nvidia.com/gpu", "amd.com/gpu", "vpc.amazonaws.com/efa"):
        if f"'{name}': '" in text:
            yield name
    if "'storageClassName'" in text or "'volumeClaimTemplate'" in text:
        yield "storage class"


@dataclass(frozen=True)
class Unmet:
    """``certain``: nothing of what needs it would work; else it was not seen, and may be there all the same."""

    what: str
    found: str
    mend: str
    certain: bool = True


def findings(settings: StackSettings, prefix: str, cluster: ClusterAccess) -> list[Unmet]:
    """What an existing cluster lacks. ``prefix``: of the stack's own names, by which it knows what it installed before.
    Raises ``ClusterAccessError``."""
    chosen = settings.private_cluster
    assert isinstance(chosen, ExistingSettings)
    return [found for check in _CHECKS for found in check(settings, chosen, prefix, cluster)]


def _version(settings: StackSettings, chosen: ExistingSettings, prefix: str, cluster: ClusterAccess) -> Iterator[Unmet]:
    told = cluster.get("/version") or {}
    minor = int(re.sub(r"\D", "", str(told.get("minor", ""))) or 0)
    if minor < _MINOR:
        found = f"{told.get('gitVersion', 'an unknown version')}"
        yield Unmet("Kubernetes", found, f"the stack's objects need 1.{_MINOR} or newer: update the cluster")


def _rights(settings: StackSettings, chosen: ExistingSettings, prefix: str, cluster: ClusterAccess) -> Iterator[Unmet]:
    wanted = ("namespaces", "rbac.authorization.k8s.io/clusterroles", "scheduling.k8s.io/priorityclasses")
    refused = [one for one in wanted if not cluster.may("create", one)]
    if refused:
        yield Unmet(
            "rights", f"may not create {', '.join(refused)}", "bind the kubeconfig's user to the role cluster-admin"
        )


def _metrics(settings: StackSettings, chosen: ExistingSettings, prefix: str, cluster: ClusterAccess) -> Iterator[Unmet]:
    resource = _service_of(cluster, "v1beta1.metrics.k8s.io")
    key = "private_cluster.metrics_server.enabled"
    if resource is None and not chosen.metrics_server.enabled:
        mend = f"the gateways' autoscaler is blind without: set {key}: true, or install metrics-server"
        yield Unmet("metrics.k8s.io", "nobody serves it", mend)
    if resource and chosen.metrics_server.enabled and not resource.startswith(prefix):
        yield Unmet("metrics.k8s.io", f"{resource} serves it already", f"there can be one: set {key}: false")
    adapter = settings.monitoring.charts.adapter.enabled
    for name in ("v1beta1.custom.metrics.k8s.io", "v1beta1.external.metrics.k8s.io"):
        api, other = name.partition(".")[2], _service_of(cluster, name)
        if adapter and other and not other.startswith(prefix):
            mend = (
                "there can be one adapter, and the autoscalers' metrics are prometheus-adapter's: take that one away, "
                "or set monitoring.charts.adapter.enabled: false and give that one the same rules"
            )
            yield Unmet(api, f"{other} serves it already", mend)
        if not adapter and other is None:
            mend = "the model servers' autoscaler is blind without: set monitoring.charts.adapter.enabled: true"
            yield Unmet(api, "nobody serves it", mend)


def _service_of(cluster: ClusterAccess, name: str) -> str | None:
    """Who answers for an API that is not the API server's own: its namespace and name."""
    found = cluster.get(f"/apis/apiregistration.k8s.io/v1/apiservices/{name}")
    service = (found or {}).get("spec", {}).get("service")
    return f"{service['namespace']}/{service['name']}" if service else None


def _gpus(settings: StackSettings, chosen: ExistingSettings, prefix: str, cluster: ClusterAccess) -> Iterator[Unmet]:
    if not settings.model_server.gpus:
        return
    resource = GPU_TAINT_KEYS[chosen.accelerator]
    nodes = (cluster.get("/api/v1/nodes") or {}).get("items", [])
    there = sum(int(node["status"].get("allocatable", {}).get(resource, 0)) for node in nodes)
    operator = chosen.nvidia_operator if chosen.accelerator == "nvidia" else chosen.amd_operator
    key = f"private_cluster.{chosen.accelerator}_operator.enabled"
    if not there and not operator.enabled:
        yield Unmet(resource, "no node has any", f"set {key}: true, or install the vendor's device plugin")
    if there and there < chosen.gpus:
        mend = "count those that are there: private_cluster.nodes and gpus_per_node"
        yield Unmet(resource, f"{there} on the nodes, {chosen.gpus} in the stack file", mend)
    if chosen.accelerator == "nvidia" and operator.enabled:
        policies = (cluster.get("/apis/nvidia.com/v1/clusterpolicies") or {}).get("items", [])
        foreign = [one for one in policies if not _release(one).startswith(prefix)]
        if foreign:
            yield Unmet("GPU operator", "one is there already", f"there can be one: set {key}: false")


def _release(thing: Object) -> str:
    return thing["metadata"].get("annotations", {}).get("meta.helm.sh/release-name", "")


def _kinds(settings: StackSettings, chosen: ExistingSettings, prefix: str, cluster: ClusterAccess) -> Iterator[Unmet]:
    """Controllers of which a cluster has one: ours, or one that is there."""
    certified = settings.gateway.tls is not None and settings.gateway.tls.cert_manager is not None
    driver = chosen.accelerator == "amd" and chosen.amd_operator.enabled and chosen.amd_operator.driver
    span = settings.model_server.span is not None
    groups, prometheus = chosen.leader_worker_set.enabled, settings.monitoring.charts.prometheus.enabled
    for wanted, crd, key, ours in (
        (span, "leaderworkersets.leaderworkerset.x-k8s.io", "private_cluster.leader_worker_set", groups),
        (
            certified or driver,
            "certificates.cert-manager.io",
            "private_cluster.cert_manager",
            chosen.cert_manager.enabled,
        ),
        (True, "servicemonitors.monitoring.coreos.com", "monitoring.charts.prometheus", prometheus),
    ):
        found = cluster.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd}") if wanted else None
        if wanted and not ours and found is None:
            yield Unmet(crd, "nobody serves it", f"set {key}.enabled: true, or install it")
        if found and ours and _release(found) and not _release(found).startswith(prefix):
            yield Unmet(crd, f"{_release(found)} brought it already", f"a cluster has one: set {key}.enabled: false")


def _volumes(settings: StackSettings, chosen: ExistingSettings, prefix: str, cluster: ClusterAccess) -> Iterator[Unmet]:
    classes = (cluster.get("/apis/storage.k8s.io/v1/storageclasses") or {}).get("items", [])
    names = [one["metadata"]["name"] for one in classes]
    prometheus, cache = settings.monitoring.charts.prometheus, settings.model_server.cache
    for key, name in (
        ("model_server.cache.storage_class", cache.storage_class),
        ("monitoring.charts.prometheus.storage_class", prometheus.storage_class),
    ):
        if name and name not in names:
            yield Unmet(
                f"storage class {name}", f"there are {', '.join(names) or 'none'}", f"name one of them in {key}"
            )
    default = "storageclass.kubernetes.io/is-default-class"
    has_default = any(one["metadata"].get("annotations", {}).get(default) == "true" for one in classes)
    if prometheus.storage and not prometheus.storage_class and not has_default:
        mend = "name one in monitoring.charts.prometheus.storage_class, or leave its storage out"
        yield Unmet("default storage class", "none", mend)


_POLICY_AGENTS: Final = re.compile(
    r"calico-node|canal|cilium|antrea-agent|kube-router|weave-net|ovnkube-node|aws-node|azure-npm|kindnet"
)


def _agents(settings: StackSettings, chosen: ExistingSettings, prefix: str, cluster: ClusterAccess) -> Iterator[Unmet]:
    sets = (cluster.get("/apis/apps/v1/daemonsets") or {}).get("items", [])
    if not any(_POLICY_AGENTS.fullmatch(one["metadata"]["name"]) for one in sets):
        mend = "without one, policies are stored and every pod reaches every pod: see that the network plugin has it"
        yield Unmet("network policy agent", "none that is known here", mend, certain=False)
    services = (cluster.get("/api/v1/services") or {}).get("items", [])
    balanced = [one for one in services if one["status"].get("loadBalancer", {}).get("ingress")]
    if not balanced:
        mend = "the gateway's Service waits for an address: see that a cloud's controller, MetalLB or another gives one"
        yield Unmet("load balancer", "no Service has an address yet", mend, certain=False)


def _domain(settings: StackSettings, chosen: ExistingSettings, prefix: str, cluster: ClusterAccess) -> Iterator[Unmet]:
    """The names by which pods find each other end in it."""
    found = cluster.get("/api/v1/namespaces/kube-system/configmaps/coredns")
    corefile = (found or {}).get("data", {}).get("Corefile", "cluster.local")
    if "cluster.local" not in corefile:
        mend = (
            "Spillway's names end in cluster.local: let CoreDNS answer for that, too (its plugin kubernetes takes both)"
        )
        yield Unmet("cluster domain", "CoreDNS does not answer for cluster.local", mend)


_Check = Callable[[StackSettings, ExistingSettings, str, ClusterAccess], Iterator[Unmet]]
_CHECKS: Final[tuple[_Check, ...]] = (_version, _rights, _domain, _metrics, _gpus, _kinds, _volumes, _agents)
