"""Traces: read as they are, refused with the line at fault, scaled, and made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spillway.contracts.classes import RequestClass
from spillway.planner.errors import PlannerError, TraceError
from spillway.planner.trace import read_trace, superpose, synthetic

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "azure_llm_inference_2023_code.csv"
HEAD = "time,input_tokens,output_tokens,class\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text, encoding="utf-8")
    return path


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
    "empty": ("", "the header is"),
    "no requests": (HEAD, "no request follows"),
    "no tokens": ("time,class\n1,P0\n", "it has to name time,input_tokens,output_tokens or TIMESTAMP"),
    "short row": (HEAD + "1,2,3,P0\n2,3\n", "line 3: 2 fields; 4 are needed"),
    "unsorted": (HEAD + "5,1,1,P0\n4,1,1,P0\n", "line 3: 4 is earlier"),
    "negative time": (HEAD + "-1,1,1,P0\n", "line 2: time -1"),
    "negative tokens": (HEAD + "1,-1,1,P0\n", "line 2: '-1' tokens"),
    "NaN tokens": (HEAD + "1,nan,1,P0\n", "line 2: 'nan' tokens"),
    "NaN time": (HEAD + "nan,1,1,P0\n", "line 2: time nan"),
    "endless tokens": (HEAD + "1,1,inf,P0\n", "line 2: 'inf' tokens"),
    "no number": (HEAD + "1,many,1,P0\n", "line 2: 'many' tokens"),
    "no date": (HEAD + "yesterday,1,1,P0\n", "line 2: 'yesterday' is neither seconds nor"),
    "no such day": (HEAD + "2023-02-30 10:00:00,1,1,P0\n", "line 2: '2023-02-30 10:00:00' is neither"),
    "another century": (HEAD + "1823-01-01 10:00:00,1,1,P0\n", "not between the years 2000 and 2100"),
    "class": (HEAD + "1,1,1,P7\n", "line 2: class 'P7'; allowed: P0, P1, P2"),
    "gap": (HEAD + "1,1,1,P0\n100000,1,1,P0\n200001,1,1,P0\n", "line 4: 27.8 h after the request before"),
    "not text": ("\x00\x00,\n1", "the header is|cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_trace_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    text, said = BAD[name]
    with pytest.raises(TraceError, match=said) as refused:
        read_trace(written(tmp_path, text))
    assert "trace.csv" in str(refused.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(HEAD.encode() + b"1,\xff\xfe,1,P0\n")
    with pytest.raises(TraceError, match="cannot be read as CSV"):
        read_trace(path)


def test_superposed_traces_keep_the_hour_and_grow_in_rate() -> None:
    trace = synthetic(600, 5, seed=2)
    for factor in (0.25, 1.0, 3.0, 7.5):
        more = superpose(trace, factor, seed=4)
        assert len(more) == pytest.approx(factor * len(trace), rel=0.06)
        assert (np.diff(more.arrival) >= 0).all()
        assert 0 <= more.arrival.min() <= more.arrival.max() < trace.duration_s
        assert (more.arrival == superpose(trace, factor, seed=4).arrival).all()
    assert (superpose(trace, 3.0, seed=4).arrival != superpose(trace, 3.0, seed=5).arrival).any()
    for factor in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(PlannerError, match="above 0"):
            superpose(trace, factor)


def test_a_million_users_load_is_smoother_than_one_copy() -> None:
    """400 copies are some 1,000 requests/s: a million users who each ask once in a thousand seconds."""
    trace = synthetic(600, 2.5, seed=2)
    mean, peak = trace.per_second(10)
    many_mean, many_peak = superpose(trace, 400, seed=1).per_second(10)
    assert many_mean == pytest.approx(400 * mean)
    assert many_peak / many_mean < 0.5 * peak / mean


def test_the_made_trace_is_as_bursty_as_the_real_one() -> None:
    trace = synthetic()
    mean, peak = trace.per_second(10)
    counts = np.bincount((trace.arrival // 10).astype(int), minlength=360)
    assert 2.0 < mean < 3.0
    assert peak > 8 * mean
    assert np.median(counts) <= 2
    assert 1700 < trace.tokens_in.mean() < 2400
    assert (trace.arrival == synthetic().arrival).all()


@pytest.mark.skipif(not REAL.is_file(), reason="the Azure 2023 trace is not beside this checkout (shared/data)")
def test_the_real_trace_is_read() -> None:
    trace = read_trace(REAL, duration_s=3600.0)
    assert len(trace) == 8819
    assert trace.per_second(10)[1] == pytest.approx(32.7)
    assert len(trace.between(0, 1800)) + len(trace.between(1800, 3600)) == len(trace)


def test_a_cut_outside_the_trace_and_a_short_duration_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlannerError, match="cannot cut"):
        synthetic(60, 5).between(30, 90)
    with pytest.raises(TraceError, match="after the given duration"):
        read_trace(written(tmp_path, HEAD + "0,1,1,P0\n50,1,1,P0\n"), duration_s=20.0)
