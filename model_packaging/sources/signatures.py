"""Signatures that a server cannot take, made into ones that it can.

The batch axis goes first (state of recurrent networks is often [layers, batch, width]), and a number without an axis
gets one: Triton has no such tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from model_packaging.sources.model import Batch
from model_packaging.sources.onnx_weights import inner_graphs
from spillway.contracts.manifest import PackageError

if TYPE_CHECKING:
    from torch import nn


def batch_first(
    module: nn.Module, inputs: Sequence[str], outputs: Sequence[str], batch_axes: Mapping[str, int]
) -> nn.Module:
    """``module`` with the batch axis of every input and output moved to the front, inputs passed by position.

    A server joins requests along axis 0 only, so that is the signature that is packaged. ``batch_axes``: name → axis
    where ``module`` itself has it; a name that is neither input nor output is a :class:`PackageError`.
    """
    import torch
    from torch import nn

    if unknown := sorted(batch_axes.keys() - {*inputs, *outputs}):
        raise PackageError(
            f"source.batch_axes: {unknown[0]!r} is no input ({', '.join(inputs)}) and no output ({', '.join(outputs)})."
        )

    class BatchFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, *positional: torch.Tensor, **named: torch.Tensor) -> tuple[torch.Tensor, ...]:
            arguments = positional or tuple(named[name] for name in inputs)
            moved = [item.movedim(0, batch_axes.get(name, 0)) for name, item in zip(inputs, arguments, strict=True)]
            answer = self.inner(*moved)
            answers = (answer,) if isinstance(answer, torch.Tensor) else tuple(answer)
            if len(answers) != len(outputs):
                raise PackageError(
                    f"The model returns {len(answers)} tensors, and source.outputs names {len(outputs)}: "
                    f"{', '.join(outputs)}. Name each one, in order."
                )
            return tuple(item.movedim(batch_axes.get(name, 0), 0) for name, item in zip(outputs, answers, strict=True))

    return BatchFirst()


def in_order(sample: Batch, inputs: Sequence[str], origin: str) -> Batch:
    """The sample's tensors in the order of the model's inputs. Raises :class:`PackageError` where the names differ."""
    if set(sample) != set(inputs):
        raise PackageError(
            f"The samples hold {', '.join(sorted(sample))}, and {origin} takes {', '.join(inputs)}: name the arrays "
            "of the samples file like the inputs."
        )
    return {name: sample[name] for name in inputs}


def onnx_batch_first(proto: Any, batch_axes: Mapping[str, int]) -> None:
    """The same for an ONNX graph, in place: a Transpose behind each input and before each output that is named."""
    import onnx

    graph = proto.graph
    for value in (*graph.input, *graph.output):
        axis = batch_axes.get(value.name, 0)
        if axis == 0:
            continue
        rank = len(value.type.tensor_type.shape.dim)
        to_front = [axis, *(other for other in range(rank) if other != axis)]
        inside = f"{value.name}_batch_on_axis_{axis}"
        _rename(graph, value.name, inside)
        if value in graph.input:
            to_axis = [to_front.index(position) for position in range(rank)]
            graph.node.insert(0, onnx.helper.make_node("Transpose", [value.name], [inside], perm=to_axis))
        else:
            graph.node.append(onnx.helper.make_node("Transpose", [inside], [value.name], perm=to_front))
        moved = onnx.TensorShapeProto()
        moved.dim.extend(value.type.tensor_type.shape.dim[position] for position in to_front)
        value.type.tensor_type.shape.CopyFrom(moved)


def onnx_scalars_to_rows(proto: Any) -> None:
    """Inputs without an axis take shape [1] from outside, in place."""
    import onnx

    for value in proto.graph.input:
        if len(value.type.tensor_type.shape.dim) == 0:
            inside = f"{value.name}_without_axis"
            _rename(proto.graph, value.name, inside)
            proto.graph.node.insert(0, onnx.helper.make_node("Squeeze", [value.name], [inside]))
            value.type.tensor_type.shape.dim.add().dim_value = 1


def scalars_to_rows(sample: Batch) -> Batch:
    """The same for a sample."""
    return {name: tensor if tensor.dim() else tensor.reshape(1) for name, tensor in sample.items()}


def _rename(graph: Any, old: str, new: str) -> None:
    """A value in every node that makes or reads it, branches and loop bodies included."""
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
        for inner in inner_graphs(node):
            _rename(inner, old, new)
    for value in graph.value_info:
        if value.name == old:
            value.name = new
