"""Schemes on a small model: what each makes answers close to torch, and what cannot be had says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_packaging.build import package
from model_packaging.errors import ModelConfigError
from model_packaging.tensors.variants.equalise import choose_inputs, round_weights, weight_scale
from model_packaging.tensors.variants.graph import Linear
from spillway.contracts.manifest import PackageError
from tests.model_packaging.test_build import config

NEW = ["ngc-triton-25.09"]


def calibration(folder: Path, rows: int = 64) -> str:
    np.savez(folder / "calibration.npz", x=np.random.default_rng(1).standard_normal((rows, 4)).astype(np.float32))
    return "calibration.npz"


def variants(*precisions: str, bound: float = 0.98) -> list[dict[str, Any]]:
    return [{"precision": precision, "min_cosine": bound} for precision in precisions]


@pytest.mark.heavy
def test_every_scheme_is_made_checked_and_timed_or_says_why(tmp_path: Path) -> None:
    asked = (
        *("fp32", "fp16", "bf16", "int8-dynamic", "int8-static", "int8-weights", "int4-weights"),
        *("torchao-int8-dynamic", "torchao-int8-weights", "torchao-fp8-weights"),
    )
    settings = config(
        tmp_path,
        "own_model_v",
        variants=variants(*asked, bound=0.9),
        calibration=calibration(tmp_path),
        serve="best",
        targets=NEW,
    )
    result = package(settings, tmp_path / "store")
    rows = {str(row["variant"]): row for row in result.table()}
    assert set(rows) == set(asked)
    for name in ("fp32", "fp16", "int8-dynamic", "int8-static", "int8-weights", "torchao-int8-weights"):
        assert rows[name]["rank"], rows[name]
        assert float(str(rows[name]["min_cosine"])) >= 0.9
    left_out = [row for row in rows.values() if row["rank"] is None]
    assert all(row["note"] for row in left_out)
    (data,) = result.manifest.provenance.calibration
    assert (data.name, data.samples) == ("calibration.npz", 64)
    kept = {
        file.path
        for file in result.manifest.files
        if file.path.startswith("variants/") and file.path.endswith(("onnx", "safetensors"))
    }
    (served,) = set(result.manifest.served.values())
    assert not served.startswith("torchao")
    assert kept == {f"variants/{name}/model.onnx" for name in {"fp32", "fp16", served}}
    assert all(figure.throughput_per_s > 0 for figure in result.manifest.latency)
    assert all(figure.peak_memory_bytes for figure in result.manifest.variants if figure.name == "fp32")

    again = [package(settings, tmp_path / "store") for _ in range(3)]
    assert all(one.cached for one in again)
    # The quickest: another process may have had the core in between.
    assert min(one.seconds for one in again) < 0.05 * result.seconds


@pytest.mark.heavy
def test_static_int8_twice_is_the_same_digest_and_other_calibration_another_build(tmp_path: Path) -> None:
    def build(store: str) -> Any:
        changes = {"variants": variants("int8-static"), "serve": "int8-static", "calibration": "calibration.npz"}
        return package(config(tmp_path, "own_model_w", **changes), tmp_path / store)

    calibration(tmp_path)
    first, second = build("one"), build("two")
    assert first.manifest.digest == second.manifest.digest
    calibration(tmp_path, rows=32)
    other = build("one")
    assert not other.cached
    assert other.manifest.provenance.calibration != first.manifest.provenance.calibration


@pytest.mark.heavy
def test_an_old_target_is_named_where_it_lacks_the_operator(tmp_path: Path) -> None:
    asked = [*variants("fp32"), *variants("int8-weights")]
    result = package(config(tmp_path, "own_model_x", variants=asked, targets=["ngc-triton-24.01"]), tmp_path / "store")
    note = {row["variant"]: str(row["note"]) for row in result.table()}["int8-weights"]
    assert "ngc-triton-24.01" in note
    assert "1.22" in note


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("write", "named"),
    [
        (lambda path: None, "no such file"),
        (lambda path: np.savez(path, x=np.zeros((0, 4), np.float32)), "no sample"),
        (lambda path: np.savez(path, y=np.zeros((3, 4), np.float32)), "the model takes"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: np.savez(path, x=np.array([["a"] * 4] * 3)), "cannot be read"),
        (lambda path: np.savez(path, x=np.zeros((3, 4))), r"x is float64 \[1, 4\].*takes float32 \[batch, 4\]"),
        (lambda path: np.savez(path, x=np.zeros((3, 2, 4), np.float32)), r"x is float32 \[1, 2, 4\]"),
        (lambda path: np.savez(path, x=np.zeros((3, 5), np.float32)), r"x is float32 \[1, 5\]"),
    ],
)
def test_calibration_that_is_none_is_an_error(tmp_path: Path, write: Any, named: str) -> None:
    write(tmp_path / "calibration.npz")
    changes = {"variants": variants("int8-static"), "serve": "best", "calibration": "calibration.npz"}
    with pytest.raises((ModelConfigError, PackageError), match=named) as error:
        package(config(tmp_path, "own_model_y", **changes), tmp_path / "store")
    assert "calibration" in str(error.value)
    assert not list((tmp_path / "store").glob("scores/[!.]*"))


def outliers(rows: int = 600) -> tuple[Linear, np.ndarray]:
    """Inputs of which two channels are a hundred times the rest, as behind a transformer's layer normalisation."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, 32)).astype(np.float32)
    x[:, 3] = 80 + 5 * x[:, 3]
    x[:, 17] *= 60
    weight = rng.standard_normal((32, 16)).astype(np.float32)
    return Linear("layer", "x", "y", weight, np.zeros(16, np.float32), (0,)), x


def test_evening_out_and_rounding_with_care_beat_plain_int8() -> None:
    layer, x = outliers()
    fresh = outliers(700)[1][600:]
    want = fresh @ layer.weight

    step = (x.max() - x.min()) / 255
    plain_weight = np.rint(layer.weight / (np.abs(layer.weight).max(0) / 63)) * (np.abs(layer.weight).max(0) / 63)
    plain = np.rint(fresh / step) * step @ plain_weight

    inputs = choose_inputs([layer], x)
    rounded = round_weights(layer, inputs, x)
    ours = inputs.rounded(fresh) @ (rounded.steps * rounded.scale) + rounded.bias
    assert np.abs(ours - want).mean() < 0.5 * np.abs(plain - want).mean()


def test_no_pair_of_weights_saturates_sixteen_bits() -> None:
    layer, x = outliers()
    steps = round_weights(layer, choose_inputs([layer], x), x).steps.astype(int)
    pairs = steps.reshape(-1, 2, steps.shape[1])
    assert np.abs(pairs.clip(min=0).sum(1)).max() * 255 <= 32767
    assert np.abs(pairs.clip(max=0).sum(1)).max() * 255 <= 32768
    # Nearly all of eight bits is used: seven-bit weights end at 63.
    assert np.abs(steps).max() > 90
    assert (weight_scale(layer.weight) < np.abs(layer.weight).max(axis=0) / 63).all()
