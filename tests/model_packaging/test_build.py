"""Packages of a small model of one's own: whole, repeatable, and never half-written."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_packaging.build import package
from model_packaging.config import parse_config
from model_packaging.tensors.config import TensorConfig
from model_packaging.tensors.layout import write_archive
from spillway.contracts.manifest import SAGEMAKER_ARCHIVE, TRITON_ARCHIVE, PackageError, verify_package
from spillway.contracts.targets import Layout

ENTRY = """
import torch
from model_packaging.sources import Entry

def build():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    {damage}
    return Entry(Wrapped(module), [{{"x": torch.randn(2, 4)}} for _ in range(4)], output="SCORES")

class Wrapped(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        {forward}
        return self.inner(x)
"""


TWO = [{"precision": "fp32", "min_cosine": 0.9999}, {"precision": "int8-dynamic", "min_cosine": 0.98}]
EVERY = ["ngc-triton-24.10", "sagemaker-triton-25.09", "azureml-triton-managed", "onnxruntime-cpu"]


def config(folder: Path, module: str, *, damage: str = "pass", forward: str = "pass", **changes: Any) -> TensorConfig:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(ENTRY.format(damage=damage, forward=forward))
    values: dict[str, Any] = {
        "name": "scores",
        "source": {"kind": "python", "entry": f"{module}:build", "licence": "MIT"},
        "variants": [{"precision": "fp32", "min_cosine": 0.9999}],
        "latency": {"batch_sizes": [1], "repeats": 3},
    }
    return parse_config({**values, **changes}, base_dir=folder)


@pytest.mark.heavy
def test_own_model_packages_twice_to_the_same_digest(tmp_path: Path) -> None:
    settings = config(tmp_path, "own_model_a")
    first = package(settings, tmp_path / "one")
    second = package(settings, tmp_path / "two")
    again = [package(settings, tmp_path / "one") for _ in range(3)]
    assert first.manifest.digest == second.manifest.digest
    assert {(one.cached, one.path) for one in again} == {(True, first.path)}
    # The quickest: another process may have had the core in between.
    assert min(one.seconds for one in again) < 0.05 * first.seconds
    assert verify_package(first.path).entry_model == "scores"
    assert [(item.name, item.dtype, item.shape) for item in first.manifest.inputs] == [("x", "FP32", (-1, 4))]
    with tarfile.open(first.path / SAGEMAKER_ARCHIVE) as archive:
        assert {"scores/config.pbtxt", "scores/1/model.onnx"} <= set(archive.getnames())


@pytest.mark.heavy
def test_each_layout_gets_its_own_variant(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        "own_model_e",
        variants=TWO,
        targets=EVERY,
        serve={"triton": "int8-dynamic", "onnxruntime": "int8-dynamic", "default": "fp32"},
    )
    result = package(settings, tmp_path / "store")
    manifest, root = verify_package(result.path), result.path
    int8, fp32 = ((root / f"variants/{name}/model.onnx").read_bytes() for name in ("int8-dynamic", "fp32"))
    assert int8 != fp32
    assert manifest.served == {
        "triton": "int8-dynamic",
        "sagemaker": "fp32",
        "azureml": "fp32",
        "onnxruntime": "int8-dynamic",
    }
    assert (root / "triton/scores/1/model.onnx").read_bytes() == int8
    assert (root / "azureml/models/triton/scores/1/model.onnx").read_bytes() == fp32
    assert (root / "onnxruntime/model.onnx").read_bytes() == int8
    assert packed(root / manifest.delivery(Layout.SAGEMAKER).path)["scores/1/model.onnx"] == fp32
    assert packed(root / manifest.delivery(Layout.TRITON).path) == files_of(root / "triton")
    rows = {row["variant"]: row["served"] for row in result.table()}
    assert rows["int8-dynamic"] == ["triton", "onnxruntime"]
    assert rows["fp32"] == ["sagemaker", "azureml"]


@pytest.mark.heavy
def test_equal_layouts_are_one_archive_and_a_layout_that_no_target_asks_for_is_not_written(tmp_path: Path) -> None:
    one = package(config(tmp_path, "own_model_f", targets=EVERY), tmp_path / "store")
    assert one.manifest.delivery(Layout.TRITON) == one.manifest.delivery(Layout.SAGEMAKER)
    assert not (one.path / TRITON_ARCHIVE).exists()
    assert packed(one.path / SAGEMAKER_ARCHIVE) == files_of(one.path / "triton")

    private = package(config(tmp_path, "own_model_f", targets=["ngc-triton-24.10"]), tmp_path / "store")
    assert {path.name for path in private.path.iterdir()} == {"manifest.json", "triton", "triton.tar.gz", "variants"}
    assert packed(private.path / private.manifest.delivery(Layout.TRITON).path) == files_of(private.path / "triton")
    with pytest.raises(PackageError, match="a site is to serve sagemaker"):
        private.manifest.delivery(Layout.SAGEMAKER)


@pytest.mark.heavy
def test_a_layout_whose_variant_missed_its_bound_is_named(tmp_path: Path) -> None:
    variants = [TWO[0], {"precision": "int8-dynamic", "min_cosine": 1.0}]
    serve = {"sagemaker": "int8-dynamic", "default": "fp32"}
    with pytest.raises(PackageError, match="int8-dynamic, asked for in sagemaker, is left out: cosine"):
        package(config(tmp_path, "own_model_g", variants=variants, serve=serve), tmp_path / "store")


def packed(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        found = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        return {name: stream.read() for name, stream in found.items() if stream}


def files_of(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.heavy
def test_a_damaged_cache_is_built_anew(tmp_path: Path) -> None:
    settings = config(tmp_path, "own_model_b")
    first = package(settings, tmp_path / "store")
    (first.path / "triton/scores/config.pbtxt").write_text("tampered")
    second = package(settings, tmp_path / "store")
    assert not second.cached
    assert second.path == first.path
    verify_package(second.path)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("module", "change", "named"),
    [
        ("bad_nan", {"damage": "module[0].weight.data[0, 0] = float('nan')"}, r"inner\.0\.weight"),
        ("bad_flow", {"forward": "x = x if float(x.sum()) > -1e9 else -x"}, "cannot export"),
        ("bad_code", {"damage": "raise RuntimeError('no weights here')"}, "no weights here"),
    ],
)
def test_a_bad_model_is_an_error_and_leaves_nothing(
    tmp_path: Path, module: str, change: dict[str, str], named: str
) -> None:
    with pytest.raises(PackageError, match=named):
        package(config(tmp_path, module, **change), tmp_path / "store")
    assert [path.name for path in (tmp_path / "store/scores").iterdir()] == [".lock"]


@pytest.mark.heavy
def test_a_variant_that_misses_its_bound_is_left_out_and_none_is_an_error(tmp_path: Path) -> None:
    variants = [{"precision": "fp32", "min_cosine": 0.9999}, {"precision": "int8-dynamic", "min_cosine": 1.0}]
    result = package(config(tmp_path, "own_model_c", variants=variants), tmp_path / "store")
    rows = {row["variant"]: row for row in result.table()}
    assert rows["fp32"]["rank"] == 1
    assert rows["int8-dynamic"]["rank"] is None
    assert "below its bound" in str(rows["int8-dynamic"]["note"])
    with pytest.raises(PackageError, match="as accurate as asked"):
        package(config(tmp_path, "own_model_c", variants=variants[1:], serve="int8-dynamic"), tmp_path / "store")


@pytest.mark.heavy
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("model_packaging.tensors.layout.write_archive", full)
    with pytest.raises(PackageError, match="disk is full"):
        package(config(tmp_path, "own_model_d"), tmp_path / "store")
    assert [path.name for path in (tmp_path / "store/scores").iterdir()] == [".lock"]


def test_equal_folders_are_equal_archives(tmp_path: Path) -> None:
    def archive(name: str, order: Callable[[list[str]], list[str]]) -> bytes:
        folder = tmp_path / name
        for file in order(["b/1/model", "a/config"]):
            (folder / file).parent.mkdir(parents=True)
            (folder / file).write_text(file)
        write_archive(folder, tmp_path / f"{name}.tar.gz")
        return (tmp_path / f"{name}.tar.gz").read_bytes()

    assert archive("one", sorted) == archive("two", lambda files: files)
