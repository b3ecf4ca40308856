"""The planner's prediction against what a drill measured on the same requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from spillway.contracts.classes import RequestClass
from spillway.planner.errors import PlannerError
from spillway.planner.simulate import Outcome


@dataclass(frozen=True)
class Comparison:
    """One figure of one class. ``error``: predicted − measured, in the figure's unit; ``relative``: that ÷ measured,
    ``None`` for shares and where nothing was measured."""

    request_class: str
    figure: str
    predicted: float
    measured: float
    error: float
    relative: float | None

    def to_json(self) -> dict[str, Any]:
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}


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
        rows += [_row(name, figure, *pair) for figure, pair in found.items() if pair[1] is not None]
    if not rows:
        raise PlannerError("the drill has no class to compare; give what `spillway drill --json` wrote")
    return rows


def _row(name: str, figure: str, predicted: float, measured: float) -> Comparison:
    relative = (predicted - measured) / measured if measured and figure.endswith("ms") else None
    return Comparison(name, figure, float(predicted), float(measured), float(predicted - measured), relative)
