"""torch → ONNX, and ONNX fp32 → ONNX int8."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from model_packaging.sources import LoadedModel
from spillway.contracts.manifest import PackageError
from spillway.contracts.targets import OnnxLevel

EXPORT_OPSET: Final = 18
"""What torch's exporter writes by itself; every container in the table takes it."""

_ONNX_FILE_LIMIT_BYTES: Final = 2_000_000_000
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
    """Write the model as one fp32 ONNX file with dynamic batch (and sequence). Raises :class:`PackageError`."""
    import onnx
    import torch

    if level.opset < EXPORT_OPSET:
        raise PackageError(f"A target takes ONNX opset {level.opset} at most, and the exporter writes {EXPORT_OPSET}.")
    example = _example(model)
    dims = {
        label: torch.export.Dim(label, min=1 if label == "batch" else 2, max=_limit(model, label))
        for axes in model.dynamic_axes.values()
        for label in axes.values()
    }
    shapes = {name: {axis: dims[label] for axis, label in axes.items()} for name, axes in model.dynamic_axes.items()}
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                model.module,
                kwargs=example,
                dynamo=True,
                opset_version=EXPORT_OPSET,
                input_names=list(example),
                output_names=[model.output],
                dynamic_shapes=shapes,
                external_data=False,
                optimize=True,
                verbose=False,
            )
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise PackageError(
            f"torch cannot export the model: {reason[0] if reason else type(error).__name__}. The usual cause is "
            "control flow that depends on the data: write it with torch.where or torch.cond."
        ) from error
    assert program is not None
    proto = program.model_proto
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
    longest = max(model.samples, key=lambda sample: next(iter(sample.values())).numel())
    return {name: tensor.repeat(2, *[1] * (tensor.dim() - 1)) for name, tensor in longest.items()}


def _limit(model: LoadedModel, label: str) -> int:
    return model.text.max_length if label == "sequence" and model.text else _MAX_BATCH


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
