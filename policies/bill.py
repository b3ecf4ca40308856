"""What a stack costs at rest, line by line, before it is deployed: from the resources of its plan, at list prices.

What is paid by use (requests, bytes, logs) is named below the bill; of what the caller says how much, it is a line.
Nothing here is a policy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from policies.priced_types import (
    AWS,
    AZURE,
    BY_USE,
    EKS,
    KUBERNETES_SERVICE,
    STANDING,
    VPN_GATEWAY,
    Counted,
    published,
    why_not_priced,
)
from policies.resources import Stack
from policies.rules.capacity import LAUNCH_TEMPLATE, MANAGED_CLUSTER, Machines, location, machines
from spillway.contracts.prices import HOURS_PER_MONTH, Price, PriceError, bought_price
from spillway.contracts.property_values import text, texts
from spillway.contracts.resources import Resource
from spillway.contracts.standing import HOME, standing


@dataclass(frozen=True)
class Line:
    """Things of one kind. ``usd_per_hour``: of one, ``None`` where nobody knows it; ``least`` and ``most``: how many
    there are at rest and with every autoscaler at its maximum. ``estimate``: another region's price."""

    what: str
    place: str
    usd_per_hour: float | None
    least: float
    most: float
    source: str
    estimate: bool = False

    def month(self, count: float) -> float:
        """US dollars a month of so many."""
        return (self.usd_per_hour or 0.0) * count * HOURS_PER_MONTH


@dataclass(frozen=True)
class Bill:
    """``lines``: the dearest first. ``by_use``: what besides is paid by use, in words."""

    lines: tuple[Line, ...]
    by_use: tuple[str, ...]

    @property
    def month(self) -> float:
        return sum(line.month(line.least) for line in self.lines)

    @property
    def month_at_peak(self) -> float:
        return sum(line.month(line.most) for line in self.lines)

    @property
    def unknown(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.usd_per_hour is None)


class UsageError(ValueError):
    """Something that nobody can use was given."""


def bill_at_rest(stack: Stack, own: Iterable[Line] = (), used: Mapping[str, float] | None = None) -> Bill:
    """``own``: machines that are paid for and are no resource of the plan, as a cluster of one's own. ``used``: how
    much of what is paid by use a month takes, e.g. ``{"aws egress gb": 500}``. Raises :class:`UsageError`."""
    found: dict[tuple[str, str, float | None], Line] = {}
    # A launch template alone runs nothing.
    paid = (one for one in machines(stack) if one.resource.type != LAUNCH_TEMPLATE)
    lines = [
        *own,
        *(_of_machines(stack, one) for one in paid),
        *_standing(stack),
        *_used(used or {}),
        *_unpriced(stack),
    ]
    for line in lines:
        key = line.what, line.place, line.usd_per_hour
        held = found.get(key)
        found[key] = line if held is None else replace(held, least=held.least + line.least, most=held.most + line.most)
    ordered = sorted((line for line in found.values() if line.most), key=lambda line: -line.month(line.most))
    return Bill(tuple(ordered), tuple(_by_use(stack, used or {})))


def _used(used: Mapping[str, float]) -> Iterator[Line]:
    known = sorted({use.price for uses in BY_USE.values() for use in uses if use.price})
    for what, amount in used.items():
        price = standing(what)
        if what not in known or price is None:
            raise UsageError(f"{what!r} is nothing that is paid by use; there is {', '.join(known)}")
        place = HOME[what.partition(" ")[0]]
        yield Line(what, place, price.usd_per_hour, amount, amount, f"{price.source}; as much as was said")


def _by_use(stack: Stack, used: Mapping[str, float]) -> Iterator[str]:
    """What is not in the sums, each once, with its price where one is known."""
    there = dict.fromkeys(use for type_, uses in BY_USE.items() if stack.of(type_) for use in uses)
    for use in there:
        price = standing(use.price) if use.price else None
        if use.price not in used or price is None:
            each = f", {price.usd_per_hour * HOURS_PER_MONTH:g} $ ({use.price})" if price else ""
            yield use.words + each


def _unpriced(stack: Stack) -> Iterator[Line]:
    kinds = Counter((resource.type, resource.region) for resource in stack.resources)
    for (type_, region), count in kinds.items():
        if why := why_not_priced(type_):
            yield Line(type_, region, None, count, count, f"not known: {why}")


def _of_machines(stack: Stack, one: Machines) -> Line:
    own = stack.context.prices.get(f"{one.cloud}/{one.instance_type}/{one.region}")
    usd, source, estimate = (own, "cost_guard.prices", False) if own is not None else _listed(one)
    least = one.least or 0.0
    most = least if one.most is None else one.most
    return Line(f"{one.instance_type} ({one.cloud})", one.region, usd, least, most, source, estimate)


def _listed(one: Machines) -> tuple[float | None, str, bool]:
    try:
        price, unsaid = _price_of(one)
    except PriceError:
        small = standing(f"{one.cloud} {one.instance_type}")
        if small is None:
            key = f"cost_guard.prices: {one.cloud}/{one.instance_type}/{one.region}"
            return None, f"not known; give it under {key}", False
        return small.usd_per_hour, small.source, one.region != HOME[one.cloud]
    return price.usd_per_hour, price.source + unsaid, price.basis == "scaled" or bool(unsaid)


def _price_of(one: Machines) -> tuple[Price, str]:
    """The price, and what is to be said of it: what nobody knows as spot costs at most what it does on demand."""
    price = bought_price(one.cloud, one.instance_type, one.region, one.model)
    if price.model == one.model:
        return price, ""
    return price, f"; on demand, for no {one.model} price is known: `spillway prices refresh` reads them"


def _standing(stack: Stack) -> Iterator[Line]:
    for cloud, type_, what, count in STANDING:
        for resource in stack.of(type_):
            yield _line(cloud, what, _region(cloud, resource), count(stack, resource))
    for gateway in stack.of(VPN_GATEWAY):
        yield _line(AZURE, f"vpn gateway {text(gateway.get('sku.name'))}", location(gateway), 1.0)
    clusters = stack.of(MANAGED_CLUSTER, EKS)
    for service in stack.of(KUBERNETES_SERVICE) if clusters else ():
        yield from _balancer(clusters[0], service)


def _balancer(cluster: Resource, service: Resource) -> Iterator[Line]:
    """What a cluster makes for a Service that is published: a load balancer, and its public addresses where it has
    any."""
    cloud = AWS if cluster.type == EKS else AZURE
    region = _region(cloud, cluster)
    yield _line(cloud, "load balancer", region, published(service))
    marks = service.get("metadata.annotations")
    public = isinstance(marks, Mapping) and "internet-facing" in texts(list(marks.values()))
    if cloud == AWS and public:
        yield _line(cloud, "public ipv4", region, float(len(texts(cluster.get("vpcConfig.subnetIds")))))


def _region(cloud: str, resource: Resource) -> str:
    return resource.region if cloud == AWS else location(resource)


def _line(cloud: str, what: str, region: str, counted: Counted) -> Line:
    least, most = counted if isinstance(counted, tuple) else (counted, counted)
    price = standing(f"{cloud} {what}")
    estimate = bool(region) and region not in (HOME[cloud], "global")
    if price is None:
        return Line(what, region, None, least, most, "not known", estimate)
    return Line(what, region, price.usd_per_hour, least, most, price.source, estimate)


Before = Mapping[tuple[str, str], float]
"""What lines cost a month at rest before a change, by what they are and where."""


def markdown(bill: Bill, name: str, before: Before | None = None) -> str:
    """The bill as a comment for a pull request; ``before``: what it is compared with."""
    head = (
        f"### What `{name}` costs: {bill.month:,.2f} $ a month at rest, {bill.month_at_peak:,.2f} $ with every "
        "autoscaler at its maximum"
    )
    names = titles(before)
    rows = ["| " + " | ".join(cells(line, before)) + " |" for line in bill.lines]
    table = ["| " + " | ".join(names) + " |", "| --- " * len(names) + "|", *rows]
    said = [line for text in (*changed(bill, before or {}), *footnotes(bill)) for line in ("", text)]
    return "\n".join([head, "", *table, *said, ""])


def titles(before: Before | None) -> list[str]:
    more = ["change at rest"] if before is not None else []
    return ["what", "where", "$/hour each", "at rest", "$ a month", "at most", "$ a month", *more]


def cells(line: Line, before: Before | None) -> Iterator[str]:
    each = "not known" if line.usd_per_hour is None else f"{line.usd_per_hour:.4f}" + " (estimate)" * line.estimate
    yield from (line.what, line.place, each, f"{line.least:g}", f"{line.month(line.least):,.2f}")
    yield from (f"{line.most:g}", f"{line.month(line.most):,.2f}")
    if before is not None:
        change = line.month(line.least) - before.get((line.what, line.place), 0.0)
        yield f"{round(change, 2) + 0.0:+,.2f}"


def changed(bill: Bill, before: Before) -> Iterator[str]:
    if not before:
        return
    yield f"It was {sum(before.values()):,.2f} $ at rest: {bill.month - sum(before.values()):+,.2f} $."
    there = {(line.what, line.place) for line in bill.lines}
    for what, place in sorted(before.keys() - there):
        yield f"Gone: {what} in {place}, {before[what, place]:,.2f} $."


def footnotes(bill: Bill) -> Iterator[str]:
    yield "List prices; a month is 730 hours. Besides, by use: " + "; ".join(bill.by_use) + "."
    if any(line.estimate for line in bill.lines):
        yield "An estimate is the price of us-east-1 or eastus, or one scaled from it."
    for line in bill.unknown:
        yield f"Left out of the sums: {line.what} in {line.place}; its price is {line.source}."


def bill_json(bill: Bill) -> dict[str, Any]:
    return {
        "usd_per_month": round(bill.month, 2),
        "usd_per_month_at_peak": round(bill.month_at_peak, 2),
        "lines": [
            {
                "what": line.what,
                "place": line.place,
                "usd_per_hour_each": line.usd_per_hour,
                "at_rest": line.least,
                "at_peak": line.most,
                "usd_per_month": round(line.month(line.least), 2),
                "usd_per_month_at_peak": round(line.month(line.most), 2),
                "estimate": line.estimate,
                "source": line.source,
            }
            for line in bill.lines
        ],
        "by_use": list(bill.by_use),
    }
