"""Whatever a source reads is in its key: a change of it makes another package, and what could go unseen is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_packaging.build import build_key
from model_packaging.config import parse_config
from model_packaging.errors import ModelConfigError
from model_packaging.tensors.config import TensorConfig
from model_packaging.tensors.source import load
from spillway.contracts.manifest import PackageError

ENTRY = """
import torch
import {helper}
from model_packaging.sources import Entry

def build():
    {read}
    return Entry({helper}.net(), [{{"input": torch.zeros(1, 4)}}])
"""
HELPER = """
import torch
from {package} import sizes

def net():
    return torch.nn.Linear(4, sizes.OUTPUTS)
"""


def config(folder: Path, source: dict[str, Any], samples: str | None = None) -> TensorConfig:
    values = {"name": "m", "source": {"licence": "none", **source}, "samples": samples}
    return parse_config(values, base_dir=folder)  # pyright: ignore[reportReturnType]


def python(folder: Path, name: str, read: str = "pass", **source: Any) -> TensorConfig:
    """An entry that imports a module beside it, which imports one of a package beside it."""
    # A module is imported once per process: each case has names of its own.
    package = folder / f"{name}_parts"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "sizes.py").write_text("OUTPUTS = 3\n")
    (folder / f"{name}_net.py").write_text(HELPER.format(package=package.name))
    (folder / f"{name}.py").write_text(ENTRY.format(helper=f"{name}_net", read=read))
    return config(folder, {"kind": "python", "entry": f"{name}:build", **source})


def changed(file: Path, key: Callable[[], str]) -> bool:
    before = key()
    file.write_bytes(file.read_bytes().replace(b"3", b"5") + b"\n")
    return key() != before


@pytest.mark.parametrize(
    "file", ["own_key.py", "own_key_net.py", "own_key_parts/sizes.py", "own_key_parts/__init__.py"]
)
def test_every_module_of_an_entry(file: str, tmp_path: Path) -> None:
    settings = python(tmp_path, "own_key")
    assert changed(tmp_path / file, lambda: build_key(settings))


def test_a_folder_of_data(tmp_path: Path) -> None:
    (tmp_path / "weights" / "part").mkdir(parents=True)
    (tmp_path / "weights" / "part" / "a.bin").write_bytes(b"3")
    settings = python(tmp_path, "own_folder", data=["weights"])
    assert changed(tmp_path / "weights" / "part" / "a.bin", lambda: build_key(settings))


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("reads_text", "open('{folder}/words.txt').read()"),
        ("reads_arrays", "import numpy; numpy.fromfile('{folder}/words.txt', dtype='u1')"),
        ("reads_torch", "import torch; torch.load('{folder}/weights.pt', weights_only=True)"),
        ("imports_by_name", "import importlib; importlib.import_module('by' + '_name')"),
    ],
)
def test_what_an_entry_reads_unnamed_is_refused(name: str, read: str, tmp_path: Path) -> None:
    import torch

    (tmp_path / "words.txt").write_text("words")
    (tmp_path / "by_name.py").write_text("")
    torch.save({"w": torch.zeros(1)}, tmp_path / "weights.pt")
    settings = python(tmp_path, name, read.format(folder=tmp_path))
    with pytest.raises(ModelConfigError, match=r"the entry reads .*, which data does not name"):
        load(settings)


def test_what_an_entry_names_it_may_read(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("words")
    settings = python(tmp_path, "names_text", f"open('{tmp_path}/words.txt').read()", data=["words.txt"])
    assert load(settings).outputs == ("OUTPUT",)


def test_metadata_of_an_editable_distribution_is_none_of_the_entrys_data(tmp_path: Path) -> None:
    """Libraries look for plugins by the entry points of every distribution; an editable one's lie beside its code."""
    metadata = tmp_path / "mine.egg-info"
    metadata.mkdir()
    (metadata / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[console_scripts]\nmine = mine:main\n")
    look = f"from importlib import metadata; assert list(metadata.distributions(path=['{tmp_path}']))[0].entry_points"
    assert load(python(tmp_path, "looks_for_plugins", look)).outputs == ("OUTPUT",)


def external(folder: Path, factor: float, where: str, *, in_branch: bool = False) -> TensorConfig:
    """A linear model whose weights lie in a file of any name, as an initializer or as a constant inside a branch."""
    (folder / where).unlink(missing_ok=True)
    weights = numpy_helper.from_array((np.ones((64, 32)) * factor).astype(np.float32), "w")
    x, y = (helper.make_tensor_value_info(*item) for item in (("x", 1, ["batch", 64]), ("y", 1, ["batch", 32])))
    nodes, initializers = [helper.make_node("MatMul", ["x", "w"], ["y"])], [weights]
    if in_branch:
        inside = helper.make_graph(
            [helper.make_node("Constant", [], ["w"], value=weights), helper.make_node("MatMul", ["x", "w"], ["z"])],
            "inside",
            [],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        )
        flag = helper.make_tensor("flag", TensorProto.BOOL, [], [True])
        nodes, initializers = [helper.make_node("If", ["flag"], ["y"], then_branch=inside, else_branch=inside)], [flag]
    graph = helper.make_graph(nodes, "g", [x], [y], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save_model(
        model,
        str(folder / "linear.onnx"),
        save_as_external_data=True,
        location=where,
        size_threshold=0,
        convert_attribute=True,
    )
    np.savez(folder / "samples.npz", x=np.ones((2, 64), dtype=np.float32))
    return config(folder, {"kind": "onnx", "path": "linear.onnx"}, "samples.npz")


@pytest.mark.parametrize("where", ["weights.bin", "linear.onnx.data", "w"])
@pytest.mark.parametrize("in_branch", [False, True])
def test_the_files_that_an_onnx_file_keeps_its_tensors_in(where: str, in_branch: bool, tmp_path: Path) -> None:
    before = build_key(external(tmp_path, 1, where, in_branch=in_branch))
    graph = (tmp_path / "linear.onnx").read_bytes()
    after = build_key(external(tmp_path, -3, where, in_branch=in_branch))
    assert (tmp_path / "linear.onnx").read_bytes() == graph, "what changed is in the other file alone"
    assert before != after


def test_a_file_of_tensors_that_is_gone_or_elsewhere_is_named(tmp_path: Path) -> None:
    settings = external(tmp_path, 1, "weights.bin")
    (tmp_path / "weights.bin").rename(tmp_path / "other.bin")
    with pytest.raises(PackageError, match=r"w is kept in .*weights\.bin: no such file"):
        build_key(settings)
    proto = onnx.load(str(tmp_path / "linear.onnx"), load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        entry.value = "../weights.bin" if entry.key == "location" else entry.value
    (tmp_path / "linear.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(PackageError, match=r"kept in '\.\./weights\.bin': only files beside"):
        build_key(settings)


def test_every_file_that_the_library_of_a_folder_reads(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "modules.json").write_text(
        '[{"type": "sentence_transformers.models.Transformer", "path": ""},'
        ' {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]'
    )
    read = ("config.json", "tokenizer.json", "model.safetensors", "vocab.txt", "merges.txt", "spiece.model")
    for name in (*read, "1_Pooling/config.json"):
        (folder / name).write_text("3")
    (tmp_path / "samples.txt").write_text("one\ntwo\n")
    settings = config(tmp_path, {"kind": "huggingface", "path": "model"}, "samples.txt")
    for name in (*read, "1_Pooling/config.json"):
        assert changed(folder / name, lambda: build_key(settings)), name
