"""Chats at three times what a server can do: the gateway before it against the bare server, in turns.

``PYTHONPATH=. python benchmarks/chat_overload.py [--answers short|long] [--mix mixed|urgent] [--runs 5]``

Open loop on loopback, through a real Envoy, to the twin's stand-in for vLLM, whose times are fixed. ``short``: 12
answers at once of 24 tokens, 20 ms each; ``long``: 48 at once of 40 tokens, 0.1 s each; 0.1 s to the first. ``mixed``:
a sixth of the chats is P0, a sixth P1, the others P2; ``urgent``: all are P0. ``house``: nothing may spill.
``spilling``: two burst sites like it. ``bare``: the server alone as vLLM comes, first come, first served, with a queue
without an end.

Told for each: P0 whose first token came within its class's limit, chats a second that were not lost and ended while the
load ran, and tokens generated for each that a client got.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.routing import DEFAULT_CLASSES, RoutingTable
from spillway.contracts.server_routes import CHAT_PATH
from spillway.contracts.vllm_serving import room_above
from spillway.drill.chat import ChatOutcome, ChatWorkload, send_chat
from spillway.drill.http import Client
from spillway.drill.load import Arrival, schedule
from spillway.drill.target import DrillTarget
from spillway.twin.data_plane.processes.chat_queue import QueueOptions
from tests.support.chat_rig import WorkingRig
from tests.support.gateway_rig import ALPHA, BETA, MODEL


@dataclass(frozen=True)
class Server:
    """One model server, in the proportions of a package's defaults: two thirds of its seats are slots."""

    seats: int
    tokens: int
    token_s: float
    first_s: float = 0.1

    @property
    def slots(self) -> int:
        return self.seats * 2 // 3

    @property
    def accepted(self) -> int:
        return self.slots * 4

    @property
    def capacity(self) -> float:
        """Chats a second."""
        return self.seats / (self.first_s + (self.tokens - 1) * self.token_s)


SERVERS: Final = {"short": Server(12, 24, 0.02), "long": Server(48, 40, 0.1)}
OVERLOAD: Final = 3
SHARES: Final = {
    "mixed": {RequestClass.P0: 1 / 6, RequestClass.P1: 1 / 6, RequestClass.P2: 4 / 6},
    "urgent": {RequestClass.P0: 1.0},
}
P0_S: Final = DEFAULT_CLASSES[0].first_token_s
PATIENCE_S: Final = 10.0


@contextmanager
def system(name: str, server: Server, folder: Path) -> Iterator[tuple[DrillTarget, Callable[[], int]]]:
    """Where to send chats, and how many tokens have been generated."""

    def table_of(table: RoutingTable) -> RoutingTable:
        """Its limits are the server's, and both known clients may send P0."""
        limits = {"slots": server.slots, "headroom": room_above(server.slots, server.accepted)}
        sites = tuple(site.model_copy(update=limits) for site in table.sites)
        alpha, beta, *others = table.clients
        clients = (alpha, beta.model_copy(update={"max_class": RequestClass.P0}), *others)
        return table.model_copy(update={"sites": sites, "clients": clients})

    with WorkingRig(folder, table_of) as rig:
        options = QueueOptions(
            max_num_seqs=server.seats,
            max_num_queued_reqs=None if name == "bare" else server.accepted,
            first_token_s=server.first_s,
            token_s=server.token_s,
        )
        for site in Site:
            rig.backend(site).chat.queue.options = options
        port = rig.servers[Site.PRIVATE].port if name == "bare" else rig.table.listen.port
        target = DrillTarget(
            gateway_url=f"http://127.0.0.1:{port}",
            model=MODEL,
            workload=ChatWorkload(MODEL, tokens=server.tokens),
            route=CHAT_PATH,
            client_key=ALPHA if name == "spilling" else BETA,
        )
        yield target, lambda: sum(rig.backend(site).chat.queue.counts.generation_tokens for site in Site)


async def load(
    target: DrillTarget, rate: float, seconds: float, seed: int, mix: str, late: list[float] | None = None
) -> list[ChatOutcome]:
    """Who has no whole answer :data:`PATIENCE_S` after the load's end goes. ``late``: gets the seconds by which
    each was sent too late."""
    rates = {request_class: rate * share for request_class, share in SHARES[mix].items()}
    arrivals = schedule(rates, seconds, seed)
    client = Client(target.gateway_url)
    started = time.perf_counter()
    until = started + seconds + PATIENCE_S

    async def one(arrival: Arrival) -> ChatOutcome:
        await asyncio.sleep(max(0.0, started + arrival.due_s - time.perf_counter()))
        if late is not None:
            late.append(time.perf_counter() - started - arrival.due_s)
        return await send_chat(target, client, arrival, started, until)

    return await asyncio.gather(*(one(arrival) for arrival in arrivals))


def run(name: str, server: Server, seconds: float, seed: int, mix: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, system(name, server, Path(folder)) as (target, generated):
        outcomes = asyncio.run(load(target, server.capacity * OVERLOAD, seconds, seed, mix))
        return figures(outcomes, generated(), seconds)


def figures(outcomes: list[ChatOutcome], generated: float, seconds: float) -> dict[str, float]:
    """What is told of one run."""
    delivered = sum(outcome.tokens for outcome in outcomes)
    # What a queue without an end answers when the load is over would hide that it grows.
    good = [o for o in outcomes if not o.lost and o.due_s + (o.times[-1] if o.times else o.latency_s) <= seconds]
    urgent = [outcome for outcome in outcomes if outcome.request_class is RequestClass.P0]
    in_time = [outcome for outcome in urgent if not outcome.problem and outcome.latency_s <= P0_S]
    return {
        "p0": len(urgent),
        "p0_in_time": len(in_time),
        "p0_refused": sum(outcome.status == 503 for outcome in urgent),
        "p0_first_token_p50_s": statistics.median(o.latency_s for o in urgent),
        "p0_first_token_p99_s": statistics.quantiles((o.latency_s for o in urgent), n=100)[98],
        "good_per_s": len(good) / seconds,
        "generated_per_delivered": generated / max(1, delivered),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=cast("str", __doc__).partition("\n")[0])
    parser.add_argument("--answers", choices=sorted(SERVERS), default="short")
    parser.add_argument("--mix", choices=sorted(SHARES), default="mixed")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="of load in each run")
    args = parser.parse_args()
    results: dict[str, list[dict[str, float]]] = {"bare": [], "house": [], "spilling": []}
    for seed in range(args.runs):
        for name, found in results.items():
            found.append(run(name, SERVERS[args.answers], args.seconds, seed, args.mix))
            rounded = {key: round(value, 3) for key, value in found[-1].items()}
            print(
                json.dumps({"answers": args.answers, "mix": args.mix, "seed": seed, "system": name, **rounded}),
                flush=True,
            )
    for name, found in results.items():
        share = sum(each["p0_in_time"] for each in found) / sum(each["p0"] for each in found)
        good = [each["good_per_s"] for each in found]
        waste = max(each["generated_per_delivered"] for each in found)
        print(f"{name}: P0 in time {share:.2%}, good {min(good):.2f} to {max(good):.2f} a second, waste {waste:.3f}")


if __name__ == "__main__":
    main()
