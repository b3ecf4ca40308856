"""A plan: the hybrid, against all public and all private sized alike, and why it is what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.prices import Owned
from spillway.planner.costs import saving, years_at
from spillway.planner.growth import Growth, Step, grown
from spillway.planner.offers import Bought, Offers, bought, saving_at_best
from spillway.planner.search import Candidate, Found, Kind, Search, Space, pareto
from spillway.planner.service import ServiceModel
from spillway.planner.shared import Shared, Tenant, shared, tenant_of
from spillway.planner.spot import OnSpot, p2_on_spot
from spillway.planner.system import Failures, SiteSpec
from spillway.planner.trace import Trace

P0 = RequestClass.P0


@dataclass(frozen=True)
class Row:
    """An alternative as it was judged. ``judged``: on the trace it was not sized on, where there is one; ``None``: no
    size of this kind holds, and ``found.nearest`` came closest."""

    found: Found
    judged: Candidate | None


@dataclass(frozen=True)
class Spot:
    """One spot node, at its price, how often it is taken away, and how long until another is there."""

    node: SiteSpec
    failures: Failures


@dataclass(frozen=True)
class Asked:
    """What is to be worked out besides. ``offers``: how the public side may be bought otherwise; ``growth``: of the
    traffic; ``spot``: for P2."""

    offers: Offers = field(default_factory=dict)
    growth: Growth | None = None
    spot: Spot | None = None
    shares: bool = False
    """Whether the fewest private servers are worked out, for nodes that models share."""
    beside: tuple[Tenant, ...] = ()
    """Other models' servers."""


@dataclass(frozen=True)
class Plan:
    """``two_private``: two private sites, each of the size that holds alone while it stands; ``foresight``: the hybrid
    sized on the very trace it is judged on. ``bought``: the public side bought otherwise; ``growth``: of what was
    sized; ``on_spot``: where that was asked for, and something holds. ``front``: cost against P0's availability, of
    everything that was tried. ``notes``: what was odd in the trace, and what it is too short to show.
    ``break_even_usd_per_gpu_hour``: of the private site, at which the hybrid's bill is the
    public one's."""

    service: ServiceModel
    hybrid: Row
    public: Row
    private: Row
    two_private: Row | None
    foresight: Row | None
    bought: tuple[Bought, ...]
    growth: tuple[Step, ...]
    on_spot: OnSpot | None
    shared: Shared | None
    front: tuple[Candidate, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    break_even_usd_per_gpu_hour: float | None
    break_even_years: float | None
    requests: int
    seed: int

    @property
    def chosen(self) -> Candidate:
        assert self.hybrid.judged is not None
        return self.hybrid.judged

    @property
    def saving_vs_all_public(self) -> float | None:
        """A fraction; ``None`` where no public size holds: nothing is saved against what misses."""
        public = self.public.judged
        return saving(self.chosen.bill.month, public.bill.month) if public and public.holds else None

    @property
    def saving_vs_best_public(self) -> float | None:
        """The same with both bought as cheaply as the catalogue knows, the public side on bare machines too."""
        public = self.public.judged
        return saving_at_best(public, self.chosen, self.bought) if public and public.holds else None

    @property
    def saving_vs_all_private(self) -> float | None:
        """Negative where the private site alone is cheaper; against what holds in calm where nothing more does."""
        private = self.private.judged
        return saving(self.chosen.bill.month, private.bill.month) if private else None

    def to_json(self) -> dict[str, Any]:
        return {
            "plan": _json(self.hybrid),
            "bills": {
                "hybrid": _json(self.hybrid),
                "all_public": _json(self.public),
                "all_private": _json(self.private),
                **({"two_private": _json(self.two_private)} if self.two_private else {}),
                **({"perfect_foresight": _json(self.foresight)} if self.foresight else {}),
            },
            "saving_vs_all_public": _rounded(self.saving_vs_all_public, 4),
            "saving_vs_best_public": _rounded(self.saving_vs_best_public, 4),
            "saving_vs_all_private": _rounded(self.saving_vs_all_private, 4),
            "public_bought": [
                {"name": way.name, "all_public": round(way.public, 2), "hybrid": _rounded(way.hybrid, 2)}
                | {"said": list(way.said)}
                for way in self.bought
            ],
            "growth": [step.to_json() for step in self.growth],
            "shared": self.shared.to_json() if self.shared else None,
            "p2_on_spot": self.on_spot.to_json() if self.on_spot else None,
            "break_even": {
                "usd_per_gpu_hour": _rounded(self.break_even_usd_per_gpu_hour, 3),
                "amortisation_years": _rounded(self.break_even_years, 2),
            },
            "front": [
                {"system": c.label(), "kind": c.kind, "usd_per_month": round(c.bill.month, 2), "p0_available": c.p0}
                for c in self.front
            ],
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "service": self.service.model_dump(mode="json"),
            "requests": self.requests,
            "seed": self.seed,
        }


def make_plan(
    trace: Trace,
    service: ServiceModel,
    space: Space,
    *,
    judge: Trace | None = None,
    owned: Owned | None = None,
    seed: int = 1,
    foresight: bool = True,
    asked: Asked | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Plan:
    """Size on ``trace``, judge on ``judge`` (the same trace when left out), and where ``foresight`` says so, size on
    that as well, to see what knowing it would have been worth. ``asked``: what is to be worked out besides.

    ``owned``: what the private price is worked out of, for the break-even in years. Raises
    :class:`spillway.planner.search.NoPlanError` when no hybrid holds.
    """
    search, asked = Search(trace, service, space, seed, progress), asked or Asked()
    rows = _rows(search, judge)
    known = _known(Search(judge, service, space, seed, progress)) if judge is not None and foresight else None
    hybrid = rows["hybrid"].judged
    assert hybrid is not None
    public = rows["all public"].judged
    even = _break_even(hybrid, public) if public and public.holds else None
    return Plan(
        service=service,
        hybrid=rows["hybrid"],
        public=rows["all public"],
        private=rows["all private"],
        two_private=_two_private(rows["all private"], space),
        foresight=known,
        bought=tuple(bought(public, hybrid, asked.offers)) if public else (),
        growth=tuple(_growth(search, rows["hybrid"].found.need(), asked.growth)),
        on_spot=_on_spot(search, rows["hybrid"].found.need(), asked.spot),
        shared=_shared(search, rows["hybrid"].found.need(), asked),
        front=tuple(pareto([one for row in rows.values() for one in row.found.tried])),
        reasons=tuple(_reasons(search, rows, hybrid)),
        notes=(*trace.notes, *_too_few(judge if judge is not None else trace, space)),
        break_even_usd_per_gpu_hour=even,
        break_even_years=years_at(owned, even) if owned is not None and even is not None else None,
        requests=len(judge if judge is not None else trace),
        seed=seed,
    )


def _rows(search: Search, judge: Trace | None) -> dict[Kind, Row]:
    rows: dict[Kind, Row] = {}
    kinds: tuple[Kind, ...] = ("hybrid", "all public", "all private")
    for kind in kinds:
        found = search.find(kind)
        if kind == "hybrid":
            found.need()
        sized = found.best or found.calm
        rows[kind] = Row(found, _judged(search, kind, sized, judge) if sized else None)
    return rows


def _two_private(alone: Row, space: Space) -> Row | None:
    """Each of the size that holds while it stands. They are taken to fail by themselves, and each to find the other at
    once; P0 is late while both are out."""
    found, failures = alone.judged, space.failures
    if found is None or found.private is None or found.misses_in_calm:
        return None
    if failures is None or failures.site_mtbf_h is None:
        return None
    out = failures.site_mttr_h / (failures.site_mtbf_h + failures.site_mttr_h)
    share, wanted = found.p0 * (1 - out**2), found.system.objectives[P0].share
    private = found.private
    twice = private.sized(2 * private.min_instances, 2 * private.max_instances)
    misses = (f"P0 {share:.3%} with outages, not {wanted:.3%}",) if share < wanted else ()
    system = found.system.model_copy(update={"sites": (twice,)})
    both = replace(found, system=system, bill=found.bill.times(2), misses=misses, with_outages=share)
    return Row(alone.found, both)


def _growth(search: Search, sized: Candidate, growth: Growth | None) -> Iterator[Step]:
    if growth is not None:
        space = _as_sized(search.space, sized)
        yield from grown(search.trace, search.service, space, sized, growth, search.seed, search.progress)


def _on_spot(search: Search, sized: Candidate, spot: Spot | None) -> OnSpot | None:
    if spot is None:
        return None
    space, more = _as_sized(search.space, sized), (search.seed, search.progress)
    return p2_on_spot(search.trace, search.service, space, spot.node, spot.failures, *more)


def _shared(search: Search, sized: Candidate, asked: Asked) -> Shared | None:
    if not (asked.shares or asked.beside):
        return None
    return shared([tenant_of(search, sized), *asked.beside])


def _as_sized(space: Space, sized: Candidate) -> Space:
    """What may be chosen of the instance types that were, and P2's share of the private slots as it was: what-ifs ask
    how many, and each type and share is a search more."""
    chosen = {(spec.site, spec.instance_type) for spec in sized.bursts}
    same = tuple(spec for spec in space.burst if (spec.site, spec.instance_type) in chosen)
    shares = (sized.private.batch_share,) if sized.private else space.batch_shares
    return space.model_copy(update={"burst": same, "batch_shares": shares})


def _known(search: Search) -> Row:
    search.progress("perfect foresight")
    found = search.find("hybrid")
    return Row(found, found.best)


def _judged(search: Search, kind: Kind, sized: Candidate, judge: Trace | None) -> Candidate:
    if judge is not None:
        return search.with_outages(search.run(kind, sized.system, judge), judge)
    return sized if sized.holds else search.with_outages(search.whole(kind, sized.system))


def _too_few(trace: Trace, space: Space) -> Iterator[str]:
    """Promises that so few requests cannot show: ten should be allowed to miss for their share to mean something."""
    for name, there in zip(RequestClass, trace.offered, strict=True):
        objective = space.objectives[name]
        needed = round(10 / (1 - objective.share)) if objective.share < 1 else 0
        if there < needed:
            yield f"{there:,} requests of {name} say little of {objective.share:.2%} in time: it takes {needed:,}"


def _break_even(hybrid: Candidate, public: Candidate) -> float | None:
    """What a private GPU-hour may cost until the hybrid's bill is the public one's; the sizes stay as they are.
    ``None`` where it does not pay at any price."""
    private = hybrid.private
    if private is None or not private.gpus * private.min_instances:
        return None
    left = public.bill.total_per_hour - hybrid.bill.total_per_hour + hybrid.bill.usd_per_hour[Site.PRIVATE]
    return left / (private.gpus * private.min_instances) if left > 0 else None


def _reasons(search: Search, rows: dict[Kind, Row], hybrid: Candidate) -> list[str]:
    """The choice in words, from what neighbours of it would do."""
    private = hybrid.private
    assert private is not None
    count = private.min_instances
    said = [
        f"{private.counted} × {private.instance_type} carry {1 - hybrid.outcome.spill_share:.1%} of the answers and "
        f"are {hybrid.outcome.busy[Site.PRIVATE]:.0%} busy by slots; {hybrid.outcome.spill_share:.1%} spill."
    ]
    sized = rows["hybrid"].found.need()
    if count > 1:
        said.append(_neighbour(search, sized, count - 1, "One private instance fewer"))
    said.append(_neighbour(search, sized, count + 1, "One more"))
    said += [_burst_reason(search, spec) for spec in sized.bursts]
    if sized.with_outages is not None:
        said.append(f"With the private site's outages P0 is served in time {sized.with_outages:.3%}.")
    said += [_against(hybrid, rows[kind], kind) for kind in ("all public", "all private")]
    return said


def _neighbour(search: Search, sized: Candidate, count: int, what: str) -> str:
    most = max(count, search.space.private_grows_to)
    sites = tuple(s.sized(count, most) if s.site == Site.PRIVATE else s for s in sized.system.sites)
    tried = search.whole("hybrid", sized.system.model_copy(update={"sites": sites}))
    change = tried.bill.month - sized.bill.month
    if tried.misses:
        return f"{what} would miss: {'; '.join(tried.misses)}."
    return f"{what} would hold as well, for {change:+,.0f} $ a month."


def _burst_reason(search: Search, spec: SiteSpec) -> str:
    fewest = min((b.min_instances for b in search.space.burst if b.site == spec.site), default=0)
    text = f"{spec.site} keeps {spec.min_instances} × {spec.instance_type}"
    text += ", the fewest a real-time endpoint has" if spec.min_instances == fewest else ""
    if spec.max_instances > spec.min_instances:
        text += (
            f", and may grow to {spec.max_instances} at {spec.scaling.target:g} requests in flight each. A cold start "
            f"takes {spec.scaling.cold_start_s:g} s: growth carries long outages, not short bursts"
        )
    return text + "."


def _against(hybrid: Candidate, row: Row, kind: Kind) -> str:
    if row.judged is None:
        near = row.found.nearest
        said = f"; the nearest, {near.label()}, misses {'; '.join(near.misses)}" if near else ""
        return f"{kind.capitalize()}: no size holds this{said}."
    other = row.judged
    text = (
        f"{kind.capitalize()} takes {other.label()} and costs {other.bill.month:,.0f} $ a month, the hybrid "
        f"{hybrid.bill.month:,.0f} $: {hybrid.bill.month / other.bill.month - 1:+.1%}"
    )
    return text + (f", but it misses {'; '.join(other.misses)}." if other.misses else ".")


def at_burst_price(plan_row: Candidate, factor: float) -> float:
    """The month's bill when burst costs ``factor`` times as much: for discounts and savings plans."""
    hourly = sum(usd * (1.0 if site == Site.PRIVATE else factor) for site, usd in plan_row.bill.usd_per_hour.items())
    return plan_row.bill.month / plan_row.bill.total_per_hour * hourly if plan_row.bill.total_per_hour else 0.0


def _json(row: Row) -> dict[str, Any]:
    candidate = row.judged
    if candidate is None:
        near = row.found.nearest
        return {"holds": False, "nearest": {"system": near.label(), "misses": list(near.misses)} if near else None}
    bill = candidate.bill
    return {
        "system": candidate.label(),
        "sites": [
            spec.model_dump(mode="json", include={"site", "cloud", "instance_type", "gpu", "gpus", "usd_per_hour"})
            | {"min_instances": spec.min_instances, "max_instances": spec.max_instances, "slots": spec.slots}
            | {"batch_share": spec.batch_share, "kv_tokens": spec.kv_tokens}
            | {"committed": bill.committed.get(spec.site, 0)}
            for spec in candidate.system.sites
        ],
        "holds": candidate.holds,
        "misses": list(candidate.misses),
        "usd_per_month": round(bill.month, 2),
        "usd_per_hour": {str(site): round(usd, 4) for site, usd in bill.usd_per_hour.items()},
        "usd_per_gpu_hour": _rounded(bill.per_gpu_hour, 4),
        "usd_per_million_tokens": _rounded(bill.per_million_tokens, 4),
        "spill_share": round(candidate.outcome.spill_share, 5),
        "p0_available_with_outages": _rounded(candidate.with_outages, 6),
        "classes": {
            str(name): {
                "offered": found.offered,
                "answered": found.answered,
                "available": round(found.available, 6),
                "interval": [round(bound, 6) for bound in found.interval] if found.interval else None,
                "lost": found.lost,
                "wait_p50_s": round(found.wait_p50_s, 4),
                "wait_p99_s": round(found.wait_p99_s, 4),
                "wait_p99_95_s": round(found.wait_p9995_s, 4),
                "first_token_p50_s": round(found.first_token_p50_s, 4),
                "first_token_p99_s": round(found.first_token_p99_s, 4),
                "per_token_p50_s": round(found.per_token_p50_s, 5),
                "per_token_p99_s": round(found.per_token_p99_s, 5),
                "latency_p50_s": round(found.latency_p50_s, 4),
                "latency_p99_s": round(found.latency_p99_s, 4),
            }
            for name, found in candidate.outcome.classes.items()
        },
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
