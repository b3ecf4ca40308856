"""How ``spillway package tune`` tells what it found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

    from model_packaging.tensors.config import TensorConfig
    from model_packaging.tuning.search import TuningResult


def as_json(config: TensorConfig, result: TuningResult, written: Path | None) -> dict[str, Any]:
    from model_packaging.tuning.choice import serving_keys

    return {
        "max_p99_ms": result.max_p99_ms,
        "usd_per_hour": result.usd_per_hour,
        "resumed": result.resumed,
        "chosen": asdict(result.chosen) if result.chosen else None,
        "model_yaml": serving_keys(config, result.chosen) if result.chosen else None,
        "written": str(written) if written else None,
        "trials": [asdict(trial) for trial in result.trials],
    }


def as_text(config: TensorConfig, result: TuningResult, written: Path | None) -> Iterator[RenderableType]:
    from rich.table import Table

    from model_packaging.tuning.choice import serving_keys

    table = Table(title=f"P99 of a request within {result.max_p99_ms:g} ms, at ${result.usd_per_hour:g} an hour")
    for column in ("variant", "batch", "instances", "threads", "P99 ms", "per second", "$ a million", ""):
        table.add_column(column, justify="left" if column in ("variant", "") else "right")
    for trial in result.trials:
        choice = trial.choice
        numbers = (f"{trial.latency_ms:.1f}", f"{trial.per_second:.1f}", f"{trial.usd_per_million:.2f}")
        sizes = (str(choice.batch_size), str(choice.instances), str(choice.threads))
        table.add_row(choice.variant, *sizes, *numbers, "chosen" if trial is result.chosen else trial.state)
    yield table
    if result.chosen is None:
        nearest = result.nearest
        mend = "or tune on a faster machine"
        if nearest.choice.batch_size > 1:
            mend = "lower serving.batching.max_queue_delay_ms, or give smaller batches"
        yield (
            f"Nothing holds {result.max_p99_ms:g} ms; nearest is {nearest.choice.variant} with batch "
            f"{nearest.choice.batch_size}: {nearest.latency_ms:.1f} ms. Raise the bound, {mend}."
        )
        return
    keys = serving_keys(config, result.chosen)
    yield f"model.yaml: serve: {_flow(keys['serve'])}; serving: {_flow(keys['serving'])}"
    if written:
        yield f"Written to {written}; package it with `spillway package {written}`."


def _flow(value: str | dict[str, Any]) -> str:
    """YAML on one line."""
    if isinstance(value, str):
        return value
    return "{" + ", ".join(f"{key}: {item}" for key, item in value.items()) + "}"
