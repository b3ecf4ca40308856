"""int8 weights; activation scales are found anew for every request. Needs no calibration data."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Final

from model_packaging.tensors import onnx_files
from model_packaging.tensors.variants.context import Context, Made
from model_packaging.tensors.variants.graph import (
    Graph,
    fuse_gelu,
    keep_layer_norm_plain,
    linear_layers,
    named_nodes,
    split_gemm,
)
from model_packaging.tensors.variants.scheme import Scheme
from spillway.contracts.manifest import ParityFigure

_ROBUST_MARGIN: Final = 1.5


@dataclass(frozen=True)
class Quantization:
    """How a candidate was made. ``reduce_range``: 7-bit weights, which do not saturate on AVX2."""

    per_channel: bool
    reduce_range: bool

    def __str__(self) -> str:
        scale = "per channel" if self.per_channel else "per tensor"
        return f"{scale}, {'7-bit range' if self.reduce_range else '8-bit range'}"


CANDIDATES: Final = tuple(Quantization(channel, reduced) for channel in (True, False) for reduced in (True, False))
"""Tried in this order; the first wins a tie."""


def make(context: Context) -> Made:
    """Try every way and take the one with the least error *on this machine*: it is measured, not assumed."""
    excluded = _prepare(context)
    tried: list[tuple[Quantization, ParityFigure]] = []
    for how in CANDIDATES:
        _quantize(context, how, excluded)
        figure = context.parity(context.work / f"{how}.onnx")
        context.progress(f"  {how}: cosine {figure.min_cosine}, relative error {figure.max_relative}")
        tried.append((how, figure))
    how, figure = _choose(tried)
    detail = f"{how}, relative error {figure.max_relative} on {platform.machine()}"
    if excluded:
        detail += f"; {len(excluded)} layers kept in fp32"
    return Made(context.work / f"{how}.onnx", detail)


def _choose(tried: list[tuple[Quantization, ParityFigure]]) -> tuple[Quantization, ParityFigure]:
    """A 7-bit range is as good on every CPU; an 8-bit one is only good where the CPU has VNNI. Where both are close
    here, the package should not depend on where it is served."""
    best = min(tried, key=lambda item: item[1].max_relative)
    safe = min((item for item in tried if item[0].reduce_range), key=lambda item: item[1].max_relative)
    return safe if safe[1].max_relative <= _ROBUST_MARGIN * best[1].max_relative else best


def _prepare(context: Context) -> list[str]:
    """Write the graph to quantize to ``fp32.onnx``; returns the nodes that the patterns keep high."""
    import onnx

    graph = Graph(onnx.load(str(context.exported)))
    split_gemm(graph)
    excluded = named_nodes(graph, linear_layers(graph), context.high_patterns)
    fuse_gelu(graph)
    keep_layer_norm_plain(graph)  # after the look-up: a bias that becomes a Sum is not found as one
    onnx_files.save(graph.proto, context.work / "fp32.onnx")
    return excluded


def _quantize(context: Context, how: Quantization, excluded: list[str]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    written = context.work / "written.onnx"
    with onnx_files.quiet():
        quantize_dynamic(
            str(context.work / "fp32.onnx"),
            str(written),
            per_channel=how.per_channel,
            reduce_range=how.reduce_range,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=excluded,
            extra_options={"MatMulConstBOnly": True},
        )
    onnx_files.rewrite(written, context.work / f"{how}.onnx", context.level)


INT8_DYNAMIC: Final = Scheme("int8-dynamic", make, keeps_high=True)
