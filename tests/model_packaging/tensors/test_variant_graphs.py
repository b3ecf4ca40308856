"""Variants of graphs that others than torch's exporter write, or that it writes for layers that are not plain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_packaging.build import package
from model_packaging.config import parse_config
from model_packaging.errors import ModelConfigError
from model_packaging.tensors.variants import int8_static
from model_packaging.tensors.variants.context import Context, Made
from model_packaging.tensors.variants.settings import Precision, Variant
from spillway.contracts.manifest import read_manifest
from tests.model_packaging.tensors.test_keep_high import WIDTH, Net, auto, context, kept


def made(surroundings: Context, precision: Precision, **settings: Any) -> Made:
    folder = surroundings.work / precision
    folder.mkdir()
    variant = Variant(precision=precision, min_cosine=0.5, **settings)
    asked = {"keep_high": variant.keep_high, "max_kept_high": variant.max_kept_high}
    return variant.scheme.make(replace(surroundings, work=folder, **asked))


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
    assert kept(int8_static.make(auto(surroundings))) == {"net.uneven"}
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
        lifted = int8_static.make(replace(auto(surroundings), keep_high=keep_high))
        assert kept(lifted) == {name}
        assert surroundings.parity(lifted.path).passed
    assert any(f"lifting {name}:" in line for line in lines)


def packaged(folder: Path, inputs: dict[str, list[Any]], output: list[Any], nodes: list[Any], **settings: Any) -> Path:
    """A package of an ONNX file with weights ``w1`` and ``w2``, and biases for them."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (64, 64), "fc1.bias": (64,), "w2": (64, 64), "fc2.bias": (64,)}
    constants = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32) / 8, name)
        for name, shape in shapes.items()
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, output)
    graph = helper.make_graph(nodes, "net", values, [made], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "m.onnx"))
    for name in ("samples", "calibration"):
        arrays = {key: rng.standard_normal((8, *shape[-1:])).astype(np.float32) for key, shape in inputs.items()}
        np.savez(folder / f"{name}.npz", allow_pickle=False, **arrays)
    config = {
        "name": "net",
        "source": {"kind": "onnx", "path": "m.onnx", "licence": "MIT"},
        "samples": "samples.npz",
        "calibration": "calibration.npz",
        "serve": "best",
        "targets": ["onnxruntime-cpu"],
        "latency": {"batch_sizes": [1], "repeats": 3},
        **settings,
    }
    return package(parse_config(config, base_dir=folder), folder / "store").path


UNNAMED = [
    helper.make_node("MatMul", ["x", "w1"], ["first"]),
    helper.make_node("Add", ["first", "fc1.bias"], ["biased"]),
    helper.make_node("Relu", ["biased"], ["active"], name="first"),
    helper.make_node("MatMul", ["active", "w2"], ["second"]),
    helper.make_node("Add", ["second", "fc2.bias"], ["y"]),
]
"""One node has the name of what an unnamed one makes: ONNX Runtime takes no two nodes of one name."""
GEMM = [
    helper.make_node("Gemm", ["x", "w1", "fc1.bias"], ["first"], name="gemm_1", transB=1),
    helper.make_node("Relu", ["first"], ["active"], name="relu"),
    helper.make_node("Gemm", ["active", "w2", "fc2.bias"], ["y"], name="gemm_2", transB=1),
]
"""As torch exports layers for inputs of two axes."""


@pytest.mark.heavy
@pytest.mark.parametrize("nodes", [UNNAMED, GEMM], ids=["unnamed", "gemm"])
def test_only_the_layer_that_is_named_is_kept_high(nodes: list[Any], tmp_path: Path) -> None:
    precisions = ["fp16", "int8-dynamic", "int8-weights"]
    variants = [{"precision": item, "min_cosine": 0.9, "keep_high": ["fc1"]} for item in precisions]
    batch = ["batch", 64]
    folder = packaged(tmp_path, {"x": batch}, batch, nodes, variants=variants, keep=precisions)
    for precision in precisions:
        graph = onnx.load(str(folder / f"variants/{precision}/model.onnx")).graph
        whole = [
            item.name
            for item in graph.initializer
            if item.data_type == TensorProto.FLOAT and list(item.dims) == [64, 64]
        ]
        assert [name.partition(".")[0] for name in whole if name.startswith("w")] == ["w1"], precision


@pytest.mark.parametrize("precision", ["fp16", "int8-dynamic", "int8-static"])
def test_a_pattern_that_names_no_layer_is_refused(precision: Precision, tmp_path: Path) -> None:
    surroundings, _ = context(tmp_path, called_twice, bound=0.9)
    with pytest.raises(ModelConfigError, match=r"keep_high: 'net\.sharde' names no layer .* they are: net\.shared\."):
        made(surroundings, precision, keep_high=["net.shared", "net.sharde"])


@pytest.mark.heavy
def test_an_input_without_an_axis_is_calibrated_as_it_is_sampled(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "level"], ["raised"]),
        helper.make_node("MatMul", ["raised", "w1"], ["y"]),
    ]
    variants = [{"precision": "int8-static", "min_cosine": 0.9}]
    folder = packaged(tmp_path, {"x": [64], "level": []}, [64], nodes, variants=variants)
    assert [(item.name, item.shape) for item in read_manifest(folder).inputs] == [("x", (64,)), ("level", (1,))]
