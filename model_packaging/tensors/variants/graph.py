"""An ONNX graph: which layers it has, and rewriting that leaves the numbers as they are."""

from __future__ import annotations

import fnmatch
import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from model_packaging.errors import ModelConfigError
from model_packaging.sources.onnx_weights import inner_graphs

CONTRIB: Final = "com.microsoft"
"""Domain of ONNX Runtime's own operators."""

_TABLE_MIN_ELEMENTS: Final = 1 << 18
"""Smaller lookup tables are not worth quantizing."""
_MOST_LISTED: Final = 40


@dataclass(frozen=True)
class Linear:
    """``x @ weight + bias`` in a graph. ``weight``: [inputs, outputs]; ``bias`` is ``None`` where there is none."""

    name: str
    input: str
    output: str
    weight: np.ndarray
    bias: np.ndarray | None
    nodes: tuple[int, ...]
    """Indices of the nodes that this layer is made of."""


class Graph:
    """An ONNX model being rewritten: constants by name, who makes and who reads each value.

    A node reads what its branches or its loop body read: they see the values around them.
    """

    def __init__(self, proto: Any) -> None:
        self.proto = proto
        self.index()

    def index(self) -> None:
        graph = self.proto.graph
        self.initializers = {item.name: item for item in graph.initializer}
        self.producer = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[Any]] = defaultdict(list)
        for node in graph.node:
            for name in _reads(node):
                self.readers[name].append(node)
        self.outputs = {item.name for item in graph.output}

    def constant(self, name: str) -> np.ndarray | None:
        """The value of an initializer or a Constant node; ``None`` for what is computed."""
        from onnx import numpy_helper

        if name in self.initializers:
            return numpy_helper.to_array(self.initializers[name])
        node = self.producer.get(name)
        if node is not None and node.op_type == "Constant" and node.attribute[0].HasField("t"):
            return numpy_helper.to_array(node.attribute[0].t)
        return None

    def scalar(self, name: str) -> float:
        """A constant of one element, or NaN."""
        value = self.constant(name)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else math.nan

    def only_reader(self, name: str) -> Any | None:
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def add(self, name: str, value: np.ndarray) -> str:
        """A new constant."""
        from onnx import numpy_helper

        self.proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def replace(self, old: Sequence[Any], new: Sequence[Any]) -> None:
        """Put ``new`` where the last of ``old`` was, so that nodes stay in topological order."""
        gone = {node.output[0] for node in old}
        self.replace_many([([i for i, node in enumerate(self.proto.graph.node) if node.output[0] in gone], new)])

    def replace_many(self, changes: Sequence[tuple[Sequence[int], Sequence[Any]]]) -> None:
        """The same for many at once, by the indices of the nodes that go."""
        gone = {index for indices, _ in changes for index in indices}
        new_at = {max(indices): new for indices, new in changes}
        result: list[Any] = []
        for index, node in enumerate(self.proto.graph.node):
            result += new_at.get(index, ()) if index in gone else [node]
        copies = [type(node).FromString(node.SerializeToString()) for node in result]
        del self.proto.graph.node[:]
        self.proto.graph.node.extend(copies)
        self.index()

    def drop_unused(self) -> None:
        """Remove constants that nothing reads."""
        used = self.outputs.union(*(_reads(node) for node in self.proto.graph.node))
        kept = [item for item in self.proto.graph.initializer if item.name in used]
        del self.proto.graph.initializer[:]
        self.proto.graph.initializer.extend(kept)
        self.index()

    def use_contrib(self) -> None:
        from onnx import helper

        if all(entry.domain != CONTRIB for entry in self.proto.opset_import):
            self.proto.opset_import.append(helper.make_opsetid(CONTRIB, 1))


def split_gemm(graph: Graph) -> None:
    """Write ``Gemm(x, W, b)`` with constant W and plain factors as MatMul and Add: one kind of layer for all."""
    from onnx import helper

    for node in [node for node in graph.proto.graph.node if node.op_type == "Gemm"]:
        options = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        weight = graph.constant(node.input[1])
        plain = options.get("alpha", 1.0) == 1.0 and options.get("beta", 1.0) == 1.0 and not options.get("transA", 0)
        if weight is None or not plain:
            continue
        name = graph.add(f"{node.input[1]}.{node.output[0]}.weight", weight.T if options.get("transB", 0) else weight)
        if len(node.input) < 3:
            new = [helper.make_node("MatMul", [node.input[0], name], [node.output[0]], name=node.name)]
        else:
            product = f"{node.output[0]}.product"
            new = [
                helper.make_node("MatMul", [node.input[0], name], [product], name=node.name),
                helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}.bias"),
            ]
        graph.replace([node], new)
    graph.drop_unused()


def linear_layers(graph: Graph) -> list[Linear]:
    """Every product with a constant matrix, its bias taken in, in the graph's order."""
    layers = []
    place = {id(node): index for index, node in enumerate(graph.proto.graph.node)}
    for node in graph.proto.graph.node:
        weight = graph.constant(node.input[1]) if node.op_type == "MatMul" else None
        if weight is None or weight.ndim != 2 or weight.dtype != np.float32:
            continue
        following = graph.only_reader(node.output[0])
        bias, bias_name, nodes, output = None, "", [node], node.output[0]
        if following is not None and following.op_type == "Add":
            other = next((name for name in following.input if name != node.output[0]), "")
            found = graph.constant(other)
            if found is not None and found.shape == (weight.shape[1],):
                bias, bias_name, output = found, other, following.output[0]
                nodes.append(following)
        name = _layer_name(bias_name, node)
        indices = tuple(place[id(item)] for item in nodes)
        layers.append(Linear(name, node.input[0], output, weight, bias, indices))
    return layers


def kept_high(names: Collection[str], patterns: Sequence[str]) -> set[str]:
    """The layers that the patterns of ``keep_high`` name. Raises :class:`ModelConfigError` for one that names none."""
    found = {pattern: {name for name in names if fnmatch.fnmatchcase(name, pattern)} for pattern in patterns}
    for pattern, matching in found.items():
        if not matching:
            listed = sorted(names)
            more = f" and {len(listed) - _MOST_LISTED} more" if len(listed) > _MOST_LISTED else ""
            raise ModelConfigError(
                f"variants.keep_high: {pattern!r} names no layer of this model; they are: "
                f"{', '.join(listed[:_MOST_LISTED]) or 'none'}{more}. `*` and `?` stand for any text and any letter."
            )
    return set().union(*found.values())


def named_nodes(graph: Graph, layers: Sequence[Linear], patterns: Sequence[str]) -> list[str]:
    """The products of those ``layers`` that the patterns of ``keep_high`` name, as quantizers want them: by node."""
    nodes = list(graph.proto.graph.node)
    chosen = kept_high({layer.name for layer in layers}, patterns)
    return [nodes[layer.nodes[0]].name for layer in layers if layer.name in chosen]


def fuse_gelu(graph: Graph) -> None:
    """``x · (½ · (erf(x / √2) + 1))`` as one operator of ONNX Runtime, which does not fuse what torch exports."""
    from onnx import helper

    for erf in [node for node in graph.proto.graph.node if node.op_type == "Erf"]:
        before = graph.producer.get(erf.input[0])
        plus = graph.only_reader(erf.output[0])
        half = graph.only_reader(plus.output[0]) if plus is not None else None
        last = graph.only_reader(half.output[0]) if half is not None else None
        if before is None or plus is None or half is None or last is None:
            continue
        x = before.input[0]
        divided = before.op_type == "Div" and abs(graph.scalar(before.input[1]) - math.sqrt(2)) < 1e-5
        scaled = before.op_type == "Mul" and abs(graph.scalar(before.input[1]) - math.sqrt(0.5)) < 1e-5
        one = plus.op_type == "Add" and 1.0 in (graph.scalar(plus.input[0]), graph.scalar(plus.input[1]))
        factors = [name for node in (half, last) for name in node.input if name not in (plus.output[0], half.output[0])]
        right = half.op_type == last.op_type == "Mul" and len(factors) == 2 and x in factors
        if (divided or scaled) and one and right and 0.5 in [graph.scalar(name) for name in factors]:
            gelu = helper.make_node("Gelu", [x], [last.output[0]], name=f"{erf.name}.gelu", domain=CONTRIB)
            graph.replace([before, erf, plus, half, last], [gelu])
            graph.use_contrib()
    graph.drop_unused()


def keep_layer_norm_plain(graph: Graph) -> None:
    """Write the sum before a layer normalisation as ``Sum``.

    ONNX Runtime fuses ``Add`` + ``LayerNormalization``, and on the CPU its fused kernel takes seven times as long as
    the two (1.32, AVX2, 512 × 384: 1.14 ms against 0.04 + 0.13 ms). ``Sum`` is the same number and is left alone.
    """
    for node in graph.proto.graph.node:
        added = graph.producer.get(node.input[0]) if node.op_type == "LayerNormalization" else None
        if added is not None and added.op_type == "Add":
            added.op_type = "Sum"


def shrink_tables(graph: Graph) -> int:
    """Store large lookup tables in int8, one scale per row; returns how many. Rows are widened after the look-up."""
    from onnx import TensorProto, helper

    count = 0
    for node in [node for node in graph.proto.graph.node if node.op_type == "Gather"]:
        table = graph.constant(node.input[0])
        axis = next((item.i for item in node.attribute if item.name == "axis"), 0)
        if (
            table is None
            or table.dtype != np.float32
            or table.ndim != 2
            or axis != 0
            or table.size < _TABLE_MIN_ELEMENTS
        ):
            continue
        scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12).astype(np.float32) / np.float32(127)
        base = node.output[0]
        rows = graph.add(f"{base}.rows", np.clip(np.rint(table / scale), -127, 127).astype(np.int8))
        scales = graph.add(f"{base}.scales", scale)
        names = {part: f"{base}.{part}" for part in ("narrow", "wide", "row_scale")}
        new = [
            helper.make_node("Gather", [rows, node.input[1]], [names["narrow"]], name=names["narrow"]),
            helper.make_node("Cast", [names["narrow"]], [names["wide"]], name=names["wide"], to=TensorProto.FLOAT),
            helper.make_node("Gather", [scales, node.input[1]], [names["row_scale"]], name=names["row_scale"]),
            helper.make_node("Mul", [names["wide"], names["row_scale"]], [base], name=f"{base}.value"),
        ]
        graph.replace([node], new)
        count += 1
    graph.drop_unused()
    return count


def _reads(node: Any) -> list[str]:
    inner = [item for graph in inner_graphs(node) for item in graph.node]
    return [*node.input, *(name for item in inner for name in _reads(item))]


def _layer_name(bias: str, node: Any) -> str:
    """The module's name where the exporter left it on the bias or the weight, else the node's."""
    for name, ending in ((bias, ".bias"), (node.input[1], ".weight")):
        if name.endswith(ending) and name.count("."):
            return name.removesuffix(ending)
    return node.name or node.output[0]
