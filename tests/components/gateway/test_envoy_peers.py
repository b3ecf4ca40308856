"""What is for all gateways is divided by how many there are, in a real Envoy that counts them: rates and slots."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from components.gateway.envoy_config import render
from components.gateway.envoy_parts import one_endpoint
from spillway.contracts.classes import Site
from spillway.contracts.routing import PEERS_CLUSTER, Peers, RoutingTable
from spillway.runtime.gateway.agent import Agent
from spillway.runtime.gateway.capacity import Breakers
from tests.support.gateway_rig import ALPHA, GAMMA, Rig

pytestmark = pytest.mark.heavy
GATEWAYS = 3
RATE = 30.0
"""Contracted requests a second of all gateways together."""


def with_peers(table: RoutingTable) -> RoutingTable:
    clients = tuple(
        one.model_copy(update={"requests_per_s": RATE, "requests_at_once": 6}) if one.name == "gamma" else one
        for one in table.clients
    )
    sites = tuple(
        one.model_copy(update={"slots": 6, "headroom": 0}) if one.site == Site.PRIVATE else one for one in table.sites
    )
    peers = Peers(host="gateways.test", port=8080, most=6)
    return table.model_copy(update={"peers": peers, "clients": clients, "sites": sites})


class OneOfThree(Rig):
    """Its name has three addresses, as that of a headless Service with three ready pods."""

    def config(self) -> dict[str, Any]:
        config = super().config()
        (cluster,) = (one for one in config["static_resources"]["clusters"] if one["name"] == PEERS_CLUSTER)
        del cluster["cluster_type"]
        found = one_endpoint(PEERS_CLUSTER, "127.0.0.1", 1)
        (endpoints,) = found["endpoints"]
        endpoints["lb_endpoints"] = [
            {"endpoint": {"address": {"socket_address": {"address": f"127.0.0.{last}", "port_value": 8080}}}}
            for last in range(1, GATEWAYS + 1)
        ]
        cluster.update(type="STATIC", load_assignment=found)
        return config


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneOfThree]:
    with OneOfThree(tmp_path_factory.mktemp("gateway"), with_peers) as rig:
        yield rig


def test_a_clients_rate_is_a_third_of_the_contracts(rig: OneOfThree) -> None:
    """As fast as it can for two seconds: the bucket's third, and two seconds of a third of the rate."""
    started, let_through = time.monotonic(), 0
    while (took := time.monotonic() - started) < 2:
        let_through += rig.post(headers={"x-spillway-key": GAMMA}).status == 200
    share = RATE / GATEWAYS
    assert share * 2 * 0.7 <= let_through <= 6 / GATEWAYS + share * took + 1


def test_slots_are_a_third_of_the_sites(rig: OneOfThree) -> None:
    server = rig.servers[Site.PRIVATE]
    server.delay_s, server.most_running = 0.5, 0

    async def fit() -> None:
        async with aiohttp.ClientSession() as session:
            breakers = Breakers(rig.table, session)
            assert await breakers.gateways() == GATEWAYS
            await Agent(rig.table)._fit_breakers(breakers)

    rig.wait(fit())
    rig.at_once(8, headers={"x-spillway-key": ALPHA})
    assert server.most_running == 6 // GATEWAYS
    server.delay_s = 0.0


def test_the_standby_counts_its_own(tmp_path: Path) -> None:
    table, tasks = with_peers(Rig(tmp_path).table), Peers(host="tasks.test", port=8080, most=12)
    assert table.standby(2).peers is None
    (counted,) = (one for one in render(table.standby(2, tasks))["static_resources"]["clusters"] if _counts(one))
    assert "tasks.test" in str(counted), "and none of the private gateway's"


def _counts(cluster: dict[str, Any]) -> bool:
    return cluster["name"] == PEERS_CLUSTER
