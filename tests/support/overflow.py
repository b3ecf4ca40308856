"""Whether overflow spills: slots + 1 slow requests at once, and who answers the extra one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from spillway.contracts.classes import RequestClass
from spillway.drill.http import Client
from spillway.drill.load import Arrival, Outcome, send
from spillway.drill.target import DrillTarget
from spillway.drill.workload import first_output, infer_body


@dataclass(frozen=True)
class EchoWorkload:
    """For the fixed-time model: it answers its input."""

    text_input: str = "TEXT"

    def body(self, index: int) -> bytes:
        return infer_body(self.text_input, f"request {index}")

    def problem(self, index: int, body: bytes) -> str:
        answered = first_output(body)
        return "" if answered == [f"request {index}"] else f"echo is {str(answered)[:60]}"


@dataclass(frozen=True)
class CapacityResult:
    """``by_site``: correct answers; ``slowest_s``: of them. ``problems``: of requests that got none."""

    at_once: int
    by_site: dict[str, int]
    slowest_s: float
    problems: tuple[str, ...]


def check_capacity(target: DrillTarget, at_once: int, request_class: RequestClass = RequestClass.P1) -> CapacityResult:
    """Send ``at_once`` requests at the same moment. Needs a model whose service time is long against the sending."""
    return _summary(asyncio.run(_burst(target, at_once, request_class)))


async def _burst(target: DrillTarget, at_once: int, request_class: RequestClass) -> list[Outcome]:
    client = Client(target.gateway_url)
    started = time.perf_counter()
    requests = (send(target, client, Arrival(0.0, request_class, index), started) for index in range(at_once))
    outcomes = await asyncio.gather(*requests)
    await client.close()
    return outcomes


def _summary(outcomes: Sequence[Outcome]) -> CapacityResult:
    good = [outcome for outcome in outcomes if not outcome.lost]
    return CapacityResult(
        at_once=len(outcomes),
        by_site=dict(Counter(outcome.site for outcome in good)),
        slowest_s=round(max((outcome.latency_s for outcome in good), default=0.0), 3),
        problems=tuple(outcome.problem or "too late" for outcome in outcomes if outcome.lost),
    )
