"""Updates, drains, preemption and a dead node, as the real controllers carry them out."""

from __future__ import annotations

from typing import Any

import pytest

from spillway.twin.kubernetes.real import nodes
from spillway.twin.kubernetes.real.control_plane import ControlPlane
from tests.kubernetes.api import RefusedError
from tests.kubernetes.cluster import Cluster, is_going, is_ready
from tests.kubernetes.stacks import Planned, planned
from tests.kubernetes.test_scheduling import scale

Object = dict[str, Any]


def test_a_full_pool_is_updated_one_server_at_a_time(cluster: Cluster) -> None:
    """Sixteen servers on sixteen GPUs: there is no room for one more, in the nodes or beyond them."""
    stack = planned("existing")
    cluster.add_nodes(nodes.H100, 2, "gpu")
    cluster.put(stack)
    scale(cluster, stack, 16)
    cluster.until_ready(stack, 16)
    fewest = 16

    def updated(found: list[Object]) -> bool:
        nonlocal fewest
        serving = [pod for pod in found if is_ready(pod) and not is_going(pod)]
        fewest = min(fewest, len(serving))
        return len(serving) == 16 and all(_version(pod) == "2" for pod in serving)

    path = f"/apis/apps/v1/namespaces/{stack.prefix}-serving/deployments/model-server"
    annotations = {"spillway.dev/version": "2"}
    cluster.api.patch(path, {"spec": {"template": {"metadata": {"annotations": annotations}}}})
    cluster.api.until(cluster.home(stack), updated, 90, "all sixteen are new")

    assert fewest == 15
    cluster.api.until(path.rpartition("/")[0], _is_through, 30, "the Deployment says so")


@pytest.mark.parametrize("workload", ["model-server", "gateway"])
def test_the_only_pod_can_be_drained(cluster: Cluster, workload: str) -> None:
    """A node with a stack's only server would never be patched otherwise."""
    stack = planned("local")
    cluster.add_nodes(nodes.L4_OF_FOUR, 1, "gpu")
    cluster.add_nodes(nodes.SYSTEM, 1, "system")
    cluster.put(stack)
    cluster.until_ready(stack, 1, name=workload)
    _until_disruptions(cluster, stack, workload, 1)
    (pod,) = cluster.pods(stack, workload)

    _evict(cluster, pod)

    gone = pod["metadata"]["name"]
    labels = f"app.kubernetes.io/name={workload}"
    renewed = lambda found: [p for p in found if is_ready(p) and p["metadata"]["name"] != gone]  # noqa: E731
    cluster.api.until(cluster.home(stack, workload), renewed, what="another pod stands", labels=labels)


def test_a_drain_leaves_half_of_the_servers(cluster: Cluster) -> None:
    stack = planned("prod")
    cluster.add_nodes(nodes.L4_OF_FOUR, 3, "gpu")
    cluster.put(stack)
    cluster.until_ready(stack, 12)
    # No node takes up what is drained.
    for node in cluster.api.list("/api/v1/nodes"):
        cluster.api.patch(f"/api/v1/nodes/{node['metadata']['name']}", {"spec": {"unschedulable": True}})
    _until_disruptions(cluster, stack, "model-server", 6)
    first, others = cluster.pods(stack)[:6], cluster.pods(stack)[6:]
    for pod in first:
        _evict(cluster, pod)
    for pod in others:
        with pytest.raises(RefusedError, match="disruption budget"):
            _evict(cluster, pod)


def test_p0_takes_the_gpus_of_p2_and_gives_them_back(cluster: Cluster) -> None:
    stack = planned("existing")
    cluster.add_nodes(nodes.H100, 1, "gpu")
    cluster.put(stack)
    cluster.until_ready(stack, 2)
    night = _night_work(stack, 8)
    cluster.put([night])
    jobs = "/api/v1/namespaces/default/pods"
    labels = "app=night-work"
    cluster.api.until(jobs, lambda found: sum(map(_runs, found)) == 6, what="P2 fills the pool", labels=labels)
    # It takes nothing from anybody.
    assert len(cluster.pods(stack)) == 2

    scale(cluster, stack, 7)
    cluster.until_ready(stack, 7)
    cluster.api.until(jobs, lambda found: sum(map(_runs, found)) == 1, what="P2 has made way", labels=labels)

    scale(cluster, stack, 2)
    cluster.api.until(jobs, lambda found: sum(map(_runs, found)) == 6, what="P2 goes on", labels=labels)


def test_servers_of_a_dead_node_stand_anew_within_a_minute(cluster: Cluster, control_plane: ControlPlane) -> None:
    stack = planned("existing")
    kubelet = control_plane.keep("mortal")
    (dead,) = cluster.add_nodes(nodes.A100, 1, "gpu", keeper="mortal")
    cluster.put(stack)
    cluster.until_ready(stack, 2)
    lost = {pod["metadata"]["name"] for pod in cluster.pods(stack)}
    cluster.add_nodes(nodes.A100, 1, "other")

    # Its kubelet falls silent, and the control plane notices: told, at once; where a last word of the kubelet's came
    # after that, by itself in 50 s, which is its own affair.
    control_plane.stop(kubelet)
    silent = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "silent"}
    cluster.api.patch(f"/api/v1/nodes/{dead}/status", {"status": {"conditions": [silent]}})

    def is_given_up(found: list[Object]) -> bool:
        (node,) = (one for one in found if one["metadata"]["name"] == dead)
        taints = {(taint["key"], taint["effect"]) for taint in node["spec"].get("taints", [])}
        return ("node.kubernetes.io/unreachable", "NoExecute") in taints

    cluster.api.until("/api/v1/nodes", is_given_up, 120, "the node is given up")

    def replaced(found: list[Object]) -> bool:
        serving = {pod["metadata"]["name"] for pod in found if is_ready(pod) and not is_going(pod)}
        return len(serving) == 2 and not serving & lost

    took = cluster.api.until(cluster.home(stack), replaced, 60, "the other node has both")
    # As long as the servers tolerate it, and not the five minutes that are the cluster's default.
    assert took > 25
    for name in lost:
        cluster.api.delete(f"{cluster.home(stack)}/{name}", grace_s=0)


def _is_through(found: list[Object]) -> bool:
    (deployment,) = found
    conditions = {one["type"]: one["reason"] for one in deployment["status"]["conditions"]}
    return conditions.get("Progressing") == "NewReplicaSetAvailable"


def _version(pod: Object) -> str:
    return pod["metadata"].get("annotations", {}).get("spillway.dev/version", "1")


def _runs(pod: Object) -> bool:
    return is_ready(pod) and not is_going(pod)


def _evict(cluster: Cluster, pod: Object) -> None:
    """What `kubectl drain` asks for."""
    name = {key: pod["metadata"][key] for key in ("name", "namespace")}
    path = f"/api/v1/namespaces/{name['namespace']}/pods/{name['name']}/eviction"
    cluster.api.call("POST", path, {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": name})


def _until_disruptions(cluster: Cluster, stack: Planned, workload: str, allowed: int) -> None:
    space = {"model-server": "serving", "gateway": "gateway"}[workload]
    path = f"/apis/policy/v1/namespaces/{stack.prefix}-{space}/poddisruptionbudgets"
    counted = lambda found: [one.get("status", {}).get("disruptionsAllowed") for one in found] == [allowed]  # noqa: E731
    cluster.api.until(path, counted, what=f"{allowed} may be disrupted")


def _night_work(stack: Planned, count: int) -> Object:
    """Pods of class P2 with a GPU each, as batch work would have them."""
    labels = {"app": "night-work"}
    container = {
        "name": "work",
        "image": "registry.example.com/work:1",
        "resources": {
            "requests": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"},
            "limits": {"memory": "1Gi", "nvidia.com/gpu": "1"},
        },
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "priorityClassName": f"{stack.prefix}-p2",
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "night-work", "namespace": "default"},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
