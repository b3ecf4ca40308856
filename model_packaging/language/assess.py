"""Make every variant asked for, check each against the fp32 reference, and rank those that passed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_packaging.language import checkpoint, checks, gptq, quantized, shape
from model_packaging.language.config import LanguageChecks, LanguageConfig
from model_packaging.language.source import LanguageModel, read_text
from model_packaging.language.variants.plan import Recipe, plan
from model_packaging.language.variants.settings import LanguageVariant
from model_packaging.language.weights import open_weights
from model_packaging.packager import Progress
from spillway.contracts.manifest import AS_IS, CalibrationData, LanguageFigure, PackageError, VariantFigure

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Candidate:
    """A folder that may be served. ``size_bytes``: of its weights, all files together; ``summary``: its quantization in
    words, ``method`` as config.json names it; ``figure``: what was measured, ``None`` for what was never loaded."""

    name: str
    precision: str
    folder: Path
    dtype: str
    method: str
    summary: str
    size_bytes: int
    figure: LanguageFigure | None = None
    reason: str = ""


@dataclass(frozen=True)
class Assessment:
    """``ranked``: what passed, the smallest first. ``checked``: the reference, then every variant."""

    model: LanguageModel
    ranked: tuple[Candidate, ...]
    left_out: tuple[Candidate, ...] = ()
    checked: tuple[LanguageFigure, ...] = ()
    calibration: tuple[CalibrationData, ...] = ()

    def figures(self) -> tuple[VariantFigure, ...]:
        """One per variant, in order of rank, those left out last."""
        ranks = [*range(1, len(self.ranked) + 1), *([None] * len(self.left_out))]
        return tuple(
            VariantFigure(
                name=candidate.name,
                precision=candidate.precision,
                rank=rank,
                size_bytes=candidate.size_bytes,
                detail=candidate.summary,
                reason=candidate.reason,
            )
            for rank, candidate in zip(ranks, (*self.ranked, *self.left_out), strict=True)
        )

    def served(self, wanted: str) -> Candidate:
        """What model.yaml names. Raises :class:`PackageError` when it did not pass."""
        if wanted == "smallest":
            return self.ranked[0]
        for candidate in self.ranked:
            if candidate.name == wanted:
                return candidate
        raise PackageError(
            f"serve: {wanted} missed its bounds; what passed: "
            f"{', '.join(candidate.name for candidate in self.ranked)}. Serve one of these, or `smallest`."
        )


def assess(config: LanguageConfig, model: LanguageModel, work: Path, progress: Progress) -> Assessment:
    """Raises :class:`PackageError` when no variant holds its bounds or vLLM's settings do not fit the model."""
    _check_serving(config, model)
    if config.as_is:
        return Assessment(model, (_as_it_came(config, model),))
    assert config.checks is not None
    # Every plan before any work: a bad group size is told at once.
    plans = {variant.name: plan(variant, model.weights, model.settings) for variant in config.variants}
    bench = _Bench(config, config.checks, model, work, progress)
    calibration, calibrated_on = _calibration(config, model)
    rounded = bench.round(plans, calibration)
    candidates = [bench.candidate(variant, plans[variant.name], rounded) for variant in config.variants]
    ranked = _ranked([candidate for candidate in candidates if not candidate.reason])
    left_out = tuple(candidate for candidate in candidates if candidate.reason)
    if not ranked:
        reasons = "; ".join(f"{candidate.name}: {candidate.reason}" for candidate in left_out)
        raise PackageError(
            f"No variant of {config.name} is as accurate as asked: {reasons}. "
            "Lower the bounds in model.yaml if you accept that."
        )
    measured = [candidate.figure for candidate in candidates if candidate.figure is not None]
    return Assessment(model, ranked, left_out, (bench.reference_figure, *measured), calibrated_on)


def _as_it_came(config: LanguageConfig, model: LanguageModel) -> Candidate:
    declared = model.quantization
    words = quantized.check(model.weights, declared)
    method = quantized.method_of(declared) if declared else "none"
    own = model.settings.get("dtype") or model.settings.get("torch_dtype")
    dtype = own if own in ("bfloat16", "float16") and "dtype" not in config.model_fields_set else config.dtype
    return Candidate(AS_IS, method, model.folder, dtype, method, words, model.weights.size_bytes)


class _Bench:
    """The reference's answers, and what each variant makes of the same task."""

    def __init__(
        self, config: LanguageConfig, settings: LanguageChecks, model: LanguageModel, work: Path, progress: Progress
    ) -> None:
        self._config, self._settings, self._model, self._work, self._progress = config, settings, model, work, progress
        text, prompts = (
            read_text(config.resolve(path), key)
            for key, path in (("checks.text", settings.text), ("checks.prompts", settings.prompts))
        )
        self._task = checks.make_task(settings, text, prompts, model.tokenizer, model.folder)
        progress(f"the fp32 reference reads {self._task.windows.numel()} tokens")
        with checks.loaded(model.folder, work, settings.memory_gib) as module:
            self._reference = checks.read(module, self._task)
        self.reference_figure = checks.reference_figure(self._reference, self._task)

    def round(self, plans: Mapping[str, Recipe], windows: torch.Tensor | None) -> dict[str, dict[str, torch.Tensor]]:
        """GPTQ's weights of the variants that want them, by the variant's name."""
        wanted = [variant for variant in self._config.variants if variant.method == "gptq"]
        if not wanted:
            return {}
        assert windows is not None
        if not checks.fits(self._model.folder, self._settings.memory_gib):
            raise PackageError(
                f"{wanted[0].name}: gptq needs the whole model in memory; use method: round, or quantize with "
                "llm-compressor and package with source.weights: as-is."
            )
        with checks.loaded(self._model.folder, self._work, self._settings.memory_gib) as module:
            return {
                variant.name: gptq.rounded_weights(module, plans[variant.name], windows, self._dtype(variant))
                for variant in wanted
            }

    def candidate(
        self, variant: LanguageVariant, recipe: Recipe, rounded: dict[str, dict[str, torch.Tensor]]
    ) -> Candidate:
        """Write the variant, load it back, and let what was loaded read the task."""
        self._progress(f"{variant.name}: writing")
        folder = self._work / variant.name
        checkpoint.write(self._model, recipe, self._dtype(variant), folder, rounded.pop(variant.name, None))
        weights = open_weights(folder)
        quantized.check(weights, recipe.config)
        fits = checks.fits(folder, self._settings.memory_gib)
        if recipe.scheme.blocks and not fits:
            raise PackageError(
                f"{variant.name}: transformers unpacks blocks in memory only, and there is too little to check them; "
                "give checks.memory_gib what the machine has, or use fp8."
            )
        unpack = recipe.unpack_to_check or not fits
        figure = self._figure(variant, folder, unpack)
        reason = checks.shortcomings(variant, figure)
        self._progress(
            f"{variant.name}: perplexity {figure.perplexity} ({figure.perplexity_ratio} of the reference's), "
            f"{weights.size_bytes / 1e6:.0f} MB" + (f": left out: {reason}" if reason else "")
        )
        if reason:
            shutil.rmtree(folder)
        return Candidate(
            variant.name,
            variant.precision,
            folder,
            self._dtype(variant),
            recipe.scheme.method,
            recipe.summary + ("; checked with inputs as they are" if unpack and recipe.scheme.inputs else ""),
            weights.size_bytes,
            figure,
            reason,
        )

    def _figure(self, variant: LanguageVariant, folder: Path, unpack: bool) -> LanguageFigure:
        with checks.loaded(folder, self._work, self._settings.memory_gib, unpack) as module:
            return checks.figure(variant, checks.read(module, self._task), self._reference, self._task)

    def _dtype(self, variant: LanguageVariant) -> str:
        return variant.scheme.dtype or self._config.dtype


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
    limit = shape.longest_context(model.settings)
    if limit is not None and config.vllm.max_model_len > limit:
        raise PackageError(
            f"vllm.max_model_len: {config.vllm.max_model_len}; allowed: up to the model's {limit} positions."
        )
    shape.check_parallel(model.settings, config.vllm.tensor_parallel_size, config.vllm.pipeline_parallel_size)


def _ranked(passed: list[Candidate]) -> tuple[Candidate, ...]:
    """Smallest first; of those within a twentieth of the smallest's size, the closest to the reference first."""
    smallest = min((candidate.size_bytes for candidate in passed), default=1)
    return tuple(sorted(passed, key=lambda c: (round(c.size_bytes / smallest, 1), _perplexity(c))))


def _perplexity(candidate: Candidate) -> float:
    return (candidate.figure.perplexity if candidate.figure else None) or 0.0
