"""Compiled engines: what hardware each one fits, and where it stands beside its package.

A TensorRT plan does not move between TensorRT versions, GPUs or operating systems, so it is no part of a package's
content. It stands beside it, under ``<package>/engines/<hardware key>/<precision>/``, as ``model.plan``,
``engine.json``, and ``repository.tar.gz``, the package's Triton repository with the engine in it. The
manifest does not list engines: they are added to a finished package on whatever machine has the GPU, and two machines
can add theirs at once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from spillway.contracts.frozen import Frozen
from spillway.contracts.manifest import (
    ENGINES,
    MANIFEST_NAME,
    VERSION_LENGTH,
    PackageError,
    read_manifest,
    sha256_of_file,
)

PLAN_NAME: Final = "model.plan"
RECORD_NAME: Final = "engine.json"
REPOSITORY_NAME: Final = "repository.tar.gz"
"""What a Triton serves the engine from: the whole repository, model folders at the archive's root."""
ANY_GPU: Final = "any"
"""GPU name of an engine that fits every GPU of its compute capability (TensorRT-RTX)."""


ENGINE_NAME: Final = r"^[a-z0-9][a-z0-9.-]*/[a-z0-9][a-z0-9_-]*$"
"""An engine beside a package as a stack file names it: ``<hardware key>/<precision>``."""


class Compiler(StrEnum):
    """Who makes the engine. Their plans are not interchangeable."""

    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


class HardwareKey(Frozen):
    """The only combination that an engine fits. SM alone does not tell an L4 from an L40S, so the GPU's name counts."""

    compiler: Compiler
    """The library that made the engine and alone can load it."""
    version: str = Field(pattern=r"^\d+\.\d+\.\d+\.\d+$")
    """The library's full version, as it reports it: major, minor, patch, build."""
    compute_capability: str = Field(pattern=r"^\d+\.\d+$")
    """NVIDIA's, major and minor: ``9.0`` is an H100's."""
    gpu_name: str = Field(min_length=1)
    """As the driver reports it, or ``any``."""
    os: str = Field(pattern=r"^[a-z0-9_-]+$")
    """System and processor, as in ``linux-x86_64``."""

    @property
    def folder(self) -> str:
        """The key as a folder's name: lower case letters, digits, dots and dashes."""
        parts = (self.compiler, self.version, f"sm{self.compute_capability.replace('.', '')}", self.gpu_name, self.os)
        return "-".join(re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-") for part in parts)


class EngineTensor(Frozen):
    """One input or output of an engine."""

    name: str
    """As in the ONNX file that was compiled."""
    mode: Literal["input", "output"]
    """Which of the two it is."""
    dtype: str
    """As torch and NumPy name it: ``float32``, ``int64``, …"""
    shape: tuple[int, ...]
    """Size of each axis; -1 is any size within the profiles."""


class EngineProfile(Frozen):
    """The shapes that one optimisation profile takes."""

    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
    """Input → three shapes: the least that it takes, the one that it was tuned for, the most."""


class EngineParity(Frozen):
    """The engine against the fp32 model on the samples."""

    reference: str
    """What it was compared with, as in ``torch fp32`` or ``ONNX Runtime fp32``."""
    samples: int = Field(ge=1)
    """How many samples were compared."""
    min_cosine: float
    """Lowest cosine of a sample's numbers to the reference's, of the worst output."""
    mean_cosine: float
    """Mean of the cosines, of the output where it is lowest."""
    max_abs: float
    """Largest difference of one number, over all outputs, in the output's own unit."""
    bound_min_cosine: float
    """The lowest ``min_cosine`` that was asked for; an engine below it is not stored."""


class EngineLatency(Frozen):
    """How long a batch takes that is on the GPU already, launch included, at the shapes that a profile is tuned for."""

    batch_size: int
    """Samples in the batch."""
    shapes: dict[str, tuple[int, ...]]
    """Input → its shape in the batch that was timed."""
    graph: bool
    """Whether it was replayed from a CUDA graph, rather than launched kernel by kernel."""
    p50_ms: float
    """Median time of the batch, in milliseconds."""
    p99_ms: float
    """99th percentile of the same."""


class EngineRecord(Frozen):
    """``engine.json``: what a plan is, and what was seen of it when it was built."""

    schema_version: Literal[1] = 1
    """Of the form of this file; a reader refuses one that it does not know."""
    key: HardwareKey
    """The only hardware and library that the engine fits."""
    precision: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """``fp32``, ``fp16``, ``int8`` or ``fp8``; the name of the engine's folder, too."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of ``model.plan``."""
    size_bytes: int = Field(ge=1)
    """Length of ``model.plan``."""
    repository_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """Of the archive that Triton serves; empty where an ONNX file without a package was compiled."""
    package_digest: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """Of the package that it was compiled from, beside which alone it may stand; empty where there was none."""
    source_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the ONNX file that was compiled."""
    calibration_sha256: str = ""
    """Of the samples that the activation scales were measured on, where the precision needs scales."""
    tensors: tuple[EngineTensor, ...]
    """The engine's inputs and outputs."""
    profiles: tuple[EngineProfile, ...]
    """The optimisation profiles; a request of a shape that none takes is refused."""
    optimisation_level: int = Field(ge=0, le=5)
    """TensorRT's builder optimisation level; 5 tries the most tactics."""
    hardware_compatibility: str = "none"
    """As the build asked: ``none``, ``ampere-plus`` or ``same-compute-capability``."""
    version_compatible: bool = False
    """Whether later releases of the same major version of the library run it."""
    build_seconds: float = Field(ge=0)
    """How long the library took for the plan."""
    parity: EngineParity | None = None
    """The engine against the fp32 model; nothing only where it was built ahead of time and could not be run."""
    latency: tuple[EngineLatency, ...] = ()
    """How long batches take; empty where the engine was built ahead of time."""

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def engine_folder(package: Path, key: HardwareKey, precision: str) -> Path:
    """Where the engine of this key and precision stands, there or not."""
    return package / ENGINES / key.folder / precision


def store_engine(package: Path, record: EngineRecord, plan: bytes, repository: Path | None = None) -> Path:
    """Put an engine beside the package; an earlier one of the same key and precision is replaced in one step.

    ``repository``: the archive that Triton serves, which is copied. Raises :class:`PackageError` where the files are
    not those that the record describes; then nothing was stored.
    """
    final = engine_folder(package, record.key, record.precision)
    final.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".storing-", dir=final.parent))
    draft = scratch / record.precision
    try:
        draft.mkdir()
        (draft / PLAN_NAME).write_bytes(plan)
        if repository is not None:
            shutil.copyfile(repository, draft / REPOSITORY_NAME)
        (draft / RECORD_NAME).write_text(record.to_json(), encoding="utf-8")
        _check_files(draft, record)
        if final.exists():
            os.rename(final, scratch / "replaced")
        os.rename(draft, final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return final


def read_record(folder: Path) -> EngineRecord:
    """The record of one engine folder. Raises :class:`PackageError`."""
    path = folder / RECORD_NAME
    try:
        return EngineRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PackageError(f"{path}: no such file: the engine is incomplete. Compile it again.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PackageError(f"{path}: {where}: {first['msg']}. Compile the engine again.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PackageError(f"{path}: cannot be read: {error}. Compile the engine again.") from error


def verify_engine(folder: Path) -> EngineRecord:
    """The record of an engine whose files are those that were stored, and which was compiled from the package that it
    stands beside. Raises :class:`PackageError` otherwise."""
    record = read_record(folder)
    _check_files(folder, record)
    if folder.parent.name != record.key.folder or folder.name != record.precision:
        raise PackageError(
            f"{folder}: holds an engine of {record.key.folder}/{record.precision}: it was moved or its record changed."
        )
    package = folder.parents[2]
    if (package / MANIFEST_NAME).is_file() and record.package_digest != read_manifest(package).digest:
        raise PackageError(
            f"{folder}: was compiled from another package ({record.package_digest[:VERSION_LENGTH] or 'none'}), whose "
            "weights it has. Compile it again from this one."
        )
    return record


def _check_files(folder: Path, record: EngineRecord) -> None:
    """Raises :class:`PackageError` for a file that is missing or not the one that the record describes."""
    wanted = {PLAN_NAME: record.sha256, REPOSITORY_NAME: record.repository_sha256}
    for name, sha256 in wanted.items():
        path = folder / name
        if sha256 and not path.is_file():
            raise PackageError(f"{path}: no such file: the engine is incomplete. Compile it again.")
        if path.is_file() and sha256_of_file(path) != sha256:
            raise PackageError(
                f"{path}: is not the file that {RECORD_NAME} describes: it was changed or cut short. Compile it again."
            )


def verify_engines(package: Path) -> tuple[EngineRecord, ...]:
    """Every engine beside a package, checked. Raises :class:`PackageError` naming the first unsound one."""
    return tuple(verify_engine(folder) for folder in engine_folders(package))


def engine_folders(package: Path) -> Iterator[Path]:
    """The folder of every engine beside a package, sorted; drafts of a killed compile are passed over."""
    root = package / ENGINES
    for folder in sorted(root.glob("*/*")):
        if folder.is_dir() and not folder.name.startswith("."):
            yield folder


def find_engine(package: Path, key: HardwareKey, precision: str | None = None) -> tuple[Path, EngineRecord]:
    """The engine for this hardware, its plan checked: of ``precision``, else the one with the lowest latency.

    Raises :class:`PackageError` that lists what is there when none fits.
    """
    there = [folder for folder in engine_folders(package) if folder.parent.name == key.folder]
    fitting = [folder for folder in there if precision in (None, folder.name)]
    if not fitting:
        listed = ", ".join(f"{folder.parent.name}/{folder.name}" for folder in engine_folders(package)) or "none"
        wanted = f"{key.folder}/{precision}" if precision else key.folder
        raise PackageError(
            f"{package}: no engine for {wanted}; there: {listed}. Engines fit one TensorRT version and one GPU: "
            "compile one on this machine with `spillway package compile`."
        )
    records = [(folder, verify_engine(folder)) for folder in fitting]
    for folder, record in records:
        if record.key != key:
            raise PackageError(
                f"{folder}: was compiled for {record.key.gpu_name}, and this machine has {key.gpu_name}."
            )
    return min(records, key=lambda found: _typical_ms(found[1]))


def _typical_ms(record: EngineRecord) -> float:
    """Mean of the medians; an engine that was never timed comes last."""
    times = [figure.p50_ms for figure in record.latency]
    return sum(times) / len(times) if times else float("inf")
