"""int8 of graphs that others than torch's exporter write, or that it writes for layers that are not plain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from model_packaging.variants import Context, Made, Precision, Variant, int8_static, make
from tests.packaging.test_keep_high import WIDTH, Net, auto, context, kept


def made(surroundings: Context, precision: Precision, **settings: Any) -> Made:
    folder = surroundings.work / precision
    folder.mkdir()
    return make(Variant(precision=precision, min_cosine=0.5, **settings), replace(surroundings, work=folder))


def branches(net: Net) -> str:
    """Both branches read a value and a constant from around them, and nothing else reads that constant."""
    first = net.layer("first", "x")
    bias = net.constant("net.first.bias", np.linspace(-1, 1, WIDTH))
    factor = net.constant("net.factor", np.linspace(1, 2, WIDTH))
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, None)
    then = helper.make_graph([helper.make_node("Mul", [first, factor], ["result"])], "then", [], [result])
    other = helper.make_graph([helper.make_node("Sub", [first, factor], ["result"])], "else", [], [result])
    positive = net.node("Greater", net.node("ReduceSum", "x", keepdims=0), net.constant("zero", np.array(0)))
    chosen = net.node("If", positive, then_branch=then, else_branch=other)
    return net.layer("last", net.node("Tanh", net.node("Add", chosen, net.node("Add", first, bias))))


def normalised(net: Net) -> str:
    """A biased layer whose sum goes into a layer normalisation; as torch exports it, only the bias has its name."""
    weight = net.constant("val_0", net.rng.standard_normal((WIDTH, WIDTH)) / 4)
    biased = net.node("Add", net.node("MatMul", "x", weight), net.constant("net.first.bias", np.linspace(-1, 1, WIDTH)))
    norm = net.node("LayerNormalization", biased, net.constant("net.norm.weight", np.ones(WIDTH)), axis=-1)
    return net.layer("last", net.node("Tanh", net.uneven("uneven", norm, "size")))


def called_twice(net: Net) -> str:
    """The second call's input is uneven, so that calls which share more than a name show."""
    first = net.node("Tanh", net.layer("shared", "x"))
    again = net.node("MatMul", net.node("Mul", first, "size"), "net.shared.weight")
    return net.node("Div", again, net.node("ReduceL2", again, axes=[-1], keepdims=1))


def equal_biases(net: Net) -> str:
    """Three projections of one value; torch's exporter stores equal biases once, under the name of the first."""
    bias = net.constant("net.q.bias", np.zeros(WIDTH))
    weights = [net.constant(f"val_{part}", net.rng.standard_normal((WIDTH, WIDTH)) / 4) for part in range(3)]
    q, k, v = (net.node("Add", net.node("MatMul", "x", weight), bias) for weight in weights)
    return net.node("Mul", net.node("Softmax", net.node("Mul", q, k), axis=-1), v)


@pytest.mark.parametrize("precision", ["int8-static", "int8-dynamic"])
def test_what_only_a_branch_reads_is_kept(precision: Precision, tmp_path: Path) -> None:
    surroundings, _ = context(tmp_path, branches, bound=0.95)
    assert surroundings.parity(made(surroundings, precision).path).passed


def test_a_bias_before_a_layer_normalisation_is_its_layer_s(tmp_path: Path) -> None:
    surroundings, _ = context(tmp_path, normalised, bound=0.98)
    assert kept(int8_static.make(auto(0.98), surroundings)) == {"net.uneven"}
    assert surroundings.parity(tmp_path / "model.onnx").passed


def test_a_layer_before_a_layer_normalisation_is_kept_high_by_name(tmp_path: Path) -> None:
    surroundings, _ = context(tmp_path, normalised, bound=0.98)
    graph = onnx.load(str(made(surroundings, "int8-dynamic", keep_high=["net.first"]).path)).graph
    assert [node.input[1] for node in graph.node if node.op_type == "MatMul"] == ["val_0"]


@pytest.mark.parametrize(("fill", "name"), [(called_twice, "net.shared"), (equal_biases, "net.q")])
def test_layers_of_one_name_are_rounded_each_by_itself(fill: Callable[[Net], str], name: str, tmp_path: Path) -> None:
    surroundings, lines = context(tmp_path, fill, bound=0.9999)
    assert 0.95 < surroundings.parity(made(surroundings, "int8-static").path).min_cosine < 0.9999
    for keep_high in ("auto", [name]):
        lifted = int8_static.make(auto(0.9999).model_copy(update={"keep_high": keep_high}), surroundings)
        assert kept(lifted) == {name}
        assert surroundings.parity(lifted.path).passed
    assert any(f"lifting {name}:" in line for line in lines)
