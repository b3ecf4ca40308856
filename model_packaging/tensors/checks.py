"""Parity against the fp32 reference, and latency. Parity comes first: what fails it is never ranked."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from model_packaging.sources import LoadedModel
from model_packaging.tensors.cosine import as_rows, row_cosines
from model_packaging.tensors.reference import Reference, timing_batch
from model_packaging.tensors.settings import Latency
from spillway.contracts.manifest import LatencyFigure, OutputParity, PackageError, ParityFigure

if TYPE_CHECKING:
    import onnxruntime as ort
    from torch import nn

Runner = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
"""Answers a batch: every output by name."""

_MEMORY_PROBE: Final = Path(__file__).with_name("memory_probe.py")


def parity(
    variant: str, run: Runner, reference: Reference, min_cosine: float, min_top1: float | None = None
) -> ParityFigure:
    """Compare a variant with the reference, output by output. The worst output, batch and sample counts."""
    answers = [run(feed) for feed in reference.batches]
    by_output = {}
    for name in reference.outputs[0]:
        got = [np.asarray(answer[name], dtype=np.float64) for answer in answers]
        want = [answer[name].astype(np.float64) for answer in reference.outputs]
        by_output[name] = _output_parity(f"{variant}, output {name}", got, want, batched=reference.batched)
    worst = min(figure.min_cosine for figure in by_output.values())
    top1 = _top1(answers, reference) if reference.classifies or min_top1 is not None else None
    return ParityFigure(
        variant=variant,
        samples=reference.samples,
        min_cosine=worst,
        mean_cosine=min(figure.mean_cosine for figure in by_output.values()),
        max_abs=max(figure.max_abs for figure in by_output.values()),
        max_relative=max(figure.max_relative for figure in by_output.values()),
        top1=top1,
        bound_min_cosine=min_cosine,
        bound_min_top1=min_top1,
        passed=worst >= min_cosine and (min_top1 is None or (top1 or 0.0) >= min_top1),
        outputs=by_output if len(by_output) > 1 else {},
    )


def _top1(answers: Sequence[Mapping[str, np.ndarray]], reference: Reference) -> float:
    """The share of rows of the first output whose highest score is where the reference has it."""
    name = next(iter(reference.outputs[0]))
    same = [
        np.argmax(got[name], axis=-1).reshape(-1) == np.argmax(want[name], axis=-1).reshape(-1)
        for got, want in zip(answers, reference.outputs, strict=True)
    ]
    return round(float(np.concatenate(same).mean()), 6)


def _output_parity(what: str, got: list[np.ndarray], want: list[np.ndarray], *, batched: bool) -> OutputParity:
    """One output over all batches."""
    for one, other in zip(got, want, strict=True):
        if one.shape != other.shape:
            raise PackageError(f"{what}: the ONNX file answers shape {one.shape}, the reference {other.shape}.")
    pairs = list(zip(as_rows(got, batched=batched), as_rows(want, batched=batched), strict=True))
    cosine = np.concatenate([row_cosines(ours, theirs) for ours, theirs in pairs])
    relatives = [
        float(np.max(np.linalg.norm(ours - theirs, axis=1) / np.maximum(np.linalg.norm(theirs, axis=1), 1e-30)))
        for ours, theirs in pairs
    ]
    sound = bool(np.isfinite(cosine).all())
    max_abs = max(float(np.max(np.abs(one - other))) for one, other in zip(got, want, strict=True))
    return OutputParity(
        min_cosine=round(float(cosine.min()), 7) if sound else -1.0,
        mean_cosine=round(float(cosine.mean()), 7) if sound else -1.0,
        max_abs=float(f"{max_abs:.4g}"),
        max_relative=float(f"{max(relatives):.4g}"),
    )


def onnx_runner(onnx_file: Path, threads: int = 0) -> Runner:
    """Run an ONNX file on this machine's CPU."""
    session = open_session(onnx_file, threads)
    names = [output.name for output in session.get_outputs()]

    def run(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in zip(names, session.run(names, dict(feed)), strict=True)}

    return run


def torch_runner(model: LoadedModel, module: nn.Module) -> Runner:
    """Run a module in place of the model's own. Threads are torch's, for the whole process."""
    import torch

    variant = replace(model, module=module)

    def run(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        batch = {name: torch.from_numpy(array) for name, array in feed.items()}
        return {name: tensor.float().numpy() for name, tensor in variant.answer(batch).items()}

    return run


def latency(runners: Mapping[str, Runner], model: LoadedModel, settings: Latency) -> tuple[LatencyFigure, ...]:
    """Time variants side by side: each round runs every one once, so that a busy moment hits them all."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        return tuple(
            figure
            for size in (settings.batch_sizes if model.batched else (1,))
            for figure in _latency_of_batch(runners, model, settings, size)
        )
    finally:
        torch.set_num_threads(before)


def peak_memory_bytes(onnx_file: Path, model: LoadedModel, settings: Latency) -> int | None:
    """Most resident memory of a fresh process that loads the file and answers the largest timed batch, the interpreter
    and ONNX Runtime included. ``None`` where the system does not tell (it is read from Linux's /proc)."""
    size = max(settings.batch_sizes) if model.batched else 1
    feed = timing_feed(model, size, settings.sequence_length)
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder, "feed.npz")
        np.savez(inputs, allow_pickle=False, **feed)
        command = [sys.executable, str(_MEMORY_PROBE), str(onnx_file), str(inputs), str(settings.threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackageError(f"{onnx_file.name}: the process that measures memory failed: {done.stderr.strip()[-300:]}")
    return int(done.stdout) or None


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


def _latency_of_batch(
    runners: Mapping[str, Runner], model: LoadedModel, settings: Latency, size: int
) -> list[LatencyFigure]:
    feed = timing_feed(model, size, settings.sequence_length)
    times: dict[str, list[float]] = {name: [] for name in runners}
    for run in (*runners.values(), *runners.values()):
        _timed_ms(run, feed)
    for _ in range(settings.repeats):
        for name, run in runners.items():
            times[name].append(_timed_ms(run, feed))
    return [
        LatencyFigure(
            variant=name,
            batch_size=size,
            sequence_length=settings.sequence_length if model.text else 0,
            p50_ms=round(statistics.median(taken), 3),
            p99_ms=round(float(np.percentile(taken, 99)), 3),
            throughput_per_s=round(1000 * size / statistics.median(taken), 2),
            threads=settings.threads,
        )
        for name, taken in times.items()
    ]


def _timed_ms(run: Runner, feed: Mapping[str, np.ndarray]) -> float:
    start = time.perf_counter()
    run(feed)
    return (time.perf_counter() - start) * 1000


def timing_feed(model: LoadedModel, size: int, length: int) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in timing_batch(model, size, length).items()}
