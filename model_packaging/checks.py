"""Parity against the fp32 reference, and latency. Parity comes first: what fails it is never ranked."""

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
from spillway.contracts.manifest import LatencyFigure, OutputParity, PackageError, ParityFigure

if TYPE_CHECKING:
    import onnxruntime as ort

PARITY_BATCH_SIZES: Final = (1, 3, 8)

_PAD_ID: Final = 0


@dataclass(frozen=True)
class Reference:
    """Batches of every size and length that parity looks at, and what the reference answers to each, by output."""

    batches: tuple[dict[str, np.ndarray], ...]
    outputs: tuple[dict[str, np.ndarray], ...]
    samples: int
    batched: bool = True


def make_reference(model: LoadedModel) -> Reference:
    """Run the reference. Samples go alone, by threes and by eights (texts padded together, and once as long as may be);
    each alone where the model has no batch axis."""
    batches = [
        _join(group)
        for size in (PARITY_BATCH_SIZES if model.batched else (1,))
        for start in range(0, len(model.samples), size)
        if len(group := model.samples[start : start + size]) == min(size, len(model.samples))
        and (model.text is not None or _same_shapes(group))
    ]
    if model.text is not None:
        batches.append(_longest(model))
    outputs = tuple({name: tensor.float().numpy() for name, tensor in model.answer(batch).items()} for batch in batches)
    if not all(np.isfinite(array).all() for answer in outputs for array in answer.values()):
        raise PackageError("The model answers NaN or infinity to the samples: nothing can be compared with that.")
    return Reference(
        tuple({name: t.numpy() for name, t in b.items()} for b in batches), outputs, len(model.samples), model.batched
    )


def parity(variant: str, onnx_file: Path, reference: Reference, min_cosine: float) -> ParityFigure:
    """Compare an ONNX file with the reference, output by output. The worst output, batch and sample counts."""
    session = open_session(onnx_file)
    names = list(reference.outputs[0])
    answers = [session.run(names, feed) for feed in reference.batches]
    by_output = {}
    for index, name in enumerate(names):
        got = [np.asarray(answer[index], dtype=np.float64) for answer in answers]
        want = [answer[name].astype(np.float64) for answer in reference.outputs]
        by_output[name] = _output_parity(f"{variant}, output {name}", got, want, batched=reference.batched)
    worst = min(figure.min_cosine for figure in by_output.values())
    return ParityFigure(
        variant=variant,
        samples=reference.samples,
        min_cosine=worst,
        mean_cosine=min(figure.mean_cosine for figure in by_output.values()),
        max_abs=max(figure.max_abs for figure in by_output.values()),
        max_relative=max(figure.max_relative for figure in by_output.values()),
        bound_min_cosine=min_cosine,
        passed=worst >= min_cosine,
        outputs=by_output if len(by_output) > 1 else {},
    )


def _output_parity(what: str, got: list[np.ndarray], want: list[np.ndarray], *, batched: bool) -> OutputParity:
    """One output over all batches. The cosine of one number to another is 1 or -1 and says nothing: where a sample
    answers with a single number, the numbers of all samples are compared as one row."""
    for one, other in zip(got, want, strict=True):
        if one.shape != other.shape:
            raise PackageError(f"{what}: the ONNX file answers shape {one.shape}, the reference {other.shape}.")
    got_rows = [item.reshape(len(item) if batched else 1, -1) for item in got]
    want_rows = [item.reshape(len(item) if batched else 1, -1) for item in want]
    if all(rows.shape[1] == 1 for rows in want_rows):
        got_rows, want_rows = [np.concatenate(got_rows).T], [np.concatenate(want_rows).T]
    cosines, relatives = [], []
    for ours, theirs in zip(got_rows, want_rows, strict=True):
        length = np.linalg.norm(theirs, axis=1)
        norms = np.linalg.norm(ours, axis=1) * length
        # Two rows of zeros are equal, though they have no direction.
        both_zero = (np.linalg.norm(ours, axis=1) == 0) & (length == 0)
        cosines.append(np.where(both_zero, 1.0, np.sum(ours * theirs, axis=1) / np.maximum(norms, 1e-30)))
        relatives.append(float(np.max(np.linalg.norm(ours - theirs, axis=1) / np.maximum(length, 1e-30))))
    cosine = np.concatenate(cosines)
    sound = bool(np.isfinite(cosine).all())
    max_abs = max(float(np.max(np.abs(one - other))) for one, other in zip(got, want, strict=True))
    return OutputParity(
        min_cosine=round(float(cosine.min()), 7) if sound else -1.0,
        mean_cosine=round(float(cosine.mean()), 7) if sound else -1.0,
        max_abs=float(f"{max_abs:.4g}"),
        max_relative=float(f"{max(relatives):.4g}"),
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
            return _latency(model.reference, run, model, settings)
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
    for size in settings.batch_sizes if model.batched else (1,):
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
    if model.text is None and not model.batched:
        return model.samples[0]
    if model.text is None:
        joined = _join(group if _same_shapes(group) else [group[0]] * size)
        return {name: tensor[:size] for name, tensor in joined.items()}
    rows = [sample["input_ids"][0] for sample in group]
    ids = torch.stack([row.repeat(-(-length // len(row)))[:length] for row in rows])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _same_shapes(samples: Sequence[Batch]) -> bool:
    """Whether the samples can be joined as they are."""
    return len({tuple(tensor.shape[1:] for tensor in sample.values()) for sample in samples}) == 1


def _longest(model: LoadedModel) -> Batch:
    assert model.text is not None
    return _timing_batch(model, 2, model.text.max_length)


def _join(samples: Sequence[Batch]) -> Batch:
    """One batch of several samples; token sequences are padded to the longest."""
    import torch

    if len(samples) == 1:
        return dict(samples[0])
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
