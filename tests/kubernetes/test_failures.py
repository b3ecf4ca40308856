"""What is lost while something of the cluster is down, and how it comes back."""

from __future__ import annotations

from typing import Any

from spillway.twin.kubernetes.real import nodes
from spillway.twin.kubernetes.real.control_plane import ControlPlane
from tests.kubernetes.cluster import Cluster, is_going, is_ready
from tests.kubernetes.stacks import Planned, planned
from tests.kubernetes.test_scheduling import scale
from tests.support.waiting import eventually

Object = dict[str, Any]


def two_servers(cluster: Cluster) -> tuple[Planned, set[str]]:
    """On one node, with their pods' identities."""
    stack = planned("existing")
    cluster.add_nodes(nodes.H100, 1, "gpu")
    cluster.put(stack)
    cluster.until_ready(stack, 2)
    return stack, uids(cluster.pods(stack))


def test_without_an_api_server_the_servers_stay_and_are_adopted_again(
    cluster: Cluster, control_plane: ControlPlane
) -> None:
    """Pods are the kubelets' to keep; the gateways' agents ask DNS and Envoy, and no API server."""
    stack, before = two_servers(cluster)

    control_plane.stop("kube-apiserver")
    eventually(lambda: not cluster.api.is_ready(), 10, "the API server is gone")
    control_plane.restart("kube-apiserver")

    cluster.until_ready(stack, 2)
    assert uids(cluster.pods(stack)) == before
    # The controllers go on: what is asked for now is done.
    scale(cluster, stack, 3)
    cluster.until_ready(stack, 3)


def test_without_its_store_the_cluster_changes_nothing_and_forgets_nothing(
    cluster: Cluster, control_plane: ControlPlane
) -> None:
    stack, before = two_servers(cluster)

    control_plane.stop("etcd")
    eventually(lambda: not cluster.api.is_ready(), 30, "the API server says that its store is gone")
    control_plane.restart("etcd")

    cluster.until_ready(stack, 2)
    assert uids(cluster.pods(stack)) == before


def test_a_zone_that_is_lost_takes_its_share_alone(cluster: Cluster, control_plane: ControlPlane) -> None:
    """Three zones with a node each; the servers of the lost one stand anew in the others."""
    stack = planned("prod")
    kubelet = control_plane.keep("doomed")
    cluster.add_nodes(nodes.L4_OF_FOUR, 2, "gpu")
    (lost,) = cluster.add_nodes(nodes.L4_OF_FOUR, 1, "lost", keeper="doomed", zone=2)
    cluster.put(stack)
    cluster.until_ready(stack, 12)
    gone = {pod["metadata"]["name"] for pod in cluster.pods(stack) if pod["spec"]["nodeName"] == lost}
    # As evenly as it goes, so that a zone costs a third.
    assert len(gone) == 4
    cluster.add_nodes(nodes.L4_OF_FOUR, 1, "spare")

    control_plane.stop(kubelet)
    silent = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "silent"}
    cluster.api.patch(f"/api/v1/nodes/{lost}/status", {"status": {"conditions": [silent]}})

    def replaced(found: list[Object]) -> bool:
        serving = {pod["metadata"]["name"] for pod in found if is_ready(pod) and not is_going(pod)}
        return len(serving) == 12 and not serving & gone

    cluster.api.until(cluster.home(stack), replaced, 90, "the other zones have them all")
    for name in gone:
        cluster.api.delete(f"{cluster.home(stack)}/{name}", grace_s=0)


def test_a_server_whose_disk_is_full_or_gone_is_started_elsewhere(cluster: Cluster) -> None:
    """The kubelet evicts it, or fails it; its package is fetched anew on another node."""
    stack = planned("existing")
    cluster.add_nodes(nodes.H100, 1, "first")
    cluster.put(stack)
    cluster.until_ready(stack, 2)
    cluster.add_nodes(nodes.H100, 1, "second")
    cluster.api.patch("/api/v1/nodes/first-0", {"spec": {"unschedulable": True}})
    evicted, stays = cluster.pods(stack)

    # As the kubelet says it.
    message = "The node was low on resource: ephemeral-storage."
    unready = [{"type": "Ready", "status": "False"}]
    told = {"phase": "Failed", "reason": "Evicted", "message": message, "conditions": unready}
    cluster.api.patch(f"{cluster.home(stack)}/{evicted['metadata']['name']}/status", {"status": told})

    def renewed(found: list[Object]) -> bool:
        places = {pod["spec"].get("nodeName") for pod in found if is_ready(pod) and not is_going(pod)}
        return places == {"first-0", "second-0"}

    cluster.api.until(cluster.home(stack), renewed, 60, "another node has it")
    assert stays["metadata"]["uid"] in uids(cluster.pods(stack))


def uids(pods: list[Object]) -> set[str]:
    return {pod["metadata"]["uid"] for pod in pods}
