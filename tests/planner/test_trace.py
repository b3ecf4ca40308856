"""Traces scaled, cut and made."""

from __future__ import annotations

import numpy as np
import pytest

from spillway.planner.errors import PlannerError
from spillway.planner.trace import superpose, synthetic


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


def test_a_cut_outside_the_trace_is_refused() -> None:
    with pytest.raises(PlannerError, match="cannot cut"):
        synthetic(60, 5).between(30, 90)
