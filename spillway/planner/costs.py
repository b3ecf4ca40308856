"""What an outcome costs: instance-hours times price, as a month, a GPU-hour and a million tokens.

Instances are bought in two ways at once: so many committed to, which cost their price in every hour, and the rest at
the list. How many, the number of instances over the trace's time decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from spillway.contracts.classes import SiteName
from spillway.contracts.prices import HOURS_PER_MONTH, HOURS_PER_YEAR, Owned
from spillway.planner.errors import PlannerError
from spillway.planner.kernel import state
from spillway.planner.simulate import Outcome
from spillway.planner.system import SiteSpec, System


@dataclass(frozen=True)
class Bill:
    """US dollars. A month is the trace's mean hour times 730. ``gpu_hours``: paid for, in the trace. ``committed``:
    instances of a site that are committed to."""

    usd_per_hour: Mapping[SiteName, float]
    gpu_hours: float
    hours: float
    tokens: float
    committed: Mapping[SiteName, int] = field(default_factory=dict)

    @property
    def total_per_hour(self) -> float:
        return sum(self.usd_per_hour.values())

    def times(self, count: int) -> Bill:
        """That of so many of the same."""
        hourly = {site: usd * count for site, usd in self.usd_per_hour.items()}
        return replace(self, usd_per_hour=hourly, gpu_hours=self.gpu_hours * count)

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
    """The private site is paid for whether it works or not; burst from the order of an instance until it is given back.

    ``tokens``: in and out, of the whole trace.
    """
    hourly: dict[SiteName, float] = {}
    committed: dict[SiteName, int] = {}
    gpu_hours = 0.0
    for spec in system.sites:
        mean = outcome.instance_hours[spec.site] / outcome.hours
        hourly[spec.site] = mean * spec.usd_per_hour
        if spec.committed_usd_per_hour is not None:
            mixed = cheapest_mix(spec, outcome, spec.usd_per_hour, spec.committed_usd_per_hour)
            hourly[spec.site], committed[spec.site] = mixed
        gpu_hours += outcome.instance_hours[spec.site] * spec.gpus
    return Bill(hourly, gpu_hours, outcome.hours, tokens, committed)


def cheapest_mix(spec: SiteSpec, outcome: Outcome, listed: float, committed: float) -> tuple[float, int]:
    """``(US dollars an hour, instances to commit to)``. ``listed``, ``committed``: of one instance and hour.

    Between its fewest and its most, an instance more is committed to as long as it is there for a larger share of the
    time than it costs of the list price.
    """
    mean, live = outcome.instance_hours[spec.site] / outcome.hours, live_instances(spec, outcome)

    def costs(count: int) -> float:
        # What is ordered and not live yet is paid for, too, and counted with what is beyond.
        within = float(np.minimum(live, count).mean())
        return count * committed + max(0.0, mean - within) * listed

    count = min(range(spec.min_instances, spec.max_instances + 1), key=costs)
    return costs(count), count


def live_instances(spec: SiteSpec, outcome: Outcome) -> NDArray[np.float64]:
    """How many of a site were live, over the trace's time."""
    column = state.PER_SITE + 2 * list(outcome.instance_hours).index(spec.site) + 1
    return np.maximum(outcome.timeline[:, column] / (spec.servers * spec.slots), spec.min_instances)


def years_at(owned: Owned, usd_per_gpu_hour: float) -> float | None:
    """Years over which the machine has to be paid back so that a GPU-hour costs this; ``None``: no time is enough.

    The inverse of :func:`spillway.contracts.prices.amortised_per_gpu_hour`.
    """
    power = owned.power_kw * owned.usd_per_kwh * owned.overhead
    a_year = (usd_per_gpu_hour * owned.gpus - power) * HOURS_PER_YEAR - owned.operation_usd_per_year
    of_it = owned.purchase_usd * owned.interest
    if a_year <= of_it:
        return None
    return -math.log1p(-of_it / a_year) / math.log1p(owned.interest) if of_it else owned.purchase_usd / a_year


def saving(cheaper: float, dearer: float) -> float:
    """``1 − cheaper ÷ dearer``, as a fraction. Raises :class:`PlannerError` where the dearer costs nothing."""
    if dearer <= 0:
        raise PlannerError("nothing is saved against a bill of 0: the public prices are missing or 0")
    return 1.0 - cheaper / dearer
