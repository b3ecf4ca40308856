"""Package a model: load, export, quantize, check, time, lay out, and store."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from model_packaging.config import ModelConfig, Variant
from model_packaging.language.config import LanguageConfig
from model_packaging.provenance import provenance_of
from model_packaging.registry import builds
from model_packaging.sources import files_sha256, load, source_files
from spillway.contracts.manifest import (
    LatencyFigure,
    Manifest,
    PackageError,
    ParityFigure,
    Serving,
    TensorSpec,
    VariantFigure,
    describe_files,
    read_manifest,
)
from spillway.contracts.targets import onnx_level

Progress = Callable[[str], None]

_TOOLS: Final = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "tokenizers", "safetensors", "numpy")
_ROBUST_MARGIN: Final = 1.5
_TRITON_TYPES: Final = {
    "tensor(float)": "FP32",
    "tensor(float16)": "FP16",
    "tensor(double)": "FP64",
    "tensor(int64)": "INT64",
    "tensor(int32)": "INT32",
    "tensor(int16)": "INT16",
    "tensor(int8)": "INT8",
    "tensor(uint8)": "UINT8",
    "tensor(bool)": "BOOL",
}


@dataclass(frozen=True)
class PackageResult:
    """A finished package. ``cached``: it was there already, built from the same inputs."""

    path: Path
    manifest: Manifest
    cached: bool
    seconds: float

    def table(self) -> list[dict[str, object]]:
        """One row per variant and for the torch reference, best first: what the command line prints."""
        if self.manifest.kind == "vllm":
            from model_packaging.language import table

            return table.rows(self.manifest)
        parity = {figure.variant: figure for figure in self.manifest.parity}
        figures = self.manifest.latency
        rows: list[dict[str, object]] = []
        for variant in self.manifest.variants:
            row: dict[str, object] = {
                "rank": variant.rank,
                "variant": variant.name,
                "served": variant.name == self.manifest.precision,
                "size_mb": round(variant.size_bytes / 1e6, 1),
                "min_cosine": parity[variant.name].min_cosine if variant.name in parity else None,
                "mean_cosine": parity[variant.name].mean_cosine if variant.name in parity else None,
                "max_abs": parity[variant.name].max_abs if variant.name in parity else None,
                "note": variant.reason or variant.detail,
            }
            for figure in figures:
                if figure.variant == variant.name:
                    row[f"p50_ms_batch_{figure.batch_size}"] = figure.p50_ms
                    row[f"p99_ms_batch_{figure.batch_size}"] = figure.p99_ms
            rows.append(row)
        return rows


@dataclass(frozen=True)
class _Candidate:
    """A variant's file and what was measured of it."""

    variant: Variant
    path: Path
    parity: ParityFigure
    detail: str = ""


def package(
    config: ModelConfig | LanguageConfig, out_dir: Path, progress: Progress = lambda message: None
) -> PackageResult:
    """Package ``config`` into ``<out_dir>/<name>/<version>/``.

    The same inputs (configuration, files, tool versions) are a cache hit. Raises
    :class:`model_packaging.config.ModelConfigError` or :class:`PackageError`; then nothing is left behind.
    """
    start = time.perf_counter()
    key = build_key(config)
    out_dir = out_dir.absolute()
    with builds.build_lock(out_dir, config.name, progress):
        if found := builds.find_build(out_dir, config.name, key):
            progress(f"{config.name} {found.name} is up to date")
            return PackageResult(found, read_manifest(found), True, time.perf_counter() - start)
        with builds.workspace(out_dir, config.name) as work:
            if isinstance(config, LanguageConfig):
                path, manifest = _build_language(config, out_dir, work, key, progress)
            else:
                path, manifest = _build(config, out_dir, work, key, progress)
    return PackageResult(path, manifest, False, time.perf_counter() - start)


def build_key(config: ModelConfig | LanguageConfig) -> str:
    """sha256 over everything that a build reads: the configuration, the source's files, the tools, and this package."""
    root = Path(__file__).parent
    own = {path.relative_to(root).as_posix(): path for path in root.glob("**/*.py") if "examples" not in path.parts}
    if isinstance(config, LanguageConfig):
        from model_packaging.language.build import tools
        from model_packaging.language.source import source_files as language_files

        files, versions = language_files(config), tools()
    else:
        files, versions = source_files(config), _tools()
    parts = {
        "config": config.model_dump(mode="json"),
        "files": files_sha256(files),
        "tools": versions,
        "packager": files_sha256(own),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _build_language(
    config: LanguageConfig, out_dir: Path, work: Path, key: str, progress: Progress
) -> tuple[Path, Manifest]:
    from model_packaging.language import build as language
    from model_packaging.language.source import source_files as language_files

    built, manifest = language.build(config, work, key, files_sha256(language_files(config)), progress)
    path = builds.commit(out_dir, built, manifest)
    progress(f"{config.name} {manifest.version} is ready")
    return path, read_manifest(path)


def _build(config: ModelConfig, out_dir: Path, work: Path, key: str, progress: Progress) -> tuple[Path, Manifest]:
    from model_packaging import checks, layout, onnx_export

    progress("loading the model")
    model = load(config)
    level = onnx_level(config.targets)
    exported = work / "fp32.onnx"
    progress(f"exporting to ONNX (opset {onnx_export.EXPORT_OPSET}, IR {level.ir})")
    onnx_export.export(model, exported, level)
    progress(f"running the reference ({model.reference}) on {len(model.samples)} samples")
    reference = checks.make_reference(model)

    passed: list[_Candidate] = []
    left_out: list[tuple[_Candidate, str]] = []
    for variant in config.variants:
        progress(f"checking {variant.name}")
        candidate = _candidate(variant, exported, work, reference, progress)
        if candidate.parity.passed:
            passed.append(candidate)
        else:
            reason = f"cosine {candidate.parity.min_cosine} is below its bound {variant.min_cosine}"
            progress(f"{variant.name} is left out: {reason}")
            left_out.append((candidate, reason))
    if not passed:
        raise PackageError(
            f"No variant of {config.name} is as accurate as asked: "
            + "; ".join(f"{candidate.variant.name}: {reason}" for candidate, reason in left_out)
            + ". Lower the bounds in model.yaml if you accept that."
        )

    progress("timing what passed")
    latency: list[LatencyFigure] = list(checks.torch_latency(model, config.latency))
    for candidate in passed:
        latency += checks.onnx_latency(candidate.variant.name, candidate.path, model, config.latency)
    ranked = sorted(passed, key=lambda candidate: _speed(candidate.variant.name, latency))
    served = _served(config, ranked)

    progress(f"laying out {served.variant.name} for {len(config.targets)} targets")
    package_dir = work / "package"
    package_dir.mkdir()
    inputs, outputs = _signature(served.path)
    inputs, outputs = layout.write_triton_repository(package_dir, config, model, served.path, inputs, outputs)
    layout.write_sagemaker_archive(package_dir)
    layout.write_azure_ml(package_dir, config)

    serving = config.serving
    manifest = Manifest(
        name=config.name,
        version="",
        digest="",
        build_key=key,
        kind="triton",
        entry_model=config.name,
        precision=served.variant.name,
        files=describe_files(package_dir),
        inputs=inputs,
        outputs=outputs,
        source=model.source.model_copy(update={"reference": model.reference}),
        tools=_tools(),
        containers=config.targets,
        variants=_variant_figures(ranked, left_out),
        parity=tuple(candidate.parity for candidate in (*ranked, *(candidate for candidate, _ in left_out))),
        latency=tuple(latency),
        provenance=provenance_of(config.base_dir),
        serving=Serving(
            max_batch_size=serving.max_batch_size if model.batched else 1,
            max_concurrency=serving.max_concurrency,
            request_timeout_s=serving.request_timeout_s,
            slots=serving.slots,
        ),
    ).sealed()
    path = builds.commit(out_dir, package_dir, manifest)
    progress(f"{config.name} {manifest.version} is ready")
    return path, read_manifest(path)


def _candidate(variant: Variant, exported: Path, work: Path, reference: object, progress: Progress) -> _Candidate:
    """The file of a variant. For int8, what quantizes best *on this machine* is measured, not assumed."""
    from model_packaging import checks, onnx_export

    assert isinstance(reference, checks.Reference)
    if variant.precision == "fp32":
        return _Candidate(variant, exported, checks.parity(variant.name, exported, reference, variant.min_cosine))
    tried: list[tuple[onnx_export.Quantization, _Candidate]] = []
    for index, how in enumerate(onnx_export.CANDIDATES):
        path = work / f"int8-{index}.onnx"
        onnx_export.quantize(exported, path, how)
        parity = checks.parity(variant.name, path, reference, variant.min_cosine)
        progress(f"  int8 {how}: cosine {parity.min_cosine}, relative error {parity.max_relative}")
        detail = f"{how}, relative error {parity.max_relative} on {platform.machine()}"
        tried.append((how, _Candidate(variant, path, parity, detail)))
    best = min(tried, key=lambda item: item[1].parity.max_relative)
    # A 7-bit range is as good on every CPU; an 8-bit one is only good where the CPU has VNNI. Where both are close
    # here, the package should not depend on where it is served.
    robust = [item for item in tried if item[0].reduce_range]
    safe = min(robust, key=lambda item: item[1].parity.max_relative)
    close = safe[1].parity.max_relative <= _ROBUST_MARGIN * best[1].parity.max_relative
    return (safe if close else best)[1]


def _served(config: ModelConfig, ranked: list[_Candidate]) -> _Candidate:
    if config.serve == "best":
        return ranked[0]
    for candidate in ranked:
        if candidate.variant.name == config.serve:
            return candidate
    raise PackageError(
        f"serve: {config.serve} missed its parity bound; what passed: "
        f"{', '.join(candidate.variant.name for candidate in ranked)}. Serve one of these, or `best`."
    )


def _speed(name: str, latency: list[LatencyFigure]) -> float:
    """Geometric mean of the medians over the batch sizes, in log milliseconds."""
    times = [figure.p50_ms for figure in latency if figure.variant == name]
    return sum(math.log(value) for value in times) / len(times)


def _variant_figures(ranked: list[_Candidate], left_out: list[tuple[_Candidate, str]]) -> tuple[VariantFigure, ...]:
    def figure(candidate: _Candidate, rank: int | None, reason: str = "") -> VariantFigure:
        return VariantFigure(
            name=candidate.variant.name,
            precision=candidate.variant.precision,
            rank=rank,
            size_bytes=candidate.path.stat().st_size,
            detail=candidate.detail,
            reason=reason,
        )

    return (
        *(figure(candidate, rank) for rank, candidate in enumerate(ranked, start=1)),
        *(figure(candidate, None, reason) for candidate, reason in left_out),
    )


def _signature(onnx_file: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of an ONNX file in Triton's terms, with the whole shape that a client sends."""
    from model_packaging import checks

    session = checks.open_session(onnx_file)

    def specs(tensors: Sequence[Any]) -> tuple[TensorSpec, ...]:
        found = []
        for tensor in tensors:
            if tensor.type not in _TRITON_TYPES:
                raise PackageError(f"{tensor.name}: {tensor.type} cannot be served; known: {', '.join(_TRITON_TYPES)}.")
            shape = tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
            found.append(TensorSpec(name=tensor.name, dtype=_TRITON_TYPES[tensor.type], shape=shape))
        return tuple(found)

    return specs(session.get_inputs()), specs(session.get_outputs())


def _tools() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _TOOLS}
