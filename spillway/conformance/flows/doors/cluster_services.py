"""Services and names inside a cluster.

A Service reaches the pods of its namespace that its selector picks, on the port that ``targetPort`` names
(https://kubernetes.io/docs/concepts/services-networking/service/); its name is
``<service>.<namespace>.svc.<domain>`` (https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from spillway.conformance.flows.doors.pod_policies import Peer, allow
from spillway.conformance.flows.flow import Closed, Door
from spillway.conformance.flows.workloads import Pod
from spillway.conformance.flows.world import World
from spillway.contracts.resources import Resource

SERVICE: Final = "kubernetes:core/v1:Service"
ADDON: Final = "aws:eks/addon:Addon"
_DNS: Final = 53
_SYSTEM: Final = "kube-system"
_DNS_LABELS: Final = {"k8s-app": "kube-dns"}


def named(world: World, host: str) -> Resource | None:
    """The Service that a name inside the cluster means."""
    name, _, rest = host.partition(".")
    namespace, _, domain = rest.partition(".")
    if domain.split(".")[0] != "svc":
        return None
    return next(
        (
            one
            for one in world.graph.of(SERVICE)
            if (one.get("metadata.name"), one.get("metadata.namespace")) == (name, namespace)
        ),
        None,
    )


def behind(world: World, service: Resource) -> list[Pod]:
    """The pods that a Service sends to."""
    selector, namespace = service.get("spec.selector"), service.get("metadata.namespace")
    if not isinstance(selector, dict) or not selector:
        return []
    return [
        pod
        for pod in world.pods
        if pod.namespace == namespace and all(pod.labels.get(key) == value for key, value in selector.items())
    ]


def port_of(service: Resource, port: Any) -> dict[str, Any] | None:
    """A port of the Service, by number or name."""
    return next((one for one in service.get("spec.ports") or () if port in (one.get("port"), one.get("name"))), None)


def target_port(service: Resource, pod: Pod, port: Any) -> int | None:
    """The port of the pod that a Service's port leads to."""
    found = port_of(service, port)
    target = (found or {}).get("targetPort", (found or {}).get("port"))
    number = pod.port(target)
    return target if number is None and isinstance(target, int) and not pod.containers else number


def leads(world: World, service: Resource, port: Any) -> Iterator[Closed]:
    """Whether a Service has the port, pods behind it, and a container that listens there."""
    found = behind(world, service)
    if not found:
        yield Closed(
            service, "spec.selector", "the Service's selector picks no pod of the plan", "Let it pick the pods' labels."
        )
    elif port_of(service, port) is None:
        yield Closed(service, "spec.ports", f"the Service has no port {port}", f"Add port {port}.")
    elif all(target_port(service, pod, port) is None for pod in found):
        yield Closed(
            service,
            "spec.ports",
            f"port {port} of the Service leads to a port that no container of its pods has",
            "Let targetPort name a port of the container.",
        )


def looks_up(world: World, pod: Pod) -> list[Door]:
    """Whether a pod resolves names."""
    return [Door("names in the cluster", partial(_looks_up, world, pod)), *addon(world, "coredns")]


def _looks_up(world: World, pod: Pod) -> Iterator[Closed]:
    for protocol in ("UDP", "TCP"):
        yield from allow(world, pod, "egress", Peer(_SYSTEM, _DNS_LABELS), _DNS, protocol)


def addon(world: World, name: str) -> list[Door]:
    """Whether a cluster that EKS makes bare has an add-on."""
    return [Door(f"add-on {name}", partial(_has_addon, world, world.eks, name))] if world.eks else []


def _has_addon(world: World, cluster: Resource, name: str) -> Iterator[Closed]:
    addons = [one for one in world.graph.of(ADDON) if one.props.get("clusterName") == cluster.id]
    bare = cluster.props.get("bootstrapSelfManagedAddons") is False
    if bare and all(one.props.get("addonName") != name for one in addons):
        yield Closed(cluster, "", f"the cluster is made without the add-on {name}", f"Add {name} to its add-ons.")


def calls_pods(world: World, pod: Pod, service: Resource, port: Any) -> list[Door]:
    """The doors between a pod and the pods behind a Service."""
    doors = [Door("Service", partial(leads, world, service, port))]
    for target in behind(world, service):
        number = target_port(service, target, port)
        if number is not None:
            doors += pod_to_pod(world, pod, target, number)
    return doors


def pod_to_pod(world: World, pod: Pod, target: Pod, port: int) -> list[Door]:
    return [
        Door("NetworkPolicy out", partial(allow, world, pod, "egress", Peer(target.namespace, target.labels), port)),
        Door("NetworkPolicy in", partial(allow, world, target, "ingress", Peer(pod.namespace, pod.labels), port)),
    ]
