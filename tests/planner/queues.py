"""One queue with Poisson arrivals through the simulator, and what theory says of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from spillway.contracts.classes import RequestClass, Site
from spillway.planner.service import ServiceModel
from spillway.planner.simulate import CHUNK, Demand, Outcome, simulate
from spillway.planner.system import Objective, SiteSpec, System

EVER = {name: Objective(within_s=1e12, share=0.5) for name in RequestClass}


def site(slots: int, count: int = 1, **more: object) -> SiteSpec:
    given = {"site": Site.PRIVATE, "cloud": "owned", "instance_type": "node", "gpu": None, "gpus": 1, "usd_per_hour": 1}
    sizes = {"min_instances": count, "max_instances": count}
    return SiteSpec.model_validate({**given, **sizes, "slots": slots, **more})


SECONDS = ServiceModel(name="seconds", source="theory", request_s=1.0)
"""A request takes its own time in a slot."""


def demand(arrival: list[float], work: float = 1.0, classes: list[int] | None = None, prompt: float = 0.0) -> Demand:
    count = len(arrival)
    klass = np.array(classes or [0] * count, dtype=np.int8)
    return Demand(np.array(arrival), np.full(count, prompt), np.full(count, work), np.zeros(count), klass)


def poisson(rate: float, count: int, seed: int, fixed: bool, chunk: int = CHUNK) -> Iterator[Demand]:
    """Work of mean 1 s, exponential or fixed; class P0."""
    dice, at = np.random.default_rng(seed), 0.0
    for begin in range(0, count, chunk):
        size = min(chunk, count - begin)
        arrival = at + np.cumsum(dice.exponential(1 / rate, size))
        at = float(arrival[-1])
        work = np.ones(size) if fixed else dice.exponential(1.0, size)
        nothing = np.zeros(size)
        yield Demand(arrival, nothing, work, nothing, np.zeros(size, dtype=np.int8))


def run_queue(servers: int, load: float, count: int, seed: int = 1, fixed: bool = False, chunk: int = CHUNK) -> Outcome:
    """One server with so many slots and a headroom that is never full: what theory calls a queue."""
    system = System(sites=(site(servers, headroom=20_000),), objectives=EVER)
    rate = servers * load
    return simulate(poisson(rate, count, seed, fixed, chunk), SECONDS, system, 1.2 * count / rate + 100)


def mmc_wait(servers: int, load: float) -> float:
    """Mean wait of M/M/c with service mean 1 s, by Erlang's C formula (Kleinrock, Queueing Systems I, 3.5)."""
    offered = servers * load
    below = sum(offered**k / math.factorial(k) for k in range(servers))
    full = offered**servers / math.factorial(servers) / (1 - load)
    return full / (below + full) / (servers * (1 - load))


def md1_wait(load: float) -> float:
    """Mean wait of M/D/1 with service 1 s: Pollaczek and Khinchine, ρ ÷ 2(1 − ρ)."""
    return load / (2 * (1 - load))


def interval(outcome: Outcome) -> tuple[float, float]:
    """The 95 % interval of the mean wait by batch means, the first chunk left out (Student's t, 19 batches or more)."""
    batches = [seconds / count for count, seconds in outcome.waits[1:] if count]
    mean = float(np.mean(batches))
    half = 2.093 * float(np.std(batches, ddof=1)) / math.sqrt(len(batches))
    return mean - half, mean + half
