"""fp16 and bf16: half the size, for GPUs that compute in them. Inputs and outputs stay as they are."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from model_packaging.tensors import checks, onnx_files
from model_packaging.tensors.variants.context import Context, Made, NotAvailable
from model_packaging.tensors.variants.graph import Graph, kept_high, linear_layers, split_gemm
from model_packaging.tensors.variants.scheme import Scheme
from spillway.contracts.manifest import PackageError


def fp32(context: Context) -> Made:
    """The exported file itself."""
    return Made(context.exported)


def fp16(context: Context) -> Made:
    proto, kept = _half(context, context.high_patterns)
    path = context.work / "model.onnx"
    onnx_files.normalise(proto, context.level)
    onnx_files.save(proto, path)
    return Made(path, f"kept in fp32: {', '.join(kept)}" if kept else "")


def bf16(context: Context) -> Made:
    """Raises :class:`NotAvailable` where ONNX Runtime here has no bf16 kernels: what cannot run is not checked, and
    what is not checked is not packaged."""
    import onnx
    from onnx import TensorProto

    proto, _ = _half(context, ())
    exact = {item.name: item for item in onnx.load(str(context.exported)).graph.initializer}
    half, brain = TensorProto.FLOAT16, TensorProto.BFLOAT16
    for item in proto.graph.initializer:
        if item.data_type == half:
            source = onnx.numpy_helper.to_array(exact[item.name] if item.name in exact else item)  # noqa: SIM401 - typed
            item.ClearField("int32_data")
            item.raw_data = _bf16_bytes(source.astype(np.float32))
            item.data_type = brain
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == half:
                attribute.i = brain
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type = brain
    path = context.work / "model.onnx"
    onnx_files.normalise(proto, context.level)
    onnx_files.save(proto, path)
    try:
        checks.open_session(path)
    except PackageError as error:
        reason = str(error).splitlines()[0][:160]
        raise NotAvailable(f"ONNX Runtime on this machine cannot run bf16, so it was not checked: {reason}") from error
    return Made(path)


def _half(context: Context, patterns: tuple[str, ...]) -> tuple[Any, list[str]]:
    """The model in fp16 and the names of the layers that the patterns keep in fp32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    kept, blocked = _kept(context, patterns) if patterns else ([], [])
    with onnx_files.quiet():
        proto = convert_float_to_float16(onnx.load(str(context.exported)), keep_io_types=True, node_block_list=blocked)
    return proto, kept


def _kept(context: Context, patterns: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Names of the layers that the patterns keep in fp32, and of the nodes that they are made of."""
    import onnx

    graph = Graph(onnx.load(str(context.exported)))
    split_gemm(graph)
    nodes, layers = list(graph.proto.graph.node), linear_layers(graph)
    kept = kept_high({layer.name for layer in layers}, patterns)
    # A Gemm's product has its name, and it stays whole.
    blocked = [nodes[index].name for layer in layers if layer.name in kept for index in layer.nodes]
    return sorted(kept), blocked


def _bf16_bytes(values: np.ndarray) -> bytes:
    """Rounded to nearest, ties to even, as bf16's upper 16 bits of fp32."""
    bits = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


FP32: Final = Scheme("fp32", fp32)
FP16: Final = Scheme("fp16", fp16, keeps_high=True)
BF16: Final = Scheme("bf16", bf16)
