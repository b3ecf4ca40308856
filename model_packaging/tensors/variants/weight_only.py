"""Weights in int8 or int4, blocks of them sharing a scale; activations stay as they are."""

from __future__ import annotations

from functools import partial
from typing import Final

from model_packaging.tensors import onnx_files
from model_packaging.tensors.variants.context import Context, Made, NotAvailable
from model_packaging.tensors.variants.graph import Graph, linear_layers, named_nodes, shrink_tables, split_gemm
from model_packaging.tensors.variants.scheme import Scheme

_BLOCK: Final = 32
_ACCURACY_LEVEL: Final = 4
"""ONNX Runtime may round activations to int8 per block: its fastest kernel, and far less error than per tensor."""


def make(context: Context, *, bits: int, since: tuple[int, int]) -> Made:
    """``since``: the first ONNX Runtime whose CPU kernel takes MatMulNBits with so many bits. Raises
    :class:`NotAvailable` where a target's is older or there is nothing to quantize."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    version, target = context.lowest_runtime()
    if version < since:
        raise NotAvailable(
            f"target {target} has ONNX Runtime {version[0]}.{version[1]}, and MatMulNBits with {bits} bits came with "
            f"{since[0]}.{since[1]}: leave that target out or take another variant"
        )
    graph = Graph(onnx.load(str(context.exported)))
    split_gemm(graph)
    layers = linear_layers(graph)
    if not layers:
        raise NotAvailable("the model has no product with constant weights, so there is nothing to quantize")
    excluded = named_nodes(graph, layers, context.high_patterns)
    with onnx_files.quiet():
        quantizer = MatMulNBitsQuantizer(
            graph.proto,
            bits=bits,
            block_size=_BLOCK,
            is_symmetric=True,
            accuracy_level=_ACCURACY_LEVEL,
            nodes_to_exclude=excluded,
        )
        quantizer.process()
    graph = Graph(quantizer.model.model)  # pyright: ignore[reportAttributeAccessIssue] - an ONNXModel by now
    shrink_tables(graph)
    path = context.work / "model.onnx"
    onnx_files.normalise(graph.proto, context.level)
    onnx_files.save(graph.proto, path)
    kept = f"; {len(excluded)} layers kept in fp32" if excluded else ""
    return Made(path, f"{bits} bits, blocks of {_BLOCK}{kept}")


# microsoft/onnxruntime pull requests 24491 (8 bits on x86-64) and 17890 (4 bits).
INT8_WEIGHTS: Final = Scheme("int8-weights", partial(make, bits=8, since=(1, 22)), keeps_high=True)
INT4_WEIGHTS: Final = Scheme("int4-weights", partial(make, bits=4, since=(1, 17)), keeps_high=True)
