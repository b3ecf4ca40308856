"""Runs a drill: load all the while, faults at the phases' starts, everything healed at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from spillway.contracts.classes import RequestClass
from spillway.drill.bill import Meter
from spillway.drill.chat import ChatWorkload, send_chat
from spillway.drill.http import Client, HttpError
from spillway.drill.load import Outcome, run_load, send
from spillway.drill.plan import DrillPlan, Fault
from spillway.drill.result import DrillResult, summarise
from spillway.drill.target import DrillError, DrillTarget
from spillway.drill.workload import InferenceWorkload

Progress = Callable[[str], None]
HEALING: Final = ("resume", "start", "heal", "open")
_LEARN_TIMEOUT_S: Final = 10.0


def run_drill(target: DrillTarget, plan: DrillPlan, progress: Progress | None = None) -> DrillResult:
    """Blocks for ``plan.duration_s`` and a few seconds; Ctrl-C ends it with what was measured until then.

    Raises :class:`DrillError` when it cannot be run.
    """
    return asyncio.run(Drill(target, plan, progress or (lambda _: None)).run())


class Drill:
    """One run."""

    def __init__(self, target: DrillTarget, plan: DrillPlan, progress: Progress) -> None:
        if target.faults is None and any(phase.faults for phase in plan.phases):
            raise DrillError(f"plan {plan.name!r} breaks sites, which nothing here can do: give a plan without faults")
        self._target = target
        self._plan = plan
        self._progress = progress
        self._outcomes: list[Outcome] = []
        self._starts: list[float] = []
        """When each phase's faults were ordered, and at last the end; seconds after the load began."""

    async def run(self) -> DrillResult:
        await self._come_home()
        await self._learn()
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        started = time.perf_counter()
        meter = Meter(self._target.capacity) if self._target.capacity else None
        if meter:
            meter.start()
        arrivals = self._plan.arrivals()
        sender = send_chat if isinstance(self._target.workload, ChatWorkload) else send
        watch = asyncio.create_task(self._target.resolver.watch()) if self._target.resolver else None
        load = asyncio.create_task(run_load(self._target, arrivals, started, self._outcomes.append, sender))
        interrupted = False
        try:
            await self._phases(started)
            await load
        except asyncio.CancelledError:
            interrupted = True
            if len(self._starts) <= len(self._plan.phases):
                self._starts.append(time.perf_counter() - started)
        finally:
            load.cancel()
            if watch:
                watch.cancel()
            await asyncio.to_thread(self._heal)
        spent = await asyncio.to_thread(meter.stop) if meter else None
        moves = [at - started for at in self._target.resolver.moves] if self._target.resolver else []
        url, starts = self._target.gateway_url, self._starts
        return summarise(self._plan, url, started_at, starts, self._outcomes, spent, moves, interrupted=interrupted)

    async def _phases(self, started: float) -> None:
        due = 0.0
        for phase in self._plan.phases:
            await asyncio.sleep(max(started + due - time.perf_counter(), 0.0))
            self._progress(f"{phase.name} ({phase.duration_s:.0f} s)")
            self._starts.append(time.perf_counter() - started if phase.faults else due)
            orders = asyncio.gather(*(asyncio.to_thread(self._order, fault) for fault in phase.faults))
            try:
                await asyncio.shield(orders)
            except asyncio.CancelledError:
                # An order that is under way would come after the healing.
                await orders
                raise
            due += phase.duration_s
        await asyncio.sleep(max(started + due - time.perf_counter(), 0.0))
        self._starts.append(due)

    def _order(self, fault: Fault) -> None:
        assert self._target.faults is not None
        try:
            self._target.faults.fault(fault.group, fault.action, **fault.options)
        except Exception as error:
            raise DrillError(f"{fault.action} {fault.group}: {error}") from error

    def _heal(self) -> None:
        """Whatever happened, no site is left broken."""
        touched = {fault.group for phase in self._plan.phases for fault in phase.faults}
        for group in sorted(touched):
            for action in HEALING:
                with suppress(DrillError):
                    self._order(Fault(group, action))

    async def _come_home(self) -> None:
        resolver = self._target.resolver
        if resolver is None or not resolver.home:
            return
        self._progress(f"waiting until {resolver.name} is {resolver.home}")
        try:
            await resolver.come_home()
        except (TimeoutError, OSError) as error:
            why = str(error) or "it never was"
            raise DrillError(f"{resolver.name} is not {resolver.home} before the drill: {why}") from None

    async def _learn(self) -> None:
        """One answer for each request, from the sites as they are before anything is broken."""
        client = Client(self._target.gateway_url, self._target.resolver)
        workload = self._target.workload
        count = len(workload.requests) if isinstance(workload, InferenceWorkload) else 1
        for index in range(count):
            try:
                async with asyncio.timeout(_LEARN_TIMEOUT_S):
                    headers = self._target.headers(RequestClass.P1)
                    reply = await client.post(self._target.path, headers, workload.body(index))
            except (HttpError, TimeoutError) as error:
                raise DrillError(f"{self._target.gateway_url} does not answer: {error or 'time-out'}") from None
            if reply.status != 200:
                text = reply.body[:200].decode(errors="replace")
                raise DrillError(f"{self._target.gateway_url} answers {reply.status} before the drill: {text}")
            if isinstance(workload, InferenceWorkload):
                try:
                    workload.learn(index, reply.body)
                except ValueError as error:
                    raise DrillError(str(error)) from None
        await client.close()
