"""What a server asks for, and how many of them the private cluster holds."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from components.private_cluster.settings import (
    AksGpuPool,
    AksSystemPool,
    EksGpuPool,
    EksSettings,
    EksSystemPool,
    ExistingSettings,
    Taint,
)
from spillway.contracts.gpus import MIG_SLICES
from spillway.contracts.machines import Room, room
from spillway.contracts.network_cards import network
from spillway.contracts.prices import catalogue
from spillway.contracts.quantities import parse_quantity
from stacks.settings import StackSettings

MOST_CPUS: Final = 4
MOST_GIB: Final = 16
"""What a server asks for where its node has more to give and the stack file is silent."""

_MIB: Final = 1 << 20


@dataclass(frozen=True)
class ServerSize:
    """Of one model server, as Kubernetes writes it."""

    cpu: str
    memory: str

    @property
    def cpus(self) -> Decimal:
        return parse_quantity(self.cpu)

    @property
    def mib(self) -> Decimal:
        return parse_quantity(self.memory) / _MIB


def server_size(settings: StackSettings) -> ServerSize:
    """What the stack file says, else the GPUs' share of their node, within bounds."""
    server, node = settings.model_server, gpu_node(settings)
    share = Room(MOST_CPUS, MOST_GIB * 1024)
    if node is not None and server.gpus:
        part = server.gpus / gpus_of_a_node(settings)
        share = Room(min(MOST_CPUS, node.cpus * part), min(MOST_GIB * 1024, int(node.mib * part)))
    cpus, gib = max(1, int(share.cpus)), max(1, share.mib // 1024)
    return ServerSize(server.cpu or str(cpus), server.memory or f"{gib}Gi")


def gpu_node(settings: StackSettings) -> Room | None:
    """What pods may ask for on a GPU node; ``None`` where its machine is not known."""
    cluster = settings.private_cluster
    return None if isinstance(cluster, ExistingSettings) else room(machine(cluster.gpu_pool))


def system_node(settings: StackSettings) -> Room | None:
    """The same of a node without GPUs."""
    cluster = settings.private_cluster
    return None if isinstance(cluster, ExistingSettings) else room(machine(cluster.system_pool))


def gpu_taints(settings: StackSettings) -> tuple[Taint, ...]:
    """What keeps pods off the GPU nodes, beside the GPU's own taint."""
    cluster = settings.private_cluster
    return () if isinstance(cluster, ExistingSettings) else cluster.gpu_pool.taints


def machine(pool: EksGpuPool | EksSystemPool | AksGpuPool | AksSystemPool) -> str:
    """The instance type or VM size of a pool's nodes."""
    return pool.instance_type if isinstance(pool, EksGpuPool | EksSystemPool) else pool.vm_size


def gpus_of_a_node(settings: StackSettings) -> int:
    """GPUs of one GPU node that pods may ask for: where GPUs are shared, their parts."""
    cluster = settings.private_cluster
    whole = cluster.gpus_per_node if isinstance(cluster, ExistingSettings) else cluster.gpu_pool.gpus_per_node
    return whole * parts_of_a_gpu(settings)


def parts_of_a_gpu(settings: StackSettings) -> int:
    """How many servers may share one; 1 where that is not known, which a rule refuses."""
    sharing = settings.private_cluster.gpu_sharing
    if sharing is None:
        return 1
    return sharing.time_slices or MIG_SLICES.get(private_gpu(settings) or "", {}).get(sharing.mig or "", 1)


def gpus_of_a_server(settings: StackSettings) -> float:
    """Whole GPUs of one server: of a shared one, its part."""
    given, parts = settings.model_server.gpus_in_all, parts_of_a_gpu(settings)
    return given if parts == 1 else given / parts


def private_gpu(settings: StackSettings) -> str | None:
    """The kind of the private nodes' GPUs, as the price table names it."""
    cluster = settings.private_cluster
    if isinstance(cluster, ExistingSettings):
        return None
    wanted = machine(cluster.gpu_pool).lower()
    return next((price.gpu for price in catalogue() if price.instance_type.lower() == wanted), None)


def servers_at_most(settings: StackSettings) -> int | None:
    """Servers whose GPUs the grown cluster has; ``None`` for servers without."""
    cluster, server = settings.private_cluster, settings.model_server
    if server.gpus == 0:
        return None
    nodes = cluster.nodes if isinstance(cluster, ExistingSettings) else cluster.gpu_pool.max_nodes
    return gpus_of_a_node(settings) // server.gpus * nodes // server.nodes


def spare_gpu(settings: StackSettings) -> bool:
    """Whether an update finds GPUs for one server more than the autoscaler may start."""
    most, server = servers_at_most(settings), settings.model_server
    trial = server.canary.servers if server.canary else 0
    return most is None or server.autoscaling.max_replicas + trial < most


def efa_of_a_server(settings: StackSettings) -> int:
    """Elastic Fabric Adapters of each node of a server: its GPUs' share of them. 0 where it has or wants none."""
    cluster, span = settings.private_cluster, settings.model_server.span
    if not isinstance(cluster, EksSettings) or span is None or span.fabric not in (None, "efa"):
        return 0
    found = network(cluster.gpu_pool.instance_type)
    return found.efa * settings.model_server.gpus // cluster.gpu_pool.gpus_per_node if found else 0
