"""Runs demand through a system, chunk by chunk, in memory that does not grow with the number of requests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spillway.contracts.classes import RequestClass, SiteName
from spillway.planner import kernel
from spillway.planner.errors import PlannerError
from spillway.planner.service import ServiceModel
from spillway.planner.system import Failures, Objective, SiteSpec, System
from spillway.planner.trace import Trace

TICK_S: Final = 10.0
"""Seconds between two looks of the autoscalers."""
CHUNK: Final = 250_000
"""Requests of one chunk of a long trace."""
DRAIN_S: Final = 24 * 3600.0
"""Seconds after the trace's end in which what waits is still served."""
NO_OUTAGES: Final = np.zeros((0, 4))
_FIRST_RING: Final = 4096
_DRAWS: Final = 4096


class Demand(NamedTuple):
    """A chunk of requests: arrival in seconds, ``serial`` and ``parallel`` seconds of work (float64 [n]), class."""

    arrival: NDArray[np.float64]
    serial: NDArray[np.float64]
    parallel: NDArray[np.float64]
    klass: NDArray[np.int8]


@dataclass(frozen=True)
class ClassOutcome:
    """One class. Seconds; quantiles are exact to 1 %, over the answered. ``available``: answered in time ÷ offered;
    ``lost``: not answered within ``lost_after_s``; ``spilled``: answered by a burst site."""

    offered: int
    answered: int
    in_time: int
    lost: int
    spilled: int
    mean_wait_s: float
    wait_p50_s: float
    wait_p99_s: float
    wait_p9995_s: float
    latency_p50_s: float
    latency_p99_s: float

    @property
    def available(self) -> float:
        return self.in_time / self.offered if self.offered else 1.0


@dataclass(frozen=True)
class Outcome:
    """``hours``: of the trace. ``instance_hours``: paid for, by site, from the order of an instance on. ``busy``: share
    of the paid slots in use. ``timeline``: see :data:`timeline_columns`; ``bin_s``: seconds of one of its rows.
    ``waits``: ``(requests, seconds waited)`` of each chunk, all classes, for confidence intervals by batch means."""

    hours: float
    classes: Mapping[RequestClass, ClassOutcome]
    by_site: Mapping[SiteName, int]
    instance_hours: Mapping[SiteName, float]
    busy: Mapping[SiteName, float]
    timeline: NDArray[np.float64]
    bin_s: float
    waits: tuple[tuple[int, float], ...]

    @property
    def offered(self) -> int:
        return sum(found.offered for found in self.classes.values())

    @property
    def spill_share(self) -> float:
        """Answers from burst sites ÷ answers."""
        answered = sum(found.answered for found in self.classes.values())
        return sum(found.spilled for found in self.classes.values()) / answered if answered else 0.0


def demand_of(trace: Trace, service: ServiceModel) -> Demand:
    serial, parallel = service.times(trace.tokens_in, trace.tokens_out)
    return Demand(trace.arrival, serial, parallel, trace.klass)


def repeated(trace: Trace, service: ServiceModel, times: int) -> Iterator[Demand]:
    """The trace ``times`` over, joined to chunks of a fair size."""
    demand = demand_of(trace, service)
    group = max(1, CHUNK // max(1, len(trace)))
    for first in range(0, times, group):
        turns = range(first, min(times, first + group))
        arrival = np.concatenate([demand.arrival + turn * trace.duration_s for turn in turns])
        serial, parallel = np.tile(demand.serial, len(turns)), np.tile(demand.parallel, len(turns))
        yield Demand(arrival, serial, parallel, np.tile(demand.klass, len(turns)))


def simulate(
    chunks: Iterable[Demand],
    system: System,
    duration_s: float,
    *,
    seed: int = 1,
    outages: NDArray[np.float64] = NO_OUTAGES,
    bins: int = 360,
    drain_s: float = DRAIN_S,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """The outcome of ``chunks``, whose arrivals rise and lie in ``[0, duration_s)``. The same for the same seed.

    ``outages``: as :func:`draw_outages` has them. ``bins``: rows of the timeline.
    ``progress``: is told the share of the time that is done.
    """
    if not duration_s > 0 or not math.isfinite(duration_s):
        raise PlannerError(f"duration {duration_s} s: it must be above 0")
    state = _state(system, duration_s, np.random.default_rng(seed), outages, bins)
    waits: list[tuple[int, float]] = []
    before = np.zeros(2)
    for chunk in chunks:
        state = _feed(state, chunk)
        so_far = np.array([state.bins[0].sum(), state.rule[:, kernel.WAITED].sum()])
        waits.append((int(so_far[0] - before[0]), float(so_far[1] - before[1])))
        before = so_far
        if progress and len(chunk.arrival):
            progress(min(1.0, float(chunk.arrival[-1]) / duration_s))
    kernel.finish(state, duration_s, drain_s)
    return _outcome(state, system, duration_s, tuple(waits))


def run_trace(
    trace: Trace,
    service: ServiceModel,
    system: System,
    *,
    times: int = 1,
    seed: int = 1,
    outages: NDArray[np.float64] = NO_OUTAGES,
    bins: int = 360,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """A trace, ``times`` over, against a system."""
    chunks = repeated(trace, service, times)
    duration_s = times * trace.duration_s
    return simulate(chunks, system, duration_s, seed=seed, outages=outages, bins=bins, progress=progress)


def _feed(state: kernel.State, chunk: Demand) -> kernel.State:
    at = 0
    while True:
        why, at = kernel.run(state, chunk.arrival, chunk.serial, chunk.parallel, chunk.klass, at)
        if why == kernel.DONE:
            return state
        state = _wider(state)


def _wider(state: kernel.State) -> kernel.State:
    """The state with rings of twice the size, each beginning at 0."""
    old = state.queue
    ring = np.zeros((old.shape[0], 2 * old.shape[1], old.shape[2]))
    for c, row in enumerate(state.tally):
        length = row[kernel.LENGTH]
        ring[c, :length] = old[c, (row[kernel.HEAD] + np.arange(length)) % old.shape[1]]
        row[kernel.HEAD] = 0
    return state._replace(queue=ring)


def _state(
    system: System, duration_s: float, dice: np.random.Generator, outages: NDArray[np.float64], bins: int
) -> kernel.State:
    sites = system.sites
    most = max(1, max(spec.max_instances for spec in sites))
    lanes = max(1, max(spec.max_instances * spec.servers for spec in sites))
    places = max(1, sum(spec.max_instances * spec.servers * spec.slots for spec in sites))
    # Of each place its end, of each server its prompt, of each instance its start; and room for what is stale.
    events = 2 * (places + len(sites) * (lanes + most)) + 64
    instance = np.zeros((len(sites), most, 2), dtype=np.int64)
    for s, spec in enumerate(sites):
        instance[s, : spec.min_instances, 0] = kernel.LIVE
    place = np.full((places, 5), -1, dtype=np.int64)
    place[:, kernel.TURN] = 0
    place[:, kernel.NEXT] = np.arange(1, places + 1)
    scales = any(spec.max_instances > spec.min_instances for spec in sites)
    bin_s = duration_s / bins
    return kernel.State(
        clock=np.array([0.0, TICK_S if scales else np.inf, bin_s / 2, duration_s, TICK_S, bin_s]),
        count=np.zeros(5, dtype=np.int64),
        site=np.array([_site(spec) for spec in sites]),
        fleet=np.array([_fleet(spec) for spec in sites], dtype=np.int64),
        rule=np.array([_rule(system.objectives[name]) for name in RequestClass]),
        tally=np.zeros((kernel.CLASSES, 7), dtype=np.int64),
        instance=instance,
        busy=np.zeros((len(sites), lanes), dtype=np.int64),
        free_at=np.zeros((len(sites), lanes)),
        work=np.zeros((places, 4)),
        place=place,
        queue=np.zeros((kernel.CLASSES, _FIRST_RING, 3)),
        event_time=np.zeros(events),
        event=np.zeros((events, 3), dtype=np.int64),
        outages=outages,
        draws=dice.random(_DRAWS),
        bins=np.zeros((2, kernel.CLASSES, kernel.BINS), dtype=np.int64),
        timeline=np.zeros((bins, kernel.PER_SITE + 2 * len(sites))),
    )


def _site(spec: SiteSpec) -> NDArray[np.float64]:
    how = spec.scaling
    row = np.zeros(kernel.SITE_COLUMNS)
    row[[kernel.PROMPT, kernel.ANSWER, kernel.STRETCH, kernel.NETWORK]] = (*spec.factors, spec.stretch, spec.network_s)
    row[kernel.SHARE : kernel.SHARE + kernel.CLASSES] = [spec.shares.get(name, 0.0) for name in RequestClass]
    row[[kernel.TARGET, kernel.OUT_COOLDOWN, kernel.COLD_START]] = how.target, how.out_cooldown_s, how.cold_start_s
    row[[kernel.JITTER, kernel.FAILURE, kernel.RETRY]] = how.jitter, how.failure, how.retry_s
    row[kernel.GREW_AT] = -np.inf
    return row


def _fleet(spec: SiteSpec) -> NDArray[np.int64]:
    row = np.zeros(kernel.FLEET_COLUMNS, dtype=np.int64)
    row[[kernel.SERVERS, kernel.SLOTS]] = spec.servers, spec.slots
    row[[kernel.LEAST, kernel.MOST]] = spec.min_instances, spec.max_instances
    row[kernel.OUT_TICKS] = max(1, math.ceil(spec.scaling.out_after_s / TICK_S))
    row[kernel.IN_TICKS] = max(1, math.ceil(spec.scaling.in_after_s / TICK_S))
    row[[kernel.SERVING, kernel.BILLED]] = spec.min_instances * spec.servers, spec.min_instances
    return row


def _rule(objective: Objective) -> list[float]:
    def bound(value: float | None) -> float:
        return math.inf if value is None else float(value)

    return [
        0.0 if objective.measure == "wait" else 1.0,
        objective.within_s,
        bound(objective.lost_after_s),
        bound(objective.patience_s),
        bound(objective.most_waiting),
        0.0,
        0.0,
    ]


def draw_outages(
    system: System, failures: Mapping[SiteName, Failures], duration_s: float, seed: int = 1
) -> NDArray[np.float64]:
    """Outages over the whole time: ``[n, 4]`` rows of time, site, instance (-1 for all) and +1 or -1, in order.

    Up and down times are exponential with the means MTBF and MTTR; a site is up at the start.
    """
    rows: list[tuple[float, float, float, float]] = []
    dice = np.random.default_rng(seed)

    def alternate(s: int, instance: int, mtbf_h: float, mttr_h: float) -> None:
        at = dice.exponential(mtbf_h * 3600)
        while at < duration_s:
            back = at + dice.exponential(mttr_h * 3600)
            rows.extend([(at, s, instance, 1.0), (back, s, instance, -1.0)])
            at = back + dice.exponential(mtbf_h * 3600)

    for s, spec in enumerate(system.sites):
        given = failures.get(spec.site)
        if given is None:
            continue
        if given.site_mtbf_h is not None:
            alternate(s, -1, given.site_mtbf_h, given.site_mttr_h)
        if given.instance_mtbf_h is not None:
            for instance in range(spec.max_instances):
                alternate(s, instance, given.instance_mtbf_h, given.instance_mttr_h)
    return np.array(sorted(rows), dtype=np.float64).reshape(-1, 4)


def _outcome(state: kernel.State, system: System, duration_s: float, waits: tuple[tuple[int, float], ...]) -> Outcome:
    paid = {spec.site: float(state.site[s, kernel.INSTANCE_SECONDS]) for s, spec in enumerate(system.sites)}
    used = {spec.site: float(state.site[s, kernel.SLOT_SECONDS]) for s, spec in enumerate(system.sites)}
    slots = {spec.site: spec.servers * spec.slots for spec in system.sites}
    answers = state.fleet[:, kernel.ANSWERS : kernel.ANSWERS + kernel.CLASSES].sum(axis=1)
    return Outcome(
        hours=duration_s / 3600,
        classes={name: _class(state, c) for c, name in enumerate(RequestClass)},
        by_site={spec.site: int(count) for spec, count in zip(system.sites, answers, strict=True)},
        instance_hours={site: seconds / 3600 for site, seconds in paid.items()},
        busy={site: used[site] / (paid[site] * slots[site]) if paid[site] else 0.0 for site in paid},
        timeline=state.timeline,
        bin_s=float(state.clock[kernel.BIN]),
        waits=waits,
    )


def _class(state: kernel.State, c: int) -> ClassOutcome:
    offered, answered, in_time, lost, spilled = (int(value) for value in state.tally[c, : kernel.SPILLED + 1])
    waits, latencies = state.bins[0, c], state.bins[1, c]
    served = int(waits.sum())
    return ClassOutcome(
        offered=offered,
        answered=answered,
        in_time=in_time,
        lost=lost,
        spilled=spilled,
        mean_wait_s=float(state.rule[c, kernel.WAITED]) / served if served else 0.0,
        wait_p50_s=_quantile(waits, 0.5),
        wait_p99_s=_quantile(waits, 0.99),
        wait_p9995_s=_quantile(waits, 0.9995),
        latency_p50_s=_quantile(latencies, 0.5),
        latency_p99_s=_quantile(latencies, 0.99),
    )


def _quantile(bins: NDArray[np.int64], share: float) -> float:
    """The upper edge of the bin that holds the quantile; 0 below the first edge, and where nothing was measured."""
    total = bins.sum()
    if total == 0:
        return 0.0
    at = int(np.searchsorted(np.cumsum(bins), share * total))
    return 0.0 if at == 0 else kernel.BIN_START_S * kernel.BIN_RATIO**at
