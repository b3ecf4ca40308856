"""What a stack file may ask of SageMaker, and which packages and engines it can serve."""

from __future__ import annotations

from collections.abc import Iterator

from components.burst.sagemaker.images import ImageError, image
from components.burst.sagemaker.settings import SageMakerSettings
from spillway.contracts.manifest import Manifest
from spillway.contracts.problems import Problem, key_of
from spillway.contracts.targets import CONTAINERS, Container, ContainerKind
from spillway.contracts.trt_engines import EngineRecord


def pinned(settings: SageMakerSettings, manifest: Manifest) -> SageMakerSettings:
    """With the newest container that the package was made for, where the stack file names none: another table of
    containers moves no fleet, and what serves is what the package was proved for."""
    start = f"{ContainerKind.SAGEMAKER_TRITON}-"
    made_for = [name.removeprefix(start) for name in manifest.containers if name.startswith(start)]
    if settings.container_version or settings.container_image or not made_for:
        return settings
    newest = max(made_for, key=lambda version: tuple(map(int, version.split("."))))
    return settings.model_copy(update={"container_version": newest})


def package_problems(settings: SageMakerSettings, region: str, manifest: Manifest) -> Iterator[Problem]:
    """No container of the table serves this kind of package here."""
    if settings.container_image is not None:
        return
    settings = pinned(settings, manifest)
    try:
        image(manifest.kind, region, settings.container_version, settings.inference_ami_version)
    except ImageError as error:
        advice = f"{error}. Or give container_image, e.g. a copy in your own registry"
        yield Problem(key_of("burst.sagemaker.container_version"), repr(settings.container_version), advice)


def engine_problems(settings: SageMakerSettings, record: EngineRecord) -> Iterator[str]:
    if record.version_compatible and settings.container_image is None:
        yield "SageMaker's container lets no engine bring its own runtime; compile with version_compatible: false"


def serving_image(settings: SageMakerSettings, region: str, manifest: Manifest) -> tuple[str, Container | None]:
    """The container that serves the Triton package, in words of the stack file; by default the one that is deployed."""
    if settings.container_image is not None:
        return settings.container_image, None
    settings = pinned(settings, manifest)
    try:
        found = image("triton", region, settings.container_version, settings.inference_ami_version)
    except ImageError:
        # A rule of its own says so.
        return "", None
    return f"container_version {found.version}", CONTAINERS.get(f"{ContainerKind.SAGEMAKER_TRITON}-{found.version}")
