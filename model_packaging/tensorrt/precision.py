"""fp32 ONNX → typed ONNX that a strongly typed TensorRT network takes as it is.

fp16 is a conversion of the whole graph; its inputs and outputs keep their types. int8 and fp8 add explicit
quantize-dequantize pairs to the fp16 graph at MatMul, Gemm and Conv with constant weights:

- activations: one scale a tensor, the largest magnitude seen on the samples (int8: the 99.99th percentile, so that a
  few outliers do not cost all others their resolution) over the largest number of the type;
- weights: stored quantized; int8 one scale an output channel, fp8 (E4M3) one scale a tensor.

The result is plain ONNX of opset 19 or later, so ONNX Runtime runs it on a CPU and its accuracy is known before any
GPU is at hand.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from model_packaging.tensorrt.settings import CALIBRATED, Precision
from spillway.contracts.manifest import PackageError

if TYPE_CHECKING:
    import onnx

Feed = Mapping[str, np.ndarray]

QDQ_OPSET: Final = 19
"""The first whose QuantizeLinear takes fp16 and E4M3."""
QDQ_IR: Final = 9
_QUANTIZED_OPS: Final = ("MatMul", "Gemm", "Conv")
_LARGEST: Final = {"int8": 127.0, "fp8": 448.0}
_FP8_ALIGNMENT: Final = 16
_INT8_PERCENTILE: Final = 99.99
_SMALLEST_SCALE: Final = 2.0**-24
"""fp16's smallest positive number: an activation that is always zero still needs a scale that is not."""


def typed_model(
    source: Path, precision: Precision, samples: Sequence[Feed] = (), high_precision: Iterable[str] = ()
) -> onnx.ModelProto:
    """The model of an fp32 ONNX file in ``precision``.

    ``samples``: named inputs with the batch axis first; int8 and fp8 measure activations on them. ``high_precision``:
    parts of node names that stay in fp16. Raises :class:`PackageError` where samples are missing or nothing can be
    quantized.
    """
    import onnx

    if precision in CALIBRATED and not samples:
        raise PackageError(
            f"{precision} needs samples to measure activations on, and none were given: they are never made up. "
            "Give --samples, or compile fp16."
        )
    model = onnx.load(str(source))
    if precision == "fp32":
        return model
    known = {name for node in model.graph.node for name in node.output} | {value.name for value in model.graph.input}
    half = to_fp16(model)
    if precision == "fp16":
        return half
    targets = _targets(half, precision, tuple(high_precision))
    if not targets:
        raise PackageError(
            f"{source.name}: no MatMul, Gemm or Conv with constant weights is left to quantize; use fp16."
        )
    percentile = _INT8_PERCENTILE if precision == "int8" else 100.0
    # What a node reads is measured in the fp32 graph; a cast that the conversion put in between is seen through.
    casts = {node.output[0]: node.input[0] for node in half.graph.node if node.op_type == "Cast"}
    origin = {name: name if name in known else casts[name] for name in {node.input[0] for node in targets}}
    measured = activation_magnitudes(source, set(origin.values()), samples, percentile)
    return _with_pairs(half, targets, {name: measured[source] for name, source in origin.items()}, precision)


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in fp16, inputs and outputs as they were. The converter is ONNX Runtime's."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    logger = logging.getLogger("onnxruntime.transformers.float16")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        half = OnnxModel(convert_float_to_float16(model, keep_io_types=True))
        # The converter puts the casts of inputs last; ONNX wants every node after what it reads.
        half.topological_sort(is_deterministic=True)
        return half.model
    finally:
        logger.setLevel(before)


def activation_magnitudes(
    source: Path, tensors: set[str], samples: Sequence[Feed], percentile: float = 100.0
) -> dict[str, float]:
    """Run the fp32 model on the CPU and return each tensor's largest magnitude, or the given percentile of it.

    A percentile is taken per sample and the largest kept. Raises :class:`PackageError` for numbers that are none.
    """
    import onnx
    import onnxruntime as ort

    model = onnx.load(str(source))
    outputs = {value.name for value in model.graph.output}
    inputs = {value.name for value in model.graph.input}
    watched = sorted(tensors - inputs)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in watched if name not in outputs)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    largest = dict.fromkeys(sorted(tensors), 0.0)
    for sample in samples:
        values = dict(zip(watched, session.run(watched, dict(sample)), strict=True))
        values |= {name: sample[name] for name in tensors & inputs}
        for name, value in values.items():
            magnitude = np.abs(np.asarray(value, dtype=np.float32))
            seen = float(magnitude.max() if percentile >= 100 else np.percentile(magnitude, percentile))
            if not np.isfinite(seen):
                raise PackageError(f"{source.name}: {name} is not finite on a sample; no scale can be had from it.")
            largest[name] = max(largest[name], seen)
    return largest


def samples_sha256(samples: Sequence[Feed]) -> str:
    """A hash of the samples' names, types, shapes and values, in order."""
    digest = hashlib.sha256()
    for sample in samples:
        for name, array in sorted(sample.items()):
            digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _targets(model: onnx.ModelProto, precision: Precision, high_precision: tuple[str, ...]) -> list[Any]:
    """Nodes with constant weights as their second input.

    fp8 passes over weights whose sizes are no multiples of 16, as a classifier's last layer of 1000 labels: TensorRT
    10.6 found no implementation for one on an H100, and cuBLASLt asks for that alignment, too.
    """
    sizes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return [
        node
        for node in model.graph.node
        if node.op_type in _QUANTIZED_OPS
        and node.input[1] in sizes
        and node.input[0] not in sizes
        and not (precision == "fp8" and any(size % _FP8_ALIGNMENT for size in sizes[node.input[1]][:2]))
        and not any(part in node.name for part in high_precision)
    ]


def _with_pairs(
    model: onnx.ModelProto, targets: list[Any], largest: Mapping[str, float], precision: Precision
) -> onnx.ModelProto:
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    limit = _LARGEST[precision]
    kind = TensorProto.INT8 if precision == "int8" else TensorProto.FLOAT8E4M3FN
    weights = {tensor.name: tensor for tensor in graph.initializer}
    convolved = {node.input[0] for node in targets if node.op_type == "Conv"}
    first_use: dict[str, int] = {}
    added: dict[int, list[Any]] = {}
    for index, node in enumerate(graph.node):
        if not any(node is target for target in targets):
            if node.op_type == "Add":
                _read_rounded(node, convolved & first_use.keys())
            continue
        activation, weight = node.input[0], node.input[1]
        before = added.setdefault(index, [])
        if activation not in first_use:
            first_use[activation] = index
            scale = np.array(max(largest[activation] / limit, _SMALLEST_SCALE), np.float16)
            graph.initializer.append(numpy_helper.from_array(scale, f"{activation}_scale"))
            graph.initializer.append(_zero(f"{activation}_zero", kind, ()))
            pair = [activation, f"{activation}_scale", f"{activation}_zero"]
            before.append(helper.make_node("QuantizeLinear", pair, [f"{activation}_q"], f"{activation}_quantize"))
            pair[0] = f"{activation}_q"
            before.append(helper.make_node("DequantizeLinear", pair, [f"{activation}_dq"], f"{activation}_dequantize"))
        if f"{weight}_dq" not in first_use:
            first_use[f"{weight}_dq"] = index
            axis = _channel_axis(node) if precision == "int8" else None
            values = numpy_helper.to_array(weights[weight]).astype(np.float32)
            quantized, scales = quantize_weights(values, axis, limit, kind)
            quantized.name = f"{weight}_q"
            graph.initializer.append(quantized)
            graph.initializer.append(numpy_helper.from_array(scales, f"{weight}_scale"))
            graph.initializer.append(_zero(f"{weight}_zero", kind, scales.shape))
            parts = [f"{weight}_q", f"{weight}_scale", f"{weight}_zero"]
            dequantize = helper.make_node("DequantizeLinear", parts, [f"{weight}_dq"], f"{weight}_dequantize")
            if axis is not None:
                dequantize.attribute.append(helper.make_attribute("axis", axis))
            before.append(dequantize)
        node.input[0], node.input[1] = f"{activation}_dq", f"{weight}_dq"
    _rebuild(model, added)
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = max(opset.version, QDQ_OPSET)
    model.ir_version = max(model.ir_version, QDQ_IR)
    return model


def _read_rounded(add: Any, rounded: set[str]) -> None:
    """A shortcut around convolutions reads the rounded value, too: then the sum runs within the int8 convolution."""
    for position, name in enumerate(add.input):
        if name in rounded:
            add.input[position] = f"{name}_dq"


def quantize_weights(values: np.ndarray, axis: int | None, limit: float, kind: int) -> tuple[Any, np.ndarray]:
    """Symmetric: an ONNX tensor of ``kind`` and its fp16 scales, one for each index of ``axis`` or one for all."""
    import ml_dtypes
    from onnx import TensorProto, helper

    others = None if axis is None else tuple(dim for dim in range(values.ndim) if dim != axis)
    scales = np.maximum(np.abs(values).max(axis=others) / limit, _SMALLEST_SCALE).astype(np.float16)
    shape = [1] * values.ndim
    if axis is not None:
        shape[axis] = -1
    scaled = np.clip(values / scales.astype(np.float32).reshape(shape if axis is not None else ()), -limit, limit)
    int8 = kind == TensorProto.INT8
    raw = np.rint(scaled).astype(np.int8) if int8 else scaled.astype(ml_dtypes.float8_e4m3fn)
    return helper.make_tensor("", kind, values.shape, raw.tobytes(), raw=True), np.asarray(scales)


def _channel_axis(node: Any) -> int:
    """The axis of the weights that is an output channel."""
    if node.op_type == "Conv":
        return 0
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return 0 if transposed else 1


def _zero(name: str, kind: int, shape: tuple[int, ...]) -> Any:
    from onnx import helper

    return helper.make_tensor(name, kind, shape, bytes(int(np.prod(shape, dtype=np.int64))), raw=True)


def _rebuild(model: onnx.ModelProto, added: Mapping[int, list[Any]]) -> None:
    """Put the new nodes before their first use, and drop the weights that nothing reads any more."""
    graph = model.graph
    nodes = []
    for index, node in enumerate(graph.node):
        nodes += [*added.get(index, ()), node]
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    tensors = [type(tensor).FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
