"""Which packages Azure ML can serve, and with what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from components.burst.azure_ml.settings import AzureMlSettings
from spillway.contracts.manifest import Manifest
from spillway.contracts.problems import Problem, key_of

IMAGE_FOLDER: Final = "components/burst/azure_ml/vllm_image"


def package_problems(settings: AzureMlSettings, manifest: Manifest) -> Iterator[Problem]:
    """A language model needs a container that Azure has not."""
    if manifest.kind != "vllm":
        return
    if settings.container_image is None:
        advice = (
            f"Azure ML has no vLLM image and gives a container no arguments: build {IMAGE_FOLDER}, push it to a "
            "registry that the workspace may read, and name it here"
        )
        yield Problem(key_of("burst.azure_ml.container_image"), f"a package of kind {manifest.kind}", advice)
