"""``spillway package tune``: search how to serve a model, and tell it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spillway.cli.errors import WRONG_CONFIG, CommandError
from spillway.contracts.targets import Layout

if TYPE_CHECKING:
    from rich.console import RenderableType

    from model_packaging.config import ModelConfig
    from model_packaging.tuning.search import Trial, TuningResult
    from spillway.cli.console import Reporter


@dataclass(frozen=True)
class Tuned:
    """``config``: of the model that was tuned."""

    config: ModelConfig
    result: TuningResult


def run(model: Path, max_p99_ms: float | None, trials: int | None, folder: Path, reporter: Reporter) -> Tuned:
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
        return Tuned(config, tune_model(config, folder, reporter.say))


def serving_keys(config: ModelConfig, trial: Trial) -> dict[str, Any]:
    """What a model.yaml says to serve like this: in the layouts that were tuned; the others keep their variant."""
    choice, before, tuned = trial.choice, config.serve_by_layout(), config.tuned_layouts()
    after = {layout.value: choice.variant if layout in tuned else variant for layout, variant in before.items()}
    serving = {"intra_op_threads": choice.threads}
    if Layout.ONNX_RUNTIME not in tuned:
        # Neither says anything of onnxruntime's server, and written for it they would stop Triton from batching.
        serving |= {"max_batch_size": choice.batch_size, "instances": choice.instances}
    return {"serve": choice.variant if set(after.values()) == {choice.variant} else after, "serving": serving}


def check_target(model: Path, target: Path) -> None:
    """Refuse, before a long search, a ``target`` that :func:`write_choice` could not write. Relative paths mean
    model.yaml's own folder, so it must be the same."""
    folder = target.resolve().parent
    if folder != model.resolve().parent:
        raise CommandError(
            f"--write {target}: choose a file beside {model}; its relative paths start there.", WRONG_CONFIG
        )
    if not os.access(folder, os.W_OK):
        raise CommandError(f"--write {target}: nothing can be written to {folder}.", WRONG_CONFIG)


def write_choice(model: Path, tuned: Tuned, target: Path) -> Path:
    """model.yaml with the choice in it, at ``target``, whole or not at all; comments are not kept."""
    import yaml

    assert tuned.result.chosen
    values = yaml.safe_load(model.read_text(encoding="utf-8"))
    keys = serving_keys(tuned.config, tuned.result.chosen)
    values["serve"] = keys["serve"]
    values["serving"] = {**(values.get("serving") or {}), **keys["serving"]}
    place = target.resolve()
    draft = place.with_name(f".{place.name}.new")
    try:
        draft.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        draft.replace(place)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise CommandError(f"--write {target}: it cannot be written: {error.strerror}.") from error
    return target


def as_json(tuned: Tuned, written: Path | None) -> dict[str, Any]:
    result = tuned.result
    return {
        "max_p99_ms": result.max_p99_ms,
        "usd_per_hour": result.usd_per_hour,
        "resumed": result.resumed,
        "chosen": asdict(result.chosen) if result.chosen else None,
        "model_yaml": serving_keys(tuned.config, result.chosen) if result.chosen else None,
        "written": str(written) if written else None,
        "trials": [asdict(trial) for trial in result.trials],
    }


def as_text(tuned: Tuned, written: Path | None) -> Iterator[RenderableType]:
    from rich.table import Table

    result = tuned.result
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
    keys = serving_keys(tuned.config, result.chosen)
    yield f"model.yaml: serve: {_flow(keys['serve'])}; serving: {_flow(keys['serving'])}"
    if written:
        yield f"Written to {written}; package it with `spillway package {written}`."


def _flow(value: str | dict[str, Any]) -> str:
    """YAML on one line."""
    if isinstance(value, str):
        return value
    return "{" + ", ".join(f"{key}: {item}" for key, item in value.items()) + "}"
