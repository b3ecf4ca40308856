"""torch → ONNX, and ONNX fp32 → ONNX int8."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from model_packaging.sources import LoadedModel
from model_packaging.sources.batch_first import onnx_batch_first
from spillway.contracts.manifest import PackageError
from spillway.contracts.targets import OnnxLevel

if TYPE_CHECKING:
    from torch.jit import ScriptModule

EXPORT_OPSET: Final = 18
"""What torch's exporter writes by itself; every container in the table takes it."""

_ONNX_FILE_LIMIT_BYTES: Final = 2_000_000_000
BATCH_LABEL: Final = "batch"
_MAX_BATCH: Final = 1024


@dataclass(frozen=True)
class Quantization:
    """How an int8 candidate was made. ``reduce_range``: 7-bit weights, which do not saturate on AVX2."""

    per_channel: bool
    reduce_range: bool

    def __str__(self) -> str:
        scale = "per channel" if self.per_channel else "per tensor"
        return f"{scale}, {'7-bit range' if self.reduce_range else '8-bit range'}"


CANDIDATES: Final = tuple(Quantization(channel, reduced) for channel in (True, False) for reduced in (True, False))
"""Tried in this order; the first wins a tie."""


def export(model: LoadedModel, path: Path, level: OnnxLevel) -> None:
    """Write the model as one fp32 ONNX file with its dynamic axes. Raises :class:`PackageError`."""
    import onnx

    if isinstance(model.graph, Path):
        proto = _read_file(model.graph, level)
    else:
        if level.opset < EXPORT_OPSET:
            raise PackageError(
                f"A target takes ONNX opset {level.opset} at most, and the exporter writes {EXPORT_OPSET}."
            )
        proto = _from_torch(model)
    onnx_batch_first(proto, model.batch_axes)
    _name_sizes(proto, model)
    if proto.ByteSize() > _ONNX_FILE_LIMIT_BYTES:
        raise PackageError(f"The ONNX file would be {proto.ByteSize() / 1e9:.1f} GB; one file holds 2 GB at most.")
    _normalise(proto, level)
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise PackageError(
            f"The exported file is not valid ONNX: {error}. One cause is an output named like a value "
            "inside the model: rename the output."
        ) from error
    save(proto, path)


def _read_file(path: Path, level: OnnxLevel) -> Any:
    """A source that is ONNX already, its external data taken in."""
    import onnx

    proto = onnx.load(str(path))
    opset = max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    if opset > level.opset:
        raise PackageError(
            f"{path}: ONNX opset {opset}, and the targets take {level.opset} at most: export it again with "
            f"opset_version={min(level.opset, EXPORT_OPSET)}, or name newer containers under targets."
        )
    return proto


def _from_torch(model: LoadedModel) -> Any:
    try:
        with _quiet():
            return _from_script(model, model.graph) if _is_script(model.graph) else _exported_program(model)
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise PackageError(
            f"torch cannot export the model: {reason[0] if reason else type(error).__name__}. The usual cause is "
            "control flow that depends on the data: write it with torch.where or torch.cond."
        ) from error


def _exported_program(model: LoadedModel) -> Any:
    import torch

    common: dict[str, Any] = {
        "dynamo": True,
        "opset_version": EXPORT_OPSET,
        "input_names": list(model.samples[0]),
        "output_names": list(model.outputs),
        "external_data": False,
        "optimize": True,
        "verbose": False,
    }
    if isinstance(model.graph, torch.export.ExportedProgram):
        program = torch.onnx.export(model.graph, **common)
    else:
        dims = {
            label: torch.export.Dim(label, min=1 if label == BATCH_LABEL else 2, max=_limit(model, label))
            for axes in model.dynamic_axes.values()
            for label in axes.values()
        }
        shapes = {
            name: {axis: dims[label] for axis, label in model.dynamic_axes.get(name, {}).items()}
            for name in model.samples[0]
        }
        with torch.no_grad():
            program = torch.onnx.export(model.module, kwargs=_example(model), dynamic_shapes=shapes, **common)
    assert program is not None
    return program.model_proto


def _is_script(graph: object) -> TypeGuard[ScriptModule]:
    import torch

    return isinstance(graph, torch.jit.ScriptModule)


def _from_script(model: LoadedModel, script: ScriptModule) -> Any:
    """torch's exporter for programs refuses TorchScript; the older one takes it, branches and loops included."""
    import onnx
    import torch

    example, axes = _example(model), model.batch_axes
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        written = Path(folder, "model.onnx")
        torch.onnx.export(
            script,
            tuple(tensor.movedim(0, axes.get(name, 0)) for name, tensor in example.items()),
            str(written),
            dynamo=False,
            opset_version=EXPORT_OPSET,
            input_names=list(example),
            output_names=list(model.outputs),
            dynamic_axes={name: {axes.get(name, 0): BATCH_LABEL} for name in (*example, *model.outputs)},
        )
        return onnx.load(str(written))


def _name_sizes(proto: Any, model: LoadedModel) -> None:
    """Write the sizes of outputs that the exporter left open although only the batch varies."""
    if any(set(axes) - {0} for axes in model.dynamic_axes.values()):
        return
    answer = model.answer(model.samples[0])
    for value in proto.graph.output:
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if (axis > 0 or not model.batched) and not size.HasField("dim_value"):
                size.dim_value = answer[value.name].shape[axis]


def quantize(source: Path, path: Path, how: Quantization) -> None:
    """Write the int8 variant of an fp32 file: weights int8, activations scaled as they come."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            str(source),
            str(path),
            per_channel=how.per_channel,
            reduce_range=how.reduce_range,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    proto = onnx.load(str(path))
    levels = onnx.load(str(source), load_external_data=False)
    _normalise(proto, OnnxLevel(opset=EXPORT_OPSET, ir=levels.ir_version))
    save(proto, path)


def save(proto: Any, path: Path) -> None:
    """Write the model so that equal models are equal bytes."""
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _example(model: LoadedModel) -> dict[str, Any]:
    """The longest sample, at batch 2 and more: an axis of 1 would be taken for a constant."""
    longest = max(model.samples, key=lambda sample: sum(tensor.numel() for tensor in sample.values()))
    if not model.batched:
        return dict(longest)
    return {name: tensor.repeat(2, *[1] * (tensor.dim() - 1)) for name, tensor in longest.items()}


def _limit(model: LoadedModel, label: str) -> int | None:
    """The largest size of an axis, where there is one."""
    if label == "sequence" and model.text:
        return model.text.max_length
    return _MAX_BATCH if label == BATCH_LABEL else None


def _normalise(proto: Any, level: OnnxLevel) -> None:
    """Set the IR, and drop what differs from run to run: stack traces with local paths and the producer's notes."""
    proto.ir_version = min(proto.ir_version, level.ir)
    del proto.metadata_props[:]
    proto.doc_string = ""
    graphs = [proto.graph]
    while graphs:
        graph = graphs.pop()
        graph.doc_string = ""
        del graph.metadata_props[:]
        for item in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
            item.doc_string = ""
            del item.metadata_props[:]
        graphs += [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]


@contextlib.contextmanager
def _quiet() -> Any:
    """Exporter and quantizer talk on stdout, stderr, the log and as warnings; errors still come as exceptions."""
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
