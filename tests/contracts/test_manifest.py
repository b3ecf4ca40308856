"""A package is what was packaged, or it is refused with the file's name."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spillway.contracts import manifest as manifest_module
from spillway.contracts.manifest import (
    MANIFEST_NAME,
    Manifest,
    PackageError,
    PackageSource,
    TensorSpec,
    describe_files,
    read_manifest,
    sha256_of_file,
    verify_package,
)
from spillway.contracts.targets import Layout


def make_package(folder: Path) -> Manifest:
    for name, text in {"triton/m/1/model.onnx": "weights", "sagemaker/model.tar.gz": "archive"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    manifest = Manifest(
        name="m",
        version="",
        digest="",
        kind="triton",
        entry_model="m",
        served={Layout.TRITON: "fp32", Layout.SAGEMAKER: "fp32"},
        files=describe_files(folder),
        inputs=(TensorSpec(name="TEXT", dtype="BYTES", shape=(-1, 1)),),
        outputs=(TensorSpec(name="EMBEDDING", dtype="FP32", shape=(-1, 384)),),
        source=PackageSource(name="m", origin="here", licence="MIT"),
    ).sealed()
    (folder / MANIFEST_NAME).write_text(manifest.to_json())
    return manifest


def test_a_sound_package_is_read_back(tmp_path: Path) -> None:
    manifest = make_package(tmp_path)
    assert verify_package(tmp_path) == manifest == read_manifest(tmp_path)
    assert manifest.version == manifest.digest[:16]


def test_each_site_is_told_what_it_fetches(tmp_path: Path) -> None:
    shared = make_package(tmp_path / "shared")
    sha256 = {file.path: file.sha256 for file in shared.files}
    for site in (Layout.TRITON, Layout.SAGEMAKER):
        delivery = shared.delivery(site)
        assert (delivery.path, delivery.sha256) == ("sagemaker/model.tar.gz", sha256["sagemaker/model.tar.gz"])
        assert [file.path for file in delivery.files] == ["sagemaker/model.tar.gz"]
    with pytest.raises(PackageError, match=r"made for sagemaker, triton, and a site is to serve azureml"):
        shared.delivery(Layout.AZURE_ML)

    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "triton.tar.gz").write_text("another archive")
    own = make_package(tmp_path / "own")
    assert own.delivery(Layout.TRITON).path == "triton.tar.gz"
    assert own.delivery(Layout.TRITON).sha256 == hashlib.sha256(b"another archive").hexdigest()
    assert own.delivery(Layout.SAGEMAKER) == shared.delivery(Layout.SAGEMAKER)


def test_a_language_model_is_one_folder_for_every_site(tmp_path: Path) -> None:
    for name in ("vllm/SHA256SUMS", "vllm/config.json", "azureml/deployment.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    changes = {"kind": "vllm", "served": {Layout.VLLM: "w8a16"}, "files": describe_files(tmp_path)}
    manifest = make_package(tmp_path / "other").model_copy(update=changes)
    for site in (Layout.TRITON, Layout.SAGEMAKER, Layout.AZURE_ML):
        delivery = manifest.delivery(site)
        assert (delivery.path, delivery.sha256) == ("vllm/", hashlib.sha256(b"vllm/SHA256SUMS").hexdigest())
        assert {file.path for file in delivery.files} == {"vllm/SHA256SUMS", "vllm/config.json"}
    without = manifest.model_copy(update={"files": ()})
    with pytest.raises(PackageError, match=r"has no vllm/SHA256SUMS"):
        without.delivery(Layout.TRITON)


def test_equal_content_has_an_equal_digest_whatever_was_measured(tmp_path: Path) -> None:
    first, second = make_package(tmp_path / "a"), make_package(tmp_path / "b")
    assert first.digest == second.digest
    measured = first.model_copy(update={"latency": (), "parity": ()}).sealed()
    assert measured.digest == first.digest


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda root: (root / "triton/m/1/model.onnx").write_text("Weights"), "triton/m/1/model.onnx was changed"),
        (lambda root: (root / "sagemaker/model.tar.gz").unlink(), "sagemaker/model.tar.gz is missing"),
        (lambda root: (root / "triton/extra.py").write_text("x"), "triton/extra.py is not in the manifest"),
        (lambda root: (root / "triton/link").symlink_to("/etc/hosts"), "triton/link is a symbolic link"),
        (lambda root: (root / MANIFEST_NAME).unlink(), "manifest.json: no such file"),
        (lambda root: (root / MANIFEST_NAME).write_text("{"), "manifest.json"),
        (lambda root: edit(root, "served", {"triton": "int8"}), "the digest does not fit"),
        (lambda root: edit(root, "latency", [LATENCY]), "the seal does not fit"),
        (lambda root: edit(root, "schema_version", 2), "schema_version"),
        (lambda root: edit(root, "surprise", 1), "surprise"),
    ],
)
def test_a_tampered_package_is_refused_by_name(tmp_path: Path, damage: Callable[[Path], object], named: str) -> None:
    make_package(tmp_path)
    damage(tmp_path)
    with pytest.raises(PackageError, match=named):
        verify_package(tmp_path)


LATENCY = {"variant": "fp32", "batch_size": 1, "sequence_length": 1, "p50_ms": 1, "p99_ms": 1, "threads": 1}


def edit(root: Path, key: str, value: object) -> None:
    path = root / MANIFEST_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    # So far in the past that no later change can fall into the same tick of the clock.
    os.utime(path, (1, 1))
    reads: list[Path] = []
    read = manifest_module._read_sha256
    monkeypatch.setattr(manifest_module, "_read_sha256", lambda path: reads.append(path) or read(path))
    monkeypatch.setattr(manifest_module, "_SETTLED_S", 0.05)
    time.sleep(0.1)
    assert sha256_of_file(path) == sha256_of_file(path) == hashlib.sha256(b"one").hexdigest()
    assert len(reads) == 1
    path.write_bytes(b"two")
    os.utime(path, (1, 1))
    assert sha256_of_file(path) == hashlib.sha256(b"two").hexdigest()
    time.sleep(0.1)
    assert sha256_of_file(path) == hashlib.sha256(b"two").hexdigest()
