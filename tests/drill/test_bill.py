"""The bill is Σ price × time, to the cent, whatever the capacity did."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.contracts.capacity import Running
from spillway.drill.bill import Meter, Sample, bill

A, B = Running("sagemaker", 1.408, 2), Running("private", 0.9, 1)


def test_each_sample_holds_until_the_next() -> None:
    found = bill([Sample(0, (A, B)), Sample(1800, (B,)), Sample(3600, (A,))], end_s=5400)
    assert {line.site: line.instance_hours for line in found.lines} == {"private": 1.0, "sagemaker": 2.0}
    assert found.usd == 3.72  # 2 × 1.408 + 0.9 = 3.716


def test_nothing_that_ran_costs_nothing() -> None:
    assert bill([], 100.0).usd == 0
    assert bill([Sample(0, ())], 100.0).lines == ()


def test_samples_out_of_order_are_refused() -> None:
    for samples in ([Sample(5, ()), Sample(1, ())], [Sample(500, ())]):
        with pytest.raises(ValueError, match="order"):
            bill(samples, 100.0)


prices = st.integers(1, 10_000_000).map(lambda n: n / 100_000)
kinds = st.builds(Running, st.sampled_from(["private", "sagemaker", "azure_ml"]), prices, st.integers(0, 200))
capacity = st.lists(st.tuples(st.integers(0, 86_400_000), st.lists(kinds, max_size=5)), min_size=1, max_size=20)


@given(capacity, st.integers(0, 86_400_000))
def test_the_bill_is_price_times_time_to_the_cent(changes: list[tuple[int, list[Running]]], more_ms: int) -> None:
    """Against the same sum in exact fractions, from the definition."""
    samples = [Sample(at / 1000, tuple(running)) for at, running in sorted(changes, key=lambda change: change[0])]
    end_s = samples[-1].at_s + more_ms / 1000
    ends = [sample.at_s for sample in samples[1:]] + [end_s]
    exact = sum(
        Fraction(str(one.usd_per_hour)) * one.instances * (Fraction(until) - Fraction(sample.at_s)) / 3600
        for sample, until in zip(samples, ends, strict=True)
        for one in sample.running
    )
    found = bill(samples, end_s)
    assert abs(Fraction(str(found.usd)) - exact) <= Fraction(5, 1000) + Fraction(1, 10**12)
    assert sum(line.usd for line in found.lines) == pytest.approx(float(exact), rel=1e-9, abs=1e-9)


def test_a_meter_follows_what_runs_and_counts_what_it_missed() -> None:
    answers = [(A,), RuntimeError("no answer"), (A, B)]

    def read() -> tuple[Running, ...]:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    meter = Meter(read, every_s=0.02)
    meter.start()
    time.sleep(0.2)
    found = meter.stop()
    hours = {line.site: line.instance_hours for line in found.lines}
    assert found.missed == 1
    assert 0.2 / 3600 * 2 <= hours["sagemaker"] < 1 / 3600 * 2
    assert 0 < hours["private"] < hours["sagemaker"] / 2
