"""Chats at three times what a server can do: the gateway before it against the bare server, in turns.

``PYTHONPATH=. python benchmarks/chat_overload.py [--runs 5] [--seconds 10]``

Open loop on loopback, through a real Envoy, to the twin's stand-in for vLLM, whose times are fixed: eight answers at
once of 24 tokens, 0.1 s to the first, 20 ms for each further one. A sixth of the chats is P0, a sixth P1, the others
P2. ``house``: nothing may spill. ``spilling``: two burst sites like it. ``bare``: the server alone as vLLM comes, first
come, first served, with a queue without an end.

Told for each: P0 whose first token came in time, chats a second that were not lost and ended while the load ran, and
tokens generated for each that a client got.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.routing import RoutingTable
from spillway.contracts.server_routes import CHAT_PATH
from spillway.drill.chat import ChatOutcome, ChatWorkload, send_chat
from spillway.drill.http import Client
from spillway.drill.load import schedule
from spillway.drill.target import DrillTarget
from spillway.twin.data_plane.processes.chat_queue import QueueOptions
from tests.support.chat_rig import ChatRig
from tests.support.gateway_rig import ALPHA, BETA, MODEL

SLOTS, TOKENS, FIRST_S, TOKEN_S = 8, 24, 0.1, 0.02
CAPACITY: Final = SLOTS / (FIRST_S + (TOKENS - 1) * TOKEN_S)
"""Chats a second that one server can do."""
OVERLOAD: Final = 3
SHARES: Final = {RequestClass.P0: 1 / 6, RequestClass.P1: 1 / 6, RequestClass.P2: 4 / 6}


def table_of(table: RoutingTable) -> RoutingTable:
    """Its slots are the server's, and both known clients may send P0."""
    sites = tuple(site.model_copy(update={"slots": SLOTS}) for site in table.sites)
    alpha, beta, *others = table.clients
    clients = (alpha, beta.model_copy(update={"max_class": RequestClass.P0}), *others)
    return table.model_copy(update={"sites": sites, "clients": clients})


@contextmanager
def system(name: str, folder: Path) -> Iterator[tuple[DrillTarget, Callable[[], int]]]:
    """Where to send chats, and how many tokens have been generated."""
    with ChatRig(folder, table_of) as rig:
        times = QueueOptions(max_num_seqs=SLOTS, first_token_s=FIRST_S, token_s=TOKEN_S)
        limit = None if name == "bare" else 2 * SLOTS
        for site in Site:
            rig.backend(site).chat.queue.options = times.model_copy(update={"max_num_queued_reqs": limit})
        port = rig.servers[Site.PRIVATE].port if name == "bare" else rig.table.listen.port
        target = DrillTarget(
            gateway_url=f"http://127.0.0.1:{port}",
            model=MODEL,
            workload=ChatWorkload(MODEL, tokens=TOKENS),
            route=CHAT_PATH,
            client_key=ALPHA if name == "spilling" else BETA,
        )
        yield target, lambda: sum(rig.backend(site).chat.queue.counts.generation_tokens for site in Site)


async def load(target: DrillTarget, seconds: float, seed: int) -> list[ChatOutcome]:
    rates = {request_class: CAPACITY * OVERLOAD * share for request_class, share in SHARES.items()}
    arrivals = schedule(rates, seconds, seed)
    client = Client(target.gateway_url)
    started = time.perf_counter()

    async def one(arrival: Any) -> ChatOutcome:
        await asyncio.sleep(max(0.0, started + arrival.due_s - time.perf_counter()))
        return await send_chat(target, client, arrival, started)

    return await asyncio.gather(*(one(arrival) for arrival in arrivals))


def run(name: str, seconds: float, seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, system(name, Path(folder)) as (target, generated):
        outcomes = asyncio.run(load(target, seconds, seed))
        delivered = sum(len(outcome.times) for outcome in outcomes)
        # What a queue without an end answers when the load is over would hide that it grows.
        good = [o for o in outcomes if not o.lost and o.due_s + o.times[-1] <= seconds]
        urgent = [outcome for outcome in outcomes if outcome.request_class is RequestClass.P0]
        return {
            "p0_in_time": sum(not outcome.lost for outcome in urgent) / len(urgent),
            "p0_first_token_p99_s": statistics.quantiles((o.latency_s for o in urgent), n=100)[98],
            "good_per_s": len(good) / seconds,
            "generated_per_delivered": generated() / max(1, delivered),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=cast("str", __doc__).partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of load in each run")
    args = parser.parse_args()
    results: dict[str, list[dict[str, float]]] = {"bare": [], "house": [], "spilling": []}
    for seed in range(args.runs):
        for name, found in results.items():
            found.append(run(name, args.seconds, seed))
            print(seed, name, json.dumps({key: round(value, 3) for key, value in found[-1].items()}), flush=True)


if __name__ == "__main__":
    main()
