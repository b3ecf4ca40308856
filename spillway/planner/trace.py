"""Request traces: read from CSV, classed, cut, scaled, laid over each other, and made.

Two kinds of file are read as they are, told apart by their header:

* ``time,input_tokens,output_tokens,class``: time in seconds or ISO 8601; the column of classes may be left out;
* the Azure 2023 schema ``TIMESTAMP,ContextTokens,GeneratedTokens`` (github.com/Azure/AzurePublicDataset).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spillway.contracts.classes import RequestClass
from spillway.planner.errors import PlannerError, TraceError

COLUMNS: Final = {
    "spillway": ("time", "input_tokens", "output_tokens"),
    "azure": ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
}
CLASS_COLUMN: Final = "class"
DEFAULT_SHARES: Final[Mapping[RequestClass, float]] = {
    RequestClass.P0: 0.7,
    RequestClass.P1: 0.2,
    RequestClass.P2: 0.1,
}
"""For a trace without classes: drawn with the seed."""
MAX_GAP_S: Final = 24 * 3600.0
"""Silence in a trace that is taken for a fault in it, unless the caller says otherwise."""
MAX_TOKENS: Final = 10_000_000
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Trace:
    """Requests in order of arrival. ``arrival``: float64 [n], seconds from the trace's begin; ``tokens_in``,
    ``tokens_out``: float64 [n]; ``klass``: int8 [n], 0 is P0. ``duration_s``: until the trace's end, the last gap
    included."""

    arrival: NDArray[np.float64]
    tokens_in: NDArray[np.float64]
    tokens_out: NDArray[np.float64]
    klass: NDArray[np.int8]
    duration_s: float

    def __len__(self) -> int:
        return len(self.arrival)

    @property
    def tokens(self) -> float:
        """Tokens in and out, all requests."""
        return float(self.tokens_in.sum() + self.tokens_out.sum())

    def between(self, begin_s: float, end_s: float) -> Trace:
        """The requests of ``[begin_s, end_s)``, its begin at 0."""
        if not 0 <= begin_s < end_s <= self.duration_s + 1e-6:
            raise PlannerError(f"cannot cut {begin_s:g} to {end_s:g} s out of a trace of {self.duration_s:g} s")
        inside = (self.arrival >= begin_s) & (self.arrival < end_s)
        cut = (self.arrival[inside] - begin_s, self.tokens_in[inside], self.tokens_out[inside], self.klass[inside])
        return Trace(*cut, duration_s=end_s - begin_s)

    def busiest(self, requests: int) -> Trace:
        """The densest stretch of so many requests; the whole trace where it has no more."""
        if len(self) <= requests:
            return self
        spans = self.arrival[requests:] - self.arrival[:-requests]
        first = int(spans.argmin())
        return self.between(float(self.arrival[first]), float(self.arrival[first + requests]))

    def per_second(self, window_s: float) -> tuple[float, float]:
        """``(mean, busiest window)`` in requests a second."""
        counts = np.bincount((self.arrival // window_s).astype(np.int64))
        return len(self) / self.duration_s, float(counts.max(initial=0)) / window_s


def read_trace(
    path: Path,
    *,
    seed: int = 1,
    shares: Mapping[RequestClass, float] = DEFAULT_SHARES,
    duration_s: float | None = None,
    max_gap_s: float = MAX_GAP_S,
) -> Trace:
    """A trace from a CSV file. Classes that the file does not have are drawn by ``shares`` with ``seed``.

    ``duration_s``: how long was recorded; the time of the last request when left out. Raises :class:`TraceError`.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = [name.strip() for name in next(rows, [])]
            columns = _columns(path, header)
            times, tokens_in, tokens_out, classes = _rows(path, rows, columns)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path}: cannot be read as CSV: {error}") from None
    if not times:
        raise TraceError(f"{path}: no request follows the header; a plan needs some traffic")
    arrival = np.array(times)
    arrival -= arrival[0]
    _check_gaps(path, arrival, max_gap_s)
    known = np.array(classes, dtype=np.int8) if classes else _draw_classes(len(arrival), shares, seed)
    last = float(arrival[-1])
    whole = duration_s if duration_s is not None else math.nextafter(last, math.inf) if last > 0 else 1.0
    if whole <= last and last > 0:
        raise TraceError(f"{path}: the last request is at {last:g} s, after the given duration of {whole:g} s")
    return Trace(arrival, np.array(tokens_in), np.array(tokens_out), known, whole)


def _columns(path: Path, header: Sequence[str]) -> dict[str, int | None]:
    at = {name.lower(): index for index, name in enumerate(header)}
    for names in COLUMNS.values():
        if all(name.lower() in at for name in names):
            found: dict[str, int | None] = {
                key: at[name.lower()] for key, name in zip(("time", "in", "out"), names, strict=True)
            }
            return {**found, "class": at.get(CLASS_COLUMN)}
    wanted = " or ".join(",".join(names) for names in COLUMNS.values())
    raise TraceError(f"{path}: the header is {','.join(header) or 'empty'!r}; it has to name {wanted} (and class)")


def _rows(
    path: Path, rows: Iterator[list[str]], columns: Mapping[str, int | None]
) -> tuple[list[float], list[float], list[float], list[int]]:
    at_time, at_in, at_out, at_class = (columns[key] for key in ("time", "in", "out", "class"))
    assert at_time is not None
    assert at_in is not None
    assert at_out is not None
    needed = max(index for index in (at_time, at_in, at_out, at_class) if index is not None)
    times: list[float] = []
    tokens_in: list[float] = []
    tokens_out: list[float] = []
    classes: list[int] = []
    for line, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) <= needed:
            raise TraceError(f"{path}, line {line}: {len(row)} fields; {needed + 1} are needed")
        when = _time(path, line, row[at_time])
        if times and when < times[-1]:
            raise TraceError(f"{path}, line {line}: {row[at_time]} is earlier than the line before; sort it by time")
        times.append(when)
        tokens_in.append(_tokens(path, line, row[at_in]))
        tokens_out.append(_tokens(path, line, row[at_out]))
        if at_class is not None:
            classes.append(_class(path, line, row[at_class]))
    return times, tokens_in, tokens_out, classes


def _time(path: Path, line: int, text: str) -> float:
    """Seconds: a number as it is, a date since 1970."""
    text = text.strip()
    try:
        value = float(text)
    except ValueError:
        return _date(path, line, text)
    if not math.isfinite(value) or value < 0:
        raise TraceError(f"{path}, line {line}: time {text}; give seconds of 0 or more, or an ISO 8601 date")
    return value


def _date(path: Path, line: int, text: str) -> float:
    # Azure's stamps have seven digits after the point; a datetime has six.
    head, point, digits = text.partition(".")
    fraction = digits.rstrip("Z0123456789")
    zone = "Z" if digits.endswith("Z") else fraction
    digits = digits[: len(digits) - len(zone)] if zone else digits
    try:
        when = datetime.fromisoformat(head + (zone if point else ""))
        part = float(f"0.{digits}") if digits else 0.0
    except ValueError:
        raise TraceError(f"{path}, line {line}: {text!r} is neither seconds nor an ISO 8601 date") from None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    if not _EARLIEST <= when < _LATEST:
        raise TraceError(f"{path}, line {line}: {text!r} is not between the years 2000 and 2100")
    return when.timestamp() + part


def _tokens(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAX_TOKENS:
        raise TraceError(f"{path}, line {line}: {text.strip()!r} tokens; give a number from 0 to {MAX_TOKENS}")
    return value


def _class(path: Path, line: int, text: str) -> int:
    try:
        return list(RequestClass).index(RequestClass(text.strip().upper()))
    except ValueError:
        raise TraceError(f"{path}, line {line}: class {text.strip()!r}; allowed: P0, P1, P2") from None


def _check_gaps(path: Path, arrival: NDArray[np.float64], max_gap_s: float) -> None:
    gaps = np.diff(arrival)
    if len(gaps) and gaps.max() > max_gap_s:
        at = int(gaps.argmax())
        raise TraceError(
            f"{path}, line {at + 3}: {gaps[at] / 3600:.1f} h after the request before, above the {max_gap_s / 3600:g} "
            "h that a trace may be silent; cut the file there, or allow it with --max-gap"
        )


def _draw_classes(count: int, shares: Mapping[RequestClass, float], seed: int) -> NDArray[np.int8]:
    weights = np.array([shares.get(name, 0.0) for name in RequestClass])
    if (weights < 0).any() or not math.isclose(weights.sum(), 1.0, abs_tol=1e-6):
        given = ", ".join(f"{name} {weight:g}" for name, weight in zip(RequestClass, weights, strict=True))
        raise PlannerError(f"shares of the classes are {given}; none may be negative, and they have to add up to 1")
    return np.random.default_rng(seed).choice(3, size=count, p=weights / weights.sum()).astype(np.int8)


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
    return Trace(*(column[order] for column in columns), duration_s=trace.duration_s)


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
    return Trace(arrival, tokens_in, tokens_out, _draw_classes(count, shares, seed), duration_s)
