"""Breakers follow the number of live instances, in a real Envoy."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pytest
from pydantic import ValidationError

from spillway.contracts.classes import Site
from spillway.contracts.live_instances import FRESH_S, LiveCount, to_json
from spillway.contracts.routing import ActiveCheck, LiveInstances, RoutingTable
from spillway.runtime.gateway.capacity import Breakers
from spillway.runtime.gateway.live_watch import LiveWatch
from tests.support.gateway_rig import Rig


def test_slots_follow_instances(tmp_path: Path) -> None:
    route = Rig(tmp_path).table.site(Site.PRIVATE)
    four = route.model_copy(update={"slots": 8, "instances": 4, "batch_slots": 0})
    assert (four.with_instances(6).slots, four.with_instances(6).batch_slots) == (12, 0)
    assert four.with_instances(1).slots == 2
    assert route.with_instances(0).slots == 1
    # Four slots an instance, nine of ten requests on the first of two deployments with two instances and one.
    split = route.model_copy(update={"slots": 8, "instances": 20 / 9})
    assert [split.with_instances(live).slots for live in (20 / 9, 40 / 9, 10 / 9)] == [8, 16, 4]


def test_counts_that_are_old_or_missing_leave_what_the_slots_were_counted_for(tmp_path: Path) -> None:
    route = Rig(tmp_path).table.site(Site.AZURE_ML)
    values: list[str | None] = [to_json({"azure_ml": LiveCount(6, read_at=1000)}), None]
    watch = LiveWatch(LiveInstances(parameter="/live", region="eu-west-1"), lambda _: values.pop(0))
    assert watch.instances(route, 1000) == 1
    watch.check()
    assert (watch.instances(route, 1000 + FRESH_S), watch.instances(route, 1001 + FRESH_S)) == (6, 1)
    watch.check()
    assert watch.instances(route, 1000) == 1


def test_a_published_capacity_needs_to_know_where(tmp_path: Path) -> None:
    table = Rig(tmp_path).table.model_dump()
    table["sites"][2]["capacity"] = "published"
    with pytest.raises(ValidationError, match="live is missing"):
        RoutingTable.model_validate(table)


@pytest.mark.heavy
def test_breakers_move_at_run_time(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        private = rig.table.site(Site.PRIVATE)
        for server in rig.servers.values():
            server.delay_s = 0.5

        async def fit(live: int) -> None:
            async with aiohttp.ClientSession() as session:
                breakers = Breakers(rig.table, session)
                assert await breakers.addresses(private) == 1
                await breakers.fit(private, live)

        key = {"x-spillway-key": "alpha-key"}
        assert rig.sites_of(rig.at_once(5, headers=key))["private"] == 2
        rig.wait(fit(2))
        assert rig.sites_of(rig.at_once(5, headers=key)) == {"private": 4, "sagemaker": 1}
        rig.wait(fit(1))
        assert rig.sites_of(rig.at_once(5, headers=key))["private"] == 2


@pytest.mark.heavy
def test_only_servers_that_pass_envoys_checks_are_up(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        private = rig.table.site(Site.PRIVATE)

        async def healthy(wanted: int) -> None:
            async with aiohttp.ClientSession() as session, asyncio.timeout(10):
                while await Breakers(rig.table, session).healthy(private) != wanted:
                    await asyncio.sleep(0.1)

        rig.wait(healthy(1))
        rig.wait(rig.servers[Site.PRIVATE].stop())
        rig.wait(healthy(0))


def patient(table: RoutingTable) -> RoutingTable:
    """Checks of the private site may take long."""
    check = ActiveCheck(interval_s=0.2, timeout_s=10)
    sites = tuple(one.model_copy(update={"health": check} if one.site == Site.PRIVATE else {}) for one in table.sites)
    return table.model_copy(update={"sites": sites})


@pytest.mark.heavy
def test_an_envoy_that_has_checked_nothing_yet_does_not_say_that_nothing_is_up(tmp_path: Path) -> None:
    rig = Rig(tmp_path, patient)
    server, refused = rig.servers[Site.PRIVATE], 0

    async def first_number() -> int:
        nonlocal refused
        async with aiohttp.ClientSession() as session, asyncio.timeout(15):
            while True:
                try:
                    return await Breakers(rig.table, session).healthy(rig.table.site(Site.PRIVATE))
                except aiohttp.ClientResponseError:
                    refused += 1
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.02)

    server.hang = True
    threading.Timer(1.5, lambda: setattr(server, "hang", False)).start()
    with ThreadPoolExecutor(1) as pool:
        number = pool.submit(lambda: asyncio.run(first_number()))
        with rig:
            assert number.result(20) == 1
    assert refused
