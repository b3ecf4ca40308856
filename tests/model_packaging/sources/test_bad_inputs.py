"""Sources that cannot be packaged: each is one clear error that says how to mend it, and nothing is left behind."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from model_packaging.build import package
from model_packaging.config import parse_config
from model_packaging.errors import ModelConfigError
from spillway.contracts.manifest import PackageError

torch = pytest.importorskip("torch")

ENTRY = """
import torch
from model_packaging.sources import Entry

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x):
        {forward}

def samples():
    return [{{"x": torch.randn(1, 4)}} for _ in range(3)]

def build():
    model = Model()
    {build}
"""
GOOD_FORWARD = "return self.layer(x)"
GOOD_BUILD = "return Entry(model, samples())"


def python(folder: Path, *, forward: str = GOOD_FORWARD, build: str = GOOD_BUILD, **source: Any) -> dict[str, Any]:
    # A module is imported once per process: each case has a name of its own.
    module = f"bad_{folder.name.replace('-', '_')}"
    (folder / f"{module}.py").write_text(ENTRY.format(forward=forward, build=build))
    return {"source": {"kind": "python", "entry": f"{module}:build", "licence": "MIT", **source}}


def arrays(folder: Path, **values: np.ndarray) -> str:
    np.savez(folder / "samples.npz", **values)
    return "samples.npz"


ROWS = np.zeros((3, 4), dtype=np.float32)


def onnx_file(folder: Path, *, opset: int = 17, weight: float = 1.0, output: str = "y", name: str = "m.onnx") -> Path:
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor("w", TensorProto.FLOAT, [4], [weight] * 4)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, str(folder / name))
    return folder / name


def from_onnx(folder: Path, samples: dict[str, np.ndarray] | None) -> dict[str, Any]:
    source = {"kind": "onnx", "path": "m.onnx", "licence": "MIT"}
    return {"source": source, "samples": arrays(folder, **samples) if samples else None}


def scripted(folder: Path) -> dict[str, Any]:
    torch.jit.script(torch.nn.Linear(4, 3)).save(str(folder / "m.pt"))
    return {
        "source": {"kind": "torchscript", "path": "m.pt", "licence": "MIT"},
        "samples": arrays(folder, input=ROWS),
    }


def huggingface(folder: Path) -> dict[str, Any]:
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "samples.txt").write_text("one sentence\nanother\n")
    said = {"pooling": "mean", "normalise": True}
    return {"source": {"kind": "huggingface", "path": ".", "licence": "MIT", **said}, "samples": "samples.txt"}


class Evil:
    """What a pickle can do: call anything when it is loaded."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, ("evil-was-here",)


# --- one function per case: it prepares a folder and returns what goes into model.yaml ---


def entry_module_missing(folder: Path) -> dict[str, Any]:
    return {"source": {"kind": "python", "entry": "no_such_module_here:build", "licence": "MIT"}}


def entry_raises(folder: Path) -> dict[str, Any]:
    return python(folder, build="raise RuntimeError('the weights are on another disk')")


def entry_returns_the_module(folder: Path) -> dict[str, Any]:
    return python(folder, build="return model")


def entry_module_is_a_function(folder: Path) -> dict[str, Any]:
    return python(folder, build="return Entry(lambda x: x, samples())")


def entry_data_missing(folder: Path) -> dict[str, Any]:
    return python(folder, data=["weights.safetensors"])


def entry_without_samples(folder: Path) -> dict[str, Any]:
    return python(folder, build="return Entry(model, [])")


def samples_of_the_wrong_dtype(folder: Path) -> dict[str, Any]:
    return python(folder, build="return Entry(model, [{'x': torch.zeros(1, 4, dtype=torch.int64)}])")


def samples_of_a_wrong_shape(folder: Path) -> dict[str, Any]:
    return python(folder, build="return Entry(model, [{'x': torch.zeros(1, 5)}])")


def samples_that_differ(folder: Path) -> dict[str, Any]:
    return python(folder, build="return Entry(model, [*samples(), {'x': torch.zeros(1, 6)}])")


def complex_samples(folder: Path) -> dict[str, Any]:
    return python(folder, build="return Entry(model, [{'x': torch.zeros(1, 4, dtype=torch.complex64)}])")


def weights_are_nan(folder: Path) -> dict[str, Any]:
    return python(folder, build="model.layer.bias.data[1] = float('nan'); return Entry(model, samples())")


def answers_are_infinite(folder: Path) -> dict[str, Any]:
    return python(folder, forward="return self.layer(x) / torch.zeros(())")


def control_flow(folder: Path) -> dict[str, Any]:
    return python(folder, forward="return self.layer(x) if float(x.sum()) > 0 else x[:, :3]")


def fewer_outputs_than_names(folder: Path) -> dict[str, Any]:
    return python(folder, build="return Entry(model, samples(), output=('A', 'B'))")


def output_is_a_list_of_numbers(folder: Path) -> dict[str, Any]:
    return python(folder, forward="return self.layer(x).tolist()")


def output_loses_the_batch(folder: Path) -> dict[str, Any]:
    return python(folder, forward="return self.layer(x).sum(1)")


def output_named_like_the_input(folder: Path) -> dict[str, Any]:
    return python(folder, build="return Entry(model, samples(), output='x')")


def too_large_for_one_file(folder: Path) -> dict[str, Any]:
    # 2.4 GB that are never touched: the size is known before the numbers are looked at.
    return python(
        folder, build="model.big = torch.nn.Parameter(torch.empty(600_000_000)); return Entry(model, samples())"
    )


def onnx_missing(folder: Path) -> dict[str, Any]:
    return from_onnx(folder, {"x": ROWS})


def onnx_corrupted(folder: Path) -> dict[str, Any]:
    path = onnx_file(folder)
    path.write_bytes(path.read_bytes()[:60])
    return from_onnx(folder, {"x": ROWS})


def onnx_with_nan(folder: Path) -> dict[str, Any]:
    onnx_file(folder, weight=float("nan"))
    return from_onnx(folder, {"x": ROWS})


def onnx_opset_above_the_target(folder: Path) -> dict[str, Any]:
    onnx_file(folder, opset=21)
    return from_onnx(folder, {"x": ROWS})


def onnx_output_nobody_makes(folder: Path) -> dict[str, Any]:
    onnx_file(folder, output="z")
    return from_onnx(folder, {"x": ROWS})


def onnx_samples_of_another_name(folder: Path) -> dict[str, Any]:
    onnx_file(folder)
    return from_onnx(folder, {"image": ROWS})


def onnx_samples_of_another_width(folder: Path) -> dict[str, Any]:
    onnx_file(folder)
    return from_onnx(folder, {"x": np.zeros((3, 5), dtype=np.float32)})


def onnx_samples_of_another_dtype(folder: Path) -> dict[str, Any]:
    onnx_file(folder)
    return from_onnx(folder, {"x": np.zeros((3, 4))})


def samples_missing(folder: Path) -> dict[str, Any]:
    onnx_file(folder)
    return from_onnx(folder, None)


def samples_empty(folder: Path) -> dict[str, Any]:
    onnx_file(folder)
    return from_onnx(folder, {"x": ROWS[:0]})


def samples_pickled(folder: Path) -> dict[str, Any]:
    onnx_file(folder)
    return from_onnx(folder, {"x": np.array([Evil(), Evil()], dtype=object)})


def samples_of_different_length(folder: Path) -> dict[str, Any]:
    return {**scripted(folder), "samples": arrays(folder, input=ROWS, other=ROWS[:2])}


def torchscript_is_a_pickle(folder: Path) -> dict[str, Any]:
    values = scripted(folder)
    torch.save(torch.nn.Linear(4, 3), folder / "m.pt")
    return values


def torchscript_truncated(folder: Path) -> dict[str, Any]:
    values = scripted(folder)
    (folder / "m.pt").write_bytes((folder / "m.pt").read_bytes()[:800])
    return values


def torchscript_without_that_submodule(folder: Path) -> dict[str, Any]:
    values = scripted(folder)
    values["source"]["submodule"] = "encoder"
    return values


def torchscript_batch_axis_of_nothing(folder: Path) -> dict[str, Any]:
    values = scripted(folder)
    values["source"]["batch_axes"] = {"state": 1}
    return values


def program_with_a_pickle(folder: Path) -> dict[str, Any]:
    import zipfile

    program = torch.export.export(torch.nn.Linear(4, 3).eval(), (torch.zeros(2, 4),))
    torch.export.save(program, folder / "m.pt2")
    with zipfile.ZipFile(folder / "m.pt2") as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    # What torch.export.load would read with the unrestricted unpickler.
    name = next(name for name in content if "/sample_inputs/" in name)
    content[name] = pickle.dumps(Evil())
    with zipfile.ZipFile(folder / "m.pt2", "w", zipfile.ZIP_STORED) as archive:
        for key, value in content.items():
            archive.writestr(key, value)
    return {
        "source": {"kind": "exported-program", "path": "m.pt2", "licence": "MIT"},
        "samples": arrays(folder, input=ROWS),
    }


def huggingface_folder_missing(folder: Path) -> dict[str, Any]:
    values = huggingface(folder)
    values["source"]["path"] = "elsewhere"
    return values


def huggingface_pickled_weights(folder: Path) -> dict[str, Any]:
    values = huggingface(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    return values


def huggingface_evil_pickle_allowed(folder: Path) -> dict[str, Any]:
    values = huggingface_pickled_weights(folder)
    values["source"]["allow_pickle"] = True
    return values


def huggingface_truncated_weights(folder: Path) -> dict[str, Any]:
    values = huggingface(folder)
    from safetensors.numpy import save

    (folder / "model.safetensors").write_bytes(save({"a": np.ones(100, dtype=np.float32)})[:200])
    return values


def huggingface_weights_of_another_model(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import save_file

    values = huggingface(folder)
    shape = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 9, **shape}))
    save_file({"other.weight": np.ones(4, dtype=np.float32)}, folder / "model.safetensors")
    return values


CASES: tuple[tuple[Callable[[Path], dict[str, Any]], str], ...] = (
    (entry_module_missing, "set source.search_path"),
    (entry_raises, "the weights are on another disk"),
    (entry_returns_the_module, "return a model_packaging.sources.Entry; it returned Model"),
    (entry_module_is_a_function, "is a torch.nn.Module; got function"),
    (entry_data_missing, "weights.safetensors: no such file"),
    (entry_without_samples, "with at least 1 sample"),
    (samples_of_the_wrong_dtype, "Give samples of the names, dtypes and shapes"),
    (samples_of_a_wrong_shape, "Give samples of the names, dtypes and shapes"),
    (samples_that_differ, "only the axes that are declared dynamic may differ"),
    (complex_samples, "use one of float32"),
    (weights_are_nan, "NaN or infinity in layer.bias"),
    (answers_are_infinite, "answers NaN or infinity"),
    (control_flow, "torch.where or torch.cond"),
    (fewer_outputs_than_names, "returns 1 tensors, and 2 outputs are named"),
    (output_is_a_list_of_numbers, "must return a tensor"),
    (output_loses_the_batch, "unsqueeze"),
    (output_named_like_the_input, "each needs one of its own"),
    (too_large_for_one_file, "one ONNX file holds 2 GB at most"),
    (onnx_missing, "m.onnx: no such file"),
    (onnx_corrupted, "Export or fetch it again"),
    (onnx_with_nan, "NaN or infinity in w"),
    (onnx_opset_above_the_target, "opset_version=18"),
    (onnx_output_nobody_makes, "no sound ONNX file"),
    (onnx_samples_of_another_name, "name the arrays of the samples file like the inputs"),
    (onnx_samples_of_another_width, "Give samples of the names, dtypes and shapes"),
    (onnx_samples_of_another_dtype, "Give samples of the names, dtypes and shapes"),
    (samples_missing, "samples are never made up"),
    (samples_empty, "holds no sample"),
    (samples_pickled, "cannot be read"),
    (samples_of_different_length, "give as many of every input"),
    (torchscript_is_a_pickle, "a pickle, which can run code"),
    (torchscript_truncated, "no TorchScript archive"),
    (torchscript_without_that_submodule, "no 'encoder'"),
    (torchscript_batch_axis_of_nothing, "'state' is no input"),
    (program_with_a_pickle, "source.allow_pickle: true"),
    (huggingface_folder_missing, "elsewhere: no such folder"),
    (huggingface_pickled_weights, "source.allow_pickle: true"),
    (huggingface_evil_pickle_allowed, "cannot load it"),
    (huggingface_truncated_weights, "cannot load it"),
    (huggingface_weights_of_another_model, "the weights lack"),
)


# These import torch's exporter or all of transformers.
HEAVY = (
    control_flow,
    huggingface_evil_pickle_allowed,
    huggingface_truncated_weights,
    huggingface_weights_of_another_model,
)


@pytest.mark.parametrize(
    ("prepare", "named"),
    [
        pytest.param(prepare, named, id=prepare.__name__, marks=[pytest.mark.heavy] if prepare in HEAVY else [])
        for prepare, named in CASES
    ],
)
def test_a_bad_source_is_named_and_leaves_nothing(
    prepare: Callable[[Path], dict[str, Any]],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / request.node.callspec.id
    folder.mkdir()
    values = {"name": "bad", "variants": [{"precision": "fp32", "min_cosine": 0.9999}], **prepare(folder)}
    with pytest.raises((PackageError, ModelConfigError)) as refusal:
        package(parse_config(values, base_dir=folder), tmp_path / "store")
    assert named in str(refusal.value)
    left = [path.name for path in tmp_path.glob("store/bad/*")]
    assert left in ([], [".lock"])
    assert not (tmp_path / "evil-was-here").exists()


def test_a_source_s_unknown_key_and_kind_are_named(tmp_path: Path) -> None:
    for source, named in (
        ({"kind": "onnx", "path": "m.onnx", "licence": "MIT", "colour": "blue"}, "colour"),
        ({"kind": "onnx", "path": "m.onnx"}, "licence"),
        ({"kind": "onyx", "path": "m.onnx", "licence": "MIT"}, "did you mean onnx?"),
        ({"kind": "torchscript", "path": "m.jit", "licence": "MIT", "outputs": []}, "outputs"),
    ):
        with pytest.raises(ModelConfigError) as refusal:
            parse_config({"name": "bad", "source": source}, base_dir=tmp_path)
        assert named in str(refusal.value)
