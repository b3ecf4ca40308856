"""The cheapest system that holds the objectives on a trace, and the front of cost against what is held.

Every alternative is sized by the same search with the same rules: the hybrid, the public cloud alone, the private site
alone. For each burst instance type, number of private instances and share of P2, the fewest burst instances that hold
are found by bisection; then fewer are tried with the autoscaler making up the rest, on the whole trace, because what
was there before a peak decides how it is met. What is found is run on the trace, and the bill decides. What holds in
calm and not with outages gets more burst instances that are always there, again by bisection.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from pydantic import Field

from spillway.contracts.classes import RequestClass, Site, SiteName, spill_rank
from spillway.contracts.frozen import Frozen
from spillway.planner.costs import Bill, bill_of
from spillway.planner.errors import PlannerError
from spillway.planner.outages import available_with_outages
from spillway.planner.service import ServiceModel
from spillway.planner.simulate import HopelessError, Outcome, run_trace
from spillway.planner.system import Failures, Objective, SiteSpec, System, Tries, default_objectives
from spillway.planner.trace import Trace

Kind = Literal["hybrid", "all public", "all private"]
P0, P1, P2 = RequestClass

SCREEN: Final = 60_000
"""Requests of the densest stretch on which the search sizes what does not grow; the whole trace then judges."""
_HOPELESS: Final = 10.0
"""Times as many requests as may miss: what misses more is not simulated to its end."""
_OUTAGE_TRIES: Final = 8
"""Sizes that hold in calm, the cheapest first, for which one that holds with outages is looked for."""
_WORTH: Final = 1.3
"""How much dearer than the cheapest so far the least cost of a size may be for it to be tried."""
_TARGETS: Final = (0.75, 0.4)
"""Shares of an instance's slots that the autoscaler may hold."""


class Space(Frozen):
    """What may be chosen. Instances are those of one site."""

    private: SiteSpec | None = None
    """The private site, whatever its size; ``None`` for none."""
    burst: tuple[SiteSpec, ...] = ()
    """Burst sites to choose one of to size: ``min_instances`` is the fewest the cloud allows."""
    kept: tuple[SiteSpec, ...] = ()
    """Burst sites that are there in any case: the one that is not sized stays as it stands here, and is paid for."""
    private_grows_to: int = Field(default=0, ge=0)
    """Private instances that the cluster's autoscalers go to; 0 where it does not grow."""
    least_private: int = Field(default=1, ge=1)
    """Private instances that are there already."""
    most_private: int = Field(default=32, ge=0)
    most_burst: int = Field(default=64, ge=0)
    batch_shares: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Shares of the private slots that P2 may be given."""
    gateways: int = Field(default=1, ge=1)
    """Processes of the gateway."""
    tries: Mapping[RequestClass, Tries] = Field(default_factory=dict)
    """How long the gateway lets each class's requests try."""
    objectives: Mapping[RequestClass, Objective] = Field(default_factory=default_objectives)
    failures: Failures | None = None
    """Of the private site. With it, what holds in calm has to hold with outages too."""


@dataclass(frozen=True)
class Candidate:
    """A system and how it fared. ``with_outages``: P0's availability with the private site's outages, where it was
    worked out; at most that, where it misses and ``find`` tried it. ``misses``: what it does not hold, in words."""

    kind: Kind
    system: System
    outcome: Outcome
    bill: Bill
    misses: tuple[str, ...]
    with_outages: float | None = None

    @property
    def holds(self) -> bool:
        return not self.misses

    @property
    def misses_in_calm(self) -> bool:
        """Whether it misses something while no site is out."""
        classes = self.outcome.classes
        return any(classes[name].available < goal.share for name, goal in self.system.objectives.items())

    @property
    def p0(self) -> float:
        return self.outcome.classes[P0].available

    def instances(self, site: SiteName) -> tuple[int, int]:
        """``(fewest, most)`` of a site; ``(0, 0)`` where there is none."""
        spec = self.system.site(site)
        return (spec.min_instances, spec.max_instances) if spec else (0, 0)

    @property
    def bursts(self) -> tuple[SiteSpec, ...]:
        return tuple(spec for spec in self.system.sites if spec.site != Site.PRIVATE)

    @property
    def private(self) -> SiteSpec | None:
        return self.system.site(Site.PRIVATE)

    @property
    def most_instances(self) -> int:
        return sum(spec.max_instances for spec in self.system.sites)

    def label(self) -> str:
        parts = []
        for spec in self.system.sites:
            parts.append(f"{spec.counted} × {spec.instance_type}" + (" (private)" if spec.site == Site.PRIVATE else ""))
        return " + ".join(parts) or "nothing"


@dataclass(frozen=True)
class Found:
    """``best``: the cheapest that holds, ``None`` when nothing does; ``nearest``: what came closest then; ``calm``: the
    cheapest that holds while no site is out."""

    kind: Kind
    best: Candidate | None
    nearest: Candidate | None
    calm: Candidate | None = None
    tried: tuple[Candidate, ...] = field(repr=False, default=())

    def need(self) -> Candidate:
        """Raises :class:`PlannerError` with the nearest plan."""
        if self.best is not None:
            return self.best
        near = self.nearest
        said = f"; the nearest, {near.label()}, misses: {'; '.join(near.misses)}" if near else ""
        raise NoPlanError(f"no plan holds this ({self.kind}){said}", self)


class NoPlanError(PlannerError):
    """Nothing within the space holds the objectives. ``found.nearest`` came closest."""

    def __init__(self, message: str, found: Found) -> None:
        super().__init__(message)
        self.found = found


def fitted(space: Space, trace: Trace) -> Space:
    """Where a server's KV cache holds fewer requests of the trace's mean length than it has slots, those are its slots:
    what is beyond them would only wait inside it. The gateway lets through what it does otherwise."""
    mean = trace.tokens / len(trace)

    def fit(spec: SiteSpec) -> SiteSpec:
        if spec.kv_tokens is None or not mean:
            return spec
        held = min(spec.slots, max(1, int(spec.kv_tokens / mean)))
        return spec.model_copy(update={"slots": held, "gate_slots": spec.let_through})

    private = fit(space.private) if space.private else None
    return space.model_copy(
        update={"private": private, "burst": tuple(map(fit, space.burst)), "kept": tuple(map(fit, space.kept))}
    )


@dataclass
class Search:
    """One search. ``progress`` is told what is tried."""

    trace: Trace
    service: ServiceModel
    space: Space
    seed: int = 1
    progress: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        if not len(self.trace):
            raise PlannerError("the trace has no request; a plan needs some traffic")
        self._screen = self.trace.busiest(SCREEN)
        self.space = fitted(self.space, self.trace)
        self._cheapest = math.inf
        self._known: dict[tuple[str, bool], Candidate | None] = {}
        self._tried: list[Candidate] = []
        self._hopeless: list[System] = []
        self._before: dict[str, int] = {}

    def find(self, kind: Kind) -> Found:
        """The cheapest of its kind that holds. Raises :class:`PlannerError` where the space has nothing of the kind."""
        self._tried, self._hopeless, self._cheapest = [], [], math.inf
        final = [self.whole(kind, system) for system in self._sized(kind)]
        held = sorted((c for c in final if c.holds), key=lambda c: (c.bill.month, c.most_instances))
        stood = self._with_outages(kind, held)
        best = min((c for c in stood if c.holds), key=lambda c: c.bill.month, default=None)
        tried = (*self._tried, *final)
        nearest = max(stood or [c for c in tried if not c.holds], key=_closeness, default=None)
        if nearest is None and self._hopeless:
            largest = max(self._hopeless, key=lambda s: sum(spec.max_instances for spec in s.sites))
            nearest = self.whole(kind, largest)
        return Found(kind, best, nearest, stood[0] if stood else None, tried)

    def _with_outages(self, kind: Kind, held: Sequence[Candidate]) -> list[Candidate]:
        """What holds in calm, the cheapest first, until nothing dearer can win: the cheapest of each private size, and
        where that misses, the same with more burst that is always there."""
        stood: list[Candidate] = []
        seen: set[tuple[int, int]] = set()
        for candidate in held:
            size = (candidate.private.min_instances if candidate.private else 0, candidate.most_instances)
            if len(seen) >= _OUTAGE_TRIES or any(c.holds and c.bill.month <= candidate.bill.month for c in stood):
                break
            if size in seen:
                continue
            seen.add(size)
            self.progress(f"{kind}: {candidate.label()} with outages")
            stood.append(self.with_outages(candidate, exact=False))
            if not stood[-1].holds and (raised := self._raised(kind, candidate)):
                stood.append(raised)
        return stood

    def _raised(self, kind: Kind, candidate: Candidate) -> Candidate | None:
        """The same with the fewest burst instances always there that hold with outages; ``None`` where none do."""
        growing = next((spec for spec in candidate.bursts if spec.max_instances > spec.min_instances), None)
        if growing is None or candidate.private is None:
            return None
        tried: dict[int, Candidate] = {}

        def holds(count: int) -> bool:
            sites = tuple(
                s.sized(count, s.max_instances) if s.site == growing.site else s for s in candidate.system.sites
            )
            more = candidate.system.model_copy(update={"sites": sites})
            tried[count] = self.with_outages(self.whole(kind, more), exact=False)
            return tried[count].holds

        least = growing.min_instances + 1
        fewest = fewest_that(holds, least, growing.max_instances, least)
        return None if fewest is None else tried[fewest]

    def run(self, kind: Kind, system: System, trace: Trace) -> Candidate:
        """One system on a trace."""
        outcome = run_trace(trace, self.service, system, seed=self.seed)
        return judged(kind, system, outcome, trace.tokens)

    def whole(self, kind: Kind, system: System) -> Candidate:
        """One system on the whole trace, however it fares; from memory where it was run before."""
        key = (system.model_dump_json(), True)
        found = self._known.get(key) or self.run(kind, system, self.trace)
        self._known[key] = found
        return replace(found, kind=kind)

    def with_outages(self, candidate: Candidate, trace: Trace | None = None, *, exact: bool = True) -> Candidate:
        """The candidate with P0's availability under the private site's outages, and judged by it. ``exact``: also
        where it misses."""
        failures, wanted = self.space.failures, candidate.system.objectives[P0].share
        if failures is None or (failures.site_mtbf_h is None and failures.instance_mtbf_h is None):
            return candidate
        share = available_with_outages(
            trace or self.trace, self.service, candidate.system, candidate.outcome, failures,
            seed=self.seed, least=0.0 if exact else wanted,
        )  # fmt: skip
        misses = list(candidate.misses)
        if share < wanted:
            misses.append(f"P0 {'' if exact else 'at most '}{share:.3%} with outages, not {wanted:.3%}")
        return replace(candidate, misses=tuple(misses), with_outages=share)

    # Sizes

    def _sized(self, kind: Kind) -> Iterator[System]:
        space = self.space
        if kind != "all public" and space.private is None:
            raise PlannerError(f"{kind}: the stack has no private site to size")
        if kind != "all private" and not space.burst:
            raise PlannerError(f"{kind}: the stack has no burst site to size")
        if kind == "all private":
            yield from self._private_alone()
        elif kind == "all public":
            for burst in space.burst:
                yield from self._burst_sizes(kind, None, burst)
        elif any(self._holds(kind, self._largest(burst)) for burst in space.burst):
            least, most = space.least_private, space.most_private
            enough = self._fewest(lambda n: self._system(self._private(n, 0.5), None), least, most, kind)
            # A few more than are enough in calm: what they leave over may be what outages cost.
            for count in range(least, min(most, (enough or most) + 2) + 1):
                for share in space.batch_shares:
                    for burst in space.burst:
                        private = self._private(count, share)
                        if self._least_cost(private, burst) <= _WORTH * self._cheapest:
                            yield from self._burst_sizes(kind, private, burst)

    def _largest(self, burst: SiteSpec) -> System:
        """As much of everything as may be: what does not hold then holds with nothing."""
        most = self.space.most_burst
        private = self._private(self.space.most_private, 1.0)
        return self._system(private, self._burst(burst, most, most))

    def _least_cost(self, private: SiteSpec, burst: SiteSpec) -> float:
        """US dollars an hour below which no size with this private site and burst type goes."""
        return sum(spec.min_instances * spec.always_usd_per_hour for spec in self._system(private, burst).sites)

    def _private_alone(self) -> Iterator[System]:
        for share in self.space.batch_shares:
            make = lambda n, share=share: self._system(self._private(n, share), None)  # noqa: E731
            fewest = self._fewest(make, self.space.least_private, self.space.most_private, "all private")
            if fewest is not None:
                yield make(fewest)

    def _burst_sizes(self, kind: Kind, private: SiteSpec | None, burst: SiteSpec) -> Iterator[System]:
        """Fixed at the fewest that hold; then fewer, with the autoscaler up to ``upper``.

        Where the private site may be out, ``upper`` is what burst needs alone: less could not carry an outage.
        """
        least, most = burst.min_instances, self.space.most_burst
        self.progress(f"{kind}: {private.min_instances if private else 0} private, burst {burst.instance_type}")
        make = lambda m: self._system(private, self._burst(burst, m, m))  # noqa: E731
        fewest = self._fewest(make, least, most, kind, self._before.get(burst.instance_type, 1))
        if fewest is None:
            return
        self._before[burst.instance_type] = fewest
        upper = max(fewest, self._alone(burst) if private and self.space.failures else 0)
        for lower in range(fewest, least - 1, -1):
            held = False
            for target in _TARGETS if upper > lower else _TARGETS[:1]:
                system = self._system(private, self._burst(burst, lower, upper, target))
                if self._holds(kind, system):
                    held = True
                    self._cheapest = min(self._cheapest, self.whole(kind, system).bill.total_per_hour)
                    yield system
            if not held:
                return

    def _alone(self, burst: SiteSpec) -> int:
        """Burst instances that hold without the private site; as many as may be where none do."""
        most = self.space.most_burst
        make = lambda m: self._system(None, self._burst(burst, m, m))  # noqa: E731
        return self._fewest(make, burst.min_instances, most, "all public") or most

    def _private(self, count: int, batch_share: float) -> SiteSpec:
        assert self.space.private is not None
        most = max(count, self.space.private_grows_to)
        return self.space.private.sized(count, most).model_copy(update={"batch_share": batch_share})

    def _burst(self, burst: SiteSpec, least: int, most: int, target: float = 0.75) -> SiteSpec:
        scaling = burst.scaling.model_copy(update={"target": max(1.0, target * burst.servers * burst.let_through)})
        return burst.sized(least, most).model_copy(update={"scaling": scaling})

    def _system(self, private: SiteSpec | None, burst: SiteSpec | None) -> System:
        others = (k for k in self.space.kept if burst is not None and k.site != burst.site)
        sites = (spec for spec in (private, burst, *others) if spec is not None and spec.max_instances > 0)
        in_order = tuple(sorted(sites, key=lambda spec: spill_rank(spec.site)))
        space = self.space
        return System(sites=in_order, gateways=space.gateways, objectives=space.objectives, tries=space.tries)

    def _fewest(self, make: Callable[[int], System], least: int, most: int, kind: Kind, begin: int = 1) -> int | None:
        """The fewest instances with which the system holds, as :func:`fewest_that` finds them."""
        return fewest_that(lambda n: bool(make(n).sites) and self._holds(kind, make(n)), least, most, begin)

    def _holds(self, kind: Kind, system: System) -> bool:
        """Whether it does: what grows on the whole trace, what does not on its densest stretch."""
        grows = any(spec.max_instances > spec.min_instances for spec in system.sites)
        trace = self.trace if grows else self._screen
        key = (system.model_dump_json(), trace is self.trace)
        if key not in self._known:
            self._known[key] = self._run_while_it_may_hold(kind, system, trace)
        found = self._known[key]
        if found is None:
            self._hopeless.append(system)
            return False
        self._tried.append(replace(found, kind=kind))
        return found.holds

    def _run_while_it_may_hold(self, kind: Kind, system: System, trace: Trace) -> Candidate | None:
        most = {
            name: _HOPELESS * (1 - system.objectives[name].share) * count
            for name, count in zip(RequestClass, trace.offered, strict=True)
        }
        try:
            outcome = run_trace(trace, self.service, system, seed=self.seed, most_missed=most)
        except HopelessError:
            return None
        return judged(kind, system, outcome, trace.tokens)


def fewest_that(holds: Callable[[int], bool], least: int, most: int, begin: int) -> int | None:
    """The fewest of ``least`` to ``most`` that hold; more of them are taken to hold as well. They are looked for from
    ``begin`` on, by steps that double, and then between what misses and what holds."""
    low, high, step = least - 1, most + 1, 1
    at = min(most, max(least, begin, 1))
    while high - low > 1:
        if holds(at):
            high = at
        else:
            low = at
        if least <= low and high <= most:
            at = (low + high) // 2
        else:
            at = max(least, high - step) if high <= most else min(most, low + step)
            step *= 2
    return high if high <= most else None


def judged(kind: Kind, system: System, outcome: Outcome, tokens: float) -> Candidate:
    misses = []
    for name, objective in system.objectives.items():
        found = outcome.classes[name]
        if found.available < objective.share:
            misses.append(f"{name} {found.available:.3%} {objective.text}, not {objective.share:.3%}")
    return Candidate(kind, system, outcome, bill_of(system, outcome, tokens), tuple(misses))


def _closeness(candidate: Candidate) -> tuple[float, float]:
    """How near a candidate comes: the worst class's distance from its objective, then what it costs."""
    share = {name: found.available for name, found in candidate.outcome.classes.items()}
    if candidate.with_outages is not None:
        share[P0] = candidate.with_outages
    gaps = [share[name] - objective.share for name, objective in candidate.system.objectives.items()]
    return min(gaps), -candidate.bill.month


def pareto(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that nobody beats in both cost and P0's availability, the cheapest first."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.bill.month, -c.p0)):
        if not front or candidate.p0 > front[-1].p0 + 1e-9:
            front.append(candidate)
    return front
