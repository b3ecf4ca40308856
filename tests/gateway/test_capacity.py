"""Breakers follow the number of live instances, in a real Envoy."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from spillway.contracts.classes import Site
from spillway.runtime.capacity import Breakers
from tests.gateway.rig import Rig


def test_slots_follow_instances(tmp_path: Path) -> None:
    route = Rig(tmp_path).table.site(Site.PRIVATE)
    four = route.model_copy(update={"slots": 8, "instances": 4, "batch_slots": 0})
    assert (four.with_instances(6).slots, four.with_instances(6).batch_slots) == (12, 0)
    assert four.with_instances(1).slots == 2
    assert route.with_instances(0).slots == 1


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
