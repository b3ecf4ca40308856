"""What an outcome costs: instance-hours times price, as a month, a GPU-hour and a million tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spillway.contracts.classes import SiteName
from spillway.contracts.prices import HOURS_PER_MONTH, HOURS_PER_YEAR, Owned
from spillway.planner.errors import PlannerError
from spillway.planner.simulate import Outcome
from spillway.planner.system import System


@dataclass(frozen=True)
class Bill:
    """US dollars. A month is the trace's mean hour times 730. ``gpu_hours``: paid for, in the trace."""

    usd_per_hour: Mapping[SiteName, float]
    gpu_hours: float
    hours: float
    tokens: float

    @property
    def total_per_hour(self) -> float:
        return sum(self.usd_per_hour.values())

    @property
    def month(self) -> float:
        return self.total_per_hour * HOURS_PER_MONTH

    @property
    def per_gpu_hour(self) -> float | None:
        """Blended over all sites; ``None`` where no GPU is paid for."""
        return self.total_per_hour * self.hours / self.gpu_hours if self.gpu_hours else None

    @property
    def per_million_tokens(self) -> float | None:
        return self.total_per_hour * self.hours / self.tokens * 1e6 if self.tokens else None


def bill_of(system: System, outcome: Outcome, tokens: float) -> Bill:
    """The private site is paid for whether it works or not; burst from the order of an instance until it is given back,
    and what is always there at the committed price where there is one.

    ``tokens``: in and out, of the whole trace.
    """
    hourly, gpu_hours = {}, 0.0
    for spec in system.sites:
        hours = outcome.instance_hours[spec.site]
        always = min(hours, spec.min_instances * outcome.hours)
        hourly[spec.site] = (always * spec.always_usd_per_hour + (hours - always) * spec.usd_per_hour) / outcome.hours
        gpu_hours += hours * spec.gpus
    return Bill(hourly, gpu_hours, outcome.hours, tokens)


def years_at(owned: Owned, usd_per_gpu_hour: float) -> float | None:
    """Years over which the machine has to be written off so that a GPU-hour costs this; ``None``: no time is enough.

    The inverse of :func:`spillway.contracts.prices.amortised_per_gpu_hour`.
    """
    power = owned.power_kw * owned.usd_per_kwh * owned.overhead
    a_year = (usd_per_gpu_hour * owned.gpus - power) * HOURS_PER_YEAR - owned.operation_usd_per_year
    return owned.purchase_usd / a_year if a_year > 0 else None


def saving(cheaper: float, dearer: float) -> float:
    """``1 − cheaper ÷ dearer``, as a fraction. Raises :class:`PlannerError` where the dearer costs nothing."""
    if dearer <= 0:
        raise PlannerError("nothing is saved against a bill of 0: the public prices are missing or 0")
    return 1.0 - cheaper / dearer
