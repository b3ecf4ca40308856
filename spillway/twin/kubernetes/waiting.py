"""What an object waits for before a controller or a kubelet brings it into its healthy state.

Sources: https://kubernetes.io/docs/concepts/configuration/secret/ (a Secret that is not optional has to be there), the
same of ConfigMaps; https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/nlb/ (which
Services are left to that controller); read on 2026-11-30. The words are the kubelet's and the admission's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from spillway.contracts.names import LABEL_PREFIX
from spillway.twin.kubernetes.rules import pod_templates
from spillway.twin.kubernetes.values import items, mapping

There = Callable[[str, str, str], bool]
"""Whether an object is there, by kind, namespace and name."""

WAITING: Final = f"{LABEL_PREFIX}waiting"
"""Type of the condition in which the stand-in says so. A real cluster tells it in events, which it does not make."""

_BALANCER: Final = "service.beta.kubernetes.io/aws-load-balancer-type"
_CONTROLLER: Final = "aws-load-balancer-controller"


def reason(thing: dict[str, Any], there: There, charts: Callable[[], frozenset[str]]) -> str:
    """What the object waits for; empty: nothing. ``charts``: what is installed."""
    if thing["kind"] == "Service" and _left_to_controller(thing) and _CONTROLLER not in charts():
        return f"Service was not allocated an IP address: {_CONTROLLER}, to which it is left, is not in the cluster"
    namespace = thing["metadata"].get("namespace", "")
    needed = (one for pod in pod_templates(thing).values() for one in _needed(mapping(pod.get("spec"))))
    return next((told for kind, name, told in needed if not there(kind, namespace, name)), "")


def told(live: dict[str, Any]) -> str:
    """What a live object waits for, as the stand-in's server told."""
    conditions = items(mapping(live.get("status")).get("conditions"))
    return next((one["message"] for one in conditions if one.get("type") == WAITING), "")


def unfinished(live: dict[str, Any]) -> str:
    """What a live object lacks of what Pulumi waits for, by its status; empty: nothing."""
    spec, status = mapping(live.get("spec")), mapping(live.get("status"))
    match live["kind"]:
        case "Service" if spec.get("type") == "LoadBalancer" and not mapping(status.get("loadBalancer")).get("ingress"):
            return "Service was not allocated an IP address"
        case "Deployment":
            wanted, there = spec.get("replicas", 1), status.get("availableReplicas", 0)
            late = status.get("observedGeneration", 0) < live["metadata"].get("generation", 1)
            return f"{there} of {wanted} pods are available" if late or there < wanted else ""
        case _:
            return ""


def _left_to_controller(service: dict[str, Any]) -> bool:
    if service["spec"].get("type") != "LoadBalancer":
        return False
    annotations = mapping(service["metadata"].get("annotations"))
    return (
        annotations.get(_BALANCER) in ("external", "nlb-ip")
        or service["spec"].get("loadBalancerClass") == "service.k8s.aws/nlb"
    )


def _needed(pod: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(kind, name, what is told where it is missing) of what a pod does not start without."""
    account = pod.get("serviceAccountName") or "default"
    if account != "default":
        yield "ServiceAccount", account, f'error looking up service account: serviceaccount "{account}" not found'
    for volume in items(pod.get("volumes")):
        failed = f'MountVolume.SetUp failed for volume "{volume.get("name")}"'
        for kind, name in _mounted(volume):
            yield kind, name, f'{failed}: {kind.lower()} "{name}" not found'
    for container in (*items(pod.get("initContainers")), *items(pod.get("containers"))):
        for kind, name in _read(container):
            yield kind, name, f'CreateContainerConfigError: {kind.lower()} "{name}" not found'


def _mounted(volume: dict[str, Any]) -> Iterator[tuple[str, str]]:
    projected = items(mapping(volume.get("projected")).get("sources"))
    yield from _required(mapping(volume.get("secret")), "Secret", "secretName")
    yield from _required(mapping(volume.get("configMap")), "ConfigMap", "name")
    for source in projected:
        yield from _required(mapping(source.get("secret")), "Secret", "name")
        yield from _required(mapping(source.get("configMap")), "ConfigMap", "name")


def _read(container: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for variable in items(container.get("env")):
        source = mapping(variable.get("valueFrom"))
        yield from _required(mapping(source.get("secretKeyRef")), "Secret", "name")
        yield from _required(mapping(source.get("configMapKeyRef")), "ConfigMap", "name")
    for source in items(container.get("envFrom")):
        yield from _required(mapping(source.get("secretRef")), "Secret", "name")
        yield from _required(mapping(source.get("configMapRef")), "ConfigMap", "name")


def _required(source: dict[str, Any], kind: str, key: str) -> Iterator[tuple[str, str]]:
    name = source.get(key)
    if isinstance(name, str) and not source.get("optional"):
        yield kind, name
