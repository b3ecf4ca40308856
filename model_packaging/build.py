"""Package a model: load, export, quantize, check, time, lay out, and store."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from model_packaging.config import ModelConfig, ModelConfigError
from model_packaging.language.config import LanguageConfig
from model_packaging.provenance import provenance_of
from model_packaging.registry import builds
from model_packaging.sources import files_sha256, load, source_files
from spillway.contracts.manifest import (
    SERVING_FILE,
    VARIANTS,
    Manifest,
    PackageError,
    Serving,
    TensorSpec,
    describe_files,
    read_manifest,
)

if TYPE_CHECKING:
    from model_packaging.assess import Candidate
    from model_packaging.layout import Signature
    from spillway.contracts.targets import Layout

Progress = Callable[[str], None]

_TOOLS: Final = (
    "torch",
    "transformers",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "tokenizers",
    "safetensors",
    "numpy",
    "torchao",
)
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
                "served": list(self.manifest.layouts_of(variant.name)),
                "size_mb": round(variant.size_bytes / 1e6, 1),
                "peak_memory_mb": round(variant.peak_memory_bytes / 1e6) if variant.peak_memory_bytes else None,
                "min_cosine": parity[variant.name].min_cosine if variant.name in parity else None,
                "mean_cosine": parity[variant.name].mean_cosine if variant.name in parity else None,
                "max_abs": parity[variant.name].max_abs if variant.name in parity else None,
                "top1": parity[variant.name].top1 if variant.name in parity else None,
                "note": variant.reason or variant.detail,
            }
            for figure in figures:
                if figure.variant == variant.name:
                    row[f"p50_ms_batch_{figure.batch_size}"] = figure.p50_ms
                    row[f"p99_ms_batch_{figure.batch_size}"] = figure.p99_ms
                    row[f"per_s_batch_{figure.batch_size}"] = figure.throughput_per_s
            rows.append(row)
        return rows


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
        files, versions = {**source_files(config), **_calibration_file(config)}, _tools()
    parts = {
        "config": config.model_dump(mode="json"),
        "files": files_sha256(files),
        "tools": versions,
        "packager": files_sha256(own),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _calibration_file(config: ModelConfig) -> dict[str, Path]:
    if config.calibration is None:
        return {}
    path = config.resolve(config.calibration)
    if not path.is_file():
        raise ModelConfigError(f"calibration: {path}: no such file. Give real data; it is never made up.")
    return {"calibration": path}


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
    from model_packaging import layout
    from model_packaging.assess import assess
    from model_packaging.tensorrt.samples import SAMPLES_NAME, save_samples

    progress("loading the model")
    model = load(config)
    assessed = assess(config, model, work, progress)
    served = assessed.served(config.serve_by_layout())

    told = ", ".join(f"{target}: {candidate.name}" for target, candidate in served.items())
    progress(f"laying out {told}")
    package_dir = work / "package"
    package_dir.mkdir()
    network = _common_signature(served)
    onnx_files = {target: candidate.path for target, candidate in served.items()}
    layout.write_layouts(package_dir, config, model, onnx_files, network)
    client = layout.client_signature(model, network)
    for candidate in assessed.ranked:
        if candidate in served.values() or candidate.name in config.keep:
            folder = package_dir / VARIANTS / candidate.name
            folder.mkdir(parents=True)
            shutil.copyfile(candidate.path, folder / f"model{candidate.path.suffix}")
    # Engines are compiled later and elsewhere, checked on the same samples and served in the same way.
    samples = [{name: tensor.numpy() for name, tensor in sample.items()} for sample in model.samples]
    save_samples(samples, package_dir / VARIANTS / SAMPLES_NAME)
    (package_dir / SERVING_FILE).write_text(config.serving.model_dump_json(indent=2) + "\n", encoding="utf-8")

    serving = config.serving
    manifest = Manifest(
        name=config.name,
        version="",
        digest="",
        build_key=key,
        kind="triton",
        entry_model=config.name,
        served={target: candidate.name for target, candidate in served.items()},
        files=describe_files(package_dir),
        inputs=client.inputs,
        outputs=client.outputs,
        source=model.source.model_copy(update={"reference": model.reference}),
        tools=_tools(),
        containers=config.targets,
        variants=assessed.figures(),
        parity=assessed.parity(),
        latency=assessed.latency,
        provenance=provenance_of(config.base_dir, assessed.calibration),
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


def _common_signature(served: Mapping[Layout, Candidate]) -> Signature:
    """What every served variant takes and gives: a request must fit whichever site it reaches."""
    found = {candidate.name: _signature(candidate.path) for candidate in served.values()}
    (first, signature), *others = found.items()
    for name, other in others:
        if other != signature:
            raise PackageError(
                f"serve: {first} and {name} differ in their inputs or outputs, so a request would fit one site only: "
                f"{signature} and {other}. Serve one of them everywhere."
            )
    return signature


def _signature(onnx_file: Path) -> Signature:
    """Inputs and outputs of an ONNX file in Triton's terms, with the whole shape that a client sends."""
    from model_packaging import checks
    from model_packaging.layout import Signature

    session = checks.open_session(onnx_file)

    def specs(tensors: Sequence[Any]) -> tuple[TensorSpec, ...]:
        found = []
        for tensor in tensors:
            if tensor.type not in _TRITON_TYPES:
                raise PackageError(f"{tensor.name}: {tensor.type} cannot be served; known: {', '.join(_TRITON_TYPES)}.")
            shape = tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
            found.append(TensorSpec(name=tensor.name, dtype=_TRITON_TYPES[tensor.type], shape=shape))
        return tuple(found)

    return Signature(specs(session.get_inputs()), specs(session.get_outputs()))


def _tools() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _TOOLS}
