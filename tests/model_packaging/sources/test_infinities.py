"""Infinity in a mask, or as the start of a maximum, has a meaning; in weights, and in answers, it is damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_packaging.build import package
from model_packaging.config import parse_config
from model_packaging.tensors.source import load
from spillway.contracts.manifest import PackageError

INF = float("inf")
ALIBI = np.where(np.tri(4, dtype=bool), -np.abs(np.subtract.outer(range(4), range(4))) / 8.0, -INF)
"""A mask with many numbers beside its infinities, as models with linear position biases have it."""


def constant(name: str, values: Any) -> Any:
    return numpy_helper.from_array(np.asarray(values, dtype=np.float32), name)


def node(operator: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


WEIGHTS = constant("w", np.random.default_rng(0).standard_normal((4, 4)))
BAD = constant("w", np.where(np.eye(4) > 0, INF, 1))
ROW = numpy_helper.from_array(np.array([1], dtype=np.int64), "ids")

GOOD: dict[str, tuple[list[Any], list[Any]]] = {
    "start of a maximum": ([node("MatMul", "x w", "a"), node("Max", "s a", "y")], [WEIGHTS, constant("s", -INF)]),
    "a limit": ([node("MatMul", "x w", "a"), node("Min", "a s", "y")], [WEIGHTS, constant("s", [INF] * 4)]),
    "a mask": (
        [node("MatMul", "x w", "a"), node("Add", "a m", "b"), node("Softmax", "b", "y", axis=-1)],
        [WEIGHTS, constant("m", [0, 0, -INF, -INF])],
    ),
    "a mask with slopes": (
        [node("Add", "x m", "a"), node("Softmax", "a", "b", axis=-1), node("MatMul", "b w", "y")],
        [WEIGHTS, constant("m", ALIBI[3])],
    ),
    "a table of masks": (
        [node("Gather", "t ids", "m"), node("Add", "x m", "a"), node("Softmax", "a", "b"), node("MatMul", "b w", "y")],
        [WEIGHTS, ROW, constant("t", np.triu(np.full((4, 4), -INF), 1))],
    ),
    "chosen by a comparison": (
        [
            node("Greater", "x z", "c"),
            node("Where", "c x s", "a"),
            node("Softmax", "a", "b"),
            node("MatMul", "b w", "y"),
        ],
        [WEIGHTS, constant("z", -9.0), constant("s", -INF)],
    ),
}
DAMAGED: dict[str, tuple[list[Any], list[Any]]] = {
    "a product": ([node("MatMul", "x w", "y")], [BAD]),
    "turned round first": ([node("Transpose", "w", "v"), node("Gemm", "x v", "y")], [BAD]),
    "a row that no sample asks for": (
        [node("Gather", "w ids", "r"), node("Add", "x r", "y")],
        [constant("w", np.where(np.arange(16).reshape(4, 4) == 15, INF, np.arange(16).reshape(4, 4))), ROW],
    ),
    "a variance, which hides it": (
        [node("BatchNormalization", "x g b m w", "y")],
        [constant("g", [1] * 4), constant("b", [0] * 4), constant("m", [0] * 4), constant("w", [1, INF, 1, 1])],
    ),
}


def settings(folder: Path, case: tuple[list[Any], list[Any]], **changes: Any) -> Any:
    nodes, initializers = case
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y"))
    graph = helper.make_graph(nodes, "g", [x], [y], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "m.onnx"))
    np.savez(folder / "samples.npz", x=np.random.default_rng(1).standard_normal((9, 4)).astype(np.float32))
    values: dict[str, Any] = {
        "name": "m",
        "source": {"kind": "onnx", "path": "m.onnx", "licence": "none"},
        "samples": "samples.npz",
        "variants": [{"precision": "fp32", "min_cosine": 0.9999}],
        "targets": ["onnxruntime-cpu"],
        "latency": {"batch_sizes": [1], "repeats": 3},
    }
    return parse_config({**values, **changes}, base_dir=folder)


@pytest.mark.parametrize("name", GOOD)
def test_an_infinity_with_a_meaning_is_packaged(name: str, tmp_path: Path) -> None:
    """The reference is ONNX Runtime on the file itself."""
    assert package(settings(tmp_path, GOOD[name]), tmp_path / "store").manifest.parity[0].min_cosine >= 0.9999


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="NaN or infinity in w"):
        load(settings(tmp_path, DAMAGED[name]))


@pytest.mark.heavy
def test_a_variant_that_cannot_be_made_is_left_out_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime.quantization as quantization

    def breaks(*_: Any, **__: Any) -> None:
        raise ValueError("scale of an infinite tensor\nsecond line")

    monkeypatch.setattr(quantization, "quantize_dynamic", breaks)
    asked = [{"precision": name, "min_cosine": 0.9} for name in ("fp32", "int8-dynamic")]
    made = package(settings(tmp_path, GOOD["start of a maximum"], variants=asked), tmp_path / "store")
    reasons = {figure.name: figure.reason for figure in made.manifest.variants}
    assert reasons["fp32"] == ""
    assert reasons["int8-dynamic"] == "it cannot be made: ValueError: scale of an infinite tensor"


@pytest.mark.heavy
@pytest.mark.parametrize("statistic", ["running_mean", "running_var"])
def test_torch_modules_masks_and_statistics(statistic: str, tmp_path: Path) -> None:
    name = f"infinite_{statistic}"
    (tmp_path / f"{name}.py").write_text(
        "import torch\n"
        "from model_packaging.sources import Entry\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.norm = torch.nn.BatchNorm1d(4)\n"
        "        self.register_buffer('mask', torch.tensor([0, 0, 0, float('-inf')]))\n"
        "    def forward(self, x):\n"
        "        return self.norm(torch.softmax(x + self.mask, -1))\n"
        "def build():\n"
        "    return Entry(Net(), [{'x': torch.randn(1, 4)} for _ in range(3)])\n"
        "def damaged():\n"
        "    entry = build()\n"
        f"    entry.module.norm.{statistic}[1] = float('inf')\n"
        "    return entry\n"
    )

    def entry(function: str) -> Any:
        source = {"kind": "python", "entry": f"{name}:{function}", "licence": "none"}
        return parse_config({"name": "m", "source": source}, base_dir=tmp_path)

    assert load(entry("build")).batched
    with pytest.raises(PackageError, match=f"NaN or infinity in norm.{statistic}"):
        load(entry("damaged"))
