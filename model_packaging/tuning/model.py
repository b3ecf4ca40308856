"""Tune the model of a model.yaml: package it with every variant kept, and search among those that passed."""

from __future__ import annotations

from pathlib import Path

from model_packaging.build import Progress, package
from model_packaging.checks import timing_feed
from model_packaging.config import ModelConfig
from model_packaging.sources import load
from model_packaging.tuning.search import TuningResult, tune
from spillway.contracts.manifest import VARIANTS


def tune_model(config: ModelConfig, folder: Path, progress: Progress) -> TuningResult:
    """Search as ``config.tuning`` says, which must be there. ``folder`` keeps the package with all variants, and the
    journals of searches. Raises what :func:`model_packaging.build.package` and :func:`tune` raise."""
    assert config.tuning
    model = load(config)
    # Nothing is priced that the server would not do, and what asks for it is refused before anything is built.
    search = config.tuning
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
