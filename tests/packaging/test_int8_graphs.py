"""int8 of graphs that others than torch's exporter write, or that it writes for layers that are not plain."""

from __future__ import annotations

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
