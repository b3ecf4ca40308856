"""int8 of graphs that others than torch's exporter write, or that it writes for layers that are not plain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from model_packaging.variants import Context, Made, Precision, Variant, make
from tests.packaging.test_keep_high import WIDTH, Net, context


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


@pytest.mark.parametrize("precision", ["int8-static", "int8-dynamic"])
def test_what_only_a_branch_reads_is_kept(precision: Precision, tmp_path: Path) -> None:
    surroundings, _ = context(tmp_path, branches, bound=0.95)
    assert surroundings.parity(made(surroundings, precision).path).passed
