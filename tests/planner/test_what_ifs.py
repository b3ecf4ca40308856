"""What is worked out beside a plan: other ways to buy, growth, P2 on spot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.prices import PriceError, find_price
from spillway.planner.costs import cheapest_mix
from spillway.planner.errors import PlannerError
from spillway.planner.growth import Growth, Step, grown, growth_of
from spillway.planner.kernel import state
from spillway.planner.offers import Offer, bought, saving_at_best
from spillway.planner.plan import Asked, make_plan
from spillway.planner.search import Search, Space, fewest_that, judged
from spillway.planner.shared import Tenant, read_tenant, shared, tenant_of
from spillway.planner.simulate import run_trace
from spillway.planner.spot import p2_on_spot
from spillway.planner.system import Failures, System
from spillway.planner.trace import synthetic
from stacks.planning import Commitment, offers_of, spot_of
from stacks.sites import burst_sites
from stacks.stack_file import read_settings
from tests.planner.test_plan import SERVICE, space, spec
from tests.stacks.files import example, flat

P0, P1, P2 = RequestClass
TRACE = synthetic(300, 2.5, seed=3)
SMALL = space(most_private=4, most_burst=2)


def test_so_many_are_committed_to_as_are_there_for_more_of_the_time_than_they_cost() -> None:
    """One instance is always there, the second for half of the time, the third and fourth for a fifth of it."""
    burst = spec(Site.SAGEMAKER, 1.0, max_instances=4)
    system = System(sites=(burst,))
    ran = run_trace(TRACE, SERVICE, system, bins=100)
    timeline = np.zeros_like(ran.timeline)
    timeline[:, state.PER_SITE + 1] = np.repeat([1, 2, 4], [50, 30, 20]) * burst.slots
    mean = 1.9
    outcome = replace(ran, timeline=timeline, instance_hours={Site.SAGEMAKER: mean * ran.hours})
    assert cheapest_mix(burst, outcome, 1.0, 0.6) == (pytest.approx(0.6 + mean - 1), 1)
    assert cheapest_mix(burst, outcome, 1.0, 0.4) == (pytest.approx(2 * 0.4 + 0.2 * 2), 2)
    assert cheapest_mix(burst, outcome, 1.0, 0.1) == (pytest.approx(4 * 0.1), 4)
    mixed = System(sites=(burst.model_copy(update={"committed_usd_per_hour": 0.4}),))
    bill = judged("all public", mixed, outcome, 1.0).bill
    assert bill.committed == {Site.SAGEMAKER: 2}
    assert bill.total_per_hour == pytest.approx(1.2)


def test_the_public_side_is_judged_at_its_best() -> None:
    """Bare machines are for it alone: the hybrid's burst runs on the service."""
    burst, private = spec(Site.SAGEMAKER, 2.0, min_instances=2, max_instances=2), spec(Site.PRIVATE, 0.5)
    public, hybrid = (
        judged("all public", system, run_trace(TRACE, SERVICE, system), TRACE.tokens)
        for system in (System(sites=(burst,)), System(sites=(private, burst.sized(1))))
    )
    offers = {
        burst.instance_type: (
            Offer("savings_3y", 2.0, 1.2, bare=False, said="a list"),
            Offer("bare EC2", 1.6, None, bare=True, said="another"),
        )
    }
    ways = {way.name: way for way in bought(public, hybrid, offers)}
    assert list(ways) == ["savings_3y", "bare EC2"], "the cheapest first"
    assert ways["savings_3y"].public == pytest.approx(730 * 2 * 1.2)
    assert ways["savings_3y"].hybrid == pytest.approx(730 * (0.5 + 1.2))
    assert (ways["bare EC2"].public, ways["bare EC2"].hybrid) == (pytest.approx(730 * 2 * 1.6), None)
    assert saving_at_best(public, hybrid, list(ways.values())) == pytest.approx(1 - 1.7 / 2.4)


def test_offers_are_what_the_catalogue_knows_with_its_date() -> None:
    settings = read_settings(flat(example("prod")))
    offers = offers_of(settings, burst_sites(settings))
    (bare,) = [one for one in offers["ml.g5.xlarge"] if one.bare and one.committed is None]
    listed = find_price("ec2", "g5.xlarge", "us-east-1")
    assert bare.usd_per_hour == listed.usd_per_hour
    assert bare.said == f"g5.xlarge in us-east-1 {listed.usd_per_hour:g} $/h as of {listed.as_of or listed.read_on}"
    assert all(not one.bare for one in offers["Standard_NC4as_T4_v3"])
    committed = offers_of(settings, burst_sites(settings), Commitment(0.4))["ml.g5.xlarge"]
    (less,) = [one for one in committed if one.bare and one.committed is not None]
    assert (less.name, less.committed) == ("bare EC2, 40% off", pytest.approx(0.6 * listed.usd_per_hour))


# Growth


def test_growth_says_how_long_sizes_hold_and_what_is_to_be_there_by_when() -> None:
    room = space()
    sized = Search(TRACE, SERVICE, room).find("hybrid").need()
    steps = list(grown(TRACE, SERVICE, room, sized, Growth(0.6, "year")))
    assert [step.when for step in steps] == ["1 year", "2 years", "3 years"]
    assert [step.traffic for step in steps] == pytest.approx([1.6, 2.56, 4.096])
    bills = [sized.bill.month, *(step.plan.bill.month for step in steps if step.plan)]
    assert len(bills) == 4
    assert bills[-1] > bills[0]
    nodes = [one.private.min_instances for one in (sized, *(step.plan for step in steps)) if one and one.private]
    assert nodes == sorted(nodes), "nobody gives back what he bought"
    for step in steps:
        assert step.plan is not None
        assert step.plan.holds
    assert steps[-1].missed or steps[-2].missed or steps[0].missed, "four times the traffic takes more"


def test_growth_beyond_the_space_ends_with_what_misses() -> None:
    room = space(most_private=1, most_burst=1)
    sized = Search(TRACE, SERVICE, room).find("hybrid").need()
    steps = list(grown(TRACE, SERVICE, room, sized, Growth(9.0, "year")))
    assert steps[-1].plan is None
    assert any(miss.startswith("P") for miss in steps[-1].missed)


def test_growth_keeps_types_and_p2s_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks how many: each further share was a search more, which found the same sizes."""
    spaces: list[Space] = []

    def looked_at(*given: Any) -> list[Step]:
        spaces.append(given[2])
        return []

    monkeypatch.setattr("spillway.planner.plan.grown", looked_at)
    made = make_plan(TRACE, SERVICE, SMALL, foresight=False, asked=Asked(growth=Growth(0.1, "year")))
    private = made.hybrid.found.need().private
    assert private is not None
    assert len(SMALL.batch_shares) > 1
    assert [space.batch_shares for space in spaces] == [(private.batch_share,)]


@given(st.integers(0, 70), st.integers(1, 64), st.integers(0, 70))
def test_the_fewest_are_found_from_wherever_one_begins(wanted: int, most: int, begin: int) -> None:
    asked: list[int] = []

    def holds(count: int) -> bool:
        asked.append(count)
        return count >= wanted

    assert fewest_that(holds, 1, most, begin) == (max(1, wanted) if wanted <= most else None)
    assert all(1 <= count <= most for count in asked)
    assert len(asked) == len(set(asked)) <= 14


@pytest.mark.parametrize("text", ["30%", "30/quarter", "30%/week", "0%/year", "-3%/year", "2000%/month"])
def test_growth_that_is_none_is_refused(text: str) -> None:
    assert growth_of("7.5 % / quarter") == Growth(0.075, "quarter")
    with pytest.raises(PlannerError, match=r"e\.g\. 30%/quarter"):
        growth_of(text)


# Spot


def test_p2_needs_more_spot_nodes_the_oftener_they_are_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spillway.planner.spot._MOST_REQUESTS", 40_000)
    node = spec(Site.PRIVATE, 0.3)
    calm, wild = (
        p2_on_spot(TRACE, SERVICE, SMALL, node, Failures(instance_mtbf_h=hours, instance_mttr_h=away))
        for hours, away in ((10.0, 0.1), (6.0, 1.0))
    )
    assert calm is not None
    assert wild is not None
    assert calm.batch.outcome.classes[P2].available >= 0.99
    assert calm.batch.outcome.classes[P0].offered == 0
    assert calm.rest.outcome.classes[P2].offered == 0
    assert calm.month == pytest.approx(calm.batch.bill.month + calm.rest.bill.month)
    assert wild.batch.bill.month > calm.batch.bill.month
    assert "taken away once in 6 h" in wild.text


def test_without_p2_nothing_is_put_on_spot() -> None:
    assert p2_on_spot(TRACE.of(P0), SERVICE, space(), spec(Site.PRIVATE, 0.3), Failures(instance_mtbf_h=9)) is None


def test_a_spot_price_is_the_catalogues_or_the_callers_and_never_made_up() -> None:
    settings = read_settings(flat(example("prod")))
    sites = burst_sites(settings)
    known = spot_of(settings, sites, SERVICE, 20.0, None)
    assert known.node.usd_per_hour == find_price("ec2", "g6.12xlarge", "us-east-1", "spot").usd_per_hour
    assert known.failures.instance_mtbf_h == 20.0
    local = read_settings(flat(example("local")))
    missing = r"no spot price of g5\.xlarge in us-east-1 is known; `spillway prices refresh --spot-region us-east-1"
    with pytest.raises(PriceError, match=missing):
        spot_of(local, burst_sites(local), SERVICE, 20.0, None)
    assert spot_of(local, burst_sites(local), SERVICE, 20.0, 0.4).node.usd_per_hour == 0.4


# Shared nodes


def tenant(model: str, each: int, servers: int, nodes: int, **more: object) -> Tenant:
    given = {"model": model, "instance_type": "node", "gpus": 8, "usd_per_hour": 10.0, "gpus_per_server": each}
    return Tenant(**{**given, "servers": servers, "nodes": nodes, **more})  # type: ignore[arg-type]


def test_servers_of_two_models_share_nodes_and_none_spans_two() -> None:
    """Three servers of four GPUs and five of two: 22 GPUs on three nodes of eight, where apart they take four."""
    found = shared([tenant("large", 4, 3, 2), tenant("small", 2, 5, 2)])
    assert found.nodes == 3
    assert "3 × node instead of 4: 7,300 $ a month less" in found.text
    whole = shared([tenant("large", 8, 2, 2), tenant("small", 2, 1, 1)])
    assert whole.nodes == 3, "eight GPUs leave nothing over"
    assert shared([tenant("odd", 3, 4, 2)]).nodes == 2, "two of three GPUs a node, and two left over that hold none"


def test_a_plan_says_the_fewest_servers_with_which_it_holds() -> None:
    """Sized in whole nodes of four servers, of which it needs fewer."""
    room = space(private=spec(Site.PRIVATE, 2.0, gpus=4, servers=4))
    search = Search(TRACE, SERVICE, room)
    sized = search.find("hybrid").need()
    assert sized.private is not None
    found = tenant_of(search, sized)
    assert (found.gpus, found.gpus_per_server, found.nodes) == (4, 1, sized.private.min_instances)
    assert 1 <= found.servers <= 4 * found.nodes
    part = sized.private.model_copy(update={"servers": 1, "gpus": 1})
    for count, holds in ((found.servers, True), (found.servers - 1, False)):
        if count:
            sites = (part.sized(count), *sized.bursts)
            assert search.run("hybrid", sized.system.model_copy(update={"sites": sites}), TRACE).holds is holds


def test_plans_of_other_nodes_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlannerError, match="nodes are shared by plans of one kind of node"):
        shared([tenant("large", 4, 3, 2), tenant("small", 2, 5, 2, instance_type="g6.12xlarge")])
    path = tmp_path / "plan.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(PlannerError, match="give what `spillway plan --shared --json` wrote"):
        read_tenant(path)
    path.write_text(json.dumps({"shared": shared([tenant("large", 4, 3, 2)]).to_json()}), encoding="utf-8")
    assert read_tenant(path) == tenant("large", 4, 3, 2)
