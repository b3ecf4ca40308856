"""Weights in int8 or int4, blocks of them sharing a scale; activations stay as they are."""

from __future__ import annotations

from typing import Final

from model_packaging import onnx_files
from model_packaging.variants.context import Context, Made, NotAvailable
from model_packaging.variants.graph import Graph, linear_layers, named_nodes, shrink_tables, split_gemm
from model_packaging.variants.settings import Variant

BITS: Final = {"int8-weights": 8, "int4-weights": 4}
_BLOCK: Final = 32
_ACCURACY_LEVEL: Final = 4
"""ONNX Runtime may round activations to int8 per block: its fastest kernel, and far less error than per tensor."""

_SINCE: Final = {4: (1, 17), 8: (1, 22)}
"""First ONNX Runtime whose CPU kernel takes MatMulNBits with so many bits: microsoft/onnxruntime pull requests 17890
(4 bits, 1.17) and 24491 (8 bits on x86-64, 1.22)."""


def make(variant: Variant, context: Context) -> Made:
    """Raises :class:`NotAvailable` where a target's ONNX Runtime is too old or there is nothing to quantize."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    bits = BITS[variant.precision]
    version, target = context.lowest_runtime()
    if version < _SINCE[bits]:
        raise NotAvailable(
            f"target {target} has ONNX Runtime {version[0]}.{version[1]}, and MatMulNBits with {bits} bits came with "
            f"{_SINCE[bits][0]}.{_SINCE[bits][1]}: leave that target out or take another variant"
        )
    graph = Graph(onnx.load(str(context.exported)))
    split_gemm(graph)
    layers = linear_layers(graph)
    if not layers:
        raise NotAvailable("the model has no product with constant weights, so there is nothing to quantize")
    patterns = variant.keep_high if variant.keep_high != "auto" else ()
    excluded = named_nodes(graph, layers, patterns)
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
