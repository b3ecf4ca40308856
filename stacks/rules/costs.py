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


def _ceilings_are_above_the_minimum(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    """Below it, spill would be closed from the first minute on."""
    costs = settings.cost_guard
    try:
        floor = sum(usd_per_hour(settings, one, one.least) for one in (site.machines()[0] for site in sites))
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


def _ceiling_bounds_what_answers(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    """P0 is never closed, so that what answers it is bounded by its largest size, and by nothing else."""
    costs = settings.cost_guard
    if RequestClass.P0 in costs.cutoff.order:
        return
    try:
        most = sum(usd_per_hour(settings, one, one.most) for one in (site.machines()[0] for site in sites))
    except PriceError:
        return
    if most > costs.max_burst_usd_per_hour:
        advice = (
            f"what answers requests costs {most:.2f} an hour at its largest, and P0 spills whatever it costs; raise it,"
            " lower max_instances, or let cost_guard.cutoff.order end with P0"
        )
        yield Problem(key_of("cost_guard.max_burst_usd_per_hour"), f"{costs.max_burst_usd_per_hour:g}", advice)


RULES = (
    _instances_have_prices,
    _price_lists_exist,
    _ceilings_are_above_the_minimum,
    _ceiling_bounds_what_answers,
)
