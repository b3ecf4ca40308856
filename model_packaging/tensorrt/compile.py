"""A package → engines for one GPU, stored beside the package. Also the entry that a job runs on that GPU:

    python -m model_packaging.tensorrt.compile --package s3://models/minilm/1f0c… --precision fp16 --precision fp8

in the serving image, so that the engines fit the TensorRT that will load them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import yaml
from pydantic import ValidationError

from model_packaging.tensorrt import builder, check, libraries
from model_packaging.tensorrt.precision import Feed, samples_sha256, typed_model
from model_packaging.tensorrt.runtime import Engine
from model_packaging.tensorrt.samples import SAMPLES_NAME, load_samples
from model_packaging.tensorrt.settings import CALIBRATED, PRECISIONS, EngineSettings, EngineSettingsError
from model_packaging.tensorrt.triton import check_profiles, portable_model, read_serving, write_engine_archive
from spillway.contracts.manifest import (
    ENGINES,
    MANIFEST_NAME,
    SERVING_FILE,
    TRITON_REPOSITORY,
    VARIANTS,
    Manifest,
    PackageError,
    read_manifest,
    sha256_of_file,
)
from spillway.contracts.trt_engines import (
    ANY_GPU,
    PLAN_NAME,
    RECORD_NAME,
    REPOSITORY_NAME,
    Compiler,
    EngineRecord,
    EngineTensor,
    HardwareKey,
    engine_folder,
    store_engine,
)

Progress = Callable[[str], None]

SOURCE: Final = f"{VARIANTS}/fp32/model.onnx"
"""What is compiled: the package's fp32 model, for every precision."""
SAMPLES: Final = f"{VARIANTS}/{SAMPLES_NAME}"
TIMING_CACHE: Final = "timing.cache"
_CPU_REFERENCE: Final = "ONNX Runtime fp32"


def compile_package(
    package: Path,
    settings: Sequence[EngineSettings],
    *,
    compiler: Compiler = Compiler.TENSORRT,
    compute_capability: str = "",
    samples: Path | None = None,
    progress: Progress = lambda message: None,
) -> list[EngineRecord]:
    """Compile an engine for each of ``settings`` and store it beside ``package``.

    Without ``compute_capability`` for this machine's GPU, with it ahead of time (TensorRT-RTX). ``samples``: an
    ``.npz`` instead of the one in the package. Raises :class:`PackageError`; engines that were finished before stay.
    """
    library = libraries.load(compiler)
    key = (
        libraries.ahead_of_time(library, compute_capability) if compute_capability else libraries.this_machine(library)
    )
    manifest = read_manifest(package)
    source = package / SOURCE
    if not source.is_file():
        raise PackageError(
            f"{package}: has no {SOURCE}, which engines are made from: name fp32 in `variants` and in `keep` of "
            "model.yaml and package it again."
        )
    _check_files(package, manifest)
    given = samples or package / SAMPLES
    if not given.is_file():
        raise PackageError(f"{given}: no such file. Engines are checked on samples: give --samples FILE.npz.")
    feeds = load_samples(given)
    # Before minutes of building: what the engine will be served with.
    serving, portable = read_serving(package), portable_model(package)
    for one in settings:
        check_profiles(one, portable, serving)
    return [_compile_one(library, key, package, manifest.digest, feeds, one, progress) for one in settings]


def _check_files(package: Path, manifest: Manifest) -> None:
    """Raises :class:`PackageError` where what an engine is made from is not what was packaged."""
    for file in manifest.files:
        path = package / file.path
        if not _makes_engines(file.path):
            continue
        if not path.is_file():
            raise PackageError(f"{path}: no such file, and it was packaged; get it anew.")
        if sha256_of_file(path) != file.sha256:
            raise PackageError(f"{path}: was changed or cut short since it was packaged; get it anew.")


def _makes_engines(path: str) -> bool:
    """Whether this file of a package is compiled, or stands around what is: not the targets, nor the portable model."""
    in_repository = path.startswith(f"{TRITON_REPOSITORY}/") and not path.endswith(".onnx")
    return in_repository or path in (SOURCE, SAMPLES, SERVING_FILE)


def _compile_one(
    library: libraries.Library,
    key: HardwareKey,
    package: Path,
    digest: str,
    feeds: Sequence[Feed],
    settings: EngineSettings,
    progress: Progress,
) -> EngineRecord:
    source = package / SOURCE
    cache = package / ENGINES / key.folder / TIMING_CACHE
    record, plan = build_engine(library, key, source, feeds, settings, timing_cache=cache, progress=progress)
    with tempfile.TemporaryDirectory(prefix="spillway-engine-") as scratch:
        archive = Path(scratch, REPOSITORY_NAME)
        write_engine_archive(package, record, plan, archive)
        whole = record.model_copy(update={"package_digest": digest, "repository_sha256": sha256_of_file(archive)})
        store_engine(package, whole, plan, archive)
    progress(f"{settings.precision}: stored as {ENGINES}/{key.folder}/{settings.precision}")
    return whole


def build_engine(
    library: libraries.Library,
    key: HardwareKey,
    source: Path,
    feeds: Sequence[Feed],
    settings: EngineSettings,
    *,
    expected: tuple[str, Sequence[check.Answers]] | None = None,
    calibration: Sequence[Feed] | None = None,
    timing_cache: Path | None = None,
    progress: Progress = lambda message: None,
) -> tuple[EngineRecord, bytes]:
    """Build one engine from an fp32 ONNX file, run it, compare it and time it; returns its record and plan.

    ``expected``: what the answers to ``feeds`` are compared with, and its name; by default ONNX Runtime's on the CPU.
    ``calibration``: other samples than ``feeds`` to measure activations on. ``timing_cache``: a file that later builds
    share. An engine ahead of time is built and not run. Raises :class:`PackageError`.
    """
    measured = feeds if calibration is None else calibration
    progress(f"{settings.precision}: preparing the typed ONNX file")
    model = typed_model(source, settings.precision, measured, settings.high_precision)
    progress(f"{settings.precision}: building for {key.gpu_name}, compute capability {key.compute_capability}")
    begun = time.perf_counter()
    plan, profiles = builder.build_plan(library, model.SerializeToString(), settings, key, timing_cache, progress)
    seconds = time.perf_counter() - begun

    ahead = key.gpu_name == ANY_GPU
    if ahead:
        checked: dict[str, Any] = {"tensors": _tensors_of(model)}
    else:
        progress(f"{settings.precision}: built in {seconds:.0f} s; comparing and timing it")
        checked = _checked(library, plan, source, feeds, settings, expected, profiles)
    record = EngineRecord(
        key=key,
        precision=settings.precision,
        sha256=hashlib.sha256(plan).hexdigest(),
        size_bytes=len(plan),
        source_sha256=sha256_of_file(source),
        calibration_sha256=samples_sha256(measured) if settings.precision in CALIBRATED else "",
        profiles=profiles,
        optimisation_level=settings.optimisation_level,
        hardware_compatibility=settings.hardware_compatibility,
        version_compatible=settings.version_compatible,
        build_seconds=round(seconds, 1),
        **checked,
    )
    return record, plan


def _tensors_of(model: Any) -> tuple[EngineTensor, ...]:
    """Inputs and outputs as the ONNX file has them: an engine for another GPU cannot be opened to ask it."""
    from onnx import helper

    def described(value: Any, mode: Literal["input", "output"]) -> EngineTensor:
        kind = value.type.tensor_type
        dims = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
        dtype = str(helper.tensor_dtype_to_np_dtype(kind.elem_type))
        return EngineTensor(name=value.name, mode=mode, dtype=dtype, shape=dims)

    graph = model.graph
    return (
        *(described(value, "input") for value in graph.input),
        *(described(value, "output") for value in graph.output),
    )


def _checked(
    library: libraries.Library,
    plan: bytes,
    source: Path,
    feeds: Sequence[Feed],
    settings: EngineSettings,
    expected: tuple[str, Sequence[check.Answers]] | None,
    profiles: Sequence[Any],
) -> dict[str, Any]:
    """What only a run shows. The engine is loaded from its serialized form, as a server will."""
    import torch

    engine = Engine(library, plan, version_compatible=settings.version_compatible)
    name, answers = expected or (_CPU_REFERENCE, onnx_answers(source, feeds))
    parity = check.parity(engine, feeds, answers, name, settings.min_cosine)
    timed = []
    for profile in profiles:
        batch = {
            name: torch.from_numpy(np.resize(feeds[0][name], tuned)) for name, (_, tuned, _) in profile.shapes.items()
        }
        timed += check.latency(engine, batch)
    return {"tensors": engine.tensors, "parity": parity, "latency": tuple(timed)}


def onnx_answers(source: Path, feeds: Sequence[Feed]) -> list[check.Answers]:
    """What an ONNX file answers to each sample, on the CPU."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, map(np.asarray, session.run(names, dict(feed))), strict=True)) for feed in feeds]


def read_settings(path: Path | None, precisions: Sequence[str], pairs: Sequence[str] = ()) -> list[EngineSettings]:
    """Settings from a YAML file and ``KEY=VALUE`` pairs, which win, one for each precision.

    Raises :class:`EngineSettingsError` that names the key at fault.
    """
    values: Any = {}
    if path is not None:
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise EngineSettingsError(f"{path}: cannot be read as YAML: {error}") from error
        if not isinstance(values, dict):
            raise EngineSettingsError(f"{path}: expected keys and values at the top, got {type(values).__name__}.")
    values = {**values, **dict(_pair(pair) for pair in pairs)}
    try:
        if not precisions:
            return [EngineSettings.model_validate(values)]
        return [EngineSettings.model_validate({**values, "precision": precision}) for precision in precisions]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        allowed = f" Precisions: {', '.join(PRECISIONS)}." if where == "precision" else ""
        raise EngineSettingsError(
            f"{path or 'options'}: {where}: {first['msg']} (given: {first['input']!r}).{allowed}"
        ) from None


def _pair(text: str) -> tuple[str, Any]:
    key, given, value = text.partition("=")
    try:
        if given:
            return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise EngineSettingsError(f"--set {text}: {key} is no YAML: {error}") from error
    raise EngineSettingsError(f"--set {text}: give KEY=VALUE, as --set workspace_gib=8.")


def compile_url(url: str, progress: Progress, **options: Any) -> list[EngineRecord]:
    """:func:`compile_package` for a package in a folder or at an fsspec URL (``s3://…``, ``abfs://…``).

    From a URL only what is compiled is fetched; each engine is put back, its record last: who sees a record finds the
    whole plan.
    """
    if "://" not in url:
        return compile_package(Path(url), progress=progress, **options)
    from fsspec.core import url_to_fs

    files, root = url_to_fs(url)
    with tempfile.TemporaryDirectory(prefix="spillway-compile-") as scratch:
        package = Path(scratch)
        _fetch(files, root, package, progress)
        records = compile_package(package, progress=progress, **options)
        for record in records:
            folder = engine_folder(package, record.key, record.precision)
            target = f"{root}/{folder.relative_to(package).as_posix()}"
            files.makedirs(target, exist_ok=True)
            for name in (PLAN_NAME, REPOSITORY_NAME, RECORD_NAME):
                files.put_file(str(folder / name), f"{target}/{name}")
            progress(f"stored {url}/{folder.relative_to(package).as_posix()}")
    return records


def _fetch(files: Any, root: str, package: Path, progress: Progress) -> None:
    """What an engine is made from."""

    def fetch(name: str) -> None:
        progress(f"fetching {name}")
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            files.get_file(f"{root}/{name}", str(package / name))
        except FileNotFoundError:
            raise PackageError(f"{root}/{name}: no such file; is this a package, and was all of it sent?") from None

    fetch(MANIFEST_NAME)
    for file in read_manifest(package).files:
        if _makes_engines(file.path):
            fetch(file.path)


def main(arguments: Sequence[str] | None = None) -> int:
    """The job's entry. Exit codes: 0 done, 1 failed, 2 usage."""
    parser = argparse.ArgumentParser(prog="python -m model_packaging.tensorrt.compile", description=__doc__)
    parser.add_argument("--package", required=True, help="folder or fsspec URL of a package; engines are put beside it")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, default=[], help="may be given repeatedly")
    parser.add_argument("--settings", type=Path, help="YAML file of engine settings")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one of the settings, in YAML")
    parser.add_argument("--samples", type=Path, help=".npz of samples instead of the package's")
    parser.add_argument("--compiler", choices=[str(compiler) for compiler in Compiler], default=str(Compiler.TENSORRT))
    parser.add_argument("--compute-capability", default="", help="ahead of time, TensorRT-RTX only")
    given = parser.parse_args(arguments)
    try:
        records = compile_url(
            given.package,
            lambda message: print(message, file=sys.stderr, flush=True),
            settings=read_settings(given.settings, given.precision, given.set),
            compiler=Compiler(given.compiler),
            compute_capability=given.compute_capability,
            samples=given.samples,
        )
    except PackageError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(json.dumps([record.model_dump(mode="json") for record in records], indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
