"""What stands in an ONNX file besides its graph: the tensors that were trained, and the files beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from spillway.contracts.manifest import PackageError

_FACTORS: Final = frozenset(
    (
        *("MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "LSTM", "GRU", "RNN", "Mul", "Div", "PRelu"),
        *("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"),
    )
)
"""Operators whose constants are factors: an infinite one is of no use to any model."""
_TABLES: Final = frozenset(("Gather", "GatherND", "GatherElements"))
_PASSED_ON: Final = frozenset(
    ("Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "DequantizeLinear")
)


def check_trained(proto: Any) -> None:
    """NaN and infinity in weights are damage. Elsewhere (masks, the start of a maximum) infinity has a meaning, and
    what the model answers decides. Raises :class:`PackageError`."""
    from onnx import numpy_helper

    constants = dict(_constants(proto.graph))
    for name, operator in _uses(proto.graph, {name: name for name in constants}):
        values = numpy_helper.to_array(constants[name])
        if values.dtype.kind == "f" and not np.isfinite(values).all() and _trained(operator, values):
            raise PackageError(
                f"The weights hold NaN or infinity in {name}: the model is damaged or was trained astray."
            )


def external_files(path: Path) -> dict[str, Path]:
    """Name → path of the files that hold an ONNX file's tensors, whatever they are called; none where it is no ONNX
    file, which loading it says. Raises :class:`PackageError` for one that is missing, or not beside it."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import uses_external_data

    try:
        proto = onnx.load(str(path), load_external_data=False)
    except DecodeError:
        return {}
    found: dict[str, Path] = {}
    for tensor in _tensors(proto):
        if not uses_external_data(tensor):
            continue
        place = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        if not place or PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
            raise PackageError(f"{path}: {tensor.name} is kept in {place!r}: only files beside the ONNX file are read.")
        if not (path.parent / place).is_file():
            raise PackageError(f"{path}: {tensor.name} is kept in {path.parent / place}: no such file.")
        found[place] = path.parent / place
    return found


def _trained(operator: str, values: np.ndarray) -> bool:
    """A table of one number and infinities is a mask; one with many numbers holds what was trained."""
    return operator in _FACTORS or (operator in _TABLES and len(np.unique(values[np.isfinite(values)])) > 1)


def _uses(graph: Any, known: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Each constant with each operator that reads it, as it is or turned round. ``known``: value → its constant."""
    known = dict(known)
    for node in graph.node:
        read = [known[name] for name in node.input if name in known]
        if node.op_type in _PASSED_ON and node.input and node.input[0] in known:
            known[node.output[0]] = known[node.input[0]]
        yield from ((name, node.op_type) for name in (read[:1] if node.op_type in _TABLES else read))
        for inner in inner_graphs(node):
            yield from _uses(inner, known)


def _constants(graph: Any) -> Iterator[tuple[str, Any]]:
    """Initializers and Constant nodes, by the name of their value; those of branches and loop bodies too."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant":
            yield from ((node.output[0], attribute.t) for attribute in node.attribute if attribute.HasField("t"))
        for inner in inner_graphs(node):
            yield from _constants(inner)


def _tensors(proto: Any) -> Iterator[Any]:
    """Every tensor of the file, those in functions included."""
    yield from (tensor for _, tensor in _constants(proto.graph))
    for node in (*_nodes(proto.graph), *(node for function in proto.functions for node in function.node)):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for inner in inner_graphs(node):
            yield from _nodes(inner)


def inner_graphs(node: Any) -> Iterator[Any]:
    """A node's branches and loop bodies."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
