"""What a drill does: phases, the faults at their starts, the load, and what has to hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final

from spillway.contracts.classes import RequestClass, Site
from spillway.drill.load import Arrival, schedule
from spillway.drill.target import DrillError

P0, P1, P2 = RequestClass

DEFAULT_RATES: Final = {P0: 4.0, P1: 4.0, P2: 2.0}
"""Requests per second by class: what two cores serve with real models and room to spare."""


@dataclass(frozen=True)
class Fault:
    """An order to a site, a gateway or another part; see :meth:`spillway.twin.handle.TwinHandle.fault`."""

    group: str
    action: str
    options: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Phase:
    """A stretch of the drill. ``faults`` are ordered at its start.

    ``broken``: sites that are out during it (for the report). ``back_on``: the site that has to answer again before the
    phase ends. ``rates``: in place of the plan's. What has to hold, by class: ``min_availability`` and ``min_on_time``
    in [0, 1] of what is offered; ``max_p99_ms``; ``max_recovery_s``: from the start until P99 stays within the promise;
    ``max_after_dns_s``: the same, from when DNS answers otherwise.
    """

    name: str
    duration_s: float
    faults: tuple[Fault, ...] = ()
    broken: tuple[Site, ...] = ()
    min_availability: dict[RequestClass, float] = field(default_factory=dict)
    back_on: Site | None = None
    rates: dict[RequestClass, float] | None = None
    min_on_time: dict[RequestClass, float] = field(default_factory=dict)
    max_p99_ms: dict[RequestClass, float] = field(default_factory=dict)
    max_recovery_s: dict[RequestClass, float] = field(default_factory=dict)
    max_after_dns_s: dict[RequestClass, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DrillPlan:
    """``rates``: requests per second by class. ``seed``: of the arrival times, which are a Poisson process, unless
    ``recorded`` has them. ``service_time_s``: of the model that the twin serves in place of the package while the drill
    runs; 0 for the package. ``follow_dns``: clients look up the gateway's name, and anew when its TTL is over."""

    name: str
    phases: tuple[Phase, ...]
    rates: dict[RequestClass, float] = field(default_factory=lambda: dict(DEFAULT_RATES))
    seed: int = 1
    recorded: tuple[Arrival, ...] = ()
    service_time_s: float = 0.0
    follow_dns: bool = False

    @property
    def duration_s(self) -> float:
        return sum(phase.duration_s for phase in self.phases)

    def arrivals(self) -> list[Arrival]:
        """In order."""
        if self.recorded:
            return [arrival for arrival in self.recorded if arrival.due_s < self.duration_s]
        found: list[Arrival] = []
        begin = 0.0
        for number, (rates, phases) in enumerate(groupby(self.phases, lambda phase: phase.rates or self.rates)):
            lasts = sum(phase.duration_s for phase in phases)
            drawn = schedule(rates, lasts, f"{self.seed}/{number}" if number else self.seed)
            found += [replace(one, due_s=begin + one.due_s, index=len(found) + one.index) for one in drawn]
            begin += lasts
        return found

    def outages(self, sites: Sequence[str]) -> list[tuple[float, str, bool]]:
        """When which of ``sites`` is killed (true) or started again, as seconds from the start.

        Raises :class:`DrillError` where the plan orders anything else.
        """
        found, at = [], 0.0
        for phase in self.phases:
            for fault in phase.faults:
                if fault.action not in ("kill", "start") or fault.group not in sites:
                    raise DrillError(
                        f"the drill ordered {fault.action} {fault.group}; the planner knows sites that are killed and "
                        "started, so compare with a drill of those alone"
                    )
                found.append((at, fault.group, fault.action == "kill"))
            at += phase.duration_s
        return found
