"""P2 on machines that may be taken away: spot nodes of its own, while the rest is sized without it.

P2 may: its clients send again what is refused, and its promise is an hour. Interruptions are simulated over enough
copies of the trace to see some; how often they come is the caller's to say, for no list has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from spillway.contracts.classes import RequestClass, Site
from spillway.planner.search import Candidate, Search, Space, judged
from spillway.planner.service import ServiceModel
from spillway.planner.simulate import draw_outages, run_trace
from spillway.planner.system import Failures, SiteSpec, System
from spillway.planner.trace import Trace

_SEEN: Final = 20
"""Interruptions that are to be seen."""
_MOST_REQUESTS: Final = 500_000
P0, P1, P2 = RequestClass


@dataclass(frozen=True)
class OnSpot:
    """``batch``: P2's spot nodes, with interruptions; ``rest``: the hybrid for P0 and P1."""

    batch: Candidate
    rest: Candidate
    interrupted_h: float

    @property
    def month(self) -> float:
        return self.batch.bill.month + self.rest.bill.month

    @property
    def text(self) -> str:
        spec = self.batch.system.sites[0]
        share = self.batch.outcome.classes[P2].available
        return (
            f"P2 on {spec.min_instances} × {spec.instance_type} as spot at {spec.usd_per_hour:.2f} $/h, each taken "
            f"away once in {self.interrupted_h:g} h: {share:.2%} {self.batch.system.objectives[P2].text}. With "
            f"{self.rest.label()} for the rest it is {self.month:,.0f} $ a month."
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "spot": self.batch.label(),
            "rest": self.rest.label(),
            "usd_per_month": round(self.month, 2),
            "p2_available": round(self.batch.outcome.classes[P2].available, 6),
            "interrupted_h": self.interrupted_h,
        }


def p2_on_spot(
    trace: Trace,
    service: ServiceModel,
    space: Space,
    node: SiteSpec,
    failures: Failures,
    seed: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> OnSpot | None:
    """``node``: one spot node, at its price; ``failures``: how often it is taken away, and how long until another is
    there. ``None`` where nothing holds, or there is no P2 or nothing but it."""
    batch, rest = trace.of(P2), trace.of(P0, P1)
    if not len(batch) or not len(rest):
        return None
    progress("P2 on spot")
    alone = space.model_copy(update={"private": node, "private_grows_to": 0, "failures": None, "batch_shares": (1.0,)})
    fewest = Search(batch, service, alone, seed, progress).find("all private").best
    others = Search(rest, service, space, seed, progress).find("hybrid").best
    if fewest is None or others is None or fewest.private is None:
        return None
    for count in range(fewest.private.min_instances, space.most_private + 1):
        sites = (fewest.private.sized(count),)
        system = fewest.system.model_copy(update={"sites": sites})
        found = _interrupted(batch, service, system, failures, seed)
        if found.holds:
            return OnSpot(found, others, failures.instance_mtbf_h or 0.0)
    return None


def _interrupted(trace: Trace, service: ServiceModel, system: System, failures: Failures, seed: int) -> Candidate:
    count = system.sites[0].min_instances
    hours = _SEEN * (failures.instance_mtbf_h or 0.0) / count
    times = max(1, min(math.ceil(hours * 3600 / trace.duration_s), _MOST_REQUESTS // len(trace)))
    outages = draw_outages(system, {Site.PRIVATE: failures}, times * trace.duration_s, seed)
    outcome = run_trace(trace, service, system, times=times, seed=seed, outages=outages)
    return judged("all private", system, outcome, trace.tokens * times)
