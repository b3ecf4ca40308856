"""The simulation: against queueing theory, and what each rule does."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.contracts.classes import RequestClass, Site
from spillway.planner.simulate import Demand, Outcome, draw_outages, simulate
from spillway.planner.system import Failures, Objective, Scaling, System
from tests.planner.queues import EVER, interval, md1_wait, mmc_wait, poisson, run_queue, site

P0, P1, P2 = RequestClass


def demand(
    arrival: list[float], parallel: float = 1.0, classes: list[int] | None = None, serial: float = 0.0
) -> Demand:
    count = len(arrival)
    klass = np.array(classes or [0] * count, dtype=np.int8)
    return Demand(np.array(arrival), np.full(count, serial), np.full(count, parallel), klass)


def run(system: System, chunk: Demand, duration_s: float = 100.0, **more: object) -> Outcome:
    return simulate([chunk], system, duration_s, **more)  # pyright: ignore[reportArgumentType]


# Theory


@pytest.mark.heavy
@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (4, 0.8), (16, 0.7)])
def test_mmc_lies_in_the_interval(servers: int, load: float) -> None:
    outcome = run_queue(servers, load, 400_000, seed=3, chunk=20_000)
    low, high = interval(outcome)
    assert low <= mmc_wait(servers, load) <= high
    assert high - low < 0.25 * mmc_wait(servers, load), "an interval as wide as that would show nothing"


@pytest.mark.heavy
@pytest.mark.parametrize("load", [0.3, 0.8])
def test_md1_lies_in_the_interval(load: float) -> None:
    outcome = run_queue(1, load, 400_000, seed=5, fixed=True, chunk=20_000)
    low, high = interval(outcome)
    assert low <= md1_wait(load) <= high
    assert high - low < 0.25 * md1_wait(load)


@pytest.mark.heavy
@pytest.mark.soak
@pytest.mark.parametrize(("servers", "fixed"), [(8, False), (1, True)])
def test_ten_million_are_within_one_percent_and_need_no_more_memory(servers: int, fixed: bool) -> None:
    run_queue(servers, 0.8, 500_000, fixed=fixed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = run_queue(servers, 0.8, 10_000_000, seed=7, fixed=fixed)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    wanted = md1_wait(0.8) if fixed else mmc_wait(servers, 0.8)
    assert outcome.classes[P0].mean_wait_s == pytest.approx(wanted, rel=0.01)
    assert outcome.classes[P0].answered == 10_000_000
    assert grown_kib < 20 * 1024, "ten million arrivals alone are 80 MB"


@pytest.mark.heavy
def test_a_million_requests_take_less_than_ten_seconds_of_a_core() -> None:
    run_queue(8, 0.8, 100)
    begun = time.process_time()
    outcome = run_queue(8, 0.8, 1_000_000)
    assert time.process_time() - begun < 10
    assert outcome.classes[P0].answered == 1_000_000


# Rules


def test_a_full_site_spills_and_a_full_system_waits() -> None:
    burst = site(1, site=Site.SAGEMAKER, cloud="sagemaker")
    outcome = run(System(sites=(site(2), burst), objectives=EVER), demand([0.0, 0.0, 0.0, 0.0]))
    assert outcome.by_site == {Site.PRIVATE: 3, Site.SAGEMAKER: 1}
    assert outcome.spill_share == 0.25
    assert outcome.classes[P0].wait_p9995_s == pytest.approx(1.0, rel=0.02)


def test_prompts_go_one_by_one_and_answers_side_by_side() -> None:
    outcome = run(System(sites=(site(8),), objectives=EVER), demand([0.0] * 4, parallel=3.0, serial=0.5))
    # The last waits for three prompts and lasts 1.5 + 0.5 + 3 s.
    assert outcome.classes[P0].wait_p9995_s == pytest.approx(1.5, rel=0.02)
    assert outcome.classes[P0].latency_p99_s == pytest.approx(5.0, rel=0.02)


def test_a_busy_server_stretches_answers() -> None:
    alone = run(System(sites=(site(2, stretch=0.5),), objectives=EVER), demand([0.0]))
    both = run(System(sites=(site(2, stretch=0.5),), objectives=EVER), demand([0.0, 0.0]))
    assert alone.classes[P0].latency_p99_s == pytest.approx(1.0, rel=0.02)
    assert both.classes[P0].latency_p99_s == pytest.approx(1.5, rel=0.02)


def test_the_urgent_overtake_those_who_wait() -> None:
    outcome = run(System(sites=(site(1),), objectives=EVER), demand([0.0, 0.1, 0.2], classes=[2, 2, 0]))
    assert outcome.classes[P0].mean_wait_s == pytest.approx(0.8)
    assert outcome.classes[P2].mean_wait_s == pytest.approx((0.0 + 1.9) / 2)


def test_p2_keeps_to_its_share_and_waits_without_end() -> None:
    shares = {P0: 1.0, P1: 1.0, P2: 0.5}
    outcome = run(System(sites=(site(4, shares=shares),), objectives=EVER), demand([0.0] * 6, classes=[2] * 6))
    assert outcome.classes[P2].answered == 6
    assert outcome.classes[P2].wait_p9995_s == pytest.approx(2.0, rel=0.02), "two at once, so three rounds"


def test_patience_and_room_to_wait_end() -> None:
    rules = {
        **EVER,
        P1: Objective(within_s=1, share=0.5, patience_s=0.5),
        P2: Objective(within_s=9, share=0.5, most_waiting=1),
    }
    outcome = run(
        System(sites=(site(1, shares={P0: 1, P1: 1, P2: 1}),), objectives=rules),
        demand([0.0] * 5, classes=[0, 1, 2, 2, 2]),
    )
    assert outcome.classes[P1].lost == 1, "its patience was over when the slot was free"
    assert (outcome.classes[P2].answered, outcome.classes[P2].lost) == (1, 2)


def test_late_answers_are_answered_and_not_in_time() -> None:
    rules = {**EVER, P0: Objective(within_s=0.5, share=0.9, lost_after_s=1.5)}
    found = run(System(sites=(site(1),), objectives=rules), demand([0.0] * 4)).classes[P0]
    assert (found.in_time, found.answered, found.lost) == (1, 2, 2)
    assert found.available == 0.25


def test_the_autoscaler_grows_after_its_delay_and_is_paid_for_from_the_order() -> None:
    scaling = Scaling(target=1, cold_start_s=60, jitter=0, failure=0, in_after_s=100)
    burst = site(1, site=Site.SAGEMAKER, cloud="sagemaker", max_instances=3, scaling=scaling)
    steady = demand([float(t) for t in range(600)], parallel=2.5)
    outcome = run(System(sites=(burst,), objectives=EVER), steady, 1500.0)
    live = outcome.timeline[:, 4]
    at = [(row + 0.5) * outcome.bin_s for row in range(len(live))]
    grown = next(t for t, slots in zip(at, live, strict=True) if slots == 3)
    assert 80 <= grown <= 110, "three ticks above the target, then the cold start"
    assert live[-1] == 1, "it shrinks when the load is gone"
    hours = outcome.instance_hours[Site.SAGEMAKER]
    assert 1500 / 3600 < hours < 3 * 1500 / 3600


def test_orders_that_fail_delay_growth() -> None:
    def grown(failure: float) -> int:
        scaling = Scaling(target=1, cold_start_s=30, jitter=0, failure=failure, retry_s=100)
        burst = site(1, site=Site.SAGEMAKER, cloud="sagemaker", max_instances=3, scaling=scaling)
        outcome = run(System(sites=(burst,), objectives=EVER), demand([float(t) for t in range(600)], 2.5), 900.0)
        return int((outcome.timeline[:, 4] == 3).sum())

    assert grown(0.9) < grown(0.0)


def test_an_outage_moves_its_work_and_nothing_is_lost() -> None:
    burst = site(4, site=Site.SAGEMAKER, cloud="sagemaker")
    system = System(sites=(site(4), burst), objectives=EVER)
    outages = np.array([[0.5, 0, -1, 1], [10.0, 0, -1, -1]], dtype=np.float64)
    outcome = run(system, demand([0.0, 0.1, 20.0]), outages=outages)
    assert outcome.by_site == {Site.PRIVATE: 1, Site.SAGEMAKER: 2}
    assert outcome.classes[P0].answered == 3


def test_an_outage_of_all_sites_is_waited_out() -> None:
    outages = np.array([[0.5, 0, -1, 1], [10.0, 0, -1, -1]], dtype=np.float64)
    outcome = run(System(sites=(site(2),), objectives=EVER), demand([0.0, 1.0]), outages=outages)
    assert outcome.classes[P0].answered == 2
    assert outcome.classes[P0].wait_p50_s > 8


def test_drawn_outages_have_the_given_means() -> None:
    failures = {Site.PRIVATE: Failures(site_mtbf_h=100, site_mttr_h=5, instance_mtbf_h=1000, instance_mttr_h=10)}
    rows = draw_outages(System(sites=(site(1, 3),)), failures, 3600 * 500_000.0)
    whole = rows[rows[:, 2] == -1]
    down = (whole[1::2, 0] - whole[::2, 0]).mean() / 3600
    assert down == pytest.approx(5, rel=0.1)
    assert len(whole) / 2 == pytest.approx(500_000 / 105, rel=0.1)
    assert {0.0, 1.0, 2.0} <= set(rows[:, 2])
    assert (np.diff(rows[:, 0]) >= 0).all()


def test_the_same_seed_gives_the_same_outcome_and_another_one_does_not() -> None:
    def found(seed: int) -> object:
        scaling = Scaling(target=2, cold_start_s=40, failure=0.3)
        burst = site(3, site=Site.SAGEMAKER, cloud="sagemaker", max_instances=6, scaling=scaling)
        system = System(sites=(site(2), burst), objectives=EVER)
        outages = draw_outages(system, {Site.PRIVATE: Failures(site_mtbf_h=0.2, site_mttr_h=0.05)}, 3000.0, seed)
        outcome = simulate(poisson(8, 20_000, 1, False), system, 3000.0, seed=seed, outages=outages)
        return outcome.classes, outcome.instance_hours, outcome.timeline.tolist()

    assert found(1) == found(1)
    assert found(1) != found(2)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 2), st.floats(0.01, 5), st.integers(0, 2)), max_size=60),
    st.integers(1, 4),
    st.integers(0, 2),
    st.lists(st.tuples(st.floats(0, 60), st.floats(0.1, 20)), max_size=4),
)
def test_every_request_is_answered_or_lost(
    requests: list[tuple[float, float, float, int]], slots: int, burst: int, out: list[tuple[float, float]]
) -> None:
    requests.sort()
    chunk = Demand(*(np.array([r[k] for r in requests], dtype=t) for k, t in enumerate((float, float, float, np.int8))))
    sites = [site(slots)]
    if burst:
        sites.append(site(2, burst, site=Site.SAGEMAKER, cloud="sagemaker", max_instances=burst + 2))
    rows = sorted(row for at, last in out for row in ((at, 0.0, -1.0, 1.0), (at + last, 0.0, -1.0, -1.0)))
    system = System(sites=tuple(sites))
    outcome = run(system, chunk, 60.0, outages=np.array(rows, dtype=np.float64).reshape(-1, 4))
    assert outcome.offered == len(requests)
    for found in outcome.classes.values():
        assert found.answered + found.lost == found.offered
        assert found.in_time <= found.answered


def test_a_queue_that_outgrows_its_ring_loses_nobody() -> None:
    chunk = demand([0.001 * k for k in range(20_000)], parallel=0.01)
    outcome = run(System(sites=(site(1),), objectives=EVER), chunk, 300.0)
    assert outcome.classes[P0].answered == 20_000
