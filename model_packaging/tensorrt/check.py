"""What an engine answers and how long it takes. Parity comes first: an engine that misses its bound is not stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from model_packaging.tensorrt.precision import Feed
from model_packaging.tensorrt.runtime import Engine
from model_packaging.tensors.cosine import as_rows, row_cosines
from spillway.contracts.manifest import PackageError
from spillway.contracts.trt_engines import EngineLatency, EngineParity

if TYPE_CHECKING:
    import torch

_WARM_UP: Final = 20


Answers = Mapping[str, np.ndarray]
"""Output → array, for one sample."""


def parity(
    engine: Callable[[dict[str, torch.Tensor]], Mapping[str, torch.Tensor]],
    feeds: Sequence[Feed],
    expected: Sequence[Answers],
    reference: str,
    bound: float,
) -> EngineParity:
    """Compare every output with ``expected``, the answers of ``reference``; the worst output and sample count.

    Raises :class:`PackageError` when a cosine is below ``bound`` or an answer is no number.
    """
    import torch

    answers = [engine({name: torch.from_numpy(array) for name, array in feed.items()}) for feed in feeds]
    cosines, largest = [], 0.0
    for name in expected[0]:
        got = [answer[name].double().cpu().numpy() for answer in answers]
        want = [answer[name] for answer in expected]
        for ours, theirs in zip(got, want, strict=True):
            if ours.shape != theirs.shape:
                raise PackageError(f"{name}: the engine answers shape {ours.shape}, {reference} {theirs.shape}.")
        pairs = zip(as_rows(got), as_rows(want), strict=True)
        cosines.append(np.concatenate([row_cosines(ours, theirs) for ours, theirs in pairs]))
        largest = max(largest, *(float(np.max(np.abs(ours - theirs))) for ours, theirs in zip(got, want, strict=True)))
    sound = np.isfinite(largest) and all(np.isfinite(cosine).all() for cosine in cosines)
    worst = min(float(cosine.min()) for cosine in cosines) if sound else float("nan")
    if not worst >= bound:
        raise PackageError(
            f"The engine's cosine to {reference} is {worst:.5f} at worst, and the bound is {bound}. It is not kept. "
            "Use a higher precision, leave layers in fp16 (--high-precision), or lower the bound if you accept that."
        )
    return EngineParity(
        reference=reference,
        samples=len(feeds),
        min_cosine=round(worst, 7),
        mean_cosine=round(min(float(cosine.mean()) for cosine in cosines), 7),
        max_abs=float(f"{largest:.4g}"),
        bound_min_cosine=bound,
    )


def latency(engine: Engine, inputs: Mapping[str, torch.Tensor], repeats: int = 100) -> tuple[EngineLatency, ...]:
    """Time one batch that is on the GPU already, launched kernel by kernel and replayed from a CUDA graph."""
    placed = {name: tensor.cuda() for name, tensor in inputs.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in placed.items()}
    replay = engine.capture(placed)
    calls: tuple[tuple[bool, Callable[[], object]], ...] = ((False, lambda: engine(placed)), (True, replay))
    figures = []
    for graph, call in calls:
        p50, p99 = timed_ms(call, repeats)
        batch = next(iter(shapes.values()))[0]
        figures.append(EngineLatency(batch_size=batch, shapes=shapes, graph=graph, p50_ms=p50, p99_ms=p99))
    return tuple(figures)


def timed_ms(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median and 99th percentile in milliseconds by CUDA events around each call, launch included."""
    import torch

    for _ in range(_WARM_UP):
        call()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return round(float(np.median(times)), 4), round(float(np.percentile(times, 99)), 4)
