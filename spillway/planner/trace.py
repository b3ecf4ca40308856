"""Request traces: classed, cut, scaled, laid over each other, and made. Files are read in ``trace_files``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spillway.contracts.classes import RequestClass
from spillway.planner.errors import PlannerError
from spillway.planner.trace_columns import blocks, column

DEFAULT_SHARES: Final[Mapping[RequestClass, float]] = {
    RequestClass.P0: 0.7,
    RequestClass.P1: 0.2,
    RequestClass.P2: 0.1,
}
"""For a trace without classes: drawn with the seed."""


@dataclass(frozen=True)
class Trace:
    """Requests in order of arrival. ``arrival``: float64 [n], seconds from the trace's begin; ``tokens_in``,
    ``tokens_out``: float [n], of a file float32; ``klass``: int8 [n], 0 is P0. ``duration_s``: until the trace's end,
    the last gap included. ``notes``: what was odd in its file, and how it was taken."""

    arrival: NDArray[np.float64]
    tokens_in: NDArray[np.floating]
    tokens_out: NDArray[np.floating]
    klass: NDArray[np.int8]
    duration_s: float
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.arrival)

    @property
    def tokens(self) -> float:
        """Tokens in and out, all requests."""
        return float(self.tokens_in.sum(dtype=np.float64) + self.tokens_out.sum(dtype=np.float64))

    def of(self, *classes: RequestClass) -> Trace:
        """The requests of these classes, over the same time."""
        mine = np.isin(self.klass, [list(RequestClass).index(name) for name in classes])
        columns = (self.arrival[mine], self.tokens_in[mine], self.tokens_out[mine], self.klass[mine])
        return Trace(*columns, duration_s=self.duration_s, notes=self.notes)

    @property
    def offered(self) -> tuple[int, ...]:
        """Requests of each class."""
        counts = sum(np.bincount(self.klass[cut], minlength=len(RequestClass)) for cut in blocks(len(self)))
        return tuple(np.broadcast_to(counts, len(RequestClass)).tolist())

    def between(self, begin_s: float, end_s: float) -> Trace:
        """The requests of ``[begin_s, end_s)``, its begin at 0."""
        if not 0 <= begin_s < end_s <= self.duration_s + 1e-6:
            raise PlannerError(f"cannot cut {begin_s:g} to {end_s:g} s out of a trace of {self.duration_s:g} s")
        inside = slice(*np.searchsorted(self.arrival, (begin_s, end_s)))
        cut = (self.arrival[inside] - begin_s, self.tokens_in[inside], self.tokens_out[inside], self.klass[inside])
        return Trace(*cut, duration_s=end_s - begin_s, notes=self.notes)

    def busiest(self, requests: int) -> Trace:
        """The densest stretch of so many requests; the whole trace where it has no more."""
        if len(self) <= requests:
            return self
        first, shortest = 0, math.inf
        for cut in blocks(len(self) - requests):
            spans = self.arrival[cut.start + requests : cut.stop + requests] - self.arrival[cut]
            at = int(spans.argmin())
            if spans[at] < shortest:
                first, shortest = cut.start + at, float(spans[at])
        return self.between(float(self.arrival[first]), float(self.arrival[first + requests]))

    def per_second(self, window_s: float) -> tuple[float, float]:
        """``(mean, busiest window)`` in requests a second."""
        counts = np.bincount((self.arrival // window_s).astype(np.int64))
        return len(self) / self.duration_s, float(counts.max(initial=0)) / window_s


def draw_classes(count: int, shares: Mapping[RequestClass, float], seed: int) -> NDArray[np.int8]:
    """int8 [count], for a trace that has none. Raises :class:`PlannerError`."""
    weights = np.array([shares.get(name, 0.0) for name in RequestClass])
    if (weights < 0).any() or not math.isclose(weights.sum(), 1.0, abs_tol=1e-6):
        given = ", ".join(f"{name} {weight:g}" for name, weight in zip(RequestClass, weights, strict=True))
        raise PlannerError(f"shares of the classes are {given}; none may be negative, and they have to add up to 1")
    # As Generator.choice draws, without columns of whole numbers.
    dice, shares_to = np.random.default_rng(seed), (weights / weights.sum()).cumsum()
    classes = column("b", count)
    for cut in blocks(count):
        drawn = dice.random(cut.stop - cut.start)
        classes[cut] = (drawn >= shares_to[0]).astype(np.int8) + (drawn >= shares_to[1] / shares_to[2])
    return classes


def superpose(trace: Trace, factor: float, seed: int = 1) -> Trace:
    """``factor`` times the traffic: copies of the trace laid over each other, each turned by a time of its own.

    What is left after the whole copies is a thinned one. Turning keeps each copy's bursts and lets copies miss each
    other, as those of independent users do; ``factor`` below 1 only thins. Raises :class:`PlannerError`.
    """
    if not factor > 0 or not math.isfinite(factor):
        raise PlannerError(f"scale {factor}: it must be above 0")
    dice = np.random.default_rng(seed)
    whole, part = int(factor), factor - int(factor)
    parts = [_turned(trace, 0.0 if copy == 0 else float(dice.uniform(0, trace.duration_s))) for copy in range(whole)]
    if part > 1e-9:
        turned = _turned(trace, 0.0 if whole == 0 else float(dice.uniform(0, trace.duration_s)))
        keep = dice.random(len(trace)) < part
        parts.append(tuple(column[keep] for column in turned))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return Trace(*(column[order] for column in columns), duration_s=trace.duration_s, notes=trace.notes)


def _turned(trace: Trace, by_s: float) -> tuple[NDArray, ...]:
    """The trace's columns, begun ``by_s`` later and its end put in front."""
    return (trace.arrival + by_s) % trace.duration_s, trace.tokens_in, trace.tokens_out, trace.klass


def synthetic(
    duration_s: float = 3600.0,
    requests_per_s: float = 2.5,
    *,
    seed: int = 1,
    shares: Mapping[RequestClass, float] = DEFAULT_SHARES,
) -> Trace:
    """A made trace as bursty as the Azure 2023 code trace: bursts of some twenty seconds, silence in between.

    Bursts begin as a Poisson process; each has a length (exponential, mean 20 s) and a rate (gamma of shape 1.5) of its
    own, inside which requests are Poisson. Prompt and answer lengths are log-normal with that trace's medians (1,469
    and 13 tokens), the spread chosen so that the means are near its means (2,048 and 28).
    """
    if duration_s <= 0 or requests_per_s <= 0:
        raise PlannerError(f"duration {duration_s} s at {requests_per_s} requests/s: both must be above 0")
    dice = np.random.default_rng(seed)
    mean_length, busy = 20.0, 0.35
    bursts = max(1, int(dice.poisson(duration_s * busy / mean_length)))
    begins = dice.uniform(0, duration_s, bursts)
    lengths = dice.exponential(mean_length, bursts)
    weights = lengths * dice.gamma(1.5, 1 / 1.5, bursts)
    counts = dice.multinomial(dice.poisson(requests_per_s * duration_s), weights / weights.sum())
    arrival = np.sort((np.repeat(begins, counts) + dice.random(counts.sum()) * np.repeat(lengths, counts)) % duration_s)
    count = len(arrival)
    tokens_in = np.clip(np.rint(dice.lognormal(math.log(1469), 0.8, count)), 1, 8000)
    tokens_out = np.clip(np.rint(dice.lognormal(math.log(13), 1.2, count)), 1, 2000)
    return Trace(arrival, tokens_in, tokens_out, draw_classes(count, shares, seed), duration_s)
