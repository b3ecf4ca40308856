"""A language package's figures as rows: what the command line prints."""

from __future__ import annotations

from typing import Final

from model_packaging.language.checks import REFERENCE
from spillway.contracts.manifest import LanguageFigure, Manifest


def rows(manifest: Manifest) -> list[dict[str, object]]:
    """One row per variant, smallest first, what failed last; then the fp32 reference, where one was measured."""
    figures = {figure.variant: figure for figure in manifest.language_figures}
    found: list[dict[str, object]] = [
        {
            "rank": variant.rank,
            "variant": variant.name,
            "served": list(manifest.layouts_of(variant.name)),
            "size_mb": round(variant.size_bytes / 1e6, 1),
            **_measured(figures.get(variant.name)),
            "note": variant.reason or variant.detail,
        }
        for variant in manifest.variants
    ]
    if REFERENCE in figures:
        reference = {"rank": None, "variant": REFERENCE, "served": [], "size_mb": None}
        found.append({**reference, **_measured(figures[REFERENCE]), "note": manifest.source.reference})
    return found


_FIGURES: Final[tuple[str, ...]] = (
    "perplexity",
    "ratio",
    "top1",
    "greedy_match",
    "min_cosine",
    "prefill_ms",
    "token_ms",
)


def _measured(figure: LanguageFigure | None) -> dict[str, object]:
    if figure is None:
        return {str(name): None for name in _FIGURES}
    return {
        "perplexity": figure.perplexity,
        "ratio": figure.perplexity_ratio,
        "top1": figure.top1,
        "greedy_match": figure.greedy_match,
        "min_cosine": figure.min_cosine,
        "prefill_ms": figure.prefill_ms,
        "token_ms": figure.token_ms,
    }


def columns(manifest: Manifest) -> dict[str, str]:
    """Title → key of a row, for what people compare variants by."""
    return {
        "perplexity": "perplexity",
        "× reference": "ratio",
        "top-1": "top1",
        "greedy match": "greedy_match",
        "CPU prefill ms": "prefill_ms",
        "CPU ms a token": "token_ms",
    }
