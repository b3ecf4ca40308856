"""``spillway package tune``: search how to serve a model, and tell it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spillway.cli.errors import WRONG_CONFIG, CommandError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from model_packaging.tuning.search import Trial, TuningResult
    from spillway.cli.console import Reporter


def run(model: Path, max_p99_ms: float | None, trials: int | None, folder: Path, reporter: Reporter) -> TuningResult:
    """Search what model.yaml asks for, with the bound and the number of trials of the command line before its own."""
    from model_packaging.config import ModelConfig, load_config
    from model_packaging.tuning.model import tune_model

    config = load_config(model)
    if not isinstance(config, ModelConfig):
        raise CommandError(f"{model}: tune searches models for Triton; a language model's server batches by itself.", 2)
    if config.tuning is None:
        raise CommandError(
            f"{model}: tuning: no such block. Give `tuning: {{max_p99_ms: 50, machine: {{usd_per_hour: 1.0}}}}`; "
            "docs/how-to/tune-a-model.md tells every key.",
            WRONG_CONFIG,
        )
    changes = {"max_p99_ms": max_p99_ms, "trials": trials}
    given = {key: value for key, value in changes.items() if value is not None}
    config = config.model_copy(update={"tuning": config.tuning.model_copy(update=given)})
    with reporter.phase(f"tuning of {config.name}"):
        return tune_model(config, folder, reporter.say)


def serving_keys(trial: Trial) -> dict[str, Any]:
    """What a model.yaml says to serve like this."""
    choice = trial.choice
    return {
        "serve": choice.variant,
        "serving": {
            "max_batch_size": choice.batch_size,
            "instances": choice.instances,
            "intra_op_threads": choice.threads,
        },
    }


def write_choice(model: Path, result: TuningResult, target: Path) -> Path:
    """model.yaml with the choice in it, at ``target``; comments are not kept. Relative paths mean its own folder, so
    it must be the same."""
    import yaml

    if target.resolve().parent != model.resolve().parent:
        raise CommandError(
            f"--write {target}: choose a file beside {model}; its relative paths start there.", WRONG_CONFIG
        )
    assert result.chosen
    values = yaml.safe_load(model.read_text(encoding="utf-8"))
    keys = serving_keys(result.chosen)
    values["serve"] = keys["serve"]
    values["serving"] = {**(values.get("serving") or {}), **keys["serving"]}
    target.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return target


def as_json(result: TuningResult, written: Path | None) -> dict[str, Any]:
    return {
        "max_p99_ms": result.max_p99_ms,
        "usd_per_hour": result.usd_per_hour,
        "resumed": result.resumed,
        "chosen": asdict(result.chosen) if result.chosen else None,
        "model_yaml": serving_keys(result.chosen) if result.chosen else None,
        "written": str(written) if written else None,
        "trials": [asdict(trial) for trial in result.trials],
    }


def as_text(result: TuningResult, written: Path | None) -> Iterator[RenderableType]:
    from rich.table import Table

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
        yield (
            f"Nothing holds {result.max_p99_ms:g} ms; nearest is {nearest.choice.variant} with batch "
            f"{nearest.choice.batch_size}: {nearest.latency_ms:.1f} ms. Raise the bound, lower "
            "serving.batching.max_queue_delay_ms, or give smaller batches."
        )
        return
    choice = result.chosen.choice
    yield (
        f"model.yaml: serve: {choice.variant}; serving: {{max_batch_size: {choice.batch_size}, "
        f"instances: {choice.instances}, intra_op_threads: {choice.threads}}}"
    )
    if written:
        yield f"Written to {written}; package it with `spillway package {written}`."
