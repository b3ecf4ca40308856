"""Request traces read from files, as they are published: CSV or JSON lines, plain or gzip.

What a file is, its header or its first line tells. Odd things are mended where that is safe, and said in the trace's
notes; else refused with the line at fault.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TextIO

from spillway.contracts.classes import RequestClass
from spillway.planner.errors import TraceError
from spillway.planner.trace import DEFAULT_SHARES, Trace, draw_classes
from spillway.planner.trace_columns import Rows, Steps, in_order, steps_of
from spillway.planner.trace_times import Clock, TimeError, TimeUnit, zone_of

EXAMPLE: Final = Path(__file__).parent / "example.csv"
"""Half an hour of 1,810 requests, made by ``trace.synthetic(1800.0, 1.0)``."""
CLASS_COLUMN: Final = "class"
MAX_GAP_S: Final = 24 * 3600.0
"""Silence in a trace that is taken for a fault in it, unless the caller says otherwise."""
MAX_TOKENS: Final = 10_000_000
MAX_OUT_OF_ORDER_S: Final = 45 * 60.0
"""Rows that are earlier than the one before by less are sorted; by more, a clock was put back or files were joined."""
_PUT_BACK_S: Final = 75 * 60.0
_OTHERS: Final = {
    b"PAR1": "Parquet; write it as CSV",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it, or pack it by gzip",
    b"\xfd7zXZ": "packed by xz; unpack it, or pack it by gzip",
    b"BZh": "packed by bzip2; unpack it, or pack it by gzip",
    b"[": "one JSON list; write each request as a line of its own, e.g. with jq -c '.[]'",
}
"""How files of other kinds begin, and what is to be done with them."""
_DELIMITERS: Final = (",", ";", "\t")


@dataclass(frozen=True)
class Format:
    """How a kind of trace names its columns. ``unit`` of its times, where its authors fix one; ``mark``: a further
    column that tells it from another kind; ``failed_without_answer``: a request with no answer token had failed."""

    time: str
    tokens_in: str
    tokens_out: str
    unit: TimeUnit | None = None
    mark: str | None = None
    failed_without_answer: bool = False

    @property
    def needed(self) -> tuple[str, ...]:
        return (self.time, self.tokens_in, self.tokens_out, *([self.mark] if self.mark else []))


FORMATS: Final = {
    "spillway": Format("time", "input_tokens", "output_tokens"),
    # 2023, 2024, and the multimodal one of 2025: github.com/Azure/AzurePublicDataset
    "azure": Format("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    # github.com/HPMLL/BurstGPT: "seconds from 0:00:00 on the first day"; failures have 0 response tokens
    "burstgpt": Format(
        "Timestamp", "Request tokens", "Response tokens", unit=TimeUnit.SECONDS, failed_without_answer=True
    ),
    # github.com/alibaba-edu/qwen-bailian-usagetraces-anon: seconds
    "bailian": Format("timestamp", "input_length", "output_length", unit=TimeUnit.SECONDS, mark="chat_id"),
    # github.com/kvcache-ai/Mooncake, FAST25-release: milliseconds
    "mooncake": Format("timestamp", "input_length", "output_length", unit=TimeUnit.MILLISECONDS),
}


@dataclass
class _Read:
    """What is read of a file, and what was odd in it."""

    rows: Rows
    failed: int = 0
    images: bool = False


def read_trace(
    path: Path,
    *,
    seed: int = 1,
    shares: Mapping[RequestClass, float] = DEFAULT_SHARES,
    duration_s: float | None = None,
    max_gap_s: float = MAX_GAP_S,
    time_unit: TimeUnit | None = None,
    time_zone: str | None = None,
) -> Trace:
    """A trace from a file. Classes that the file does not have are drawn by ``shares`` with ``seed``.

    ``duration_s``: how long was recorded; the time of the last request when left out. ``time_unit`` of numbers, where
    their size does not tell it; ``time_zone`` of dates that name none, else UTC. Raises :class:`TraceError`.
    """
    try:
        with _text_of(path) as stream, closing(Rows()) as rows:
            read = _Read(rows)
            clock = _read(path, stream, read, time_unit, time_zone)
            arrival, tokens_in, tokens_out, classes, lines = rows.mapped()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path}: cannot be read as CSV or JSON lines: {error}") from None
    if not len(arrival):
        raise TraceError(f"{path}: no request follows the header; a plan needs some traffic")
    notes, steps = [*_notes(read, clock)], steps_of(arrival)
    if not len(classes):
        classes = draw_classes(len(arrival), shares, seed)
    if steps.earlier:
        notes.append(_out_of_order(path, steps, int(lines[steps.back_at]), clock))
        columns = (arrival, tokens_in, tokens_out, classes, lines)
        arrival, tokens_in, tokens_out, classes, lines = in_order(columns, steps.late_s)
        steps = steps_of(arrival)
    _check_gaps(path, steps, int(lines[steps.gap_at]), max_gap_s, clock)
    arrival -= arrival[0]
    last = float(arrival[-1])
    whole = duration_s if duration_s is not None else math.nextafter(last, math.inf) if last > 0 else 1.0
    if whole <= last and last > 0:
        raise TraceError(f"{path}: the last request is at {last:g} s, after the given duration of {whole:g} s")
    return Trace(arrival, tokens_in, tokens_out, classes, whole, tuple(notes))


def _text_of(path: Path) -> TextIO:
    """As text, unpacked where the first bytes are gzip's (RFC 1952). Raises :class:`TraceError` for other kinds."""
    with path.open("rb") as file:
        begin = file.read(16).lstrip()
    packed = begin.startswith(b"\x1f\x8b")
    for mark, what in _OTHERS.items():
        if begin.startswith(mark):
            raise TraceError(f"{path}: is {what}; a trace is CSV or JSON lines, plain or in gzip")
    if not begin:
        raise TraceError(f"{path}: is empty; a plan needs some traffic")
    opened = gzip.open(path) if packed else path.open("rb")  # noqa: SIM115
    return io.TextIOWrapper(opened, encoding="utf-8-sig", newline="")


def _read(path: Path, stream: TextIO, read: _Read, unit: TimeUnit | None, zone: str | None) -> Clock:
    first = stream.readline()
    in_json = first.lstrip().startswith("{")
    names, records = _json_lines(path, first, stream) if in_json else _csv_rows(path, first, stream)
    kind = _format_of(path, names, in_json)
    try:
        clock = Clock(unit or kind.unit, zone_of(zone) if zone else None)
    except TimeError as error:
        raise TraceError(f"{path}: {error}") from None
    read.images = any(name.lower() == "numimages" for name in names)
    at = {name.lower(): name for name in reversed(names)}
    wanted = [at[name.lower()] for name in (kind.time, kind.tokens_in, kind.tokens_out)]
    class_at = at.get(CLASS_COLUMN)
    pick = itemgetter(*wanted, *([class_at] if class_at else []))
    add = read.rows.add
    for line, record in records:
        place = f"{path}, line {line}"
        try:
            when, tokens_in, tokens_out, *classes = pick(record)
        except KeyError as error:
            raise TraceError(f"{place}: {error.args[0]!r} is missing") from None
        counted = _tokens(place, tokens_in), _tokens(place, tokens_out)
        if kind.failed_without_answer and not counted[1]:
            read.failed += 1
            continue
        try:
            at_s = clock.seconds(when)
        except TimeError as error:
            raise TraceError(f"{place}: {error}") from None
        add(at_s, *counted, line, _class(place, classes[0]) if classes else None)
    return clock


def _csv_rows(path: Path, first: str, stream: TextIO) -> tuple[list[str], Iterator[tuple[int, Mapping[str, Any]]]]:
    delimiter = max(_DELIMITERS, key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]

    def records() -> Iterator[tuple[int, Mapping[str, Any]]]:
        reader = csv.reader(stream, delimiter=delimiter)
        for row in reader:
            if not row:
                continue
            if len(row) < len(header):
                raise TraceError(f"{path}, line {reader.line_num + 1}: {len(row)} fields; {len(header)} are needed")
            yield reader.line_num + 1, dict(zip(header, row, strict=False))

    return header, records()


def _json_lines(path: Path, first: str, stream: TextIO) -> tuple[list[str], Iterator[tuple[int, Mapping[str, Any]]]]:
    def parsed(line: int, text: str) -> Mapping[str, Any]:
        try:
            found = json.loads(text)
        except ValueError as error:
            raise TraceError(f"{path}, line {line}: no JSON: {error}") from None
        if not isinstance(found, dict):
            raise TraceError(f"{path}, line {line}: {text.strip()[:40]!r}; each line has to be one JSON object")
        return found

    def records() -> Iterator[tuple[int, Mapping[str, Any]]]:
        yield 1, head
        for line, text in enumerate(stream, start=2):
            if text.strip():
                yield line, parsed(line, text)

    head = parsed(1, first)
    return list(head), records()


def _format_of(path: Path, names: Sequence[str], in_json: bool) -> Format:
    there = Counter(name.lower() for name in names)
    for kind in FORMATS.values():
        if all(there[name.lower()] for name in kind.needed):
            if twice := [name for name in (*kind.needed, CLASS_COLUMN) if there[name.lower()] > 1]:
                raise TraceError(f"{path}: the header names {', '.join(twice)} twice")
            return kind
    wanted = "; or ".join(f"{','.join(kind.needed)} ({name})" for name, kind in FORMATS.items())
    found = ",".join(names) or "empty"
    raise TraceError(f"{path}: the {'first object' if in_json else 'header'} is {found!r}; it has to name {wanted}")


def _tokens(place: str, given: object) -> float:
    try:
        value = math.nan if isinstance(given, bool) else float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not 0 <= value <= MAX_TOKENS:
        raise TraceError(f"{place}: {str(given).strip()!r} tokens; give a number from 0 to {MAX_TOKENS}")
    return value


def _class(place: str, given: object) -> int:
    try:
        return list(RequestClass).index(RequestClass(str(given).strip().upper()))
    except ValueError:
        raise TraceError(f"{place}: class {str(given).strip()!r}; allowed: P0, P1, P2") from None


def _notes(read: _Read, clock: Clock) -> Iterator[str]:
    if read.failed:
        yield f"{read.failed:,} requests without an answer token had failed, and are left out"
    if read.images:
        yield "images are not counted: their tokens are in the prompt's only where the recorder put them there"
    if clock.without_zone and clock.zone is None and clock.with_zone:
        yield f"{clock.without_zone:,} dates name no time zone, {clock.with_zone:,} do; the former are taken as UTC"
    if clock.unit and not clock.told:
        since = "since 1970" if clock.since_epoch else "from the trace's begin; --time-unit says otherwise"
        yield f"times are taken as {clock.unit.name.lower()} {since}"


def _out_of_order(path: Path, steps: Steps, line: int, clock: Clock) -> str:
    """A note that rows were sorted, or :class:`TraceError`."""
    back, place = steps.back_s, f"{path}, line {line}"
    if back <= MAX_OUT_OF_ORDER_S:
        return f"{steps.earlier:,} rows were earlier than the one before, by {back:.3g} s at most; sorted"
    if clock.without_zone and clock.zone is None and back <= _PUT_BACK_S:
        raise TraceError(
            f"{place}: the clock goes back by {back / 60:.1f} minutes, as when summer time ends, and the dates name no "
            "time zone; give theirs with --time-zone, e.g. --time-zone Europe/Berlin"
        )
    raise TraceError(
        f"{place}: {back:,.0f} s earlier than the line before; split the file where its clock begins anew, or sort it "
        "by time if its rows are of one recording"
    )


def _check_gaps(path: Path, steps: Steps, line: int, max_gap_s: float, clock: Clock) -> None:
    if steps.gap_s > max_gap_s:
        unit = "" if clock.told or clock.unit is None else ", or say what the times count with --time-unit"
        raise TraceError(
            f"{path}, line {line}: {steps.gap_s / 3600:.1f} h after the request before, above the "
            f"{max_gap_s / 3600:g} h that a trace may be silent; cut the file there, or allow it with --max-gap{unit}"
        )
