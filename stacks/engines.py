"""Compiled engines that a stack file names: found beside the package, and refused where a site could not run them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from components.burst.images import ImageError, image
from components.burst.settings import SageMakerSettings
from spillway.contracts.classes import Site
from spillway.contracts.engines import ANY_GPU, Compiler, EngineRecord, engine_folders, verify_engine
from spillway.contracts.gpus import AMPERE, COMPUTE_CAPABILITIES
from spillway.contracts.manifest import ENGINES, Manifest, PackageError
from spillway.contracts.prices import PriceError, find_price
from spillway.contracts.targets import CONTAINERS, Container, ContainerKind
from stacks.errors import NAMESPACE, Problem, StackConfigError, nearest
from stacks.rules import instances
from stacks.settings import StackSettings

_KEYS: Final = {Site.PRIVATE: "model_server.engine", Site.SAGEMAKER: "burst.sagemaker.engine"}
_TRITON_IMAGE: Final = re.compile(r"(?:.*/)?tritonserver:(\d\d\.\d\d)(?:-py3)?(?:@.*)?")
"""NVIDIA's own image, also from a mirror. Another suffix is somebody else's image, with what they put into it."""


def chosen_engines(settings: StackSettings, manifest: Manifest, package: Path) -> Mapping[Site, EngineRecord]:
    """The engine of each site that serves one instead of the portable model.

    Raises :class:`StackConfigError` for one that is not there, not sound, or does not fit the site.
    """
    found: dict[Site, EngineRecord] = {}
    problems: list[Problem] = []
    for site, name in _named(settings).items():
        key = f"{NAMESPACE}:{_KEYS[site]}"
        try:
            found[site] = _sound(manifest, package, name)
        except PackageError as error:
            problems.append(Problem(key, repr(name), str(error)))
            continue
        problems += [Problem(key, repr(name), why) for why in _unfit(settings, site, found[site])]
    if problems:
        raise StackConfigError(problems)
    return found


def _named(settings: StackSettings) -> dict[Site, str]:
    sagemaker = settings.burst.sagemaker
    named = {Site.PRIVATE: settings.model_server.engine, Site.SAGEMAKER: sagemaker.engine if sagemaker else None}
    return {site: name for site, name in named.items() if name is not None}


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


def _unfit(settings: StackSettings, site: Site, record: EngineRecord) -> Iterator[str]:
    """Why the site cannot run this engine, as far as the stack file and the tables tell."""
    if site is Site.PRIVATE and settings.model_server.gpus == 0:
        yield "model_server.gpus is 0, and an engine needs a GPU; give it one, or remove the key"
    if site is Site.PRIVATE and settings.private_cluster.accelerator != "nvidia":
        yield "private_cluster.accelerator is amd, and engines are for NVIDIA's GPUs; remove the key"
    if site is Site.SAGEMAKER and record.version_compatible and _sagemaker(settings).container_image is None:
        yield "SageMaker's container lets no engine bring its own runtime; compile with version_compatible: false"
    yield from _other_gpus(settings, site, record)
    yield from _other_library(settings, site, record)


def _sagemaker(settings: StackSettings) -> SageMakerSettings:
    assert settings.burst.sagemaker is not None
    return settings.burst.sagemaker


def _other_gpus(settings: StackSettings, site: Site, record: EngineRecord) -> Iterator[str]:
    """Machines of the site whose GPU is another one. Those that the price table lacks are not judged."""
    prefix = "private_cluster." if site is Site.PRIVATE else "burst.sagemaker."
    others: dict[str, str] = {}
    for key, cloud, instance_type, region in instances(settings):
        if not key.startswith(prefix):
            continue
        try:
            gpu = find_price(cloud, instance_type, region).gpu
        except PriceError:
            continue
        if not runs_on(gpu, record):
            # The same machine in two places is one mistake.
            others.setdefault(instance_type, f"{key} is {instance_type}, which has {gpu}")
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


def _other_library(settings: StackSettings, site: Site, record: EngineRecord) -> Iterator[str]:
    """Whether the serving image's TensorRT is another one, where the image and its TensorRT are known."""
    image, row = _private_image(settings) if site is Site.PRIVATE else _sagemaker_image(settings)
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


def _sagemaker_image(settings: StackSettings) -> tuple[str, Container | None]:
    """The container of SageMaker, and what is known of it; by default the one that is deployed."""
    chosen = _sagemaker(settings)
    if chosen.container_image is not None:
        return chosen.container_image, None
    try:
        found = image("triton", settings.aws.region, chosen.container_version, chosen.inference_ami_version)
    except ImageError:
        # A rule of its own says so.
        return "", None
    return f"container_version {found.version}", CONTAINERS.get(f"{ContainerKind.SAGEMAKER_TRITON}-{found.version}")


def library_loads(library: str, record: EngineRecord) -> bool:
    """A library loads engines of its own version; version-compatible ones of an earlier one, too, of the same major."""
    own, made = (tuple(map(int, version.split("."))) for version in (library, record.key.version))
    if record.version_compatible:
        return own[0] == made[0] and own >= made[: len(own)]
    return own == made[: len(own)]
