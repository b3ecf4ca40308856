"""Whether GPUs can be shared as the stack file says: who arranges it, into how many parts, and what fits in one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from components.burst.site import BurstSite
from components.private_cluster.settings import ExistingSettings
from spillway.contracts.gpus import MIG_SLICES
from spillway.contracts.manifest import Manifest
from spillway.contracts.problems import Problem, key_of
from stacks.placement import machine, private_gpu
from stacks.settings import StackSettings

_KEY: Final = "private_cluster.gpu_sharing"


def _nvidias_operator_arranges_it(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    cluster = settings.private_cluster
    if cluster.gpu_sharing is None:
        return
    if cluster.accelerator != "nvidia":
        advice = "the NVIDIA operator arranges it, and these GPUs are AMD's; remove it"
        yield Problem(key_of(_KEY), "a value", advice)
    elif not cluster.nvidia_operator.enabled:
        advice = "the operator arranges it, and nvidia_operator.enabled is false; switch it on, or remove this"
        yield Problem(key_of(_KEY), "a value", advice)


def _profile_divides_the_gpu(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    cluster = settings.private_cluster
    if cluster.gpu_sharing is None or (profile := cluster.gpu_sharing.mig) is None:
        return
    if isinstance(cluster, ExistingSettings):
        advice = (
            "which GPUs an existing cluster has is not known here: divide them there, count the slices in "
            "gpus_per_node, and set model_server.autoscaling.mig"
        )
        yield Problem(key_of(f"{_KEY}.mig"), profile, advice)
        return
    known = MIG_SLICES.get(private_gpu(settings) or "", {})
    if profile not in known:
        name = f"{private_gpu(settings) or 'the GPU'} of {machine(cluster.gpu_pool)}"
        found = f"profiles that divide {name}: {', '.join(known)}" if known else f"{name} has no MIG; use time_slices"
        yield Problem(key_of(f"{_KEY}.mig"), profile, found)


def _nodes_tell_of_their_parts(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    """An autoscaler takes a node of a pool for what the next will be; of an empty one it knows the machine's GPUs alone
    (cluster-autoscaler's FAQ, scaling from zero)."""
    cluster = settings.private_cluster
    if cluster.gpu_sharing is None or isinstance(cluster, ExistingSettings) or cluster.gpu_pool.min_nodes:
        return
    advice = "of an empty pool the autoscaler knows no parts of GPUs, and adds a node for each server; give at least 1"
    yield Problem(key_of("private_cluster.gpu_pool.min_nodes"), "0", advice)


def _a_server_has_one_part(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    server = settings.model_server
    if settings.private_cluster.gpu_sharing is None:
        return
    if server.gpus > 1 or server.span:
        advice = "a server takes one part of a shared GPU: parts do not compute together; give 1, or share none"
        yield Problem(key_of("model_server.gpus"), str(server.gpus_in_all), advice)
    if server.engine:
        advice = "an engine is compiled for a whole GPU; serve the portable model, or share none"
        yield Problem(key_of("model_server.engine"), server.engine, advice)


def _turns_leave_memory(settings: StackSettings, manifest: Manifest) -> Iterator[Problem]:
    """vLLM takes its share of all of a GPU's memory at its start."""
    sharing, language = settings.private_cluster.gpu_sharing, manifest.language
    if sharing is None or sharing.time_slices is None or language is None:
        return
    taken = sharing.time_slices * language.gpu_memory_utilization
    if taken > 1:
        advice = (
            f"each of so many servers takes {language.gpu_memory_utilization:.0%} of the GPU's memory: package the "
            f"model with vllm.gpu_memory_utilization of at most {1 / sharing.time_slices:.2f}, or divide the GPU by mig"
        )
        yield Problem(key_of(f"{_KEY}.time_slices"), str(sharing.time_slices), advice)


RULES = (
    _nvidias_operator_arranges_it,
    _profile_divides_the_gpu,
    _nodes_tell_of_their_parts,
    _a_server_has_one_part,
)
PACKAGE_RULES = (_turns_leave_memory,)
