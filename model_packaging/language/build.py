"""From a language model's settings to a package folder and its manifest, not yet in the store."""

from __future__ import annotations

import gc
import hashlib
import importlib.metadata
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from model_packaging.language import checkpoint, checks, layout
from model_packaging.language.config import LanguageConfig, LanguageVariant
from model_packaging.language.schemes import Plan, plan
from model_packaging.language.source import LanguageModel, load, read_text
from model_packaging.provenance import provenance_of
from spillway.contracts.manifest import (
    VLLM_FOLDER,
    CalibrationData,
    LanguageFigure,
    LanguageServing,
    Manifest,
    PackageError,
    Serving,
    VariantFigure,
    describe_files,
)
from spillway.contracts.targets import Layout

if TYPE_CHECKING:
    import torch

TOOLS: Final = ("torch", "transformers", "compressed-tensors", "tokenizers", "safetensors", "gguf")
"""Whose versions decide the bytes."""


@dataclass(frozen=True)
class _Candidate:
    """A variant's folder and what was measured of it. ``size_bytes``: of its weights, all files together."""

    variant: LanguageVariant
    plan: Plan
    folder: Path
    dtype: str
    size_bytes: int
    figure: LanguageFigure
    reason: str


def build(
    config: LanguageConfig, work: Path, key: str, weights_sha256: str, progress: Callable[[str], None]
) -> tuple[Path, Manifest]:
    """Quantize, check, choose and lay out in ``work``. Raises :class:`PackageError`, also when no variant holds."""
    progress("loading the model in fp32")
    model = load(config, weights_sha256)
    _check_serving(config, model)
    # Every plan before any work: a bad group size is told at once.
    plans = {variant.name: plan(variant, model.module) for variant in config.variants}
    calibration, calibrated_on = _calibration(config, model)

    texts = [read_text(config.resolve(path), key) for key, path in _texts(config)]
    task = checks.make_task(config.checks, texts[0], texts[1], model.tokenizer, model.module)
    progress(f"the fp32 reference reads {task.windows.numel()} tokens and answers {len(task.prompts)} prompts")
    reference = checks.read(model.module, task)
    figures = [checks.reference_figure(reference, task)]

    candidates = []
    for variant in config.variants:
        candidate = _candidate(
            config, variant, plans[variant.name], model, calibration, work, reference, task, progress
        )
        candidates.append(candidate)
        figures.append(candidate.figure)
    ranked = _ranked([candidate for candidate in candidates if not candidate.reason])
    left_out = [candidate for candidate in candidates if candidate.reason]
    served = _served(config, ranked, left_out)

    progress(f"laying out {served.variant.name} for vLLM, SageMaker, Azure ML and Triton")
    package = work / "package"
    package.mkdir()
    served.folder.rename(package / VLLM_FOLDER)
    serving = _serving(config, model, served)
    layout.write(package, config, serving)
    manifest = Manifest(
        name=config.name,
        version="",
        digest="",
        build_key=key,
        kind="vllm",
        entry_model=config.name,
        served={Layout.VLLM: served.variant.name},
        files=describe_files(package),
        inputs=(),
        outputs=(),
        source=model.source,
        tools=tools(),
        variants=_variant_figures(ranked, left_out),
        provenance=provenance_of(config.base_dir, calibrated_on),
        serving=Serving(
            max_batch_size=config.vllm.max_num_seqs,
            max_concurrency=config.vllm.max_concurrency,
            request_timeout_s=config.vllm.request_timeout_s,
            slots=config.vllm.slots,
        ),
        language=serving,
        language_figures=tuple(figures),
    ).sealed()
    return package, manifest


def tools() -> dict[str, str]:
    """Versions of what decides the bytes."""
    return {name: importlib.metadata.version(name) for name in TOOLS}


def _texts(config: LanguageConfig) -> tuple[tuple[str, Path], ...]:
    return ("checks.text", config.checks.text), ("checks.prompts", config.checks.prompts)


def _candidate(
    config: LanguageConfig,
    variant: LanguageVariant,
    steps: Plan,
    model: LanguageModel,
    calibration: torch.Tensor | None,
    work: Path,
    reference: checks.Reading,
    task: checks.Task,
    progress: Callable[[str], None],
) -> _Candidate:
    """Write the variant, load it back, and let what was loaded read the task."""
    from model_packaging.language import gptq

    progress(f"{variant.name}: writing")
    dtype = checkpoint.stored_dtype(variant, config.dtype)
    rounded = None
    if variant.method == "gptq":
        assert calibration is not None
        rounded = gptq.rounded_weights(model, steps, calibration, dtype)
    folder = work / variant.name
    checkpoint.write(model, steps, dtype, folder, rounded)
    del rounded
    figure = checks.figure(variant, checks.read(checks.load_back(folder), task), reference, task)
    # compressed-tensors ties layers into cycles: without this the variants would pile up in memory.
    gc.collect()
    reason = checks.shortcomings(variant, figure)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    progress(
        f"{variant.name}: perplexity {figure.perplexity} ({figure.perplexity_ratio} of the reference's), "
        f"{size / 1e6:.0f} MB" + (f": left out: {reason}" if reason else "")
    )
    if reason:
        shutil.rmtree(folder)
    return _Candidate(variant, steps, folder, dtype, size, figure, reason)


def _calibration(
    config: LanguageConfig, model: LanguageModel
) -> tuple[torch.Tensor | None, tuple[CalibrationData, ...]]:
    settings = config.calibration
    if settings is None or not any(variant.method == "gptq" for variant in config.variants):
        return None, ()
    text = read_text(config.resolve(settings.text), "calibration.text")
    windows = checks.text_windows(text, model.tokenizer, settings.window, settings.tokens, "calibration.text")
    digest = hashlib.sha256(windows.numpy().tobytes()).hexdigest()
    return windows, (CalibrationData(name=settings.text.name, samples=len(windows), sha256=digest),)


def _check_serving(config: LanguageConfig, model: LanguageModel) -> None:
    limit = model.settings.get("max_position_embeddings")
    if isinstance(limit, int) and config.vllm.max_model_len > limit:
        raise PackageError(
            f"vllm.max_model_len: {config.vllm.max_model_len}; allowed: up to the model's {limit} positions."
        )
    heads, size = model.settings.get("num_attention_heads"), config.vllm.tensor_parallel_size
    if isinstance(heads, int) and heads % size:
        fitting = [str(number) for number in range(1, heads + 1) if heads % number == 0]
        raise PackageError(
            f"vllm.tensor_parallel_size: {size} does not divide the {heads} attention heads; "
            f"allowed: {', '.join(fitting)}."
        )


def _ranked(passed: list[_Candidate]) -> list[_Candidate]:
    """Smallest first; of those within a twentieth of the smallest's size, the closest to the reference first."""
    smallest = min((candidate.size_bytes for candidate in passed), default=1)
    return sorted(passed, key=lambda c: (round(c.size_bytes / smallest, 1), c.figure.perplexity or 0))


def _served(config: LanguageConfig, ranked: list[_Candidate], left_out: list[_Candidate]) -> _Candidate:
    if not ranked:
        raise PackageError(
            f"No variant of {config.name} is as accurate as asked: "
            + "; ".join(f"{candidate.variant.name}: {candidate.reason}" for candidate in left_out)
            + ". Lower the bounds in model.yaml if you accept that."
        )
    if config.serve == "smallest":
        return ranked[0]
    for candidate in ranked:
        if candidate.variant.name == config.serve:
            return candidate
    raise PackageError(
        f"serve: {config.serve} missed its bounds; what passed: "
        f"{', '.join(candidate.variant.name for candidate in ranked)}. Serve one of these, or `smallest`."
    )


def _serving(config: LanguageConfig, model: LanguageModel, served: _Candidate) -> LanguageServing:
    return LanguageServing(
        max_model_len=config.vllm.max_model_len,
        max_num_seqs=config.vllm.max_num_seqs,
        tensor_parallel_size=config.vllm.tensor_parallel_size,
        dtype=served.dtype,  # pyright: ignore[reportArgumentType]
        quantization="none" if served.plan.config is None else "compressed-tensors",
        scheme=served.plan.summary,
        tokenizer=type(model.tokenizer).__name__,
        vocabulary=len(model.tokenizer),
        chat_template=bool(model.tokenizer.chat_template),
    )


def _variant_figures(ranked: list[_Candidate], left_out: list[_Candidate]) -> tuple[VariantFigure, ...]:
    ranks = [*range(1, len(ranked) + 1), *([None] * len(left_out))]
    return tuple(
        VariantFigure(
            name=candidate.variant.name,
            precision=candidate.variant.precision,
            rank=rank,
            size_bytes=candidate.size_bytes,
            detail=candidate.plan.summary,
            reason=candidate.reason,
        )
        for rank, candidate in zip(ranks, (*ranked, *left_out), strict=True)
    )
