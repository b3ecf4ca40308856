"""What a drill does: phases, the faults at their starts, the load, and what has to hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from spillway.contracts.classes import RequestClass, Site
from spillway.drill.target import DrillError

P0, P1, P2 = RequestClass


@dataclass(frozen=True)
class Fault:
    """An order to a site or gateway; see :meth:`spillway.twin.handle.TwinHandle.fault` for the actions."""

    group: str
    action: str
    options: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Phase:
    """A stretch of the drill. ``faults`` are ordered at its start.

    ``broken``: sites that are out during it (for the report). ``min_availability``: bounds by class, in [0, 1].
    ``back_on``: the site that has to answer again before the phase ends.
    """

    name: str
    duration_s: float
    faults: tuple[Fault, ...] = ()
    broken: tuple[Site, ...] = ()
    min_availability: dict[RequestClass, float] = field(default_factory=dict)
    back_on: Site | None = None


DEFAULT_RATES: Final = {P0: 4.0, P1: 4.0, P2: 2.0}
"""Requests per second by class: what two cores serve with real models and room to spare."""

ALL_GOOD: Final = {P0: 1.0, P1: 1.0, P2: 1.0}
SITE_DOWN: Final = {P0: 1.0, P1: 0.99, P2: 0.95}
SITE_SICK: Final = {P0: 0.99, P1: 0.99, P2: 0.95}
"""Hanging, slow and erring sites are noticed by the requests that they spoil; a dead one refuses at once."""


@dataclass(frozen=True)
class DrillPlan:
    """``rates``: requests per second by class. ``seed``: of the arrival times, which are a Poisson process."""

    name: str
    phases: tuple[Phase, ...]
    rates: dict[RequestClass, float] = field(default_factory=lambda: dict(DEFAULT_RATES))
    seed: int = 1

    @property
    def duration_s(self) -> float:
        return sum(phase.duration_s for phase in self.phases)

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


def short_plan() -> DrillPlan:
    """About a minute: the private site is killed and returns."""
    return DrillPlan(
        "short",
        (
            Phase("baseline", 10, min_availability=ALL_GOOD),
            _killed(20),
            _returned(30),
        ),
    )


def full_plan() -> DrillPlan:
    """About four minutes: the private site killed, hung, slow and erring, then SageMaker gone as well."""
    private = Site.PRIVATE
    return DrillPlan(
        "full",
        (
            Phase("baseline", 15, min_availability=ALL_GOOD),
            _killed(25),
            _returned(30),
            _sick("private hung", Fault(private, "hang")),
            _well("private resumed", Fault(private, "resume")),
            _sick("private slow", Fault(private, "slow", {"delay_s": 3.0})),
            _well("private at speed", Fault(private, "heal")),
            _sick("private answers 500", Fault(private, "fail", {"status": 500})),
            _well("private heals", Fault(private, "heal")),
            Phase(
                "private and SageMaker killed",
                25,
                (Fault(private, "kill"), Fault(Site.SAGEMAKER, "kill")),
                (private, Site.SAGEMAKER),
                SITE_DOWN,
            ),
            Phase(
                "recovery",
                30,
                (Fault(Site.SAGEMAKER, "start"), Fault(private, "start")),
                min_availability=SITE_DOWN,
                back_on=private,
            ),
        ),
    )


def load_plan() -> DrillPlan:
    """A minute of load, and nothing that is broken: for a site that is used."""
    return DrillPlan("load", (Phase("load", 60, min_availability=SITE_DOWN),))


PLANS: Final = {"short": short_plan, "full": full_plan, "load": load_plan}
"""By the name that a drill's result carries."""


def _killed(seconds: float) -> Phase:
    return Phase("private killed", seconds, (Fault(Site.PRIVATE, "kill"),), (Site.PRIVATE,), SITE_DOWN)


def _returned(seconds: float) -> Phase:
    return Phase(
        "private returns", seconds, (Fault(Site.PRIVATE, "start"),), min_availability=SITE_DOWN, back_on=Site.PRIVATE
    )


def _sick(name: str, fault: Fault) -> Phase:
    return Phase(name, 20, (fault,), (Site.PRIVATE,), SITE_SICK)


def _well(name: str, fault: Fault) -> Phase:
    return Phase(name, 20, (fault,), min_availability=SITE_SICK, back_on=Site.PRIVATE)
