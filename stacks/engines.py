"""Compiled engines that a stack file names: found beside the package, and refused where a site could not run them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.burst.site import BurstSite
from spillway.contracts.capacity import Machines
from spillway.contracts.classes import Site, SiteName
from spillway.contracts.gpus import AMPERE, COMPUTE_CAPABILITIES
from spillway.contracts.manifest import ENGINES, Manifest, PackageError
from spillway.contracts.prices import PriceError, find_price
from spillway.contracts.problems import Problem, key_of, nearest
from spillway.contracts.targets import CONTAINERS, Container, ContainerKind
from spillway.contracts.trt_engines import ANY_GPU, Compiler, EngineRecord, engine_folders, verify_engine
from stacks.errors import StackConfigError
from stacks.pricing import private_machines
from stacks.settings import StackSettings

_TRITON_IMAGE: Final = re.compile(r"(?:.*/)?tritonserver:(\d\d\.\d\d)(?:-py3)?(?:@.*)?")
"""NVIDIA's own image, also from a mirror. Another suffix is somebody else's image, with what they put into it."""


def chosen_engines(
    settings: StackSettings, sites: Sequence[BurstSite], manifest: Manifest, package: Path
) -> Mapping[SiteName, EngineRecord]:
    """The engine of each site that serves one instead of the portable model.

    Raises :class:`StackConfigError` for one that is not there, not sound, or does not fit the site.
    """
    found: dict[SiteName, EngineRecord] = {}
    problems: list[Problem] = []
    for host in [_private(settings), *(_burst(site, manifest) for site in sites)]:
        if host.engine is None:
            continue
        key, given = key_of(host.key), repr(host.engine)
        try:
            record = _sound(manifest, package, host.engine)
        except PackageError as error:
            problems.append(Problem(key, given, str(error)))
            continue
        found[host.site] = record
        why_not = [*host.unfit(record), *_other_gpus(host, record), *_other_library(host, record)]
        problems += [Problem(key, given, why) for why in why_not]
    if problems:
        raise StackConfigError(problems)
    return found


def named_engines(settings: StackSettings, sites: Sequence[BurstSite]) -> dict[SiteName, str]:
    """The engines that the file names: ``<hardware key>/<precision>`` by the site that serves it."""
    named = {Site.PRIVATE.value: settings.model_server.engine, **{site.name: site.engine for site in sites}}
    return {site: engine for site, engine in named.items() if engine is not None}


@dataclass(frozen=True)
class _Host:
    """Where an engine is to run. ``key``: of the stack file, where it is named; ``image``: what serves it there, and
    what is known of that; ``unfit``: the site's own objections."""

    site: SiteName
    key: str
    engine: str | None
    machines: tuple[Machines, ...]
    image: tuple[str, Container | None]
    unfit: Callable[[EngineRecord], Iterator[str]]


def _private(settings: StackSettings) -> _Host:
    def unfit(_record: EngineRecord) -> Iterator[str]:
        if settings.model_server.gpus == 0:
            yield "model_server.gpus is 0, and an engine needs a GPU; give it one, or remove the key"
        if settings.private_cluster.accelerator != "nvidia":
            yield "private_cluster.accelerator is amd, and engines are for NVIDIA's GPUs; remove the key"

    nodes = private_machines(settings)
    machines = (nodes,) if nodes else ()
    engine = settings.model_server.engine
    return _Host(Site.PRIVATE.value, "model_server.engine", engine, machines, _private_image(settings), unfit)


def _burst(site: BurstSite, manifest: Manifest) -> _Host:
    key = f"burst.{site.name}.engine"
    return _Host(site.name, key, site.engine, site.machines(), site.serving_image(manifest), site.engine_problems)


def _sound(manifest: Manifest, package: Path, name: str) -> EngineRecord:
    """The record of an engine whose files are what it says. Raises :class:`PackageError`."""
    if manifest.kind != "triton":
        raise PackageError(f"{manifest.name} is for {manifest.kind}, which compiles by itself; remove the key.")
    folder = package / ENGINES / name
    if not folder.is_dir():
        there = [f"{found.parent.name}/{found.name}" for found in engine_folders(package)]
        raise PackageError(
            f"no such engine beside the package; {nearest(name, there)}allowed: {', '.join(there) or 'none yet'}. "
            "Compile it with `spillway package compile` on the GPU that it is for, or fetch it with "
            "`spillway package pull --engines-for`."
        )
    record = verify_engine(folder)
    if not record.repository_sha256:
        raise PackageError("it has no repository for Triton: compile it again with `spillway package compile`.")
    return record


def _other_gpus(host: _Host, record: EngineRecord) -> Iterator[str]:
    """Machines of the site whose GPU is another one. Those that the price table lacks are not judged."""
    others: dict[str, str] = {}
    for one in host.machines:
        try:
            gpu = find_price(one.cloud, one.instance_type, one.region).gpu
        except PriceError:
            continue
        if not runs_on(gpu, record):
            # The same machine in two places is one mistake.
            others.setdefault(one.instance_type, f"{one.key} is {one.instance_type}, which has {gpu}")
    for other in others.values():
        yield f"it was compiled for {_made_for(record)}, and {other}; compile one there, or change the machine"


def runs_on(gpu: str, record: EngineRecord) -> bool:
    """Whether an engine runs on a GPU as the price table names it: ``L4``, ``A100-80GB``."""
    model, _, memory = gpu.partition("-")
    capability = COMPUTE_CAPABILITIES.get(model)
    if capability is None:
        return False
    reach = _reach(record)
    if reach == "ampere-plus":
        return float(capability) >= AMPERE
    if reach == "same-compute-capability":
        return capability == record.key.compute_capability
    words = set(re.split(r"[^A-Za-z0-9]+", record.key.gpu_name))
    return model in words and (not memory or memory in words)


def _made_for(record: EngineRecord) -> str:
    told = {
        "ampere-plus": f"compute capability {AMPERE} and above",
        "same-compute-capability": f"compute capability {record.key.compute_capability}",
    }
    return told.get(_reach(record), record.key.gpu_name)


def _reach(record: EngineRecord) -> str:
    """Its hardware compatibility; one ahead of time is for all GPUs of its compute capability, and does not say so."""
    if record.key.gpu_name == ANY_GPU and record.hardware_compatibility == "none":
        return "same-compute-capability"
    return record.hardware_compatibility


def _other_library(host: _Host, record: EngineRecord) -> Iterator[str]:
    """Whether the serving image's TensorRT is another one, where the image and its TensorRT are known."""
    image, row = host.image
    if row is None:
        return
    if record.key.compiler is Compiler.TENSORRT_RTX:
        yield f"{image} has no TensorRT-RTX; compile with TensorRT, or serve with an image of your own that has it"
    elif row.tensorrt and not library_loads(row.tensorrt, record):
        yield (
            f"{image} has TensorRT {row.tensorrt}, and the engine is of {record.key.version}; compile it in that "
            "image, or serve with one that has this version"
        )


def _private_image(settings: StackSettings) -> tuple[str, Container | None]:
    """Triton's image of the private servers, and what is known of it."""
    address = settings.model_server.triton_image
    tagged = _TRITON_IMAGE.fullmatch(address)
    return address, CONTAINERS.get(f"{ContainerKind.NGC_TRITON}-{tagged.group(1)}") if tagged else None


def library_loads(library: str, record: EngineRecord) -> bool:
    """A library loads engines of its own version; version-compatible ones of an earlier one, too, of the same major."""
    own, made = (tuple(map(int, version.split("."))) for version in (library, record.key.version))
    if record.version_compatible:
        return own[0] == made[0] and own >= made[: len(own)]
    return own == made[: len(own)]
