"""``keep_high: auto``: the layers that matter are found, no more of them than needed, and the trials tell the truth."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_packaging.config import load_config
from model_packaging.tensors import checks, onnx_export
from model_packaging.tensors.config import TensorConfig
from model_packaging.tensors.reference import Reference, make_reference
from model_packaging.tensors.source import load
from model_packaging.tensors.variants import calibration, int8_static, keep_high
from model_packaging.tensors.variants.context import Context
from model_packaging.tensors.variants.graph import linear_layers
from model_packaging.tensors.variants.int8_graph import groups_of, prepared, write, write_switched
from spillway.contracts.targets import containers, onnx_level
from tests.support.paths import MINILM

WIDTH = 16
LEVEL = onnx_level(["onnxruntime-cpu"])


class Net:
    """A graph put together by hand: layers by name, each ``net.<name>``."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(3)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def layer(self, name: str, value: str) -> str:
        weight = self.constant(f"net.{name}.weight", self.rng.standard_normal((WIDTH, WIDTH)) / 4)
        return self.node("MatMul", value, weight)

    def uneven(self, name: str, value: str, size: str) -> str:
        """A layer whose input is as large as the row's ``size`` says: fixed scales suit the largest rows alone."""
        made = self.layer(name, self.node("Mul", value, size))
        return self.node("Div", made, self.node("ReduceL2", made, axes=[-1], keepdims=1))

    def save(self, path: Path, output: str) -> None:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])]
        inputs.append(helper.make_tensor_value_info("size", TensorProto.FLOAT, ["batch", 1]))
        self.nodes.append(helper.make_node("Identity", [output], ["y"], name="y"))
        made = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", None])
        graph = helper.make_graph(self.nodes, "net", inputs, [made], self.constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def feeds(seed: int, count: int = 96) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    sizes = np.tile(np.geomspace(0.02, 1, 12), count // 12)
    return [
        {"x": rng.standard_normal((1, WIDTH)).astype(np.float32), "size": np.full((1, 1), size, np.float32)}
        for size in sizes
    ]


def context(folder: Path, fill: Callable[[Net], str], bound: float) -> tuple[Context, list[str]]:
    """A context around a made graph, and the lines of progress."""
    net = Net()
    net.save(folder / "fp32.onnx", fill(net))
    exact = checks.onnx_runner(folder / "fp32.onnx", threads=1)
    samples = feeds(seed=2)
    reference = Reference(tuple(samples), tuple(exact(feed) for feed in samples), len(samples))
    lines: list[str] = []

    def parity(path: Path) -> Any:
        return checks.parity("int8-static", checks.onnx_runner(path, threads=1), reference, bound)

    model: Any = None  # no scheme asks for it that works from the exported file
    return Context(model, folder / "fp32.onnx", folder, LEVEL, (), feeds(seed=1), parity, lines.append), lines


def kept(made: Any) -> set[str]:
    return set(made.detail.partition("kept in fp32: ")[2].split(", ")) - {""}


def auto(surroundings: Context, most: int = 6) -> Context:
    return replace(surroundings, keep_high="auto", max_kept_high=most)


def one_culprit(net: Net) -> str:
    first = net.node("Tanh", net.layer("first", "x"))
    uneven = net.uneven("uneven", net.node("Tanh", net.layer("second", first)), "size")
    return net.layer("last", net.node("Tanh", net.layer("third", uneven)))


def two_in_a_row(net: Net) -> str:
    """``second`` in int8 drowns what lifting ``first`` would bring; what lifting ``beside`` brings shows always."""
    before = net.uneven("first", net.node("Tanh", net.layer("plain", "x")), "size")
    after = net.uneven("second", before, net.node("Mul", "size", "size"))
    beside = net.uneven("beside", "x", net.node("Sqrt", net.node("Sqrt", "size")))
    return net.node("Concat", after, beside, axis=-1)


def test_one_culprit_is_found_and_nothing_else(tmp_path: Path) -> None:
    surroundings, lines = context(tmp_path, one_culprit, bound=0.98)
    assert kept(int8_static.make(auto(surroundings))) == {"net.uneven"}
    assert any("cosine" in line for line in lines)
    assert any("net.uneven" in line for line in lines)
    assert surroundings.parity(tmp_path / "model.onnx").passed


def test_a_layer_whose_error_another_drowns_is_found(tmp_path: Path) -> None:
    """Alone, ``beside`` brings more than ``first``: ranked once, it would be lifted before it."""
    surroundings, _ = context(tmp_path, two_in_a_row, bound=0.99)
    assert kept(int8_static.make(auto(surroundings))) == {"net.first", "net.second"}
    assert surroundings.parity(tmp_path / "model.onnx").passed
    made = (tmp_path / "model.onnx").read_bytes()
    int8_static.make(auto(surroundings))
    assert (tmp_path / "model.onnx").read_bytes() == made


def test_nothing_is_lifted_where_the_bound_holds_and_no_more_than_allowed_where_it_does_not(tmp_path: Path) -> None:
    surroundings, _ = context(tmp_path, one_culprit, bound=0.9)
    assert not kept(int8_static.make(auto(surroundings)))
    surroundings, _ = context(tmp_path, two_in_a_row, bound=0.99)
    assert kept(int8_static.make(auto(surroundings, most=1))) == {"net.second"}


def test_a_trial_answers_as_the_model_that_is_written(tmp_path: Path) -> None:
    surroundings, _ = context(tmp_path, two_in_a_row, bound=0.99)
    graph = prepared(surroundings)
    groups = groups_of(linear_layers(graph))
    outputs = {layer.name: layer.output for layers in groups.values() for layer in layers}
    plan = int8_static.make_plan(groups, graph.proto.SerializeToString(), surroundings.calibration)
    write_switched(surroundings, plan, tmp_path / "switched.onnx")
    trial = checks.onnx_runner(tmp_path / "switched.onnx", threads=1)
    feed = feeds(seed=5)[7]
    for names in ((), ("net.second",), ("net.first", "net.beside")):
        high = [outputs[name] for name in names]
        write(surroundings, plan, high, tmp_path / "written.onnx")
        written = checks.onnx_runner(tmp_path / "written.onnx", threads=1)(feed)["y"]
        switches = {f"{output}.high": np.array([output in high]) for output in outputs.values()}
        np.testing.assert_allclose(trial({**feed, **switches})["y"], written, atol=1e-5)


def search(
    units: Sequence[tuple[str, ...]], loss: Callable[[Collection[str]], float], bound: float, most: int = 6
) -> set[str]:
    """The search on losses in place of measurements; the samples' is the calibration data's own."""
    return set(keep_high.choose(units, loss, lambda high: loss(high) <= bound, most, lambda added, left: None))


def test_layers_that_read_one_value_are_lifted_together_where_only_that_helps() -> None:
    def loss(high: Collection[str]) -> float:
        return 10 - 3 * ("a" in high) - 8 * ({"q", "k"} <= set(high))

    units = [("a",), ("q",), ("k",), ("q", "k")]
    assert search(units, loss, bound=2) == {"q", "k"}
    assert search(units, loss, bound=2, most=1) == {"a"}


def test_a_lift_that_later_ones_make_needless_is_taken_back() -> None:
    def loss(high: Collection[str]) -> float:
        parts = {"both": 3, "left": 2, "right": 2}
        have = sum(size for name, size in parts.items() if name in high)
        return 10 - have - 4 * ({"left", "right"} <= set(high))

    units = [("both",), ("left",), ("right",)]
    assert search(units, loss, bound=2) == {"left", "right"}
    assert search(units, loss, bound=0) == {"both", "left", "right"}


def test_the_error_of_a_single_number_counts_its_size() -> None:
    want = [np.array([[value]]) for value in (1.0, -2.0, 3.0)]
    near, far = ([item + shift for item in want] for shift in (0.01, 0.5))
    assert keep_high.output_errors(near, want).max() < keep_high.output_errors(far, want).min()
    turned = [np.array([[3.0, 4.0]])]
    assert keep_high.output_errors(turned, [np.array([[4.0, 3.0]])]) == pytest.approx(1 - 24 / 25)


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, list[str]]:
    config = load_config(MINILM)
    assert isinstance(config, TensorConfig)
    model = load(config)
    folder = tmp_path_factory.mktemp("minilm")
    level = onnx_level(config.targets)
    onnx_export.export(model, folder / "fp32.onnx", level)
    reference = make_reference(model)
    assert config.calibration is not None
    data, _ = calibration.read(config.resolve(config.calibration), model)
    lines: list[str] = []

    def parity(path: Path) -> Any:
        return checks.parity("int8-static", checks.onnx_runner(path), reference, 0.99)

    rows = containers(config.targets)
    return Context(model, folder / "fp32.onnx", folder, level, rows, data, parity, lines.append), lines


@pytest.mark.heavy
@pytest.mark.soak
def test_minilm_holds_its_bound_with_few_layers_found_by_itself(minilm: tuple[Context, list[str]]) -> None:
    surroundings, lines = minilm
    found = kept(int8_static.make(auto(surroundings)))
    assert 1 <= len(found) <= 4, lines
    assert surroundings.parity(surroundings.work / "model.onnx").passed, lines


@pytest.mark.heavy
@pytest.mark.soak
def test_the_layers_that_the_minilm_example_names_hold_its_bound(minilm: tuple[Context, list[str]]) -> None:
    surroundings, _ = minilm
    config = load_config(MINILM)
    assert isinstance(config, TensorConfig)
    (named,) = (item for item in config.variants if item.precision == "int8-static")
    made = named.scheme.make(replace(surroundings, keep_high=named.keep_high, max_kept_high=named.max_kept_high))
    assert kept(made)
    assert surroundings.parity(made.path).min_cosine >= named.min_cosine
