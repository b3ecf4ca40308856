"""A package's figures as rows: what the command line prints."""

from __future__ import annotations

from spillway.contracts.manifest import Manifest


def rows(manifest: Manifest) -> list[dict[str, object]]:
    """One row per variant, the fastest first, what failed last."""
    parity = {figure.variant: figure for figure in manifest.parity}
    found: list[dict[str, object]] = []
    for variant in manifest.variants:
        row: dict[str, object] = {
            "rank": variant.rank,
            "variant": variant.name,
            "served": list(manifest.layouts_of(variant.name)),
            "size_mb": round(variant.size_bytes / 1e6, 1),
            "peak_memory_mb": round(variant.peak_memory_bytes / 1e6) if variant.peak_memory_bytes else None,
            "min_cosine": parity[variant.name].min_cosine if variant.name in parity else None,
            "mean_cosine": parity[variant.name].mean_cosine if variant.name in parity else None,
            "max_abs": parity[variant.name].max_abs if variant.name in parity else None,
            "top1": parity[variant.name].top1 if variant.name in parity else None,
            "note": variant.reason or variant.detail,
        }
        for figure in manifest.latency:
            if figure.variant == variant.name:
                row[f"p50_ms_batch_{figure.batch_size}"] = figure.p50_ms
                row[f"p99_ms_batch_{figure.batch_size}"] = figure.p99_ms
                row[f"per_s_batch_{figure.batch_size}"] = figure.throughput_per_s
        found.append(row)
    return found


def columns(manifest: Manifest) -> dict[str, str]:
    """Title → key of a row, for what people compare variants by."""
    sizes = sorted({figure.batch_size for figure in manifest.latency})
    return {
        "cosine, worst": "min_cosine",
        "cosine, mean": "mean_cosine",
        **{f"P50 ms, batch {size}": f"p50_ms_batch_{size}" for size in sizes},
    }
