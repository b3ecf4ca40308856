"""The graph of a model in int8, from a plan of how each layer is rounded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from model_packaging.tensors import onnx_files
from model_packaging.tensors.variants import equalise
from model_packaging.tensors.variants.context import Context
from model_packaging.tensors.variants.graph import (
    CONTRIB,
    Graph,
    Linear,
    fuse_gelu,
    keep_layer_norm_plain,
    linear_layers,
    shrink_tables,
    split_gemm,
)

Groups = dict[str, list[Linear]]
"""Layers by the value that they read: they share its scales."""
Recipe = dict[str, tuple[equalise.Inputs, dict[str, equalise.Weights]]]
"""By the value that they read: how it is rounded, and each layer's weights by its output. Names would not do: a module
that is called twice makes two layers of one name."""
Change = tuple[Sequence[int], Sequence[Any]]
"""Nodes to replace, by their indices, and what takes their place."""

SWITCH: Final = ".high"
"""Ending of a trial model's input, true where the layer of that output runs in fp32."""


def prepared(context: Context) -> Graph:
    import onnx

    graph = Graph(onnx.load(str(context.exported)))
    split_gemm(graph)
    return graph


def groups_of(layers: Sequence[Linear]) -> Groups:
    groups: Groups = {}
    for layer in layers:
        groups.setdefault(layer.input, []).append(layer)
    return groups


def write(context: Context, plan: Recipe, high: Collection[str], path: Path) -> None:
    """The model with the planned layers in int8, those whose outputs are ``high`` left alone."""
    graph = prepared(context)
    changes: list[Change] = []
    for source, layers in groups_of(linear_layers(graph)).items():
        chosen = [layer for layer in layers if layer.output not in high and source in plan]
        if chosen:
            inputs, weights = plan[source]
            changes += _integer_nodes(graph, sorted(chosen, key=lambda layer: max(layer.nodes)), inputs, weights)
    graph.replace_many(changes)
    _fuse(graph)
    graph.use_contrib()
    graph.drop_unused()
    onnx_files.normalise(graph.proto, context.level)
    onnx_files.save(graph.proto, path)


def write_switched(context: Context, plan: Recipe, path: Path) -> None:
    """A model for trials, with every planned layer both in fp32 and in int8 and a boolean input to choose, named like
    the layer's output and :data:`SWITCH`. It answers as what :func:`write` makes of the same choice."""
    from onnx import TensorProto, helper

    graph = prepared(context)
    layers = [
        (layer, *plan[source])
        for source, group in groups_of(linear_layers(graph)).items()
        if source in plan
        for layer in group
        if layer.output in plan[source][1]
    ]
    graph.replace_many([_switched(graph, *item) for item in layers])
    _fuse(graph)
    for layer, *_ in layers:
        graph.proto.graph.input.append(helper.make_tensor_value_info(layer.output + SWITCH, TensorProto.BOOL, [1]))
    graph.use_contrib()
    onnx_files.normalise(graph.proto, context.level)
    onnx_files.save(graph.proto, path)


def _fuse(graph: Graph) -> None:
    """What int8 comes with, whichever layers are in it. Last, for a bias that becomes a ``Sum`` is not found as one."""
    fuse_gelu(graph)
    keep_layer_norm_plain(graph)
    shrink_tables(graph)


def _switched(graph: Graph, layer: Linear, inputs: equalise.Inputs, weights: dict[str, equalise.Weights]) -> Change:
    """The layer as ``If``: its own nodes, or those in int8."""
    from onnx import TensorProto, helper

    own = [graph.proto.graph.node[index] for index in layer.nodes]
    ((_, integer),) = _integer_nodes(graph, [layer], inputs, weights)

    def branch(kind: str, nodes: Sequence[Any]) -> Any:
        copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
        copies[-1].output[0] = f"{layer.output}.{kind}"
        result = helper.make_tensor_value_info(copies[-1].output[0], TensorProto.FLOAT, None)
        return helper.make_graph(copies, kind, [], [result])

    node = helper.make_node(
        "If",
        [layer.output + SWITCH],
        [layer.output],
        name=f"{layer.output}.switch",
        then_branch=branch("fp32", own),
        else_branch=branch("int8", integer),
    )
    return layer.nodes, [node]


def _integer_nodes(
    graph: Graph, layers: Sequence[Linear], inputs: equalise.Inputs, weights: dict[str, equalise.Weights]
) -> list[Change]:
    """Even out and round the group's input once, then one integer product per layer; by the nodes that they replace.

    ``layers`` are in the order in which the graph needs them.
    """
    from onnx import helper

    base = f"{layers[0].output}.input"
    value, head = layers[0].input, []
    if (inputs.scale != 1).any():
        factor = graph.add(f"{base}.factor", (1 / inputs.scale).astype(np.float32))
        head.append(helper.make_node("Mul", [value, factor], [f"{base}.scaled"], name=f"{base}.scaled"))
        value = f"{base}.scaled"
    if inputs.shift.any():
        offset = graph.add(f"{base}.offset", (-inputs.shift / inputs.scale).astype(np.float32))
        head.append(helper.make_node("Add", [value, offset], [f"{base}.shifted"], name=f"{base}.shifted"))
        value = f"{base}.shifted"
    step, zero = graph.add(f"{base}.step", np.array(inputs.step)), graph.add(f"{base}.zero", np.array(inputs.zero))
    head.append(helper.make_node("QuantizeLinear", [value, step, zero], [f"{base}.int8"], name=f"{base}.int8"))
    changes: list[Change] = []
    for layer in layers:
        own = weights[layer.output]
        parts = {
            part: graph.add(f"{layer.output}.{part}", array)
            for part, array in (("steps", own.steps), ("scale", own.scale), ("bias", own.bias))
        }
        product = helper.make_node(
            "MatMulIntegerToFloat",
            [f"{base}.int8", parts["steps"], step, parts["scale"], zero, "", parts["bias"]],
            [layer.output],
            name=f"{layer.output}.int8",
            domain=CONTRIB,
        )
        changes.append((layer.nodes, [*head, product]))
        head = []
    return changes
