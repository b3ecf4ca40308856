"""Which container serves a package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.burst.sagemaker.rules import package_problems, pinned, serving_image
from components.burst.sagemaker.settings import SageMakerSettings
from spillway.contracts.manifest import Manifest, read_manifest
from tests.support.packages import small_package


def made_for(folder: Path, *containers: str) -> Manifest:
    return read_manifest(small_package(folder)).model_copy(update={"containers": containers})


@pytest.mark.parametrize(
    ("containers", "settings", "version"),
    [
        (("ngc-triton-25.11", "sagemaker-triton-25.04", "sagemaker-triton-25.09"), {}, "25.09"),
        (("sagemaker-triton-25.09",), {"container_version": "26.05"}, "26.05"),
        (("azureml-triton-managed",), {}, None),
        (("sagemaker-triton-25.09",), {"container_image": "registry.example.com/triton:1"}, None),
    ],
)
def test_a_package_is_served_by_what_it_was_proved_for(
    tmp_path: Path, containers: tuple[str, ...], settings: dict[str, Any], version: str | None
) -> None:
    """A table with a newer container moves no fleet."""
    found = pinned(SageMakerSettings(**settings), made_for(tmp_path, *containers))
    assert found.container_version == version


def test_engines_are_compared_with_the_container_that_is_deployed(tmp_path: Path) -> None:
    manifest = made_for(tmp_path, "sagemaker-triton-25.09")
    told, known = serving_image(SageMakerSettings(), "eu-west-1", manifest)
    assert told == "container_version 25.09"
    assert known
    assert known.name == "sagemaker-triton-25.09"


def test_a_container_that_the_driver_does_not_run_is_named(tmp_path: Path) -> None:
    """25.09 is of CUDA 13 (NVIDIA's release notes), and gpu-3-1 brings a driver of CUDA 12."""
    settings = SageMakerSettings(inference_ami_version="al2-ami-sagemaker-inference-gpu-3-1")
    (problem,) = package_problems(settings, "eu-west-1", made_for(tmp_path, "sagemaker-triton-25.09"))
    assert "choose an older container_version" in str(problem)
