"""Tune the model of a model.yaml: package it with every variant kept, and search among those that passed."""

from __future__ import annotations

from pathlib import Path

from model_packaging.build import package
from model_packaging.config import load_config
from model_packaging.errors import ModelConfigError
from model_packaging.packager import Progress
from model_packaging.tensors.checks import timing_feed
from model_packaging.tensors.config import TensorConfig
from model_packaging.tensors.source import load
from model_packaging.tuning.search import TuningResult, tune
from model_packaging.tuning.settings import TuningConfig
from spillway.contracts.manifest import VARIANTS
from spillway.contracts.targets import Layout


def read_model(path: Path, max_p99_ms: float | None, trials: int | None) -> TensorConfig:
    """What model.yaml asks to be searched, with this bound and number of trials, where given, before its own.

    Raises :class:`ModelConfigError` for a file that asks for no search.
    """
    config = load_config(path)
    if not isinstance(config, TensorConfig):
        raise ModelConfigError(f"{path}: tune searches models for Triton; a language model's server batches by itself.")
    if config.tuning is None:
        raise ModelConfigError(
            f"{path}: tuning: no such block. Give `tuning: {{max_p99_ms: 50, machine: {{usd_per_hour: 1.0}}}}`; "
            "docs/how-to/tune-a-model.md tells every key."
        )
    changes = {"max_p99_ms": max_p99_ms, "trials": trials}
    given = {key: value for key, value in changes.items() if value is not None}
    return config.model_copy(update={"tuning": config.tuning.model_copy(update=given)})


def tune_model(config: TensorConfig, folder: Path, progress: Progress) -> TuningResult:
    """Search as ``config.tuning`` says, which must be there. ``folder`` keeps the package with all variants, and the
    journals of searches. Raises what :func:`model_packaging.build.package` and :func:`tune` raise."""
    search = _of_the_layouts(config)
    model = load(config)
    if not model.batched:
        search = search.with_one("batch_sizes", "the model has no batch axis and answers one request at a time")
    everything = config.model_copy(update={"keep": tuple(variant.precision for variant in config.variants)})
    built = package(everything, folder / "packages", progress)
    variants = {path.parent.name: path for path in sorted((built.path / VARIANTS).glob("*/model.onnx"))}
    return tune(
        variants,
        lambda size: timing_feed(model, size, config.latency.sequence_length),
        search,
        max_queue_delay_ms=config.serving.batching.max_queue_delay_ms,
        journal_dir=folder,
        progress=progress,
    )


def _of_the_layouts(config: TensorConfig) -> TuningConfig:
    """What is searched: nothing that the server of the tuned layouts would not do, which would be priced all the same.
    Raises :class:`ModelConfigError` where the file asks for that."""
    assert config.tuning
    tuned = config.tuned_layouts()
    if Layout.ONNX_RUNTIME not in tuned:
        return config.tuning
    if others := [layout for layout in tuned if layout != Layout.ONNX_RUNTIME]:
        raise ModelConfigError(
            "tuning.layouts: onnxruntime's server answers each request by itself, and Triton joins them, so one search "
            f"cannot price both: give [onnxruntime], or [{', '.join(others)}] (given: {', '.join(tuned)})."
        )
    return config.tuning.with_one("batch_sizes", "onnxruntime's server joins no requests").with_one(
        "instances", "onnxruntime's server has one session"
    )
