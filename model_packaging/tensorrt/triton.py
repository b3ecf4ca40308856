"""An engine as Triton serves it: the package's model repository, with the compiled model in place of the portable one.

What stands around the model (tokenizer, ensemble, labels) is the package's own. A TensorRT plan runs in Triton's
TensorRT backend, which picks the optimisation profile. That backend takes no TensorRT-RTX engines, so these run in the
Python backend.

Keys: README of triton-inference-server/tensorrt_backend, and ``ModelInstanceGroup.profile`` and
``ModelOptimizationPolicy.Cuda`` in triton-inference-server/common's model_config.proto.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from model_packaging.pbtxt import CONFIG_NAME, ModelConfig, message, read_pbtxt
from model_packaging.sources.model import padded
from model_packaging.tensorrt.settings import SEQUENCE, EngineSettings
from model_packaging.tensors.layout import read_labels, write_archive, write_model
from model_packaging.tensors.settings import ServingConfig
from model_packaging.tensors.triton_config import Backend, longest_text, model_config
from spillway.contracts.manifest import SERVING_FILE, TRITON_REPOSITORY, PackageError, TensorSpec, read_manifest
from spillway.contracts.trt_engines import PLAN_NAME, RECORD_NAME, Compiler, EngineProfile, EngineRecord

_TEMPLATE: Final = Path(__file__).parent / "templates" / "tensorrt_rtx_model.py"
_TYPES: Final = {
    "float32": "FP32",
    "float16": "FP16",
    "bfloat16": "BF16",
    "int64": "INT64",
    "int32": "INT32",
    "int8": "INT8",
    "uint8": "UINT8",
    "bool": "BOOL",
}
_MOST_GRAPHS: Final = 32
"""Each captured graph costs start-up time and memory on the GPU."""


def read_serving(package: Path) -> ServingConfig:
    """How the package's model is served. Raises :class:`PackageError`."""
    path = package / SERVING_FILE
    try:
        return ServingConfig.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PackageError(
            f"{path}: no such file, and an engine is served as it says: package the model again."
        ) from None
    except (OSError, ValidationError) as error:
        raise PackageError(f"{path}: cannot be read: {error}. Package the model again.") from error


@dataclass(frozen=True)
class Portable:
    """The portable model that an engine takes the place of. ``batched``: requests are joined on axis 0.

    ``longest_text``: tokens of the longest text that the tokenizer before it sends, padding included.
    """

    folder: Path
    batched: bool
    longest_text: int | None


def check_profiles(settings: EngineSettings, portable: Portable, serving: ServingConfig) -> None:
    """Raises :class:`PackageError` where a request that a server may send has no optimisation profile."""
    if portable.batched:
        _check_batches(settings, serving.max_batch_size)
    least, _, most = settings.axes.get(SEQUENCE, (1, 1, 1))
    if portable.longest_text is not None and (least > serving.pad_to_multiple_of or most < portable.longest_text):
        raise PackageError(
            f"axes: {SEQUENCE} goes from {least} to {most} tokens, and texts are padded to between "
            f"{serving.pad_to_multiple_of} and {portable.longest_text}: give axes: {{{SEQUENCE}: [1, "
            f"{min(128, portable.longest_text)}, {portable.longest_text}]}}."
        )


def _check_batches(settings: EngineSettings, largest: int) -> None:
    reached = 0
    for least, _, most in sorted(settings.batches):
        if least > reached + 1:
            raise PackageError(
                f"batches: none takes a batch of {reached + 1} (given: {[list(one) for one in settings.batches]}), and "
                "a server puts any number of requests together: let the ranges start at 1 and leave no gap."
            )
        reached = max(reached, most)
    if reached < largest:
        raise PackageError(
            f"batches: none takes more than {reached}, and the package puts up to {largest} requests together "
            f"(serving.max_batch_size): add [{reached + 1}, {largest}, {largest}], or package it with a smaller one."
        )


def write_engine_archive(package: Path, record: EngineRecord, plan: bytes, archive: Path) -> None:
    """Write the whole repository with this engine as one archive, model folders at its root.

    Equal engines give equal bytes. Raises :class:`PackageError` for a package without a portable model to replace.
    """
    serving = read_serving(package)
    portable = portable_model(package)
    manifest = read_manifest(package)
    config = engine_config(portable.folder.name, record, serving, batched=portable.batched)
    if serving.response_cache and portable.folder.name == manifest.entry_model:
        config.response_cache.enable = True
    parts = {PLAN_NAME: plan}
    if record.key.compiler is Compiler.TENSORRT_RTX:
        parts |= {RECORD_NAME: record.to_json().encode(), "model.py": _TEMPLATE.read_bytes()}
    with tempfile.TemporaryDirectory(prefix=".repository-", dir=archive.parent) as scratch:
        for part, content in parts.items():
            Path(scratch, part).write_bytes(content)
        written = Path(scratch, TRITON_REPOSITORY)
        # Only what the manifest lists: a server that ran on the folder leaves files of its own.
        for file in manifest.files:
            source, copy = package / file.path, Path(scratch, file.path)
            if source.is_relative_to(portable.folder.parent) and not source.is_relative_to(portable.folder):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
        write_model(written, config, {part: Path(scratch, part) for part in parts}, read_labels(portable.folder))
        write_archive(written, archive)


def portable_model(package: Path) -> Portable:
    """The model that an engine takes the place of. Raises :class:`PackageError` unless there is one.

    All is told by configurations: a job does not fetch the ONNX file.
    """
    repository = package / TRITON_REPOSITORY
    if not repository.is_dir():
        raise PackageError(
            f"{package}: has no {TRITON_REPOSITORY}/, which an engine is served from: name a Triton target such as "
            "ngc-triton-24.10 in model.yaml and package the model again."
        )
    configs = {path.parent: read_pbtxt(path) for path in sorted(repository.glob(f"*/{CONFIG_NAME}"))}
    found = [folder for folder, config in configs.items() if config.backend == "onnxruntime"]
    if len(found) != 1:
        raise PackageError(f"{repository}: has {len(found)} models in ONNX; an engine takes the place of one.")
    longest = next(filter(None, map(longest_text, configs.values())), None)
    return Portable(found[0], configs[found[0]].max_batch_size > 0, longest)


def engine_config(name: str, record: EngineRecord, serving: ServingConfig, *, batched: bool = True) -> ModelConfig:
    """Triton's configuration of the compiled model: the portable one's queue, priorities and warm-up, on the GPU."""
    specs = {
        mode: [
            TensorSpec(name=tensor.name, dtype=_TYPES[tensor.dtype], shape=tensor.shape)
            for tensor in record.tensors
            if tensor.mode == mode
        ]
        for mode in ("input", "output")
    }
    on_gpu = serving.model_copy(update={"instance_kind": "gpu"})
    backend: Backend = "tensorrt" if record.key.compiler is Compiler.TENSORRT else "python"
    tuned = {spec: shape[1] for spec, shape in record.profiles[0].shapes.items()}
    config = model_config(name, backend, specs["input"], specs["output"], on_gpu, batched=batched, warm_up=tuned)
    if backend == "tensorrt":
        (group,) = config.instance_group
        group.profile.extend(str(index) for index in range(len(record.profiles)))
        # The backend records each launch in the context of every profile, and logs an error where it does not fit.
        if len(record.profiles) == 1:
            graphs = _graphs(record.profiles[0], serving, batched)
            config.MergeFrom(message({"optimization": {"cuda": {"graphs": True, "graph_spec": graphs}}}))
    return config


def _graphs(profile: EngineProfile, serving: ServingConfig, batched: bool) -> list[dict[str, Any]]:
    """Shapes whose launches are recorded: what the profile is tuned for, and one text of each padded length."""
    tuned = {name: sizes[1] for name, sizes in profile.shapes.items()}
    shapes = [tuned] if not batched or next(iter(tuned.values()))[0] <= serving.max_batch_size else []
    shapes += _single_texts(profile, serving.pad_to_multiple_of) if batched else []
    distinct = {tuple(sorted(shape.items())): shape for shape in shapes}.values()
    return [_graph(shape, batched) for shape in list(distinct)[:_MOST_GRAPHS]]


def _single_texts(profile: EngineProfile, step: int) -> list[dict[str, tuple[int, ...]]]:
    """One request of each length that texts are padded to, where every input is ``[batch, length]`` and free."""
    if any(len(least) != 2 or least[0] > 1 or least == most for least, _, most in profile.shapes.values()):
        return []
    least = max(sizes[0][1] for sizes in profile.shapes.values())
    most = min(sizes[2][1] for sizes in profile.shapes.values())
    lengths = range(padded(least, step), most + 1, step)
    return [dict.fromkeys(profile.shapes, (1, length)) for length in lengths]


def _graph(shape: dict[str, tuple[int, ...]], batched: bool) -> dict[str, Any]:
    return {
        "batch_size": next(iter(shape.values()))[0] if batched else 0,
        "input": {name: {"dim": list(sizes[1:] if batched else sizes)} for name, sizes in shape.items()},
    }
