"""Language models: GPUs, memory and the engine, against what the package says that one server needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from components.burst.site import BurstSite
from spillway.contracts.capacity import Machines
from spillway.contracts.gpus import MEMORY_MIB
from spillway.contracts.manifest import LanguageServing, Manifest
from spillway.contracts.prices import Price, catalogue
from spillway.contracts.problems import Problem, key_of
from stacks.pricing import private_machines
from stacks.settings import StackSettings

_VERSION: Final = re.compile(r":v?(\d+)\.(\d+)\.(\d+)")
_MIB: Final = 2**20
_GIB: Final = 2**30
_GB: Final = 10**9
"""In which MIG's profiles are named."""


def _enough_gpus(settings: StackSettings, sites: Sequence[BurstSite], serving: LanguageServing) -> Iterator[Problem]:
    """A server with fewer GPUs than its tensor, pipeline and data parallelism never starts."""
    needed = f"one server of the package needs {serving.gpus} GPUs ({_parallelism(serving)})"
    server = settings.model_server
    if server.gpus < serving.gpus and not server.span:
        advice = (
            f"{needed}; raise it, spread a server over nodes with model_server.span, or package the model with a "
            "smaller vllm.tensor_parallel_size"
        )
        yield Problem(key_of("model_server.gpus"), str(server.gpus), advice)
    for machines in _burst(sites):
        found = _row(machines)
        if found is not None and found.gpus < serving.gpus:
            advice = f"{needed}, and this instance has {found.gpus}; {_larger(machines, serving)}"
            yield Problem(key_of(machines.key), repr(machines.instance_type), advice)


def _spans_evenly(settings: StackSettings, sites: Sequence[BurstSite], serving: LanguageServing) -> Iterator[Problem]:
    """vLLM divides its processes evenly among the nodes, and takes a GPU for each (``vllm/engine/arg_utils.py``)."""
    server = settings.model_server
    if server.span and serving.spread(server.nodes, server.gpus).gpus != server.gpus_in_all:
        advice = (
            f"{server.gpus} GPUs on each of {server.nodes} nodes are {server.gpus_in_all}, and the package is made for "
            f"{serving.gpus} ({_parallelism(serving)}): give as many in all, or as many on each node, which then holds "
            "a part of the layers"
        )
        yield Problem(key_of("model_server.span.nodes"), str(server.nodes), advice)


def _enough_memory(settings: StackSettings, sites: Sequence[BurstSite], serving: LanguageServing) -> Iterator[Problem]:
    """Weights and the KV cache of one request of full length; vLLM refuses to start with less."""
    private, server, sharing = private_machines(settings), settings.model_server, settings.private_cluster.gpu_sharing
    own = ((private, serving.spread(server.nodes, server.gpus)),) if private else ()
    for machines, held in (*own, *((machines, serving) for machines in _burst(sites))):
        found, needed = _row(machines), held.bytes_per_gpu()
        memory = MEMORY_MIB.get(found.gpu) if found is not None else None
        if sharing is not None and sharing.mig and machines is private:
            memory = int(sharing.mig.partition(".")[2].removesuffix("gb")) * _GB // _MIB
        if memory is not None and needed is not None and needed > memory * _MIB * serving.gpu_memory_utilization:
            advice = (
                f"each GPU would hold {needed / _GIB:.1f} GiB of weights and of one request's KV cache, and vLLM takes "
                f"{serving.gpu_memory_utilization:.0%} of {memory * _MIB / _GIB:.1f} GiB; choose larger GPUs, quantize "
                "the model or its KV cache, lower vllm.max_model_len, or raise vllm.tensor_parallel_size"
            )
            yield Problem(key_of(machines.key), repr(machines.instance_type), advice)


def _engine_knows_the_arguments(
    settings: StackSettings, sites: Sequence[BurstSite], serving: LanguageServing
) -> Iterator[Problem]:
    """A vLLM that does not know an option ends at once."""
    image = settings.model_server.vllm_image
    given, made_for = _version(image), _version(f":{serving.engine}")
    if given is not None and made_for is not None and given < made_for:
        advice = f"the package's arguments are those of vLLM {serving.engine}; name that version or a later one"
        yield Problem(key_of("model_server.vllm_image"), repr(image), advice)


def _image_fits_the_accelerator(
    settings: StackSettings, sites: Sequence[BurstSite], serving: LanguageServing
) -> Iterator[Problem]:
    image = settings.model_server.vllm_image
    if settings.private_cluster.accelerator == "amd" and "vllm/vllm-openai:" in image:
        advice = "this image is built for CUDA, and the cluster has AMD GPUs; name docker.io/vllm/vllm-openai-rocm"
        yield Problem(key_of("model_server.vllm_image"), repr(image), advice)


def _grows_before_it_spills(
    settings: StackSettings, sites: Sequence[BurstSite], serving: LanguageServing
) -> Iterator[Problem]:
    """Above the gateways' limit caches do not fill, so a target there is never reached."""
    target, limit = settings.model_server.autoscaling.kv_cache_percent, settings.gateway.kv_cache_percent
    if target >= limit:
        advice = f"the gateways let requests fill {limit} % of the caches (gateway.kv_cache_percent); give less"
        yield Problem(key_of("model_server.autoscaling.kv_cache_percent"), str(target), advice)


def _kv_tiers_are_vllms_own(
    settings: StackSettings, sites: Sequence[BurstSite], serving: LanguageServing
) -> Iterator[Problem]:
    """One connector moves KV, and it copies from GPUs alone."""
    tiers, server = settings.model_server.kv_tiers, settings.model_server
    if tiers is None:
        return
    given = [name for name in ("kv-transfer-config", "kv-offloading-size") if name in serving.arguments]
    if given:
        advice = f"the package says --{given[0]} already; leave one of them out"
        yield Problem(key_of("model_server.kv_tiers.memory"), tiers.memory, advice)
    if not server.gpus:
        advice = "servers without GPUs (model_server.gpus: 0) have no KV beside that in memory; leave it out"
        yield Problem(key_of("model_server.kv_tiers.memory"), tiers.memory, advice)


RULES: Final = (
    _kv_tiers_are_vllms_own,
    _enough_gpus,
    _spans_evenly,
    _enough_memory,
    _engine_knows_the_arguments,
    _image_fits_the_accelerator,
    _grows_before_it_spills,
)


def problems(settings: StackSettings, sites: Sequence[BurstSite], manifest: Manifest) -> list[Problem]:
    """What keeps servers of this package from starting; of packages of other kinds only what they cannot have."""
    if manifest.language is None:
        return list(_without_kv(settings))
    return [problem for rule in RULES for problem in rule(settings, sites, manifest.language)]


def _without_kv(settings: StackSettings) -> Iterator[Problem]:
    tiers, affinity = settings.model_server.kv_tiers, settings.gateway.prefix_affinity_percent
    if settings.model_server.cache.shared:
        only = "only servers of packages for vLLM share one; leave it out"
        yield Problem(key_of("model_server.cache.shared"), "true", only)
    advice = "only packages for vLLM have a KV cache; leave it out"
    if tiers:
        yield Problem(key_of("model_server.kv_tiers.memory"), tiers.memory, advice)
    if affinity:
        yield Problem(key_of("gateway.prefix_affinity_percent"), str(affinity), advice)


def _burst(sites: Sequence[BurstSite]) -> list[Machines]:
    return [machines for site in sites for machines in site.machines()]


def _row(machines: Machines) -> Price | None:
    """What the price table knows of an instance type, whatever the region."""
    wanted = machines.instance_type.lower()
    return next((price for price in catalogue() if price.instance_type.lower() == wanted), None)


def _parallelism(serving: LanguageServing) -> str:
    sizes = {
        "tensor": serving.tensor_parallel_size,
        "pipeline": serving.pipeline_parallel_size,
        "data": serving.data_parallel_size,
    }
    return " × ".join(f"{name}_parallel_size {size}" for name, size in sizes.items() if size > 1 or name == "tensor")


def _larger(machines: Machines, serving: LanguageServing) -> str:
    fitting = sorted(
        {
            price.instance_type
            for price in catalogue()
            if (price.cloud, price.region) == (machines.cloud, machines.region) and price.gpus >= serving.gpus
        }
    )
    return f"known there with as many: {', '.join(fitting)}" if fitting else "package the model for fewer GPUs"


def _version(image: str) -> tuple[int, ...] | None:
    found = _VERSION.search(image)
    return tuple(int(part) for part in found.groups()) if found else None
