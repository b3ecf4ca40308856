"""The simulation: against queueing theory, and what each rule does."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.contracts.classes import RequestClass, Site, SiteName
from spillway.contracts.routing import DEFAULT_CLASSES
from spillway.planner.kernel import state as kernel
from spillway.planner.service import ServiceModel, from_rates
from spillway.planner.simulate import (
    Demand,
    HopelessError,
    Outcome,
    draw_outages,
    run_outages,
    run_trace,
    simulate,
)
from spillway.planner.system import Failures, Objective, Scaling, System, Tries, tries_of
from spillway.planner.trace import synthetic
from tests.planner.queues import EVER, SECONDS, demand, interval, md1_wait, mmc_wait, poisson, run_queue, site

P0, P1, P2 = RequestClass


def run(system: System, chunk: Demand, duration_s: float = 100.0, **more: object) -> Outcome:
    return simulate([chunk], SECONDS, system, duration_s, **more)  # pyright: ignore[reportArgumentType]


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


def test_p0_comes_round_again_to_the_headroom_and_others_are_refused() -> None:
    burst = site(1, site=Site.SAGEMAKER, cloud="sagemaker", headroom=0)
    system = System(sites=(site(2, headroom=1), burst), objectives=EVER)
    outcome = run(system, demand([0.0] * 6, classes=[0, 0, 0, 1, 0, 0]))
    assert outcome.by_site == {Site.PRIVATE: 3, Site.SAGEMAKER: 1}
    assert outcome.classes[P1].lost == 1
    assert (outcome.classes[P0].answered, outcome.classes[P0].lost) == (4, 1)
    assert outcome.classes[P0].wait_p9995_s == pytest.approx(1.0, rel=0.02)


def test_a_class_goes_only_where_it_may() -> None:
    burst = site(4, site=Site.SAGEMAKER, cloud="sagemaker", takes=(P0,))
    system = System(sites=(site(1, headroom=0), burst), objectives=EVER)
    outcome = run(system, demand([0.0] * 3, classes=[1, 1, 0]))
    assert outcome.by_site == {Site.PRIVATE: 1, Site.SAGEMAKER: 1}
    assert outcome.classes[P1].lost == 1


def test_slots_are_divided_among_the_gateways_processes() -> None:
    """Four slots, two processes: each lets two through, and some find theirs full while the other has room."""
    whole, halves = (
        run(
            System(sites=(site(4, headroom=0),), gateways=n, objectives=EVER),
            demand([0.1 * k for k in range(200)], 0.3),
        )
        for n in (1, 2)
    )
    assert whole.classes[P0].lost == 0, "three at once"
    assert halves.classes[P0].lost > 0


def test_the_gateway_may_let_fewer_through_than_the_server_takes() -> None:
    burst = site(4, site=Site.SAGEMAKER, cloud="sagemaker")
    system = System(sites=(site(4, gate_slots=1), burst), objectives=EVER)
    assert run(system, demand([0.0] * 3)).by_site == {Site.PRIVATE: 1, Site.SAGEMAKER: 2}


@pytest.mark.parametrize(("follows", "spilled"), [(True, 0), (False, 4)])
def test_slots_that_follow_nothing_stay_those_of_the_fewest(follows: bool, spilled: int) -> None:
    """Grown to two instances of two slots; four more at once, and then as many at the next site."""
    scaling = Scaling(target=1, cold_start_s=10, jitter=0, failure=0, slots_follow=follows)
    first = site(2, headroom=0, max_instances=2, scaling=scaling)
    system = System(sites=(first, site(9, site=Site.SAGEMAKER, cloud="sagemaker")), objectives=EVER)
    busy = [k + 0.01 * n for k in range(100) for n in range(2)]
    at_once = [100.5, 100.5, 100.6, 100.6, 102.5, 102.5, 102.6, 102.6]
    outcome = run(system, demand([*busy, *at_once], 0.9), 200.0)
    assert outcome.by_site[Site.SAGEMAKER] == spilled


def test_a_random_balancer_is_worse_than_least_busy() -> None:
    """Azar, Broder, Karlin and Upfal, 1994: two choices leave far shorter queues than one."""

    def wait(balancing: str) -> float:
        spec = site(1, 16, gate_slots=1000, headroom=0, scaling=Scaling.model_validate({"balancing": balancing}))
        chunks = poisson(12.8, 40_000, 1, False)
        return simulate(chunks, SECONDS, System(sites=(spec,), objectives=EVER), 4000.0).classes[P0].mean_wait_s

    # One of sixteen at random is M/M/1: rho ÷ (1 − rho) = 4 s at 0.8.
    assert wait("random") == pytest.approx(4.0, rel=0.15)
    assert wait("least_busy") < 1.5


def test_the_kv_cache_bounds_what_runs() -> None:
    """Two fit; the third waits for the first to end, though there are slots."""
    chunk = demand([0.0, 0.0, 0.0])._replace(tokens=np.full(3, 100.0))
    outcome = run(System(sites=(site(8, kv_tokens=250),), objectives=EVER), chunk)
    assert outcome.classes[P0].wait_p9995_s == pytest.approx(1.0, rel=0.02)


def test_a_server_that_refuses_sends_on() -> None:
    burst = site(4, site=Site.SAGEMAKER, cloud="sagemaker")
    system = System(sites=(site(8, most_at_server=2), burst), objectives=EVER)
    assert run(system, demand([0.0] * 3)).by_site == {Site.PRIVATE: 2, Site.SAGEMAKER: 1}


def streams(arrivals: list[float], kv_tokens: int | None = None, most_unread_tokens: int | None = None) -> Outcome:
    """P1's, each of 300 tokens in and eleven out at one a second, against a site of eight slots and another one."""
    engine = ServiceModel(
        name="x", source="x", prompt_tokens=(1, 300), prompt_s=(0.01, 0.5), token_s=1.0, most_read=300
    )
    private = site(8, kv_tokens=kv_tokens, most_unread_tokens=most_unread_tokens)
    burst = site(8, site=Site.SAGEMAKER, cloud="sagemaker")
    count = len(arrivals)
    chunk = demand(arrivals, 10.0, [1] * count, 300.0)._replace(tokens=np.full(count, 311.0))
    return simulate([chunk], engine, System(sites=(private, burst), objectives=EVER), 100.0)


def test_slots_shrink_with_the_kv_cache_as_the_agent_reads_it() -> None:
    """After two seconds two requests hold six tenths of a thousand tokens; a third like them does not fit."""
    assert streams([0.0, 0.1, 3.0], kv_tokens=1000).by_site == {Site.PRIVATE: 2, Site.SAGEMAKER: 1}
    assert streams([0.0, 0.1, 1.0], kv_tokens=1000).by_site == {Site.PRIVATE: 3, Site.SAGEMAKER: 0}, "before it looked"
    assert streams([0.0, 0.1, 3.0], kv_tokens=100_000).by_site == {Site.PRIVATE: 3, Site.SAGEMAKER: 0}


def test_a_server_refuses_when_too_much_is_unread() -> None:
    """One is being read; two wait, and with them 600 tokens."""
    assert streams([0.0, 0.01, 0.02, 0.03], most_unread_tokens=500).by_site == {Site.PRIVATE: 3, Site.SAGEMAKER: 1}


def test_a_try_that_lasts_too_long_goes_on_at_the_next_site_and_burdens_the_first() -> None:
    """Triton works on: the one that comes at 0.65 s waits for the slot of the one that left it at 0.6 s."""
    tries = {P0: Tries(one_s=0.6, all_s=2.4)}
    burst = site(1, site=Site.SAGEMAKER, cloud="sagemaker", headroom=0)
    system = System(sites=(site(1, headroom=0), burst), objectives=EVER, tries=tries)
    chunk = demand([0.0, 0.65])._replace(work=np.array([0.9, 0.2]))
    found = run(system, chunk)
    assert found.classes[P0].lost == 1, "0.9 s are more than any try may last"
    assert found.by_site == {Site.PRIVATE: 1, Site.SAGEMAKER: 0}
    assert found.classes[P0].mean_wait_s == pytest.approx(0.25)


def test_three_tries_cut_in_a_row_put_a_server_out_for_a_while() -> None:
    """The private one at 0.6 s, so that it is back at the look at 4 s; the other one, where they went on, at 1.2 s."""
    tries = {P0: Tries(one_s=0.6)}
    burst = site(8, site=Site.SAGEMAKER, cloud="sagemaker")
    system = System(sites=(site(8), burst), objectives=EVER, tries=tries)
    chunk = demand([0.0, 0.0, 0.0, 1.0, 3.9, 4.1])._replace(work=np.array([9.0, 9.0, 9.0, 0.1, 0.1, 0.1]))
    found = run(system, chunk)
    assert found.by_site == {Site.PRIVATE: 1, Site.SAGEMAKER: 1}
    assert found.classes[P0].lost == 4, "the three, and who came when both were out"
    quiet = demand([0.0, 0.0, 1.0, 3.9, 4.1])._replace(work=np.array([9.0, 9.0, 0.1, 0.1, 0.1]))
    assert run(system, quiet).by_site == {Site.PRIVATE: 3, Site.SAGEMAKER: 0}, "two are not enough"


def test_a_busy_server_stretches_answers_while_it_is_busy() -> None:
    """Half a second alone, then both share until the first is done: 0.5 + 0.5 × 1.5 and 0.5 × 1.5 + 0.5 s."""
    service = SECONDS.model_copy(update={"stretch": 0.5})
    chunk = demand([0.0, 0.5])
    outcome = simulate([chunk], service, System(sites=(site(2),), objectives=EVER), 100.0)
    assert outcome.classes[P0].latency_p50_s == pytest.approx(1.25, rel=0.011)
    assert outcome.classes[P0].latency_p99_s == pytest.approx(1.25, rel=0.011)


def test_the_urgent_are_served_first_inside_the_server() -> None:
    """P2 was let through before, into slots that two P0 of the headroom wait for as well."""
    service = ServiceModel(name="x", source="x", prompt_tokens=(1, 2), prompt_s=(1, 2), batched=True, most_read=1)
    spec = site(4, headroom=4, batch_share=1.0)
    chunk = demand([0.0, 0.1, 0.2, 0.3], work=0.0, classes=[2, 2, 0, 0], prompt=1.0)
    outcome = simulate([chunk], service, System(sites=(spec,), objectives=EVER), 100.0)
    assert outcome.classes[P0].mean_wait_s == pytest.approx((0.8 + 1.7) / 2)
    assert outcome.classes[P2].mean_wait_s == pytest.approx((0.0 + 2.9) / 2)


def test_p2_keeps_to_its_share_and_is_sent_again() -> None:
    rules = {**EVER, P2: Objective(within_s=60, share=0.5, again_s=10)}
    outcome = run(System(sites=(site(4, batch_share=0.5),), objectives=rules), demand([0.0] * 6, classes=[2] * 6))
    assert outcome.classes[P2].answered == 6
    assert outcome.classes[P2].wait_p9995_s == pytest.approx(20.0, rel=0.02), "two at once, so three rounds"


def test_who_waits_too_long_is_given_up() -> None:
    rules = {**EVER, P0: Objective(within_s=1, share=0.5, patience_s=0.5)}
    outcome = run(System(sites=(site(1, headroom=5),), objectives=rules), demand([0.0, 0.1, 0.9]))
    assert (outcome.classes[P0].answered, outcome.classes[P0].lost) == (2, 1)


def test_late_answers_are_answered_and_not_in_time() -> None:
    rules = {**EVER, P0: Objective(within_s=0.5, share=0.9, lost_after_s=1.5)}
    found = run(System(sites=(site(1),), objectives=rules), demand([0.0] * 4)).classes[P0]
    assert (found.in_time, found.answered, found.lost) == (1, 2, 2)
    assert found.available == 0.25


def test_the_autoscaler_grows_after_its_delay_and_is_paid_for_from_the_order() -> None:
    scaling = Scaling(target=1, cold_start_s=60, jitter=0, failure=0, in_after_s=100)
    burst = site(1, site=Site.SAGEMAKER, cloud="sagemaker", max_instances=3, scaling=scaling, headroom=4)
    steady = demand([float(t) for t in range(600)], 2.5)
    outcome = run(System(sites=(burst,), objectives=EVER), steady, 1500.0)
    live = outcome.timeline[:, kernel.PER_SITE + 1]
    at = [(row + 0.5) * outcome.bin_s for row in range(len(live))]
    grown = next(t for t, slots in zip(at, live, strict=True) if slots == 3)
    assert 80 <= grown <= 110, "three ticks above the target, then the cold start"
    assert live[-1] == 1, "it shrinks when the load is gone"
    hours = outcome.instance_hours[Site.SAGEMAKER]
    assert 1500 / 3600 < hours < 3 * 1500 / 3600


def test_orders_that_fail_delay_growth() -> None:
    def grown(failure: float) -> int:
        scaling = Scaling(target=1, cold_start_s=30, jitter=0, failure=failure, retry_s=100)
        burst = site(1, site=Site.SAGEMAKER, cloud="sagemaker", max_instances=3, scaling=scaling, headroom=4)
        outcome = run(System(sites=(burst,), objectives=EVER), demand([float(t) for t in range(600)], 2.5), 900.0)
        return int((outcome.timeline[:, kernel.PER_SITE + 1] == 3).sum())

    assert grown(0.9) < grown(0.0)


def test_an_outage_moves_its_work_and_nothing_is_lost() -> None:
    burst = site(4, site=Site.SAGEMAKER, cloud="sagemaker")
    system = System(sites=(site(4), burst), objectives=EVER)
    outages = np.array([[0.5, 0, -1, 1], [10.0, 0, -1, -1]], dtype=np.float64)
    outcome = run(system, demand([0.0, 0.1, 20.0]), outages=outages)
    assert outcome.by_site == {Site.PRIVATE: 1, Site.SAGEMAKER: 2}
    assert outcome.classes[P0].answered == 3


def test_an_outage_of_all_sites_refuses_and_only_who_sends_again_is_answered() -> None:
    outages = np.array([[0.5, 0, -1, 1], [10.0, 0, -1, -1]], dtype=np.float64)
    rules = {**EVER, P2: Objective(within_s=60, share=0.5, again_s=4)}
    outcome = run(
        System(sites=(site(2),), objectives=rules), demand([0.0, 1.0, 1.0], classes=[0, 0, 2]), outages=outages
    )
    assert (outcome.classes[P0].answered, outcome.classes[P0].lost) == (0, 2)
    assert outcome.classes[P2].mean_wait_s == pytest.approx(12.0)


def test_a_stream_that_breaks_is_lost_and_what_has_not_begun_goes_on() -> None:
    engine = ServiceModel(name="x", source="x", prompt_tokens=(1, 2), prompt_s=(0.2, 0.4), token_s=0.1, most_read=1)
    system = System(sites=(site(4), site(4, site=Site.SAGEMAKER, cloud="sagemaker")), objectives=EVER)
    outages = np.array([[0.5, 0, -1, 1]], dtype=np.float64)
    chunk = demand([0.0, 0.4], work=50.0, prompt=1.0)
    found = simulate([chunk], engine, system, 100.0, outages=outages)
    assert found.by_site == {Site.PRIVATE: 0, Site.SAGEMAKER: 1}
    assert found.classes[P0].lost == 1


def test_steps_add_one_instance_a_cooldown_by_how_busy_servers_were() -> None:
    """Azure Monitor's rules: above 70 % over five minutes one more, and not again within five minutes."""
    scaling = Scaling(by="steps", out_after_s=300, out_cooldown_s=300, cold_start_s=60, jitter=0, failure=0)
    spec = site(1, max_instances=4, scaling=scaling, headroom=50)
    arrivals = [float(t) for t in range(3000)]
    outcome = run(System(sites=(spec,), objectives=EVER), demand(arrivals, 3.5), 6000.0, bins=600)
    live = outcome.timeline[:, kernel.PER_SITE + 1]
    grown = [float(np.argmax(live >= n) * 10) for n in (2, 3, 4)]
    assert grown == pytest.approx([360, 660, 960], abs=70)
    assert live[-1] == 1, "one less a cooldown when nothing is left to do"


def test_the_private_site_grows_with_what_spills() -> None:
    """As its autoscaler is deployed: requests in flight count at whatever site they are."""
    private = site(2, max_instances=4, scaling=Scaling(by="demand", target=1.4, cold_start_s=60, jitter=0, failure=0))
    burst = site(8, site=Site.SAGEMAKER, cloud="sagemaker")
    arrivals = [float(t) for t in range(600)]
    grown = run(System(sites=(private, burst), objectives=EVER), demand(arrivals, 5.0), 900.0)
    blind = private.model_copy(update={"scaling": private.scaling.model_copy(update={"by": "tracking"})})
    alone = run(System(sites=(blind, burst), objectives=EVER), demand(arrivals, 5.0), 900.0)
    most = [int(found.timeline[:, kernel.PER_SITE + 1].max()) for found in (grown, alone)]
    assert most == [2 * 4, 2 * 4], "both come to all four: one at once, the other step by step"
    first = [int(np.argmax(found.timeline[:, kernel.PER_SITE + 1] == 8)) for found in (grown, alone)]
    assert first[0] < first[1]


def test_an_answer_whose_tokens_are_slow_is_not_in_time() -> None:
    """Ten tokens at 0.1 s each: begun at once, and too slow for who was promised 50 ms."""
    engine = ServiceModel(name="x", source="x", prompt_tokens=(1, 2), prompt_s=(0.2, 0.4), token_s=0.1, most_read=1)
    for each, share in ((0.05, 0.0), (0.15, 1.0), (None, 1.0)):
        promise = EVER[P0].promising("first_token", 1.0, 0.9, each)
        rules = {**EVER, P0: promise}
        chunk = demand([0.0, 5.0], work=10.0, prompt=1.0)
        found = simulate([chunk], engine, System(sites=(site(4),), objectives=rules), 100.0)
        assert found.classes[P0].available == share, each
    assert EVER[P0].promising("first_token", 1.0, 0.9, 0.05).text.endswith("and 50 ms a token")


def test_drawn_outages_have_the_given_means() -> None:
    failing = Failures(site_mtbf_h=100, site_mttr_h=5, instance_mtbf_h=1000, instance_mttr_h=10)
    failures: dict[SiteName, Failures] = {Site.PRIVATE: failing}
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
        system = System(sites=(site(2), burst), gateways=2, objectives=EVER)
        outages = draw_outages(system, {Site.PRIVATE: Failures(site_mtbf_h=0.2, site_mttr_h=0.05)}, 3000.0, seed)
        outcome = simulate(poisson(8, 20_000, 1, False), SECONDS, system, 3000.0, seed=seed, outages=outages)
        return outcome.classes, outcome.instance_hours, outcome.timeline.tolist()

    assert found(1) == found(1)
    assert found(1) != found(2)


SERVICES = [
    SECONDS,
    ServiceModel(
        name="engine", source="x", prompt_tokens=(1, 100), prompt_s=(0.1, 1), token_s=0.05, stretch=1, most_read=64
    ),
    ServiceModel(
        name="encoder", source="x", prompt_tokens=(1, 8), prompt_s=(0.1, 0.4), batched=True, most_read=8, delay_s=0.05
    ),
]


@settings(max_examples=60)
@given(
    st.sampled_from(SERVICES),
    st.lists(st.tuples(st.floats(0, 50), st.integers(1, 300), st.integers(0, 60), st.integers(0, 2)), max_size=60),
    st.integers(1, 4),
    st.integers(0, 2),
    st.integers(1, 3),
    st.lists(st.tuples(st.floats(0, 60), st.floats(0.1, 20)), max_size=4),
    st.booleans(),
)
def test_every_request_is_answered_or_lost(
    service: ServiceModel,
    requests: list[tuple[float, int, int, int]],
    slots: int,
    burst: int,
    gateways: int,
    out: list[tuple[float, float]],
    cut: bool,
) -> None:
    requests.sort()
    at, tokens_in, tokens_out, klass = (np.array([r[k] for r in requests], dtype=float) for k in range(4))
    chunk = Demand(at, *service.demand(tokens_in, tokens_out), klass.astype(np.int8))
    sites = [site(slots, kv_tokens=500)]
    if burst:
        sites.append(site(2, burst, site=Site.SAGEMAKER, cloud="sagemaker", max_instances=burst + 2, servers=2))
    rows = sorted(row for at, last in out for row in ((at, 0.0, -1.0, 1.0), (at + last, 0.0, -1.0, -1.0)))
    tries = tries_of(DEFAULT_CLASSES, service.language) if cut else {}
    system = System(sites=tuple(sites), gateways=gateways, tries=tries)
    outages = np.array(rows, dtype=np.float64).reshape(-1, 4)
    outcome = simulate([chunk], service, system, 60.0, outages=outages)
    assert outcome.offered == len(requests)
    missed = outcome.timeline[:, kernel.MISSED_BY : kernel.MISSED_BY + 3].sum(axis=0)
    for late, found in zip(missed, outcome.classes.values(), strict=True):
        assert found.answered + found.lost == found.offered
        assert found.in_time <= found.answered
        assert late == found.offered - found.in_time


def test_a_long_trace_is_run_in_parts_and_comes_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = synthetic(600, 2.0, seed=2)
    system = System(sites=(site(8), site(4, site=Site.SAGEMAKER, cloud="sagemaker")))
    service = from_rates(20_000, 60, slots=8)
    whole = run_trace(trace, service, system, times=2)
    monkeypatch.setattr("spillway.planner.simulate.CHUNK", 100)
    parts = run_trace(trace, service, system, times=2)
    assert len(parts.waits) == 2 * -(-len(trace) // 100)
    assert parts.classes == whole.classes


def test_outages_after_a_common_beginning_come_out_as_each_from_the_start() -> None:
    """The second begins in the trace's second turn, and growth, cold starts and what is sent again go on through it."""
    trace = synthetic(600, 2.0, seed=2)
    system = System(sites=(site(1, servers=2), site(1, site=Site.SAGEMAKER, min_instances=1, max_instances=3)))
    service, after_s = from_rates(20_000, 60, slots=8), 60.0
    outages = [np.array([[begin, 0, -1, 1], [begin + 100, 0, -1, -1]]) for begin in (200.0, 640.0)]
    ran = list(run_outages(trace, service, system, outages, after_s, bin_s=10.0))
    for rows, timeline in zip(outages, ran, strict=True):
        whole = run_trace(trace, service, system, times=2, outages=rows, bins=120).timeline
        until = int((rows[-1, 0] + after_s) / 10.0)
        shown = slice(kernel.OFFERED_BY, kernel.MISSED_BY + 3)
        assert whole[:until, shown].sum() > 0
        assert (timeline[:until, shown] == whole[:until, shown]).all()
        assert not timeline[until:, shown].any(), "nothing arrives later"


def test_what_misses_more_than_it_may_is_not_simulated_to_its_end() -> None:
    rules = {**EVER, P0: Objective(within_s=1.0, share=0.5)}
    chunk, system = (
        demand([0.1 * k for k in range(200)], work=1.0, classes=[0] * 200),
        System(sites=(site(1, headroom=500),), objectives=rules),
    )
    late = run(system, chunk).classes[P0]
    missed = late.offered - late.in_time
    assert missed > 100
    assert run(system, chunk, most_missed={P0: missed}).classes[P0] == late
    with pytest.raises(HopelessError):
        run(system, chunk, most_missed={P0: 10})


def test_a_ring_that_is_outgrown_loses_nobody() -> None:
    """Twenty thousand are sent again, a few at a time."""
    rules = {**EVER, P2: Objective(within_s=60, share=0.5, again_s=1)}
    chunk = demand([0.001 * k for k in range(20_000)], work=0.01, classes=[2] * 20_000)
    outcome = run(System(sites=(site(64),), objectives=rules), chunk, 700.0)
    assert outcome.classes[P2].answered == 20_000
