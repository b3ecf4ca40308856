"""A package in which each site's model says whose it is."""

from __future__ import annotations

from pathlib import Path

from model_packaging.tensors.layout import write_archive
from spillway.contracts.classes import Site
from spillway.contracts.manifest import AZURE_ML_REPOSITORY, SAGEMAKER_ARCHIVE, TRITON_ARCHIVE, TRITON_REPOSITORY
from tests.model_packaging.packages import reseal
from tests.support.packages import LAYOUTS, small_package


def package_of_three(folder: Path) -> Path:
    """The small package, in which each layout's model adds the name of its site to what it answers."""
    package, scratch = small_package(folder / "package"), small_package(folder / "scratch") / TRITON_REPOSITORY
    sign(package / TRITON_REPOSITORY, Site.PRIVATE)
    sign(package / AZURE_ML_REPOSITORY, Site.AZURE_ML)
    sign(scratch, Site.SAGEMAKER)
    write_archive(package / TRITON_REPOSITORY, package / TRITON_ARCHIVE)
    write_archive(scratch, package / SAGEMAKER_ARCHIVE)
    served = {layout: f"echo-{layout}" for layout in LAYOUTS}
    return reseal(package, served=served)


def sign(repository: Path, site: Site) -> None:
    model = repository / "echo" / "1" / "model.py"
    plain = model.read_text()
    signed = plain.replace('pb_utils.Tensor("ECHO", text)', f'pb_utils.Tensor("ECHO", text + b" by {site}")')
    assert signed != plain
    model.write_text(signed)
