"""Open-loop load: requests are due at fixed times and sent then, however the others fare."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from spillway.contracts.classes import PROMISES, SITE_HEADER, RequestClass
from spillway.drill.http import Client, HttpError
from spillway.drill.target import DrillTarget


@dataclass(frozen=True)
class Arrival:
    """``due_s``: seconds after the start of the load."""

    due_s: float
    request_class: RequestClass
    index: int


@dataclass(frozen=True)
class Outcome:
    """What became of a request. ``latency_s`` counts from the time it was due. ``problem``: empty when it was answered
    rightly; lost requests have one. ``site``: who answered, empty when nobody did."""

    due_s: float
    request_class: RequestClass
    latency_s: float
    status: int = 0
    site: str = ""
    problem: str = ""

    @property
    def lost(self) -> bool:
        """No correct answer within the class's deadline plus grace, for whatever reason."""
        return bool(self.problem) or self.latency_s > PROMISES[self.request_class].lost_after_s

    @property
    def on_time(self) -> bool:
        """Answered rightly within what the class was promised."""
        deadline_s = PROMISES[self.request_class].deadline_s
        return not self.lost and (deadline_s is None or self.latency_s <= deadline_s)


def schedule(rates: dict[RequestClass, float], duration_s: float, seed: int | str) -> list[Arrival]:
    """Poisson arrivals of each class, merged in order; the same for the same seed."""
    due: list[tuple[float, RequestClass]] = []
    for request_class, rate in rates.items():
        dice = random.Random(f"{seed}/{request_class}")
        at = dice.expovariate(rate) if rate > 0 else duration_s
        while at < duration_s:
            due.append((at, request_class))
            at += dice.expovariate(rate)
    return [Arrival(at, request_class, index) for index, (at, request_class) in enumerate(sorted(due))]


async def send(target: DrillTarget, client: Client, arrival: Arrival, started: float) -> Outcome:
    """Send one request now and judge the answer. ``started``: of the load, on ``time.perf_counter``'s clock."""
    due = started + arrival.due_s
    promise = PROMISES[arrival.request_class]
    body = target.workload.body(arrival.index)
    patience = due + promise.lost_after_s - time.perf_counter()
    site, status = "", 0
    try:
        headers = target.headers(arrival.request_class)
        async with asyncio.timeout(max(patience, 0.0)):
            reply = await client.post(target.path, headers, body)
        site, status = reply.headers.get(SITE_HEADER, ""), reply.status
        wrong = target.workload.problem(arrival.index, reply.body) if status == 200 else f"status {status}"
        problem = wrong or ("" if site else "the answer does not say which site it is from")
    except TimeoutError:
        problem = "no answer in time"
    except HttpError as error:
        problem = str(error)
    latency = time.perf_counter() - due
    return Outcome(arrival.due_s, arrival.request_class, latency, status, site, problem)


Sender = Callable[[DrillTarget, Client, Arrival, float], Awaitable[Outcome]]


async def run_load(
    target: DrillTarget,
    arrivals: Iterable[Arrival],
    started: float,
    report: Callable[[Outcome], None],
    sender: Sender = send,
) -> None:
    """Send every request when it is due; returns when the last one is answered or lost."""
    client = Client(target.gateway_url, target.resolver)

    async def one(arrival: Arrival) -> None:
        report(await sender(target, client, arrival, started))

    async with asyncio.TaskGroup() as tasks:
        for arrival in arrivals:
            pause = started + arrival.due_s - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            tasks.create_task(one(arrival))
    await client.close()
