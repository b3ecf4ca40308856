"""What controllers would write: the stand-in has none, so objects settle at once into their healthy state, unless they
wait for something that is not there."""

from __future__ import annotations

import base64
from typing import Any, Final

from spillway.twin.kubernetes.values import mapping
from spillway.twin.kubernetes.waiting import WAITING


def merge_string_data(secret: dict[str, Any]) -> None:
    """``stringData`` is write-only: it ends up in ``data``."""
    for key, value in mapping(secret.pop("stringData", None)).items():
        secret.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()
    secret.setdefault("type", "Opaque")


def give_address(service: dict[str, Any], serial: int) -> None:
    """A cluster IP out of 10.96.0.0/16 for services that get one."""
    spec = service.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    if spec["type"] != "ExternalName":
        spec.setdefault("clusterIP", f"10.96.{serial // 250 % 250}.{serial % 250 + 1}")
        spec.setdefault("clusterIPs", [spec["clusterIP"]])


def settle(thing: dict[str, Any], now: str, waits_for: str = "") -> None:
    """Write the status that the object's controller would reach. Kinds without one stay as they are."""
    writer = _WRITERS.get(thing["kind"])
    if writer is not None:
        usual = writer(thing, now)
        thing["status"] = _waiting(usual, now, waits_for) if waits_for else usual


def _waiting(usual: dict[str, Any], now: str, waits_for: str) -> dict[str, Any]:
    """A healthy status as it is before: nothing is ready, and a condition says why."""
    before = {key: _BEFORE.get(key, value) for key, value in usual.items() if key != "completionTime"}
    return {**before, "conditions": [{**_true(WAITING, "Waiting", now), "message": waits_for}]}


_BEFORE: Final[dict[str, Any]] = {
    "readyReplicas": 0,
    "availableReplicas": 0,
    "succeeded": 0,
    "loadBalancer": {},
    "phase": "Pending",
}


def _true(type_: str, reason: str, now: str) -> dict[str, str]:
    return {
        "type": type_,
        "status": "True",
        "reason": reason,
        "message": "",
        "lastTransitionTime": now,
        "lastUpdateTime": now,
    }


def _replicas(thing: dict[str, Any]) -> int:
    return int(mapping(thing.get("spec")).get("replicas", 1))


def _deployment(thing: dict[str, Any], now: str) -> dict[str, Any]:
    count = _replicas(thing)
    conditions = [
        _true("Available", "MinimumReplicasAvailable", now),
        _true("Progressing", "NewReplicaSetAvailable", now),
    ]
    return {
        "observedGeneration": thing["metadata"].get("generation", 1),
        "replicas": count,
        "updatedReplicas": count,
        "readyReplicas": count,
        "availableReplicas": count,
        "conditions": conditions,
    }


def _group(thing: dict[str, Any], now: str) -> dict[str, Any]:
    count = _replicas(thing)
    conditions = [_true("Available", "AllGroupsReady", now)]
    return {"replicas": count, "readyReplicas": count, "updatedReplicas": count, "conditions": conditions}


def _stateful_set(thing: dict[str, Any], now: str) -> dict[str, Any]:
    count, revision = _replicas(thing), f"{thing['metadata']['name']}-1"
    return {
        "observedGeneration": thing["metadata"].get("generation", 1),
        "replicas": count,
        "readyReplicas": count,
        "currentReplicas": count,
        "updatedReplicas": count,
        "availableReplicas": count,
        "currentRevision": revision,
        "updateRevision": revision,
    }


def _daemon_set(thing: dict[str, Any], now: str) -> dict[str, Any]:
    # There are no nodes, so none is wanted.
    names = ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady")
    return dict.fromkeys(names, 0) | {"observedGeneration": thing["metadata"].get("generation", 1)}


def _job(thing: dict[str, Any], now: str) -> dict[str, Any]:
    if mapping(thing.get("spec")).get("suspend"):
        return {"conditions": [_true("Suspended", "JobSuspended", now)]}
    done = {"succeeded": int(thing["spec"].get("completions", 1)), "startTime": now, "completionTime": now}
    return {**done, "conditions": [_true("Complete", "CompletionsReached", now)]}


def _service(thing: dict[str, Any], now: str) -> dict[str, Any]:
    if thing["spec"].get("type") != "LoadBalancer":
        return {"loadBalancer": {}}
    name = f"{thing['metadata']['name']}.{thing['metadata']['namespace']}.lb.twin.internal"
    # Real load balancers give an address (AKS) or a name (EKS); programs for either find theirs.
    return {"loadBalancer": {"ingress": [{"ip": "127.0.0.1", "hostname": name}]}}


def _ingress(thing: dict[str, Any], now: str) -> dict[str, Any]:
    return {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}


def _autoscaler(thing: dict[str, Any], now: str) -> dict[str, Any]:
    least = int(thing["spec"].get("minReplicas", 1))
    conditions = [_true("AbleToScale", "ReadyForNewScale", now), _true("ScalingActive", "ValidMetricFound", now)]
    return {"currentReplicas": least, "desiredReplicas": least, "currentMetrics": [], "conditions": conditions}


def _pod(thing: dict[str, Any], now: str) -> dict[str, Any]:
    return {"phase": "Running", "startTime": now, "conditions": [_true("Ready", "", now)]}


def _disruption_budget(thing: dict[str, Any], now: str) -> dict[str, Any]:
    names = ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods")
    return dict.fromkeys(names, 0) | {"observedGeneration": thing["metadata"].get("generation", 1)}


_WRITERS: Final = {
    "Namespace": lambda thing, now: {"phase": "Active"},
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "LeaderWorkerSet": _group,
    "ReplicaSet": lambda thing, now: {"replicas": _replicas(thing), "readyReplicas": _replicas(thing)},
    "DaemonSet": _daemon_set,
    "Job": _job,
    "Pod": _pod,
    "Service": _service,
    "Ingress": _ingress,
    "HorizontalPodAutoscaler": _autoscaler,
    "PodDisruptionBudget": _disruption_budget,
    "PersistentVolumeClaim": lambda thing, now: {"phase": "Bound"},
    "PersistentVolume": lambda thing, now: {"phase": "Available"},
    "CustomResourceDefinition": lambda thing, now: {
        "acceptedNames": thing["spec"]["names"],
        "storedVersions": [v["name"] for v in thing["spec"]["versions"] if v.get("storage")],
        "conditions": [_true("Established", "InitialNamesAccepted", now)],
    },
}


def settled_kinds() -> frozenset[str]:
    """The kinds whose status the stand-in writes."""
    return frozenset(_WRITERS)
