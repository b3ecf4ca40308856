"""Whether what stands on the private cluster finds room there, and runs on its GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from components.burst.site import BurstSite
from components.model_server.settings import ModelServerSettings
from components.private_cluster.settings import AksSettings, ExistingSettings
from spillway.contracts.manifest import Manifest
from spillway.contracts.problems import Problem, key_of
from spillway.contracts.quantities import parse_quantity
from stacks.placement import gpu_node, gpus_of_a_node, machine, server_size, servers_at_most, system_node
from stacks.settings import StackSettings

_MIB: Final = 1 << 20
_TMP_MIB: Final = 1024
"""A server's /tmp, which is memory, too."""

_DISK_FOR_PODS: Final = 0.9
"""The kubelet keeps 10 % by default (kubernetes.io, "Node-pressure Eviction": ``nodefs.available<10%``)."""


def _servers_fit_the_pool(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    server, per_node, most = settings.model_server, gpus_of_a_node(settings), servers_at_most(settings)
    if most is None:
        return
    if server.gpus > per_node:
        advice = f"a node of the private cluster has {per_node}, so no server would ever start; lower it"
        yield Problem(key_of("model_server.gpus"), str(server.gpus), advice)
        return
    trial = server.canary.servers if server.canary else 0
    for name in ("min_replicas", "max_replicas"):
        given = getattr(server.autoscaling, name)
        if given + trial > most:
            beside = f" ({trial} of them to try a release)" if trial else ""
            advice = (
                f"the private cluster has room for {most} servers{beside} of {_size(server)}; lower it, or add nodes"
            )
            yield Problem(key_of(f"model_server.autoscaling.{name}"), str(given), advice)
            return


def _size(server: ModelServerSettings) -> str:
    return f"{server.gpus} GPU" + (f" on each of {server.nodes} nodes" if server.span else "")


def _server_fits_a_node(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    cluster, server, size = settings.private_cluster, settings.model_server, server_size(settings)
    if isinstance(cluster, ExistingSettings):
        return
    pool = cluster.gpu_pool if server.gpus else cluster.system_pool
    node = gpu_node(settings) if server.gpus else system_node(settings)
    if node is None:
        return
    beside = _beside(settings)
    for name, wanted, has in (("cpu", size.cpus, node.cpus), ("memory", size.mib, node.mib)):
        if wanted * beside > has:
            given = size.cpu if name == "cpu" else size.memory
            room = f"{has / beside:.1f} CPUs" if name == "cpu" else f"{has / beside / 1024:.0f} GiB"
            advice = f"{beside} on a {machine(pool)} have {room} each, so they would wait for ever; lower it"
            yield Problem(key_of(f"model_server.{name}"), given, advice)


def _beside(settings: StackSettings) -> int:
    """Servers on a node."""
    gpus = settings.model_server.gpus
    return max(1, gpus_of_a_node(settings) // gpus) if gpus else 1


def _caches_fit_the_disk(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    """On AKS, where they lie on the OS disk; EKS's nodes have NVMe for them."""
    cluster, server = settings.private_cluster, settings.model_server
    if not isinstance(cluster, AksSettings) or not server.gpus or server.cache.storage_class is not None:
        return
    beside, disk = _beside(settings), cluster.gpu_pool.disk_gib
    wanted = float(parse_quantity(server.cache.size)) / _MIB / 1024 * beside
    if wanted > disk * _DISK_FOR_PODS:
        advice = (
            f"{beside} servers on a node keep {wanted:.0f} GiB of model_server.cache.size there, and pods have 90% of "
            "it, so the last would wait for ever; raise it, or lower the cache's size"
        )
        yield Problem(key_of("private_cluster.gpu_pool.disk_gib"), str(disk), advice)


def _memory_holds_what_is_in_it(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    server, whole = settings.model_server, server_size(settings).mib
    shared = parse_quantity(server.shared_memory) / _MIB
    kv = parse_quantity(server.kv_tiers.memory) / _MIB if server.kv_tiers else 0
    if server.kv_tiers and shared + kv + _TMP_MIB >= whole:
        advice = (
            f"a server has {whole:.0f} MiB, of which this, /dev/shm and 1 GiB of /tmp are a part; lower it, or raise "
            "model_server.memory"
        )
        yield Problem(key_of("model_server.kv_tiers.memory"), server.kv_tiers.memory, advice)
    elif shared + _TMP_MIB >= whole:
        advice = f"a server has {whole:.0f} MiB, of which /dev/shm and 1 GiB of /tmp are a part; lower it"
        yield Problem(key_of("model_server.shared_memory"), settings.model_server.shared_memory, advice)


def _gateways_fit_the_pool(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    cluster, gateway, node = settings.private_cluster, settings.gateway, system_node(settings)
    if isinstance(cluster, ExistingSettings) or node is None:
        return
    parts = (gateway.resources, gateway.agent_resources)
    cpus = float(sum(parse_quantity(part.cpu) for part in parts))
    mib = float(sum(parse_quantity(part.memory) for part in parts)) / _MIB
    pool = cluster.system_pool
    most = min(int(node.cpus / cpus), int(node.mib / mib)) * pool.max_nodes
    # An update starts one more before it ends one.
    if gateway.autoscaler.max_replicas + 1 > most:
        advice = (
            f"{pool.max_nodes} of {machine(pool)} hold {most} gateways, and an update starts one more; lower it, or "
            "give private_cluster.system_pool larger or more nodes"
        )
        yield Problem(key_of("gateway.autoscaler.max_replicas"), str(gateway.autoscaler.max_replicas), advice)


def _quota_holds_the_servers(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    size, quota = server_size(settings), settings.private_cluster.quotas.serving
    # An update starts one more before it ends one; spare places count, until a server has put their pods out.
    servers = _servers(settings) + settings.model_server.autoscaling.spare_servers + 1
    pods = servers * settings.model_server.nodes
    for name, wanted, given in (
        ("cpu", size.cpus * pods, quota.cpu),
        ("memory", size.mib * _MIB * pods, quota.memory),
        ("pods", pods, str(quota.pods)),
    ):
        if wanted > parse_quantity(given):
            told = f"{wanted / _MIB / 1024:.0f}Gi" if name == "memory" else f"{wanted:f}"
            advice = f"{servers} servers, an update's included, ask for {told}; raise it, or lower max_replicas"
            yield Problem(key_of(f"private_cluster.quotas.serving.{name}"), given, advice)


def _spare_places_bring_nodes(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    server, key = settings.model_server, key_of("model_server.autoscaling.spare_servers")
    if not server.autoscaling.spare_servers:
        return
    given = str(server.autoscaling.spare_servers)
    if isinstance(settings.private_cluster, ExistingSettings):
        yield Problem(key, given, "a cluster that is there has the nodes that it has, and all may be used; remove it")
    if server.span:
        yield Problem(key, given, "a place is of one node, and a server of model_server.span has several; remove it")


def _servers(settings: StackSettings) -> int:
    """At most, with those that try a release."""
    server = settings.model_server
    return server.autoscaling.max_replicas + (server.canary.servers if server.canary else 0)


def _amd_devices_open(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    server = settings.model_server
    if settings.private_cluster.accelerator == "amd" and server.gpus and not server.gpu_device_gids:
        advice = (
            "/dev/kfd is open to a group of the nodes alone, and servers are not root: give its number, which "
            "`getent group render` says on a node"
        )
        yield Problem(key_of("model_server.gpu_device_gids"), "nothing", advice)


def _amd_on_azure_has_a_driver(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    cluster = settings.private_cluster
    if not isinstance(cluster, AksSettings) or cluster.accelerator != "amd" or not cluster.amd_operator.enabled:
        return
    if not cluster.amd_operator.driver:
        advice = "Azure's images bring no ROCm driver: set it to true, with driver_image"
        yield Problem(key_of("private_cluster.amd_operator.driver"), "false", advice)


def _spans_with_gpus(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    server = settings.model_server
    if server.span and not server.gpus:
        advice = "a server on several nodes computes on the GPUs of each; give it some, or remove model_server.span"
        yield Problem(key_of("model_server.gpus"), "0", advice)


def _spans_with_vllm(settings: StackSettings, manifest: Manifest) -> Iterator[Problem]:
    if settings.model_server.span and manifest.kind != "vllm":
        advice = "Triton serves on one node; remove it, or deploy a language model's package, which vLLM serves"
        yield Problem(key_of("model_server.span"), f"{settings.model_server.nodes} nodes", advice)


def _image_runs_on_amd(settings: StackSettings, manifest: Manifest) -> Iterator[Problem]:
    if settings.private_cluster.accelerator != "amd" or not settings.model_server.gpus:
        return
    name = "vllm_image" if manifest.kind == "vllm" else "triton_image"
    given = getattr(settings.model_server, name)
    if given == ModelServerSettings.model_fields[name].default:
        kind = "vLLM: rocm/vllm on Docker Hub" if manifest.kind == "vllm" else "Triton, of your own"
        advice = f"it is built for CUDA, and the private cluster has AMD GPUs; give an image of {kind}"
        yield Problem(key_of(f"model_server.{name}"), given, advice)


RULES = (
    _servers_fit_the_pool,
    _server_fits_a_node,
    _caches_fit_the_disk,
    _memory_holds_what_is_in_it,
    _gateways_fit_the_pool,
    _quota_holds_the_servers,
    _spare_places_bring_nodes,
    _spans_with_gpus,
    _amd_devices_open,
    _amd_on_azure_has_a_driver,
)
PACKAGE_RULES = (_image_runs_on_amd, _spans_with_vllm)
