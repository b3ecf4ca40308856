"""Whether the scheduler finds a place for what the stacks start, on the nodes of their own pools."""

from __future__ import annotations

import pytest

from spillway.twin.kubernetes.real import nodes
from spillway.twin.kubernetes.real.nodes import Machine
from tests.kubernetes.cluster import Cluster, is_ready, why_pending
from tests.kubernetes.stacks import Planned, plan, planned

S = "spillway:"
ONE_SERVER = {
    f"{S}model_server": {"autoscaling": {"min_replicas": 1, "max_replicas": 2}},
    f"{S}gateway.replicas": 1,
    f"{S}gateway.autoscaler": {"max_replicas": 2},
}


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


def test_eks_as_it_is_by_default_starts_a_server(cluster: Cluster) -> None:
    """A server asks for its share of the node: a whole g6.xlarge has less than 4 CPUs and 16 GiB."""
    stack = plan("prod", "triton", {f"{S}private_cluster": {"kind": "eks"}, **ONE_SERVER}, "eks")
    cluster.add_nodes(nodes.L4, 1, "gpu")
    cluster.put(stack)
    cluster.until_ready(stack, 1)


def test_servers_tolerate_the_taints_of_their_own_pool(cluster: Cluster) -> None:
    taint = {"key": "team", "value": "ml", "effect": "NoSchedule"}
    pool = {"kind": "eks", "gpu_pool": {"instance_type": "g6.xlarge", "taints": [taint]}}
    stack = plan("prod", "triton", {f"{S}private_cluster": pool, **ONE_SERVER}, "taints")
    tainted = Machine(
        "g6.xlarge", 3.92, 14.3, 1, disk_gib=220, taints=(*nodes.L4.taints, taint), labels=nodes.L4.labels
    )
    cluster.add_nodes(tainted, 1, "gpu")
    cluster.put(stack)
    cluster.until_ready(stack, 1)


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
