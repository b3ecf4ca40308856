"""What the cache of answers spares: a Zipf replay, a hot question at once, and a tier that dies, against no cache.

``PYTHONPATH=. python benchmarks/cache.py [--requests 20000] [--inputs 5000] [--exponent 1.0] [--json FILE]``

A real Envoy with the rendered config, the cache's service, a real Redis and a folder; the model servers are the rig's,
20 ms for each answer. ``without``: the same requests through the same gateway, each with ``cache-control: no-store``.
The exponent of 1 is Zipf's own; web requests have 0.64 to 0.83 (Breslau et al., "Web caching and Zipf-like
distributions", INFOCOM 1999), searches about 1.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final, cast

from benchmarks.rows import Row, tell
from spillway.contracts.answer_cache import AnswerCache, FolderTier
from spillway.contracts.classes import CLASS_HEADER, SITE_HEADER
from spillway.drill.http import Client
from spillway.drill.result import percentile
from spillway.drill.workload import infer_body
from tests.support.cache_rig import CacheRig, free_redis, redis_server
from tests.support.gateway_rig import INFER

AT_ONCE: Final = 24
HOT: Final = 100
SERVICE_S: Final = 0.02
FRESH: Final = {"cache-control": "no-store"}


@dataclass(frozen=True)
class Replay:
    """``inferences``: that model servers made. ``failed``: requests without a 200."""

    requests: int
    hits: int
    inferences: int
    failed: int
    p50_ms: float | None
    p99_ms: float | None
    per_s: float

    def said(self) -> str:
        speed = f"P50 {self.p50_ms:.1f} ms, P99 {self.p99_ms:.1f} ms, {self.per_s:.0f}/s"
        share = f"{self.hits / self.requests:.1%} hits, backend load {self.inferences / self.requests:.1%}"
        return f"{share}, {self.failed} failed; {speed}"


@contextmanager
def rig() -> Iterator[tuple[CacheRig, subprocess.Popen[bytes]]]:
    """With Redis and a folder too small for all answers."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, redis = Path(scratch), free_redis()
        disk = FolderTier(path=str(folder / "answers"), most_bytes=512 * 1024)
        cache = AnswerCache(package_digest="a", ttl_s=3600, most_answer_bytes=4096, redis=redis, folder=disk)
        with redis_server(folder, redis.port) as process, CacheRig(folder, cache) as running:
            for server in running.servers.values():
                server.delay_s = SERVICE_S
                server.body = b'{"outputs":[{"name":"Y","datatype":"FP32","shape":[1],"data":[0.5]}]}'
            yield running, process


def zipf(inputs: int, exponent: float, requests: int, seed: int) -> list[bytes]:
    """Requests as they follow each other."""
    weights = list(accumulate((rank + 1) ** -exponent for rank in range(inputs)))
    chosen = random.Random(seed).choices(range(inputs), cum_weights=weights, k=requests)
    return [infer_body("TEXT", f"{seed}/{one}") for one in chosen]


def replay(rig: CacheRig, bodies: Sequence[bytes], at_once: int = AT_ONCE, *, fresh: bool = False) -> Replay:
    """By ``at_once`` clients, each of which sends the next one as soon as it has its answer."""
    before, began = inferences(rig), time.perf_counter()
    took, sites, failed = asyncio.run(_replay(rig.table.listen.port, bodies, at_once, FRESH if fresh else {}))
    seconds = time.perf_counter() - began
    times = sorted(took)
    return Replay(
        requests=len(bodies),
        hits=sites["cache"],
        inferences=inferences(rig) - before,
        failed=failed,
        p50_ms=percentile(times, 50),
        p99_ms=percentile(times, 99),
        per_s=len(bodies) / seconds,
    )


async def _replay(
    port: int, bodies: Sequence[bytes], at_once: int, headers: dict[str, str]
) -> tuple[list[float], Counter[str], int]:
    client, waiting, took, sites = Client(f"http://127.0.0.1:{port}"), iter(bodies), list[float](), Counter[str]()
    sent = {"content-type": "application/json", CLASS_HEADER: "P1", **headers}
    failed = 0

    async def work() -> None:
        nonlocal failed
        for body in waiting:
            began = time.perf_counter()
            reply = await client.post(INFER, sent, body)
            took.append((time.perf_counter() - began) * 1000)
            failed += reply.status != 200
            sites[reply.headers.get(SITE_HEADER, "")] += 1

    await asyncio.gather(*(work() for _ in range(at_once)))
    await client.close()
    return took, sites, failed


def inferences(rig: CacheRig) -> int:
    return sum(len(server.seen) for server in rig.servers.values())


def zipf_row(rig: CacheRig, args: argparse.Namespace) -> Row:
    bodies = zipf(args.inputs, args.exponent, args.requests, seed=1)
    # A part of them tells what each costs without.
    without = replay(rig, bodies[: max(len(bodies) // 10, 200)], fresh=True)
    found = replay(rig, bodies)
    held = found.hits >= 0.78 * found.requests and found.inferences <= 0.37 * found.requests and not found.failed
    goal = "78 % hits, backend load at most 37 %, none failed"
    return Row("zipf", f"{goal} (of {len(set(bodies))} inputs)", found.said(), without.said(), held)


def hot_row(rig: CacheRig) -> Row:
    bodies = [infer_body("TEXT", "hot")] * HOT
    without, found = replay(rig, bodies, HOT, fresh=True), replay(rig, bodies, HOT)
    goal = f"{HOT} at once that have no answer yet cost one inference"
    held = found.inferences == 1 and not found.failed
    return Row("hot", goal, f"{found.inferences} inferences", f"{without.inferences} inferences", held)


def broken_row(rig: CacheRig, redis: subprocess.Popen[bytes], args: argparse.Namespace) -> Row:
    bodies = zipf(args.inputs, args.exponent, max(args.requests // 10, 200), seed=2)
    redis.kill()
    found = replay(rig, bodies)
    return Row("redis-gone", "no request fails without a tier", found.said(), "", not found.failed)


def main() -> int:
    parser = argparse.ArgumentParser(description=cast("str", __doc__).partition("\n")[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--inputs", type=int, default=5_000)
    parser.add_argument("--exponent", type=float, default=1.0)
    parser.add_argument("--json", type=Path, help="where to write the rows")
    args = parser.parse_args()
    with rig() as (running, redis):
        rows = [zipf_row(running, args), hot_row(running), broken_row(running, redis, args)]
    return tell("The cache of answers", rows, args.json)


if __name__ == "__main__":
    sys.exit(main())
