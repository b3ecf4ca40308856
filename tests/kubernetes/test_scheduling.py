"""Whether the scheduler finds a place for what the stacks start, on the nodes of their own pools."""

from __future__ import annotations

from dataclasses import replace

import pytest

from components.model_server import places
from spillway.twin.kubernetes.real import nodes
from spillway.twin.kubernetes.real.nodes import Machine
from tests.kubernetes.cluster import Cluster, is_ready, why_pending
from tests.kubernetes.stacks import Planned, made_once, plan, planned

S = "spillway:"
ONE_SERVER = {
    f"{S}model_server": {"autoscaling": {"min_replicas": 1, "max_replicas": 2, "spare_servers": 1}},
    f"{S}gateway.replicas": 1,
    f"{S}gateway.autoscaler": {"max_replicas": 2},
}
TEAM = {"key": "team", "value": "ml", "effect": "NoSchedule"}
TAINTED = {"kind": "eks", "gpu_pool": {"taints": [TEAM]}}


@pytest.mark.parametrize(
    ("name", "gpu", "gpu_nodes", "system", "system_nodes", "servers", "gateways"),
    [
        ("local", nodes.L4_OF_FOUR, 1, nodes.SYSTEM, 1, 1, 1),
        ("dev", nodes.T4, 1, nodes.SMALL_SYSTEM, 1, 1, 2),
        ("prod", nodes.L4_OF_FOUR, 3, nodes.SYSTEM, 3, 12, 3),
        ("amd", nodes.MI300X, 1, nodes.SMALL_SYSTEM, 1, 1, 2),
        ("vllm", nodes.H100, 1, nodes.SYSTEM, 3, 2, 3),
        ("vllm", nodes.H200, 1, nodes.SYSTEM, 3, 2, 3),
        ("existing", nodes.A100, 2, nodes.SYSTEM, 1, 2, 1),
    ],
    ids=lambda value: value.name if isinstance(value, Machine) else str(value),
)
def test_a_stack_finds_room_on_its_own_pools(
    cluster: Cluster,
    name: str,
    gpu: Machine,
    gpu_nodes: int,
    system: Machine,
    system_nodes: int,
    servers: int,
    gateways: int,
) -> None:
    cluster.add_nodes(gpu, gpu_nodes, "gpu")
    cluster.add_nodes(system, system_nodes, "system")
    stack = planned(name)
    cluster.put(stack)

    cluster.until_ready(stack, servers)
    cluster.until_ready(stack, gateways, name="gateway")
    places = [pod["spec"]["nodeName"] for pod in cluster.pods(stack)]
    assert all(place.startswith("gpu-") for place in places)
    assert {
        place.partition("-")[0] for place in (one["spec"]["nodeName"] for one in cluster.pods(stack, "gateway"))
    } == {"system"}
    # As many on each node as its share is.
    assert max(map(places.count, places)) == -(-servers // gpu_nodes)


@pytest.mark.parametrize("taints", [(), (TEAM,)], ids=["default", "taints"])
def test_eks_as_it_is_by_default_starts_a_server(cluster: Cluster, taints: tuple[dict[str, str], ...]) -> None:
    """A server asks for its share of the node: a whole g6.xlarge has less than 4 CPUs and 16 GiB. And it tolerates what
    the stack itself taints its pool with."""
    stack = on_eks()
    cluster.add_nodes(replace(nodes.L4, taints=(*nodes.L4.taints, *taints)), 1, "gpu")
    cluster.put(stack)
    cluster.until_ready(stack, 1)


def test_a_server_takes_the_place_that_is_kept_for_it(cluster: Cluster) -> None:
    """And who kept it waits for a node, as a node autoscaler sees it."""
    stack = on_eks()
    cluster.add_nodes(nodes.L4, 2, "gpu")
    cluster.put(stack)
    cluster.until_ready(stack, 1)
    cluster.until_ready(stack, 1, name=places.NAME)

    scale(cluster, stack, 2)
    cluster.until_ready(stack, 2)
    home, labels = cluster.home(stack), f"app.kubernetes.io/name={places.NAME}"
    cluster.api.until(home, lambda found: len(why_pending(found)) == 1, 60, "the place is wanted again", labels)

    cluster.add_nodes(nodes.L4, 1, "more")
    cluster.until_ready(stack, 1, name=places.NAME)


def on_eks() -> Planned:
    return made_once("eks", lambda: plan("prod", "triton", {f"{S}private_cluster": TAINTED, **ONE_SERVER}, "eks"))


def test_servers_beyond_the_gpus_wait_and_say_why(cluster: Cluster) -> None:
    stack = planned("existing")
    cluster.add_nodes(nodes.A100, 1, "gpu")
    cluster.put(stack)
    scale(cluster, stack, 9)
    home = cluster.home(stack)
    ready = lambda found: sum(map(is_ready, found)) == 8 and why_pending(found)  # noqa: E731
    cluster.api.until(home, ready, what="eight run and one waits")
    assert "Insufficient nvidia.com/gpu" in why_pending(cluster.pods(stack))[0]

    # A node that comes is all that it waits for.
    cluster.add_nodes(nodes.A100, 1, "more")
    cluster.until_ready(stack, 9)


def scale(cluster: Cluster, stack: Planned, replicas: int) -> None:
    path = f"/apis/apps/v1/namespaces/{stack.prefix}-serving/deployments/model-server"
    cluster.api.patch(path, {"spec": {"replicas": replicas}})
