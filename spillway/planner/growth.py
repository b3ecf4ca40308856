"""What traffic that grows does to a plan: how long today's sizes hold, and what has to be there by when."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from spillway.planner.errors import PlannerError
from spillway.planner.search import Candidate, Search, Space
from spillway.planner.service import ServiceModel
from spillway.planner.trace import Trace, superpose

STEPS: Final = {"month": 12, "quarter": 4, "year": 3}
"""How far is looked ahead, by what growth is told of."""
_WRITTEN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%\s*/\s*(\w+)")


@dataclass(frozen=True)
class Growth:
    """``share``: what comes to the traffic in each ``period``, e.g. 0.3."""

    share: float
    period: str

    def after(self, steps: int) -> float:
        """Times today's traffic."""
        return (1.0 + self.share) ** steps


@dataclass(frozen=True)
class Step:
    """``missed``: what the sizes before would miss then, empty where they hold; ``plan``: the sizes that hold then,
    ``None`` where none within the space do."""

    when: str
    traffic: float
    missed: tuple[str, ...]
    plan: Candidate | None

    def to_json(self) -> dict[str, Any]:
        return {
            "after": self.when,
            "traffic": round(self.traffic, 3),
            "missed_before": list(self.missed),
            "system": self.plan.label() if self.plan else None,
            "usd_per_month": round(self.plan.bill.month, 2) if self.plan else None,
        }


def growth_of(text: str) -> Growth:
    """``30%/quarter``. Raises :class:`PlannerError`."""
    found = _WRITTEN.fullmatch(text.strip())
    if found is None or found[2] not in STEPS or not 0 < float(found[1]) <= 1000:
        raise PlannerError(
            f"growth {text!r}; write a share above 0 % and up to 1000 %, of each {', '.join(STEPS)}, e.g. 30%/quarter"
        )
    return Growth(float(found[1]) / 100, found[2])


def grown(
    trace: Trace,
    service: ServiceModel,
    space: Space,
    chosen: Candidate,
    growth: Growth,
    seed: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Step]:
    """Period by period: the sizes so far where they hold, else those that a search finds for the traffic of then.

    ``chosen``: sized on ``trace``. Traffic grows by copies of the trace laid over it: more users of the same kind.
    Private instances that are there stay: a search begins at as many.
    """
    held = chosen
    for step in range(1, STEPS[growth.period] + 1):
        factor, when = growth.after(step), f"{step} {growth.period}{'s' if step > 1 else ''}"
        progress(f"traffic after {when}: {factor:.2f} times")
        more = superpose(trace, factor, seed)
        there = held.private.min_instances if held.private else 1
        search = Search(more, service, space.model_copy(update={"least_private": there}), seed, progress)
        now = search.with_outages(search.run("hybrid", held.system, more))
        if now.holds:
            yield Step(when, factor, (), now)
            continue
        found = search.find("hybrid").best
        yield Step(when, factor, now.misses, found)
        if found is None:
            return
        held = found
