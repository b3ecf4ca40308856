"""Prices: everything paid by the hour has one, and the ceilings leave room for what always runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from components.burst.site import BurstSite
from components.cost_guard.settings import instance_price
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


def _ceilings_are_above_the_minimum(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    """Below it, spill would be closed from the first minute on."""
    costs = settings.cost_guard
    try:
        floor = sum(usd_per_hour(settings, site.machines()[0]) for site in sites)
    except PriceError:
        return
    month = floor * HOURS_PER_MONTH
    if floor > costs.max_burst_usd_per_hour:
        advice = (
            f"the burst sites' smallest capacity costs {floor:.2f} an hour already; raise it, or lower min_instances"
        )
        yield Problem(key_of("cost_guard.max_burst_usd_per_hour"), f"{costs.max_burst_usd_per_hour:g}", advice)
    elif month > costs.max_forecast_usd:
        advice = (
            f"the burst sites' smallest capacity costs {month:.0f} a month already; raise it, or lower min_instances"
        )
        yield Problem(key_of("cost_guard.max_forecast_usd"), f"{costs.max_forecast_usd:g}", advice)


RULES = (_instances_have_prices, _price_lists_exist, _ceilings_are_above_the_minimum)
