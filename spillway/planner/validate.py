"""The planner's prediction against what a drill measured on the same requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from spillway.contracts.classes import RequestClass
from spillway.planner.errors import PlannerError
from spillway.planner.service import ServiceModel
from spillway.planner.simulate import Outcome, demand_of, simulate
from spillway.planner.system import System
from spillway.planner.trace import Trace

MOST_OFF: Final = {"p50 ms": 0.05, "p99 ms": 0.25, "in time": 0.03, "spilled": 0.03}
"""How far a prediction may be off: latencies as a share of what was measured, shares of requests as they are."""


@dataclass(frozen=True)
class Comparison:
    """One figure of one class. ``error``: predicted − measured, in the figure's unit; ``relative``: that ÷ measured,
    ``None`` for shares and where nothing was measured. ``interval``: 95 % of the prediction, where there is one."""

    request_class: str
    figure: str
    predicted: float
    measured: float
    error: float
    relative: float | None
    interval: tuple[float, float] | None = None

    @property
    def holds(self) -> bool:
        """Within :data:`MOST_OFF`."""
        return abs(self.error if self.relative is None else self.relative) <= MOST_OFF[self.figure]

    def to_json(self) -> dict[str, Any]:
        shown = asdict(self) | {"holds": self.holds}
        shown["interval"] = [round(bound, 2) for bound in self.interval] if self.interval else None
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in shown.items()}


def predict(
    arrivals: Sequence[tuple[float, RequestClass]],
    duration_s: float,
    outages: Sequence[tuple[float, str, bool]],
    service: ServiceModel,
    system: System,
    times_s: Sequence[float] = (),
    tokens: tuple[float, float] = (0.0, 0.0),
) -> Outcome:
    """The same requests as a drill sent, through the planner. ``arrivals``: when each was due, and its class.

    ``outages``: when which site of ``system`` is killed (true) or started again. ``times_s``: how long requests took
    that found nobody before them; each request then takes one of these, drawn, instead of what ``service`` says.
    ``tokens``: of each request's prompt and answer.
    """
    classes, sites = list(RequestClass), [str(spec.site) for spec in system.sites]
    tokens_in, tokens_out = (np.full(len(arrivals), count) for count in tokens)
    trace = Trace(
        np.array([due_s for due_s, _ in arrivals]),
        tokens_in,
        tokens_out,
        np.array([classes.index(name) for _, name in arrivals], dtype=np.int8),
        duration_s,
    )
    rows = sorted((at, sites.index(site), -1.0, 1.0 if killed else -1.0) for at, site, killed in outages)
    events = np.array(rows, dtype=np.float64).reshape(-1, 4)
    chunk = demand_of(trace, service)
    if times_s:
        chunk = chunk._replace(work=np.random.default_rng(1).choice(np.asarray(times_s), size=len(arrivals)))
    return simulate([chunk], service, system, duration_s, outages=events)


def compare(outcome: Outcome, totals: Mapping[str, Any]) -> list[Comparison]:
    """``totals``: the drill's ``totals`` as its JSON has them; raises :class:`PlannerError` where they are not.

    Latencies in ms; shares: answered in time ÷ offered, and answered by burst sites ÷ answered.
    """
    rows = []
    for name in RequestClass:
        measured = totals.get(name)
        if measured is None:
            continue
        predicted = outcome.classes[name]
        try:
            answers = {str(site): int(count) for site, count in measured["answered"].items()}
            found = {
                "p50 ms": (predicted.latency_p50_s * 1000, measured["p50_ms"]),
                "p99 ms": (predicted.latency_p99_s * 1000, measured["p99_ms"]),
                "in time": (predicted.available, measured["on_time"]),
                "spilled": (
                    predicted.spilled / max(1, predicted.answered),
                    1 - answers.get("private", 0) / max(1, sum(answers.values())),
                ),
            }
            offered = int(measured["requests"])
        except (KeyError, TypeError, AttributeError, ValueError):
            raise PlannerError(
                f"totals of {name} are not those of a drill; give what `spillway drill --json` wrote"
            ) from None
        if offered != predicted.offered:
            raise PlannerError(
                f"the drill sent {offered} requests of {name} and the trace has {predicted.offered}: another drill"
            )
        bounds = predicted.latency_p99_interval_s
        within = {"p99 ms": (bounds[0] * 1000, bounds[1] * 1000), "in time": predicted.interval} if bounds else {}
        rows += [
            _row(name, key, guess, truth, within.get(key)) for key, (guess, truth) in found.items() if truth is not None
        ]
    if not rows:
        raise PlannerError("the drill has no class to compare; give what `spillway drill --json` wrote")
    return rows


def _row(name: str, figure: str, predicted: float, measured: float, interval: tuple[float, float] | None) -> Comparison:
    relative = (predicted - measured) / measured if measured and figure.endswith("ms") else None
    return Comparison(name, figure, float(predicted), float(measured), float(predicted - measured), relative, interval)
