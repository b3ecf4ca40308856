"""Prices: everything paid by the hour has one, and the ceilings leave room for what always runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from components.burst.site import BurstSite
from components.cost_guard.settings import instance_price
from spillway.contracts.classes import RequestClass
from spillway.contracts.prices import HOURS_PER_MONTH, PriceError, catalogue
from spillway.contracts.problems import Problem, key_of, nearest
from stacks.pricing import all_machines, usd_per_hour
from stacks.settings import StackSettings


def _instances_have_prices(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    said: set[tuple[str, str]] = set()
    for one in all_machines(settings, sites):
        try:
            instance_price(settings.cost_guard, one.cloud, one.instance_type, one.region)
        except PriceError as error:
            # The same type twice is one mistake.
            if (one.cloud, one.instance_type) not in said:
                yield Problem(key_of(one.key), repr(one.instance_type), str(error))
            said.add((one.cloud, one.instance_type))


def _price_lists_exist(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    """A price of a list that nothing is bought from would never be read."""
    known = sorted({*(price.cloud for price in catalogue()), *(one.cloud for one in all_machines(settings, sites))})
    for key in settings.cost_guard.prices:
        cloud = key.split("/")[0]
        if cloud not in known:
            advice = f"{nearest(cloud, known)}write cloud/instance type/region; clouds: {', '.join(known)}"
            yield Problem(key_of(f"cost_guard.prices.{key}"), repr(cloud), advice)


def _hourly_ceiling(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    """Under what always runs, spill would be closed from the first minute on. Where P0 is never closed, what answers it
    is bounded by its largest size alone."""
    costs = settings.cost_guard
    least, most = _bounds(settings, sites)
    key, ceiling = key_of("cost_guard.max_burst_usd_per_hour"), costs.max_burst_usd_per_hour
    if least > ceiling:
        advice = (
            f"the burst sites' smallest capacity costs {least:.2f} an hour already; raise it, or lower min_instances"
        )
        yield Problem(key, f"{ceiling:g}", advice)
    elif most > ceiling and RequestClass.P0 not in costs.cutoff.order:
        advice = (
            f"what answers requests costs {most:.2f} an hour at its largest, and P0 spills whatever it costs; raise it,"
            " lower max_instances, or let cost_guard.cutoff.order end with P0"
        )
        yield Problem(key, f"{ceiling:g}", advice)


def _monthly_ceiling(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    costs = settings.cost_guard
    month = _bounds(settings, sites)[0] * HOURS_PER_MONTH
    if month > costs.max_forecast_usd:
        advice = (
            f"the burst sites' smallest capacity costs {month:.0f} a month already; raise it, or lower min_instances"
        )
        yield Problem(key_of("cost_guard.max_forecast_usd"), f"{costs.max_forecast_usd:g}", advice)


def _bounds(settings: StackSettings, sites: Sequence[BurstSite]) -> tuple[float, float]:
    """US dollars an hour of what answers requests, at its smallest and at its largest; a queue's may be none. Nothing
    where a price is missing, which another rule says."""
    answering = [one for site in sites for one in site.machines() if one.least]
    try:
        least = sum(usd_per_hour(settings, one, one.least) for one in answering)
        return least, sum(usd_per_hour(settings, one, one.most) for one in answering)
    except PriceError:
        return 0.0, 0.0


RULES = (_instances_have_prices, _price_lists_exist, _hourly_ceiling, _monthly_ceiling)
