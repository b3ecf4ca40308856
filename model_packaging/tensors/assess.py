"""Make every variant asked for, check each against the reference, then time and rank those that passed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from model_packaging.errors import ModelConfigError
from model_packaging.packager import Progress
from model_packaging.sources import LoadedModel
from model_packaging.tensors import checks, onnx_export
from model_packaging.tensors.config import TensorConfig
from model_packaging.tensors.reference import Reference, make_reference
from model_packaging.tensors.variants import calibration
from model_packaging.tensors.variants.context import Context, NotAvailable
from model_packaging.tensors.variants.settings import Variant
from spillway.contracts.manifest import CalibrationData, LatencyFigure, PackageError, ParityFigure, VariantFigure
from spillway.contracts.targets import Layout, containers, onnx_level


@dataclass(frozen=True)
class Candidate:
    """A variant that passed its checks: its file, how it answers a batch, and what was measured of it."""

    variant: Variant
    path: Path
    run: checks.Runner
    parity: ParityFigure
    detail: str
    peak_memory_bytes: int | None = None

    @property
    def name(self) -> str:
        return self.variant.name

    @property
    def servable(self) -> bool:
        return not self.variant.scheme.torch_only


@dataclass(frozen=True)
class LeftOut:
    """A variant that is not in the package, and why. ``parity`` where it came as far as that."""

    variant: Variant
    reason: str
    parity: ParityFigure | None = None
    size_bytes: int = 0


@dataclass(frozen=True)
class Assessment:
    """``ranked``: what passed, the fastest first."""

    model: LoadedModel
    ranked: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...]
    latency: tuple[LatencyFigure, ...]
    calibration: tuple[CalibrationData, ...]

    def parity(self) -> tuple[ParityFigure, ...]:
        failed = (item.parity for item in self.left_out if item.parity is not None)
        return (*(candidate.parity for candidate in self.ranked), *failed)

    def figures(self) -> tuple[VariantFigure, ...]:
        """One per variant, in order of rank, those left out last."""
        passed = (
            VariantFigure(
                name=candidate.name,
                precision=candidate.variant.precision,
                rank=rank,
                size_bytes=candidate.path.stat().st_size,
                peak_memory_bytes=candidate.peak_memory_bytes,
                detail=candidate.detail,
            )
            for rank, candidate in enumerate(self.ranked, start=1)
        )
        failed = (
            VariantFigure(
                name=item.variant.name,
                precision=item.variant.precision,
                size_bytes=item.size_bytes,
                reason=item.reason,
            )
            for item in self.left_out
        )
        return (*passed, *failed)

    def served(self, wanted: Mapping[Layout, str]) -> dict[Layout, Candidate]:
        """The variant for each layout, of what model.yaml names for it. Raises :class:`PackageError` when one that is
        named did not pass."""
        return {layout: self._named(layout, name) for layout, name in wanted.items()}

    def _named(self, layout: Layout, name: str) -> Candidate:
        servable = [candidate for candidate in self.ranked if candidate.servable]
        if not servable:
            raise PackageError("No variant that passed can be served by a target: add an ONNX one, such as fp32.")
        if name == "best":
            return servable[0]
        for candidate in servable:
            if candidate.name == name:
                return candidate
        why = next((item.reason for item in self.left_out if item.variant.name == name), "it was not made")
        raise PackageError(
            f"serve: {name}, asked for in {layout}, is left out: {why}. "
            f"What passed: {', '.join(candidate.name for candidate in servable)}. Serve one of these, or `best`."
        )


def assess(config: TensorConfig, model: LoadedModel, work: Path, progress: Progress) -> Assessment:
    """Raises :class:`PackageError` when no variant holds its bound, and
    :class:`model_packaging.errors.ModelConfigError` for calibration data that cannot be used."""
    level = onnx_level(config.targets)
    feeds, described = [], ()
    if config.calibration is not None:
        feeds, data = calibration.read(config.resolve(config.calibration), model)
        described = (data,)
    progress(f"running the reference ({model.reference}) on {len(model.samples)} samples")
    reference = make_reference(model)
    exported = work / "fp32.onnx"
    progress(f"exporting to ONNX (IR {level.ir})")
    onnx_export.export(model, exported, level)

    passed: list[Candidate] = []
    left_out: list[LeftOut] = []
    for variant in config.variants:
        progress(f"making and checking {variant.name}")
        folder = work / variant.name
        folder.mkdir()

        def check(path: Path, variant: Variant = variant) -> ParityFigure:
            run = checks.onnx_runner(path)
            return checks.parity(variant.name, run, reference, variant.min_cosine, variant.min_top1)

        context = Context(
            model,
            exported,
            folder,
            level,
            containers(config.targets),
            feeds,
            check,
            progress,
            keep_high=variant.keep_high,
            max_kept_high=variant.max_kept_high,
        )
        found = _candidate(variant, context, reference)
        if isinstance(found, Candidate):
            passed.append(found)
        else:
            progress(f"{variant.name} is left out: {found.reason}")
            left_out.append(found)
    if not passed:
        reasons = "; ".join(f"{item.variant.name}: {item.reason}" for item in left_out)
        raise PackageError(
            f"No variant of {config.name} is as accurate as asked: {reasons}. "
            "Lower the bounds in model.yaml if you accept that."
        )
    progress("timing what passed")
    runners = {model.reference: checks.torch_runner(model, model.module)}
    runners |= {candidate.name: _timed_runner(candidate, config.latency.threads) for candidate in passed}
    latency = checks.latency(runners, model, config.latency)
    measured = [_with_memory(candidate, model, config) for candidate in passed]
    ranked = sorted(measured, key=lambda candidate: _speed(candidate.name, latency))
    return Assessment(model, tuple(ranked), tuple(left_out), latency, described)


def _candidate(variant: Variant, context: Context, reference: Reference) -> Candidate | LeftOut:
    """A variant that cannot be made, or does not run, is left out: it never stops the others."""
    try:
        return _checked(variant, context, reference)
    except NotAvailable as reason:
        return LeftOut(variant, str(reason))
    except (ModelConfigError, OSError):
        # What model.yaml says wrongly, and a disk that is full.
        raise
    except Exception as error:
        lines = str(error).strip().splitlines()
        return LeftOut(
            variant, f"it cannot be made: {type(error).__name__}: {lines[0] if lines else 'no reason given'}"
        )


def _checked(variant: Variant, context: Context, reference: Reference) -> Candidate | LeftOut:
    made = variant.scheme.make(context)
    run = checks.onnx_runner(made.path) if made.module is None else checks.torch_runner(context.model, made.module)
    figure = checks.parity(variant.name, run, reference, variant.min_cosine, variant.min_top1)
    if figure.passed:
        return Candidate(variant, made.path, run, figure, made.detail)
    reason = f"cosine {figure.min_cosine} is below its bound {variant.min_cosine}"
    if figure.min_cosine >= variant.min_cosine:
        reason = f"top-1 agreement {figure.top1} is below its bound {variant.min_top1}"
    return LeftOut(variant, reason, figure, made.path.stat().st_size)


def _timed_runner(candidate: Candidate, threads: int) -> checks.Runner:
    return checks.onnx_runner(candidate.path, threads) if candidate.servable else candidate.run


def _with_memory(candidate: Candidate, model: LoadedModel, config: TensorConfig) -> Candidate:
    if not candidate.servable:
        return candidate
    return replace(candidate, peak_memory_bytes=checks.peak_memory_bytes(candidate.path, model, config.latency))


def _speed(name: str, latency: tuple[LatencyFigure, ...]) -> float:
    """Mean of the medians' logarithms over the batch sizes."""
    times = [figure.p50_ms for figure in latency if figure.variant == name]
    return sum(math.log(value) for value in times) / len(times)
