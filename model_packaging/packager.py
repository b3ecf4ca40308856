"""What a packager is: how one kind of model becomes a package.

:mod:`model_packaging.tensors.packager` and :mod:`model_packaging.language.packager` are the two. Both folders have the
same files: ``config``, ``source``, ``variants``, ``assess``, ``checks``, ``layout``, ``table``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import Field

from spillway.contracts.frozen import Frozen
from spillway.contracts.manifest import CalibrationData, Manifest

Progress = Callable[[str], None]


class PackageConfig(Frozen):
    """What every ``model.yaml`` says."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    """Name of the package and of the model that clients call."""
    base_dir: Path = Field(default=Path(), exclude=True)
    """Folder of model.yaml; relative paths start there. Not a key of the file."""

    def resolve(self, path: Path) -> Path:
        """A path of the file, made absolute."""
        return (self.base_dir / path).resolve()


class Assessment(Protocol):
    """The variants that were made and checked."""

    @property
    def calibration(self) -> tuple[CalibrationData, ...]:
        """The data that they were calibrated on."""
        ...


Config = TypeVar("Config", bound=PackageConfig)
Assessed = TypeVar("Assessed", bound=Assessment)


class Packager(Protocol[Config, Assessed]):
    """One kind of model. Every method raises :class:`PackageError`, or :class:`ModelConfigError` for what model.yaml
    says."""

    @property
    def settings(self) -> type[Config]:
        """What its model.yaml may say. Its ``source`` is a union over ``kind``: these are the kinds that it takes."""
        ...

    def source_files(self, config: Config) -> dict[str, Path]:
        """Name → path of every file that a build reads; they are hashed to know whether a build is needed."""
        ...

    def tools(self) -> dict[str, str]:
        """Versions of what decides the bytes."""
        ...

    def assess(self, config: Config, work: Path, progress: Progress) -> Assessed:
        """Load the model, make every variant that is asked for in ``work``, and check each against its reference."""
        ...

    def lay_out(self, config: Config, assessed: Assessed, folder: Path, progress: Progress) -> Manifest:
        """Write what each target reads below ``folder``. The manifest lacks what is the same for every kind: files,
        tools, provenance, key and seals."""
        ...

    def rows(self, manifest: Manifest) -> list[dict[str, object]]:
        """The figures of a package: a row per variant, best first."""
        ...

    def columns(self, manifest: Manifest) -> dict[str, str]:
        """Title → key of a row, for what people compare variants by."""
        ...
