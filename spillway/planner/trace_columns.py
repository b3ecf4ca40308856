"""A trace's columns in files without a name, so that memory does not grow with its rows: a week of a large service has
tens of millions of them.

The columns are mapped: what is worked on is in memory, and the system drops the rest of it as it likes. They take 21
bytes a row of the folder for temporary files, of which 17 stay as long as the trace.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from mmap import mmap
from tempfile import TemporaryFile, gettempdir
from typing import Any, BinaryIO, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from spillway.planner.errors import PlannerError

BLOCK: Final = 1 << 16
"""Rows that are worked on at once."""


def blocks(rows: int) -> Iterator[slice]:
    for first in range(0, rows, BLOCK):
        yield slice(first, min(rows, first + BLOCK))


def column(kind: str, rows: int) -> NDArray[Any]:
    """Zeros of a kind that numpy knows."""
    with _file() as file:
        for cut in blocks(rows):
            # A hole would end the process where the folder is full.
            _write(file, np.zeros(cut.stop - cut.start, dtype=kind))
        return _mapped(file, kind)


def _file() -> BinaryIO:
    return cast("BinaryIO", TemporaryFile(prefix="spillway-trace-"))


def _write(file: BinaryIO, values: array[Any] | NDArray[Any]) -> None:
    try:
        file.write(values.tobytes())
        file.flush()
    except OSError as error:
        raise PlannerError(
            f"{gettempdir()}: {error.strerror}; a trace takes 21 bytes a row there: make room, or name another folder "
            "by TMPDIR"
        ) from None


def _mapped(file: BinaryIO, kind: str) -> NDArray[Any]:
    empty = file.seek(0, 2) == 0
    return np.empty(0, dtype=kind) if empty else np.frombuffer(mmap(file.fileno(), 0), dtype=kind)


class Rows:
    """Rows as they are read: when, tokens in and out, class where there is one, and the line of the file, from 1."""

    def __init__(self) -> None:
        self.times, self.tokens_in, self.tokens_out = array("d"), array("f"), array("f")
        self.classes, self.lines = array("b"), array("I")
        self._arrays = (self.times, self.tokens_in, self.tokens_out, self.classes, self.lines)
        self._files = [_file() for _ in self._arrays]

    def add(self, at_s: float, tokens_in: float, tokens_out: float, line: int, klass: int | None) -> None:
        self.times.append(at_s)
        self.tokens_in.append(tokens_in)
        self.tokens_out.append(tokens_out)
        self.lines.append(line)
        if klass is not None:
            self.classes.append(klass)
        if len(self.times) == BLOCK:
            self._put_away()

    def _put_away(self) -> None:
        for values, file in zip(self._arrays, self._files, strict=True):
            _write(file, values)
            del values[:]

    def mapped(self) -> tuple[NDArray[Any], ...]:
        """Time, tokens in and out, class (empty where there is none) and line of all."""
        self._put_away()
        return tuple(_mapped(file, values.typecode) for values, file in zip(self._arrays, self._files, strict=True))

    def close(self) -> None:
        """What is mapped stays."""
        for file in self._files:
            file.close()


class Steps(NamedTuple):
    """From row to row. ``earlier``: rows that are earlier than the one before; ``back_s``: by how much at most, at row
    ``back_at``; ``gap_s``: the longest silence, before row ``gap_at``; ``late_s``: how much earlier than the latest of
    all rows before it a row is, at most."""

    earlier: int
    back_s: float
    back_at: int
    gap_s: float
    gap_at: int
    late_s: float


def steps_of(times: NDArray[np.float64]) -> Steps:
    earlier, back_at, gap_at = 0, 0, 0
    back_s, gap_s, late_s, latest = 0.0, 0.0, 0.0, -math.inf
    for cut in blocks(len(times)):
        part = times[cut]
        highest = np.maximum.accumulate(np.concatenate(([latest], part)))[1:]
        late_s, latest = max(late_s, float((highest - part).max())), float(highest[-1])
        steps = np.diff(times[cut.start : cut.stop + 1])
        if not len(steps):
            continue
        earlier += int((steps < 0).sum())
        low, high = int(steps.argmin()), int(steps.argmax())
        if -steps[low] > back_s:
            back_s, back_at = -float(steps[low]), cut.start + low + 1
        if steps[high] > gap_s:
            gap_s, gap_at = float(steps[high]), cut.start + high + 1
    return Steps(earlier, back_s, back_at, gap_s, gap_at, late_s)


def in_order(columns: Sequence[NDArray[Any]], late_s: float) -> tuple[NDArray[Any], ...]:
    """The rows by the first column, equal ones as they were. A row that is ``late_s`` earlier than the latest so far is
    followed by none before it."""
    found = tuple(column(part.dtype.char, len(part)) for part in columns)
    kept, at = [part[:0] for part in columns], 0
    for cut in blocks(len(columns[0])):
        joined = [np.concatenate((old, part[cut])) for old, part in zip(kept, columns, strict=True)]
        order = np.argsort(joined[0], kind="stable")
        joined = [part[order] for part in joined]
        last = cut.stop == len(columns[0])
        done = len(order) if last else int(np.searchsorted(joined[0], joined[0][-1] - late_s))
        for whole, part in zip(found, joined, strict=True):
            whole[at : at + done] = part[:done]
        kept, at = [part[done:] for part in joined], at + done
    return found
