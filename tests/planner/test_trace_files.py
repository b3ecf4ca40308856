"""Trace files: the published kinds read as they are, odd ones mended and told, or refused with the line at fault."""

from __future__ import annotations

import csv
import gzip
import json
import tempfile
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.contracts.classes import RequestClass
from spillway.planner import trace_columns
from spillway.planner.errors import PlannerError, TraceError
from spillway.planner.trace import synthetic
from spillway.planner.trace_files import EXAMPLE, read_trace
from spillway.planner.trace_times import TimeUnit
from tests.support.paths import ROOT

REAL = ROOT.parent / "shared" / "data" / "azure_llm_inference_2023_code.csv"
HEAD = "time,input_tokens,output_tokens,class\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_memory_does_not_grow_with_a_traces_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large service a week has 27 million. Read, sorted and looked through, block by block."""
    monkeypatch.setattr(trace_columns, "BLOCK", 256)
    peaks = []
    for rows in (3_000, 12_000):
        path = tmp_path / "week.csv"
        lines = (f"{n / 45 - n % 7:.3f},1500,200\n" for n in range(400, 400 + rows))
        path.write_text("time,input_tokens,output_tokens\n" + "".join(lines))
        tracemalloc.start()
        trace = read_trace(path)
        assert (len(trace), sum(trace.offered), len(trace.busiest(500))) == (rows, rows, 500)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 3 * 9_000, "three bytes a row"


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), min_size=1, max_size=60))
def test_rows_are_sorted_block_by_block_as_they_would_be_at_once(rows: list[tuple[int, int]]) -> None:
    """Rows of one time stay in their order."""
    lines = "".join(f"{at},{number},1,P{klass}\n" for number, (at, klass) in enumerate(rows))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace_columns, "BLOCK", 8)
        trace = read_trace(written(Path(folder), HEAD + lines))
    expected = sorted(enumerate(rows), key=lambda row: row[1][0])
    begin = expected[0][1][0]
    assert trace.arrival.tolist() == [at - begin for _, (at, _) in expected]
    assert trace.tokens_in.tolist() == [number for number, _ in expected]
    assert trace.klass.tolist() == [klass for _, (_, klass) in expected]


def test_a_full_folder_for_temporary_files_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Linux's ``/dev/full``: each write to it finds no room."""
    monkeypatch.setattr(trace_columns, "BLOCK", 256)
    monkeypatch.setattr(trace_columns, "TemporaryFile", lambda prefix: Path("/dev/full").open("wb", buffering=0))  # noqa: SIM115
    with pytest.raises(PlannerError, match=r"No space left on device; .* TMPDIR"):
        read_trace(written(tmp_path, HEAD + "1,1,1,P0\n" * 600))


def test_seconds_and_classes_are_read(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, HEAD + "10,100,5,P0\n10.5,200,6,p2\n12,300,7,P1\n"))
    assert trace.arrival.tolist() == [0.0, 0.5, 2.0]
    assert (trace.tokens_in.tolist(), trace.tokens_out.tolist()) == ([100, 200, 300], [5, 6, 7])
    assert trace.klass.tolist() == [0, 2, 1]
    assert trace.tokens == 618


def test_the_azure_schema_is_read_as_it_is(tmp_path: Path) -> None:
    rows = "2023-11-16 18:17:03.9799600,4808,10\r\n2023-11-16 18:17:04.0319601,3180,8\r\n"
    trace = read_trace(written(tmp_path, "TIMESTAMP,ContextTokens,GeneratedTokens\r\n" + rows))
    assert trace.arrival.tolist() == pytest.approx([0.0, 0.0520001], abs=1e-6)
    assert trace.tokens_in.tolist() == [4808, 3180]


@pytest.mark.parametrize("stamp", ["2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00", "2024-01-01 00:00:00.000"])
def test_dates_with_and_without_zones_are_one_time(tmp_path: Path, stamp: str) -> None:
    trace = read_trace(written(tmp_path, HEAD + f"{stamp},1,1,P0\n2024-01-01T00:00:02,1,1,P0\n"))
    assert trace.arrival.tolist() == [0.0, 2.0]


def test_classes_are_drawn_by_the_seed(tmp_path: Path) -> None:
    path = written(tmp_path, "time,input_tokens,output_tokens\n" + "".join(f"{k},1,1\n" for k in range(4000)))
    first = read_trace(path, seed=1)
    assert (first.klass == read_trace(path, seed=1).klass).all()
    assert (first.klass != read_trace(path, seed=2).klass).any()
    assert np.bincount(first.klass) / 4000 == pytest.approx([0.7, 0.2, 0.1], abs=0.03)
    with pytest.raises(PlannerError, match="add up to 1"):
        read_trace(path, shares={RequestClass.P0: 0.9})


BAD = {
    "empty": ("", "is empty; a plan needs some traffic"),
    "a JSON list": (
        '[{"time": 1, "input_tokens": 1, "output_tokens": 1}]',
        "is one JSON list; write each request as a line",
    ),
    "no requests": (HEAD, "no request follows"),
    "no tokens": ("time,class\n1,P0\n", r"it has to name time,input_tokens,output_tokens \(spillway\); or TIMESTAMP"),
    "short row": (HEAD + "1,2,3,P0\n2,3\n", "line 3: 2 fields; 4 are needed"),
    "begun anew": (HEAD + "5000,1,1,P0\n4,1,1,P0\n", "line 3: 4,996 s earlier than the line before; split the file"),
    "a column twice": ("time,time,input_tokens,output_tokens\n1,1,1,1\n", "names time twice"),
    "no unit has it": (HEAD + "300000000000,1,1,P0\n", "line 2: .* in any unit; say what it counts with --time-unit"),
    "no JSON": ('{"time": 1, "input_tokens": 1, "output_tokens": 1}\n{"time":\n', "line 2: no JSON"),
    "no object": ('{"time": 1, "input_tokens": 1, "output_tokens": 1}\n[1]\n', "line 2: .*one JSON object"),
    "a key less": (
        '{"time": 1, "input_tokens": 1, "output_tokens": 1}\n{"time": 2}\n',
        "line 2: 'input_tokens' is missing",
    ),
    "true tokens": ('{"time": 1, "input_tokens": true, "output_tokens": 1}\n', "line 1: 'True' tokens"),
    "no time": ('{"time": null, "input_tokens": 1, "output_tokens": 1}\n', "line 1: time None"),
    "negative time": (HEAD + "-1,1,1,P0\n", "line 2: time -1"),
    "negative tokens": (HEAD + "1,-1,1,P0\n", "line 2: '-1' tokens"),
    "NaN tokens": (HEAD + "1,nan,1,P0\n", "line 2: 'nan' tokens"),
    "NaN time": (HEAD + "nan,1,1,P0\n", "line 2: time nan"),
    "endless tokens": (HEAD + "1,1,inf,P0\n", "line 2: 'inf' tokens"),
    "no number": (HEAD + "1,many,1,P0\n", "line 2: 'many' tokens"),
    "no date": (HEAD + "yesterday,1,1,P0\n", "line 2: 'yesterday' is neither a number nor"),
    "no such day": (HEAD + "2023-02-30 10:00:00,1,1,P0\n", "line 2: '2023-02-30 10:00:00' is neither"),
    "another century": (HEAD + "1823-01-01 10:00:00,1,1,P0\n", "not between the years 2000 and 2100"),
    "class": (HEAD + "1,1,1,P7\n", "line 2: class 'P7'; allowed: P0, P1, P2"),
    "gap behind an empty line": (HEAD + "1,1,1,P0\n\n100000,1,1,P0\n", "line 4: 27.8 h after"),
    "gap behind rows that changed places": (
        HEAD + "2,1,1,P0\n1,1,1,P0\n\n\n100000,1,1,P0\n",
        "line 6: 27.8 h after",
    ),
    "gap": (HEAD + "1,1,1,P0\n100000,1,1,P0\n200001,1,1,P0\n", "line 4: 27.8 h after the request before.*--time-unit"),
    "not text": ("\x00\x00,\n1", "the header is|cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_trace_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    text, said = BAD[name]
    with pytest.raises(TraceError, match=said) as refused:
        read_trace(written(tmp_path, text))
    assert "trace.csv" in str(refused.value)


@pytest.mark.parametrize(
    ("begin", "said"),
    [(b"PAR1\x15", "is Parquet; write it as CSV"), (b"PK\x03\x04\x14", "is a zip archive; unpack it"),
     (b"\x28\xb5\x2f\xfd\x04", "is packed by zstd"), (b"\xfd7zXZ\x00", "is packed by xz"),
     (b"BZh91AY", "is packed by bzip2")],
)  # fmt: skip
def test_another_kind_of_file_is_named_with_what_to_do(tmp_path: Path, begin: bytes, said: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(begin + b"\x00\xff" * 20)
    with pytest.raises(TraceError, match=f"trace.csv: {said}"):
        read_trace(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(HEAD.encode() + b"1,\xff\xfe,1,P0\n")
    with pytest.raises(TraceError, match="cannot be read as CSV"):
        read_trace(path)


@pytest.mark.skipif(not REAL.is_file(), reason="the Azure 2023 trace is not beside this checkout (shared/data)")
def test_the_real_trace_is_read() -> None:
    trace = read_trace(REAL, duration_s=3600.0)
    assert len(trace) == 8819
    assert trace.per_second(10)[1] == pytest.approx(32.7)
    assert len(trace.between(0, 1800)) + len(trace.between(1800, 3600)) == len(trace)


def test_the_last_request_is_within_the_duration(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="after the given duration"):
        read_trace(written(tmp_path, HEAD + "0,1,1,P0\n50,1,1,P0\n"), duration_s=20.0)


STAMPS = {
    "fraction and offset": ("2024-05-10 02:00:00.25+02:00", "2024-05-10 02:00:01.75+02:00"),
    "seven digits": ("2024-05-10 00:00:00.2500000", "2024-05-10 00:00:01.7500000"),
    "seconds since 1970": ("1715299200.25", "1715299201.75"),
    "milliseconds": ("1715299200250", "1715299201750"),
    "microseconds": ("1715299200250000", "1715299201750000"),
    "nanoseconds": ("1715299200250000000", "1715299201750000000"),
    "seconds from its begin": ("0.25", "1.75"),
}


@pytest.mark.parametrize("name", STAMPS)
def test_a_second_and_a_half_is_that_in_every_form(tmp_path: Path, name: str) -> None:
    first, last = STAMPS[name]
    trace = read_trace(written(tmp_path, HEAD + f"{first},1,1,P0\n{last},1,1,P0\n"))
    assert trace.arrival.tolist() == pytest.approx([0.0, 1.5], abs=1e-6)
    said = [note for note in trace.notes if note.startswith("times are taken as")]
    assert len(said) == first.replace(".", "").isdigit()


def test_a_unit_that_is_given_holds(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + "0,1,1,P0\n1500,1,1,P0\n")
    assert read_trace(path, time_unit=TimeUnit.MILLISECONDS).arrival.tolist() == [0.0, 1.5]
    assert read_trace(path).arrival.tolist() == [0.0, 1500.0]


def autumn(offsets: bool) -> str:
    """A request every ten minutes over the end of summer time in Berlin, 2026-10-25 01:00 UTC."""
    berlin, begin = ZoneInfo("Europe/Berlin"), datetime(2026, 10, 24, 23, 0, tzinfo=UTC)
    times = [(begin + timedelta(minutes=10 * step)).astimezone(berlin) for step in range(24)]
    return HEAD + "".join(f"{t if offsets else t.replace(tzinfo=None)},1,1,P0\n" for t in times)


def test_a_clock_that_goes_back_an_hour_needs_its_zone(tmp_path: Path) -> None:
    path = written(tmp_path, autumn(offsets=False))
    with pytest.raises(TraceError, match=r"line 14: the clock goes back by 50.0 minutes.*--time-zone Europe/Berlin"):
        read_trace(path)
    steps = [600.0 * step for step in range(24)]
    assert read_trace(path, time_zone="Europe/Berlin").arrival.tolist() == steps
    assert read_trace(written(tmp_path, autumn(offsets=True))).arrival.tolist() == steps
    with pytest.raises(TraceError, match="'Mars/Olympus' is unknown"):
        read_trace(path, time_zone="Mars/Olympus")


def test_rows_a_little_out_of_order_are_sorted_and_told(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, HEAD + "5,1,1,P0\n4.7,2,1,P1\n6,3,1,P2\n"))
    assert trace.arrival.tolist() == pytest.approx([0.0, 0.3, 1.3])
    assert (trace.tokens_in.tolist(), trace.klass.tolist()) == ([2, 1, 3], [1, 0, 2])
    assert "1 rows were earlier than the one before, by 0.3 s at most; sorted" in trace.notes


PUBLISHED = {
    # Rows as their authors print them.
    "azure 2025": (
        "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n"
        "2024-10-15 00:00:00.100000+00:00,1,521,132\n2024-10-15 00:00:01.500000+00:00,0,400,80\n",
        [0.0, 1.4],
        "images are not counted",
    ),
    "burstgpt": (
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,ChatGPT,521,132,653,Conversation log\n30,GPT-4,0,0,0,Conversation log\n45,GPT-4,400,80,480,API log\n",
        [0.0, 40.0],
        "1 requests without an answer token had failed",
    ),
    "burstgpt 3": (
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,7,2.5,ChatGPT,521,132,653,Conversation log\n45,,3,GPT-4,400,80,480,API log\n",
        [0.0, 40.0],
        None,
    ),
    "bailian": (
        '{"chat_id": 159, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 521, "output_length": 132}\n'
        '{"chat_id": 160, "parent_chat_id": 159, "timestamp": 62.5, "input_length": 400, "output_length": 80}\n',
        [0.0, 1.386],
        None,
    ),
    "mooncake": (
        '{"timestamp": 27482, "input_length": 521, "output_length": 132, "hash_ids": [0, 1]}\n'
        '{"timestamp": 30535, "input_length": 400, "output_length": 80, "hash_ids": [0]}\n',
        [0.0, 3.053],
        None,
    ),
    "with semicolons": ("time;input_tokens;output_tokens\n1;521;132\n2;400;80\n", [0.0, 1.0], "taken as seconds"),
    "our own as JSON": (
        '{"time": "2024-05-10T00:00:00Z", "input_tokens": 521, "output_tokens": 132}\n'
        '{"time": "2024-05-10T02:00:01+02:00", "input_tokens": 400, "output_tokens": 80}\n',
        [0.0, 1.0],
        None,
    ),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_traces_are_read_as_they_are(tmp_path: Path, name: str, packed: bool) -> None:
    text, arrival, note = PUBLISHED[name]
    path = tmp_path / "trace"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    trace = read_trace(path)
    assert trace.arrival.tolist() == pytest.approx(arrival, abs=1e-6)
    assert (trace.tokens_in.tolist(), trace.tokens_out.tolist()) == ([521, 400], [132, 80])
    assert [note in said for said in trace.notes] == [True] if note else not trace.notes


def test_a_cut_gzip_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress(HEAD.encode() + b"1,1,1,P0\n" * 50)[:-9])
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(path)


_ODD = st.one_of(st.text(max_size=12), st.floats().map(str), st.integers().map(str), st.datetimes().map(str))


@given(st.lists(st.tuples(_ODD, _ODD, _ODD, st.sampled_from(["P0", "p2", "", "P9"])), max_size=4), st.booleans())
def test_an_odd_file_is_read_or_refused_with_its_place(rows: list[tuple[str, ...]], in_json: bool) -> None:
    names = HEAD.strip().split(",")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "odd"
        with path.open("w", encoding="utf-8", newline="") as file:
            if in_json:
                file.writelines(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
            else:
                csv.writer(file).writerows([names, *rows])
        try:
            arrival, said = read_trace(path).arrival, str(path)
        except TraceError as error:
            arrival, said = np.zeros(1), str(error)
        assert str(path) in said
        assert (np.diff(arrival) >= 0).all()
        assert np.isfinite(arrival).all()


def test_the_example_that_is_shipped_is_the_made_trace() -> None:
    read, made = read_trace(EXAMPLE), synthetic(1800.0, 1.0)
    assert (read.tokens_in == made.tokens_in).all()
    assert (read.klass == made.klass).all()
    assert np.abs((read.arrival - read.arrival[0]) - (made.arrival - made.arrival[0])).max() < 0.011
