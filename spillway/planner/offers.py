"""How the public side may be bought otherwise, and what the plan's sizes would cost so.

A saving against the dearest way to buy is none: the public cloud alone is judged at its best, also without the
surcharge of a managed service, which the hybrid's burst cannot do without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spillway.contracts.prices import HOURS_PER_MONTH
from spillway.planner.costs import cheapest_mix, saving
from spillway.planner.search import Candidate
from spillway.planner.system import SiteSpec


@dataclass(frozen=True)
class Offer:
    """``usd_per_hour``: of one instance at the list; ``committed``: of one that is committed to, if one may.
    ``bare``: machines alone, without the service that the stack's burst runs on. ``said``: source and date."""

    name: str
    usd_per_hour: float
    committed: float | None
    bare: bool
    said: str


Offers = Mapping[str, Sequence[Offer]]
"""By instance type."""


@dataclass(frozen=True)
class Bought:
    """US dollars a month. ``hybrid``: ``None`` where its burst cannot be bought so."""

    name: str
    public: float
    hybrid: float | None
    said: tuple[str, ...]


def bought(public: Candidate, hybrid: Candidate, offers: Offers) -> list[Bought]:
    """Every way in which a burst type of the public system is offered, the cheapest first."""
    named = {offer.name: offer for spec in public.bursts for offer in offers.get(spec.instance_type, ())}
    found = []
    for name, offer in named.items():
        mine = None if offer.bare else _month(hybrid, offers, name)
        said = [one.said for spec in public.bursts for one in offers.get(spec.instance_type, ()) if one.name == name]
        found.append(Bought(name, _month(public, offers, name), mine, tuple(dict.fromkeys(said))))
    return sorted(found, key=lambda way: way.public)


def _month(candidate: Candidate, offers: Offers, name: str) -> float:
    """What is not offered so costs what it did."""
    hourly = dict(candidate.bill.usd_per_hour)
    for spec in candidate.bursts:
        offer = next((one for one in offers.get(spec.instance_type, ()) if one.name == name), None)
        if offer is not None:
            hourly[spec.site] = _hourly(candidate, spec, offer)
    return sum(hourly.values()) * HOURS_PER_MONTH


def _hourly(candidate: Candidate, spec: SiteSpec, offer: Offer) -> float:
    if offer.committed is not None:
        return cheapest_mix(spec, candidate.outcome, offer.usd_per_hour, offer.committed)[0]
    return candidate.outcome.instance_hours[spec.site] / candidate.outcome.hours * offer.usd_per_hour


def saving_at_best(public: Candidate, hybrid: Candidate, ways: Sequence[Bought]) -> float:
    """Of the hybrid, each bought as cheaply as it can be. Raises ``PlannerError`` where the public side costs
    nothing."""
    cheapest = min([hybrid.bill.month, *(way.hybrid for way in ways if way.hybrid is not None)])
    return saving(cheapest, min([public.bill.month, *(way.public for way in ways)]))
