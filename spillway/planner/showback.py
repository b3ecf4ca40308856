"""Who caused what: tokens and dollars by client, class, model and site, hour by hour, from what a stack's parts tell.

The gateways' agents tell what clients used, the cost function what burst costs; the private site costs what the stack
file says. An hour's dollars of a site go to those whom it answered in that hour, by the tokens of prompts and answers
or, where nobody says tokens, by seconds; those of an hour without an answer to nobody. Dollars are split in millionths
without a rest, so that the parts are the whole.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar

from spillway.contracts import metrics
from spillway.contracts.classes import Site
from spillway.contracts.months import next_month
from spillway.page.page import Page, Section, Table
from spillway.planner.errors import PlannerError
from spillway.planner.history import PERIOD_S

NOBODY: Final = "(nobody)"
"""To whom an hour's dollars go in which a site answered nobody."""
MICRO: Final = 1_000_000
CACHED_WORK: Final = 0.1
"""Of a prompt's token that a server had in its cache, against one that it computes: 11 ms against 118 for 8,192 of them
(``benchmarks/results/2026-11-30-h200``)."""
Key = TypeVar("Key")
_WHOSE: Final = (metrics.CLIENT, metrics.CLASS, metrics.MODEL, metrics.SITE)


class Whose(NamedTuple):
    """Of whom a line is."""

    client: str
    request_class: str
    model: str
    site: str

    @property
    def dimensions(self) -> dict[str, str]:
        """Of CloudWatch, beside the stack."""
        return dict(zip(_WHOSE, self, strict=True))


@dataclass(frozen=True)
class Line:
    """One hour of one client, class, model and site. ``micro_usd``: millionths of a US dollar."""

    hour: datetime
    whose: Whose
    used: Mapping[str, float]
    micro_usd: int

    @property
    def tokens(self) -> float:
        return self.used.get(metrics.PROMPT_TOKENS, 0.0) + self.used.get(metrics.COMPLETION_TOKENS, 0.0)


@dataclass(frozen=True)
class Showback:
    """``lines``: by hour, then by whose. ``unpriced``: hours for which nobody knows what burst cost."""

    stack: str
    begin: datetime
    end: datetime
    lines: tuple[Line, ...]
    unpriced: int

    @property
    def micro_usd(self) -> int:
        return sum(line.micro_usd for line in self.lines)

    def by_client(self) -> dict[str, tuple[float, float, int]]:
        """``(answers, tokens, millionths of a dollar)``, who costs most first."""
        found: dict[str, tuple[float, float, int]] = {}
        for line in self.lines:
            answers, tokens, usd = found.get(line.whose.client, (0.0, 0.0, 0))
            mine = answers + line.used.get(metrics.ANSWERS, 0.0), tokens + line.tokens, usd + line.micro_usd
            found[line.whose.client] = mine
        return dict(sorted(found.items(), key=lambda item: -item[1][2]))


Used = Mapping[datetime, Mapping[Whose, Mapping[str, float]]]
Costs = Sequence[tuple[tuple[str, ...], Mapping[datetime, float]]]
"""US dollars an hour, with the sites that share them."""


def month_of(text: str) -> tuple[datetime, datetime]:
    """``2026-11``: begin and end, UTC. Raises :class:`PlannerError`."""
    try:
        begin = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        raise PlannerError(f"month {text!r}; write year and month, e.g. 2026-11") from None
    return begin, next_month(begin)


def read_showback(
    cloudwatch: Any,
    stack: str,
    private_usd_per_hour: float,
    bursts: Sequence[str],
    span: tuple[datetime, datetime],
    expected: Iterable[Whose] = (),
) -> Showback:
    """``cloudwatch``: a boto3 client; ``stack``: the value of the dimension ``Stack``; ``bursts``: the burst sites.

    ``span``: whole hours. ``expected``: who may have asked; CloudWatch itself lists for two weeks who did
    (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_ListMetrics.html).
    """
    begin, end = span
    used = _used(cloudwatch, stack, expected, begin, end)
    hours = [begin + timedelta(hours=n) for n in range(int((end - begin).total_seconds() // PERIOD_S))]
    private = (Site.PRIVATE.value,), dict.fromkeys(hours, private_usd_per_hour)
    burst = _burst_costs(cloudwatch, stack, bursts, begin, end)
    known = set(hours).intersection(*[set().union(*(cost for _, cost in burst))] if bursts else [])
    lines = allocate(used, [private, *burst], hours)
    return Showback(stack, begin, end, tuple(lines), len(hours) - len(known))


def allocate(used: Used, costs: Costs, hours: Iterable[datetime]) -> Iterator[Line]:
    """Each hour's dollars of each site to those whom it answered."""
    for hour in hours:
        there = used.get(hour, {})
        usd: defaultdict[Whose, int] = defaultdict(int, dict.fromkeys(there, 0))
        for sites, cost in costs:
            if hour not in cost:
                continue
            mine = {whose: _work(counts) for whose, counts in there.items() if whose.site in sites}
            mine = {whose: work for whose, work in mine.items() if work} or {
                Whose(NOBODY, "", "", "+".join(sites)): 1.0
            }
            for whose, part in split(round(cost[hour] * MICRO), mine).items():
                usd[whose] += part
        for whose, part in sorted(usd.items()):
            yield Line(hour, whose, there.get(whose, {}), part)


def _work(counts: Mapping[str, float]) -> float:
    tokens = counts.get(metrics.PROMPT_TOKENS, 0.0) + counts.get(metrics.COMPLETION_TOKENS, 0.0)
    read = counts.get(metrics.CACHED_TOKENS, 0.0) * (1 - CACHED_WORK)
    return max(0.0, tokens - read) or counts.get(metrics.ANSWER_SECONDS, 0.0)


def split(total: int, weights: Mapping[Key, float]) -> dict[Key, int]:
    """``total`` by weight, without a rest: what rounding down leaves goes to the largest remainders."""
    whole = sum(weights.values())
    exact = {who: total * weight / whole for who, weight in weights.items()}
    parts = {who: int(value) for who, value in exact.items()}
    left = total - sum(parts.values())
    for who in sorted(exact, key=lambda who: parts[who] - exact[who])[:left]:
        parts[who] += 1
    return parts


# What CloudWatch knows


def _used(cloudwatch: Any, stack: str, expected: Iterable[Whose], begin: datetime, end: datetime) -> Used:
    found: dict[datetime, dict[Whose, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    there = {(name, whose) for name in metrics.USED for whose in {*expected, *_there(cloudwatch, name, stack)}}
    named = sorted(there)
    series = [(name, {metrics.STACK: stack, **whose.dimensions}) for name, whose in named]
    for (name, whose), values in zip(named, _hourly(cloudwatch, series, "Sum", begin, end), strict=True):
        for at, value in values.items():
            found[at][whose][name] = value
    return found


def _there(cloudwatch: Any, name: str, stack: str) -> Iterator[Whose]:
    of_stack = [{"Name": metrics.STACK, "Value": stack}]
    pages = cloudwatch.get_paginator("list_metrics")
    for page in pages.paginate(Namespace=metrics.NAMESPACE, MetricName=name, Dimensions=of_stack):
        for metric in page["Metrics"]:
            dimensions = {one["Name"]: one["Value"] for one in metric["Dimensions"]}
            yield Whose(*(dimensions[key] for key in _WHOSE))


def _burst_costs(cloudwatch: Any, stack: str, bursts: Sequence[str], begin: datetime, end: datetime) -> Costs:
    """By site where the cost function says it by site, else of all burst sites together."""
    if not bursts:
        return []
    name, whole = metrics.BURST_USD_PER_HOUR, {metrics.STACK: stack}
    series: list[metrics.Series] = [(name, whole), *((name, {**whole, metrics.SITE: site}) for site in bursts)]
    together, *each = _hourly(cloudwatch, series, "Average", begin, end)
    told = set(each[0]).intersection(*each[1:])
    apart = [((site,), {at: values[at] for at in told}) for site, values in zip(bursts, each, strict=True)]
    return [*apart, (tuple(bursts), {at: usd for at, usd in together.items() if at not in told})]


def _hourly(
    cloudwatch: Any, series: Sequence[metrics.Series], statistic: str, begin: datetime, end: datetime
) -> list[dict[datetime, float]]:
    """Each metric's hours, in the order of ``series``."""
    read = metrics.read_series(cloudwatch.get_metric_data, series, PERIOD_S, statistic, begin, end)
    return [{at.astimezone(UTC).replace(minute=0, second=0): value for at, value in one.items()} for one in read]


# As files

COLUMNS: Final = (
    "hour", "client", "class", "model", "site", "answers", "prompt_tokens", "completion_tokens", "cached_tokens",
    "seconds", "usd",
)  # fmt: skip


def as_csv(showback: Showback) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    order = (metrics.ANSWERS, metrics.PROMPT_TOKENS, metrics.COMPLETION_TOKENS, metrics.CACHED_TOKENS)
    for line in showback.lines:
        whose = line.whose
        counts = [f"{line.used.get(name, 0.0):.0f}" for name in order]
        seconds = f"{line.used.get(metrics.ANSWER_SECONDS, 0.0):.3f}"
        said = [f"{line.hour:%Y-%m-%dT%H:%MZ}", whose.client, whose.request_class, whose.model, whose.site]
        writer.writerow([*said, *counts, seconds, f"{line.micro_usd / MICRO:.6f}"])
    return out.getvalue()


def cents(showback: Showback) -> dict[str, int]:
    """Each client's bill in cents; together they are the whole bill, rounded once."""
    usd = {client: float(micro) for client, (_, _, micro) in showback.by_client().items() if micro}
    return split(round(showback.micro_usd / (MICRO // 100)), usd) if usd else {}


def page_of(showback: Showback, about: Mapping[str, str]) -> Page:
    """Each client's part, and of what it is made up. ``about``: the stack and the package."""
    parts: defaultdict[Whose, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for line in showback.lines:
        for column, value in enumerate((line.used.get(metrics.ANSWERS, 0.0), line.tokens, line.micro_usd / MICRO)):
            parts[line.whose][column] += value
    bills = cents(showback)
    clients = (
        (client, f"{answers:,.0f}", f"{tokens:,.0f}", f"{bills.get(client, 0) / 100:,.2f}")
        for client, (answers, tokens, _) in showback.by_client().items()
    )
    rows = (
        (*whose, f"{answers:,.0f}", f"{tokens:,.0f}", f"{usd:,.4f}")
        for whose, (answers, tokens, usd) in sorted(parts.items(), key=lambda item: -item[1][2])
    )
    whole = Table("Clients, the dearest first", ("client", "answers", "tokens", "$"), tuple(clients))
    columns = ("client", "class", "model", "site", "answers", "tokens", "$")
    split_up = Table("Lines, the dearest first", columns, tuple(rows), words=4)
    return Page(
        title=f"Showback of {showback.stack}",
        lead="An hour's dollars of a site go to those whom it answered in it, by tokens or seconds; "
        f"{NOBODY}: it answered nobody.",
        facts={
            **about,
            "from": f"{showback.begin:%Y-%m-%d %H:%M} UTC",
            "to": f"{showback.end:%Y-%m-%d %H:%M} UTC",
            "in all": f"{sum(bills.values()) / 100:,.2f} $",
            "hours without a price of burst": str(showback.unpriced),
        },
        sections=(
            Section("By client", tables=(whole,)),
            Section("By class, model and site", tables=(split_up,)),
        ),
    )
