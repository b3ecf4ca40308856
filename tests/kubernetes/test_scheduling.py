"""Whether the scheduler finds a place for what the stacks start, on the nodes of their own pools."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

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


NC24_A100 = replace(nodes.A100, name="Standard_NC24ads_A100_v4", cpus=23.6, gib=217.0, gpus=1, disk_gib=460)
MIG_OF_A100_80GB = {"all-1g.10gb": ("1g.10gb", 7), "all-2g.20gb": ("2g.20gb", 3)}
"""docs.nvidia.com/datacenter/tesla/mig-user-guide: how many of a profile an A100 80GB has."""


@pytest.mark.parametrize(("sharing", "parts"), [({"mig": "1g.10gb"}, 7), ({"time_slices": 4}, 4)], ids=["mig", "turns"])
def test_as_many_servers_share_a_gpu_as_it_has_parts(cluster: Cluster, sharing: dict[str, Any], parts: int) -> None:
    """Its CPUs and memory are enough for all of them, too; the next one waits for a GPU and for nothing else."""
    stack = shared(sharing)
    cluster.add_nodes(as_nvidia_shares(NC24_A100, stack.releases["gpu-operator"]["values"]), 1, "gpu")
    cluster.put(stack)
    scale(cluster, stack, parts + 1)

    settled = lambda found: sum(map(is_ready, found)) == parts and len(why_pending(found)) == 1  # noqa: E731
    labels = "app.kubernetes.io/name=model-server"
    cluster.api.until(cluster.home(stack), settled, what=f"{parts} run and one waits", labels=labels)
    (why,) = why_pending(cluster.pods(stack))
    assert why.startswith("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    assert {pod["spec"].get("nodeName") for pod in cluster.pods(stack) if is_ready(pod)} == {"gpu-0"}


def as_nvidia_shares(machine: Machine, values: dict[str, Any]) -> Machine:
    """What NVIDIA's device plugin and feature discovery make of a node under these values of the operator's chart.

    NVIDIA/k8s-device-plugin, README.md, "With CUDA Time-Slicing": every GPU counts as often as ``replicas`` says, under
    its own name unless ``renameByDefault``; docs/gpu-feature-discovery/README.md, "MIG 'single' strategy": each MIG
    device counts as one ``nvidia.com/gpu``.
    """
    if "migManager" in values:
        assert values["mig"]["strategy"] == "single"
        profile, count = MIG_OF_A100_80GB[values["migManager"]["config"]["default"]]
        told = {"mig.strategy": "single", "gpu.product": f"NVIDIA-A100-80GB-PCIe-MIG-{profile}"}
        resource = machine.gpu
    else:
        config = values["devicePlugin"]["config"]
        turns = yaml.safe_load(config["data"][config["default"]])["sharing"]["timeSlicing"]
        ((name, count),) = [(one["name"], one["replicas"]) for one in turns["resources"]]
        told = {"gpu.replicas": str(count), "gpu.product": "NVIDIA-A100-80GB-PCIe-SHARED"}
        resource = f"{name}.shared" if turns.get("renameByDefault") else name
    labels = {f"nvidia.com/{key}": value for key, value in told.items()}
    return replace(machine, gpu=resource, gpus=machine.gpus * count, labels={**machine.labels, **labels})


def shared(sharing: dict[str, Any]) -> Planned:
    """The dev example with one A100 a node; as many servers as two nodes have places for."""
    name = "-".join(sharing).replace("_", "-")
    pool = {"vm_size": NC24_A100.name, "gpus_per_node": 1, "disk_gib": 512, "min_nodes": 1, "max_nodes": 2}
    changes = {
        f"{S}private_cluster.gpu_pool": pool,
        f"{S}private_cluster.gpu_sharing": sharing,
        f"{S}model_server.autoscaling": {"min_replicas": 1, "max_replicas": 8},
    }
    return made_once(name, lambda: plan("dev", "triton", changes, name))


def scale(cluster: Cluster, stack: Planned, replicas: int) -> None:
    path = f"/apis/apps/v1/namespaces/{stack.prefix}-serving/deployments/model-server"
    cluster.api.patch(path, {"spec": {"replicas": replicas}})
