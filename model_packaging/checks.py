"""Parity against the fp32 torch reference, and latency. Parity comes first: what fails it is never ranked."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from model_packaging.config import Latency
from model_packaging.sources import Batch, LoadedModel
from spillway.contracts.manifest import LatencyFigure, PackageError, ParityFigure

if TYPE_CHECKING:
    import onnxruntime as ort

PARITY_BATCH_SIZES: Final = (1, 3, 8)

_PAD_ID: Final = 0


@dataclass(frozen=True)
class Reference:
    """Batches of every size and length that parity looks at, and what torch answers to them in fp32."""

    batches: tuple[dict[str, np.ndarray], ...]
    outputs: tuple[np.ndarray, ...]
    samples: int


def make_reference(model: LoadedModel) -> Reference:
    """Run torch. Samples go alone, by threes and by eights (padded together), and once as long as may be."""
    import torch

    batches = [
        _join(group)
        for size in PARITY_BATCH_SIZES
        for start in range(0, len(model.samples), size)
        if len(group := model.samples[start : start + size]) == min(size, len(model.samples))
    ]
    if model.text is not None:
        batches.append(_longest(model))
    with torch.no_grad():
        outputs = [model.module(**batch) for batch in batches]
    arrays = tuple(output.float().numpy() for output in outputs)
    if not all(np.isfinite(array).all() for array in arrays):
        raise PackageError("The torch model answers NaN or infinity to the samples: nothing can be compared with that.")
    return Reference(tuple({name: t.numpy() for name, t in b.items()} for b in batches), arrays, len(model.samples))


def parity(variant: str, onnx_file: Path, reference: Reference, min_cosine: float) -> ParityFigure:
    """Compare an ONNX file with the reference. The worst batch counts."""
    session = open_session(onnx_file)
    cosines, absolutes, relatives = [], [], []
    for feed, expected in zip(reference.batches, reference.outputs, strict=True):
        got = np.asarray(session.run(None, feed)[0], dtype=np.float64)
        want = expected.astype(np.float64)
        if got.shape != want.shape:
            raise PackageError(f"{variant}: the ONNX file answers shape {got.shape}, torch {want.shape}.")
        got_rows, want_rows = got.reshape(len(got), -1), want.reshape(len(want), -1)
        norms = np.linalg.norm(got_rows, axis=1) * np.linalg.norm(want_rows, axis=1)
        cosines.append(np.sum(got_rows * want_rows, axis=1) / np.maximum(norms, 1e-30))
        absolutes.append(float(np.max(np.abs(got - want))))
        error = np.linalg.norm(got_rows - want_rows, axis=1) / np.maximum(np.linalg.norm(want_rows, axis=1), 1e-30)
        relatives.append(float(np.max(error)))
    cosine = np.concatenate(cosines)
    sound = bool(np.isfinite(cosine).all())
    worst = float(cosine.min()) if sound else -1.0
    return ParityFigure(
        variant=variant,
        samples=reference.samples,
        min_cosine=round(worst, 7),
        mean_cosine=round(float(cosine.mean()), 7) if sound else -1.0,
        max_abs=float(f"{max(absolutes):.4g}"),
        max_relative=float(f"{max(relatives):.4g}"),
        bound_min_cosine=min_cosine,
        passed=worst >= min_cosine,
    )


def onnx_latency(variant: str, onnx_file: Path, model: LoadedModel, settings: Latency) -> tuple[LatencyFigure, ...]:
    """Time an ONNX file on this machine's CPU."""
    session = open_session(onnx_file, threads=settings.threads)

    def run(batch: Batch) -> Callable[[], object]:
        feed = {name: tensor.numpy() for name, tensor in batch.items()}
        return lambda: session.run(None, feed)

    return _latency(variant, run, model, settings)


def torch_latency(model: LoadedModel, settings: Latency) -> tuple[LatencyFigure, ...]:
    """Time the reference the same way."""
    import torch

    def run(batch: Batch) -> Callable[[], object]:
        return lambda: model.module(**batch)

    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        with torch.inference_mode():
            return _latency("torch-fp32", run, model, settings)
    finally:
        torch.set_num_threads(before)


def open_session(onnx_file: Path, threads: int = 0) -> ort.InferenceSession:
    """An ONNX Runtime session on the CPU."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(onnx_file), sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise PackageError(f"{onnx_file.name}: ONNX Runtime does not load it: {error}") from error


def _latency(
    variant: str, run: Callable[[Batch], Callable[[], object]], model: LoadedModel, settings: Latency
) -> tuple[LatencyFigure, ...]:
    figures = []
    for size in settings.batch_sizes:
        batch = _timing_batch(model, size, settings.sequence_length)
        call = run(batch)
        call()
        times = sorted(_timed_ms(call) for _ in range(settings.repeats))
        figures.append(
            LatencyFigure(
                variant=variant,
                batch_size=size,
                sequence_length=settings.sequence_length if model.text else 0,
                p50_ms=round(statistics.median(times), 3),
                p99_ms=round(times[min(len(times) - 1, int(len(times) * 0.99))], 3),
                threads=settings.threads,
            )
        )
    return tuple(figures)


def _timed_ms(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def _timing_batch(model: LoadedModel, size: int, length: int) -> Batch:
    """Real samples, repeated to the batch size; token sequences are repeated or cut to the length asked for."""
    import torch

    group = [model.samples[index % len(model.samples)] for index in range(size)]
    if model.text is None:
        joined = _join(group)
        return {name: tensor[:size] for name, tensor in joined.items()}
    rows = [sample["input_ids"][0] for sample in group]
    ids = torch.stack([row.repeat(-(-length // len(row)))[:length] for row in rows])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _longest(model: LoadedModel) -> Batch:
    assert model.text is not None
    return _timing_batch(model, 2, model.text.max_length)


def _join(samples: Sequence[Batch]) -> Batch:
    """One batch of several samples; token sequences are padded to the longest."""
    import torch

    joined: Batch = {}
    for name in samples[0]:
        tensors = [sample[name] for sample in samples]
        longest = max(tensor.shape[1] if tensor.dim() > 1 else 0 for tensor in tensors)
        if any(tensor.dim() == 2 and tensor.shape[1] != longest for tensor in tensors):
            tensors = [
                torch.nn.functional.pad(tensor, (0, longest - tensor.shape[1]), value=_PAD_ID) for tensor in tensors
            ]
        joined[name] = torch.cat(tensors)
    return joined
