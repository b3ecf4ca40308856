"""The search for the cheapest way to serve, on small graphs that this machine really runs."""

from __future__ import annotations

import fcntl
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError

from model_packaging.tuning.measure import WINDOWS, measure
from model_packaging.tuning.search import tune, usd_per_million
from model_packaging.tuning.settings import Machine, TuningConfig
from spillway.contracts.manifest import PackageError

WIDTHS = {"narrow": 64, "wide": 100_000}
"""The wide one does fifteen hundred times the work: which is cheaper does not hang on what else the machine does."""


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("variants")
    return {name: _two_products(folder / f"{name}.onnx", width) for name, width in WIDTHS.items()}


def _two_products(path: Path, width: int) -> Path:
    """y = x · A · B with ``width`` columns between."""
    random = np.random.default_rng(0)
    left = numpy_helper.from_array(random.standard_normal((64, width)).astype(np.float32), "left")
    right = numpy_helper.from_array(random.standard_normal((width, 8)).astype(np.float32), "right")
    nodes = [helper.make_node("MatMul", ["x", "left"], ["a"]), helper.make_node("MatMul", ["a", "right"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])
    graph = helper.make_graph(nodes, "products", [x], [y], [left, right])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def feeds(batch_size: int) -> dict[str, np.ndarray]:
    return {"x": np.ones((batch_size, 64), np.float32)}


def config(**changes: Any) -> TuningConfig:
    values: dict[str, Any] = {
        "max_p99_ms": 1000.0,
        "machine": Machine(usd_per_hour=2.0),
        "batch_sizes": (1, 8),
        "instances": (1,),
        "threads": (1,),
        "seconds_per_trial": 0.1,
    }
    return TuningConfig(**{**values, **changes})


def run(variants: dict[str, Path], settings: TuningConfig, folder: Path, **more: Any) -> Any:
    return tune(variants, feeds, settings, **{"max_queue_delay_ms": 2.0, "journal_dir": folder, **more})


def test_the_cheapest_that_holds_is_chosen_and_every_combination_is_tried(
    variants: dict[str, Path], tmp_path: Path
) -> None:
    result = run(variants, config(), tmp_path)
    assert {(trial.choice.variant, trial.choice.batch_size) for trial in result.trials} == {
        (name, size) for name in WIDTHS for size in (1, 8)
    }
    assert result.chosen.choice.variant == "narrow"
    held = [trial.usd_per_million for trial in result.trials if trial.state == "held"]
    assert result.chosen.usd_per_million == min(held)
    assert result.chosen.usd_per_million == pytest.approx(usd_per_million(2.0, result.chosen.per_second))


def test_what_is_far_dearer_than_the_best_is_given_up(variants: dict[str, Path], tmp_path: Path) -> None:
    result = run(variants, config(batch_sizes=(1, 2, 4, 8)), tmp_path)
    first_held = {trial.choice.variant for trial in result.trials if trial.state == "held"}
    assert "narrow" in first_held
    assert any(trial.state == "pruned" for trial in result.trials)


def test_a_batch_waits_to_fill_before_it_runs(variants: dict[str, Path], tmp_path: Path) -> None:
    result = run({"narrow": variants["narrow"]}, config(), tmp_path, max_queue_delay_ms=100.0)
    waits = {trial.choice.batch_size: trial.latency_ms - trial.p99_ms for trial in result.trials}
    assert waits == pytest.approx({1: 0.0, 8: 100.0})


def test_an_interrupted_search_goes_on_where_it_stopped(variants: dict[str, Path], tmp_path: Path) -> None:
    seen: list[str] = []

    def stop_after_two(message: str) -> None:
        seen.append(message)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(variants, config(), tmp_path, progress=stop_after_two)
    again: list[str] = []
    result = run(variants, config(), tmp_path, progress=again.append)
    assert len(result.trials) == 4
    assert 1 <= result.resumed <= 2
    assert again[0] == f"going on after {result.resumed} trials of an earlier run"
    assert len(again) == 1 + 4 - result.resumed
    assert run(variants, config(), tmp_path) == replace(result, resumed=4)


def test_more_trials_extend_a_search_and_other_inputs_begin_another(variants: dict[str, Path], tmp_path: Path) -> None:
    assert len(run(variants, config(trials=2), tmp_path).trials) == 2
    assert run(variants, config(trials=50), tmp_path).resumed == 2
    assert run(variants, config(max_p99_ms=999), tmp_path).resumed == 0


def test_a_busy_machine_that_leaves_no_time_is_measured_all_the_same(variants: dict[str, Path]) -> None:
    loads = list(measure(variants["narrow"], feeds(1), batch_size=1, instances=2, threads=1, seconds=1e-9))
    assert len(loads) == WINDOWS
    assert all(0 < load.p50_ms <= load.p99_ms and load.per_second > 0 for load in loads)


def test_where_nothing_holds_the_nearest_is_told(variants: dict[str, Path], tmp_path: Path) -> None:
    result = run(variants, config(max_p99_ms=0.0001), tmp_path)
    assert result.chosen is None
    assert result.nearest.latency_ms == min(trial.latency_ms for trial in result.trials)


def test_two_searches_of_the_same_do_not_measure_each_other(variants: dict[str, Path], tmp_path: Path) -> None:
    run(variants, config(trials=1), tmp_path)
    (lock,) = tmp_path.glob("*.lock")
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(PackageError, match="running already"):
            run(variants, config(trials=1), tmp_path)


def test_more_threads_than_cores_are_refused(variants: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="asks for more than the"):
        run(variants, config(instances=(512,), threads=(512,)), tmp_path)


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        ({}, "give cloud, instance_type and region, or usd_per_hour"),
        ({"cloud": "sagemaker", "instance_type": "ml.toaster", "region": "us-east-1"}, "or set usd_per_hour here"),
        ({"usd_per_hour": 0}, "greater than 0"),
    ],
)
def test_a_machine_without_a_price_is_refused(machine: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Machine(**machine)
