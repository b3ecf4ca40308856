"""The load of one trial: every instance of a model works without pause, as under a full queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from model_packaging.tensors.checks import open_session

WINDOWS: Final = 4
"""Parts that a trial is measured in; after each it may be given up."""
_WARM_UP_RUNS: Final = 2


@dataclass(frozen=True)
class Load:
    """What was seen so far. ``p50_ms``, ``p99_ms``: of one batch; ``per_second``: inferences, of all instances."""

    p50_ms: float
    p99_ms: float
    per_second: float


@dataclass
class _Instance:
    """One instance: a session of its own, as Triton's instance groups have. ``times``: seconds of each batch."""

    onnx_file: Path
    threads: int
    times: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = open_session(self.onnx_file, threads=self.threads)

    def run(self, feed: dict[str, np.ndarray], until: float) -> None:
        """At least once: on a busy machine a thread may start when its time is over."""
        while not self.times or time.perf_counter() < until:
            begun = time.perf_counter()
            self.session.run(None, feed)
            self.times.append(time.perf_counter() - begun)


def measure(
    onnx_file: Path, feed: dict[str, np.ndarray], *, batch_size: int, instances: int, threads: int, seconds: float
) -> Iterator[Load]:
    """Run ``instances`` side by side for ``seconds``; yields what was seen after each of :data:`WINDOWS` parts.

    ``feed``: a batch of ``batch_size``. ONNX Runtime works outside Python's lock, so threads are instances enough.
    """
    group = [_Instance(onnx_file, threads) for _ in range(instances)]
    for instance in group:
        for _ in range(_WARM_UP_RUNS):
            instance.session.run(None, feed)
    spent = 0.0
    for _ in range(WINDOWS):
        begun = time.perf_counter()
        until = begun + seconds / WINDOWS
        workers = [threading.Thread(target=instance.run, args=(feed, until), daemon=True) for instance in group]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        spent += time.perf_counter() - begun
        times = np.array([took for instance in group for took in instance.times])
        yield Load(
            p50_ms=float(np.quantile(times, 0.5)) * 1000,
            p99_ms=float(np.quantile(times, 0.99)) * 1000,
            per_second=len(times) * batch_size / spent,
        )
