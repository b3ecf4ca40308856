"""Runs demand through a system, chunk by chunk, in memory that does not grow with the number of requests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spillway.contracts.classes import RequestClass, Site, SiteName
from spillway.planner.errors import PlannerError
from spillway.planner.kernel import loop
from spillway.planner.kernel import state as kernel
from spillway.planner.kernel.rooms import ROOM_PERIOD_S
from spillway.planner.service import ServiceModel
from spillway.planner.system import Failures, Objective, SiteSpec, System, Tries
from spillway.planner.trace import Trace

TICK_S: Final = 10.0
"""Seconds between two looks of the autoscalers."""
CHUNK: Final = 250_000
"""Requests of one chunk of a long trace."""
DRAIN_S: Final = 2 * 3600.0
"""Seconds after the trace's end in which what waits is still served: longer than any class's promise."""
NO_OUTAGES: Final = np.zeros((0, 4))
_FIRST_RING: Final = 4096
_CUT: Final = 4
"""Tries that were cut and that servers still work on, of each that the gateways let through; beyond, servers refuse."""
_BATCHES: Final = 20
"""Stretches of the trace for an interval: 2.093 is Student's t for 19 degrees of freedom and 95 %."""
_STUDENT: Final = 2.093
_SCALERS: Final = ("tracking", "steps", "demand")
"""By their numbers in the kernel."""


class HopelessError(Exception):
    """More requests missed than the caller allowed for; the rest was not simulated."""


class Demand(NamedTuple):
    """A chunk of requests (float64 [n], class int8): arrival in seconds; ``prompt``: tokens to read, or 1 where the
    service runs batches, or 0; ``work``: tokens after an answer's first, or seconds; ``tokens`` in the KV cache."""

    arrival: NDArray[np.float64]
    prompt: NDArray[np.float64]
    work: NDArray[np.float64]
    tokens: NDArray[np.float64]
    klass: NDArray[np.int8]


@dataclass(frozen=True)
class ClassOutcome:
    """One class. Seconds; quantiles are exact to 1 %, over the answered. ``available``: answered in time ÷ offered;
    ``interval``: its 95 % interval by batch means over the trace's time, ``None`` where there is too little;
    ``latency_p99_interval_s``: 95 % of the 99th percentile by ranks, which takes requests for independent.
    ``lost``: not answered within ``lost_after_s``; ``spilled``: answered by a burst site. ``per_token``: of an answer,
    from its first token to its last; 0 where there are no tokens."""

    offered: int
    answered: int
    in_time: int
    lost: int
    spilled: int
    mean_wait_s: float
    wait_p50_s: float
    wait_p99_s: float
    wait_p9995_s: float
    first_token_p50_s: float
    first_token_p99_s: float
    per_token_p50_s: float
    per_token_p99_s: float
    latency_p50_s: float
    latency_p99_s: float
    latency_p99_interval_s: tuple[float, float] | None
    interval: tuple[float, float] | None

    @property
    def available(self) -> float:
        return self.in_time / self.offered if self.offered else 1.0


@dataclass(frozen=True)
class Outcome:
    """``hours``: of the trace. ``instance_hours``: paid for, by site, from the order of an instance on. ``busy``: share
    of the paid slots in use. ``timeline``: its columns are named in ``kernel.state``; ``bin_s``: seconds of one row.
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
    return Demand(trace.arrival, *service.demand(trace.tokens_in, trace.tokens_out), trace.klass)


def repeated(trace: Trace, service: ServiceModel, times: int) -> Iterator[Demand]:
    """The trace ``times`` over, cut or joined to chunks of a fair size."""
    if len(trace) > CHUNK:
        yield from _stretch(trace, service, 0.0, times * trace.duration_s)
        return
    once = demand_of(trace, service)
    group = max(1, CHUNK // max(1, len(trace)))
    for first in range(0, times, group):
        turns = range(first, min(times, first + group))
        yield Demand(
            np.concatenate([once.arrival + turn * trace.duration_s for turn in turns]),
            np.tile(once.prompt, len(turns)),
            np.tile(once.work, len(turns)),
            np.tile(once.tokens, len(turns)),
            np.tile(once.klass, len(turns)),
        )


def _stretch(trace: Trace, service: ServiceModel, begin_s: float, end_s: float) -> Iterator[Demand]:
    """What arrives in ``[begin_s, end_s)`` of the trace over and over."""
    for turn in range(int(begin_s // trace.duration_s), math.ceil(end_s / trace.duration_s)):
        begun = turn * trace.duration_s
        first, last = np.searchsorted(trace.arrival, (begin_s - begun, end_s - begun))
        for at in range(first, last, CHUNK):
            cut = slice(at, min(last, at + CHUNK))
            tokens = service.demand(trace.tokens_in[cut], trace.tokens_out[cut])
            yield Demand(trace.arrival[cut] + begun, *tokens, trace.klass[cut])


def simulate(
    chunks: Iterable[Demand],
    service: ServiceModel,
    system: System,
    duration_s: float,
    *,
    seed: int = 1,
    outages: NDArray[np.float64] = NO_OUTAGES,
    bins: int = 360,
    drain_s: float = DRAIN_S,
    most_missed: Mapping[RequestClass, float] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """The outcome of ``chunks``, whose arrivals rise and lie in ``[0, duration_s)``. The same for the same seed.

    ``outages``: as :func:`draw_outages` has them. ``bins``: rows of the timeline.
    ``most_missed``: requests of each class; with more that miss their promise it raises :class:`HopelessError`.
    ``progress``: is told the share of the time that is done.
    """
    if not duration_s > 0 or not math.isfinite(duration_s):
        raise PlannerError(f"duration {duration_s} s: it must be above 0")
    state = _state(system, service, duration_s, seed, outages, bins)
    state.rule[:, kernel.MOST_MISSED] = [(most_missed or {}).get(name, math.inf) for name in RequestClass]
    waits: list[tuple[int, float]] = []
    before = np.zeros(2)
    for chunk in chunks:
        state = _feed(state, chunk)
        so_far = np.array([state.bins[0].sum(), state.rule[:, kernel.WAITED].sum()])
        waits.append((int(so_far[0] - before[0]), float(so_far[1] - before[1])))
        before = so_far
        if progress and len(chunk.arrival):
            progress(min(1.0, float(chunk.arrival[-1]) / duration_s))
    loop.end_of_trace(state, duration_s)
    in_the_trace = state.site[:, kernel.FLIGHT_SECONDS].copy()
    loop.drain(state, drain_s)
    state.site[:, kernel.FLIGHT_SECONDS] = in_the_trace
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
    most_missed: Mapping[RequestClass, float] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """A trace, ``times`` over, against a system."""
    return simulate(
        repeated(trace, service, times), service, system, times * trace.duration_s,
        seed=seed, outages=outages, bins=bins, most_missed=most_missed, progress=progress,
    )  # fmt: skip


def run_outages(
    trace: Trace,
    service: ServiceModel,
    system: System,
    outages: Sequence[NDArray[np.float64]],
    after_s: float,
    *,
    seed: int = 1,
    bin_s: float,
) -> Iterator[NDArray[np.float64]]:
    """The timeline of each of some outages, the rows of one as :func:`draw_outages` has them, in the order in which
    they begin. Each is run on the trace over and over until ``after_s`` after its end; what was before it, once for
    all."""
    last_s = max((rows[-1, 0] for rows in outages), default=0.0) + after_s
    bins = math.ceil(last_s / bin_s)
    calm, at = _state(system, service, bins * bin_s, seed, NO_OUTAGES, bins), 0.0
    for rows in outages:
        begin_s, end_s = float(rows[0, 0]), float(rows[-1, 0]) + after_s
        for chunk in _stretch(trace, service, at, begin_s):
            calm = _feed(calm, chunk)
        at = begin_s
        state = kernel.State(*(part.copy() for part in calm))._replace(outages=rows)
        for chunk in _stretch(trace, service, begin_s, end_s):
            state = _feed(state, chunk)
        loop.end_of_trace(state, end_s)
        loop.drain(state, DRAIN_S)
        yield state.timeline


def _feed(state: kernel.State, chunk: Demand) -> kernel.State:
    at = 0
    while True:
        why, at = loop.run(state, *chunk, at)
        if why == kernel.DONE:
            return state
        if why == kernel.HOPELESS:
            raise HopelessError
        state = _wider(state)


def _wider(state: kernel.State) -> kernel.State:
    """The state with rings of twice the size, each beginning at 0."""
    old = state.ring
    ring = np.zeros((old.shape[0], 2 * old.shape[1], old.shape[2]))
    for c, row in enumerate(state.tally):
        length = row[kernel.LENGTH]
        ring[c, :length] = old[c, (row[kernel.HEAD] + np.arange(length)) % old.shape[1]]
        row[kernel.HEAD] = 0
    return state._replace(ring=ring)


def _state(
    system: System,
    service: ServiceModel,
    duration_s: float,
    seed: int,
    outages: NDArray[np.float64],
    bins: int,
) -> kernel.State:
    sites = system.sites
    lanes_of = [spec.max_instances * spec.servers for spec in sites]
    lanes, instances = max(1, sum(lanes_of)), max(1, sum(spec.max_instances for spec in sites))
    most_slots = max(spec.slots for spec in sites)
    place = _places(system, lanes_of)
    places = len(place)
    fleet = _fleets(sites, lanes_of)
    state = kernel.State(
        clock=_clock(system, service, duration_s, bins),
        count=np.zeros(4, dtype=np.int64),
        seed=np.array([seed], dtype=np.uint64),
        site=np.array([_site(spec, service) for spec in sites]),
        fleet=fleet,
        endpoint=_endpoints(sites),
        gate=np.zeros((len(sites), 3, system.gateways), dtype=np.int64),
        host=np.zeros((system.gateways, lanes, 3)),
        serving=np.zeros((len(sites), max(1, *lanes_of)), dtype=np.int64),
        busy_minutes=np.zeros((len(sites), int(fleet[:, kernel.WINDOW].max()))),
        rule=np.array([_rule(system.objectives[name], system.tries.get(name)) for name in RequestClass]),
        tally=_tallies(),
        instance=_instances(sites, instances),
        lane=_lanes(sites, lanes),
        pace=_paces(lanes),
        active=np.zeros((system.gateways, lanes), dtype=np.int64),
        ends=np.zeros((lanes, most_slots)),
        answering=np.zeros((lanes, most_slots), dtype=np.int64),
        due=np.full(lanes + instances, np.inf),
        order=np.arange(lanes + instances),
        rank=np.arange(lanes + instances),
        work=np.zeros((places, kernel.WORK_COLUMNS)),
        place=place,
        ring=np.zeros((kernel.CLASSES, max(_FIRST_RING, 2 * places), 5)),
        outages=outages,
        table=np.array([service.prompt_tokens, service.prompt_s]),
        bins=np.zeros((4, kernel.CLASSES, kernel.BINS), dtype=np.int64),
        timeline=np.zeros((bins, kernel.PER_SITE + 2 * len(sites))),
    )
    loop.open_gates(state)
    return state


def _places(system: System, lanes_of: Sequence[int]) -> NDArray[np.int64]:
    """For all that the gates let through, each process of the gateway at least one more than its part; all free."""
    sites = system.sites
    places = sum(n * (spec.let_through + _headroom(spec)) for n, spec in zip(lanes_of, sites, strict=True))
    places += 2 * system.gateways * len(sites)
    if system.tries:
        places += _CUT * places + _FIRST_RING
    place = np.full((places, kernel.PLACE_COLUMNS), -1, dtype=np.int64)
    place[:, kernel.NEXT] = [*range(1, places), -1]
    return place


def _clock(system: System, service: ServiceModel, duration_s: float, bins: int) -> NDArray[np.float64]:
    """What does not happen here happens never."""
    scales = any(spec.max_instances > spec.min_instances for spec in system.sites)
    rooms = service.language and any(spec.kv_tokens and spec.site == Site.PRIVATE for spec in system.sites)
    bin_s = duration_s / bins
    tick, room = TICK_S if scales else np.inf, ROOM_PERIOD_S if rooms else np.inf
    return np.array([0.0, tick, bin_s / 2, room, duration_s, TICK_S, bin_s])


def _fleets(sites: Sequence[SiteSpec], lanes_of: Sequence[int]) -> NDArray[np.int64]:
    """A row for each site, with where its lanes and instances begin."""
    fleet = np.array([_fleet(spec) for spec in sites], dtype=np.int64)
    fleet[:, kernel.LANE] = np.cumsum([0, *lanes_of[:-1]])
    fleet[:, kernel.INSTANCE] = np.cumsum([0, *(spec.max_instances for spec in sites[:-1])])
    return fleet


def _endpoints(sites: Sequence[SiteSpec]) -> NDArray[np.int64]:
    """What each class tries in turn; behind that, from the far end of the sites, what is tried after a failure."""
    rows = np.full((kernel.CLASSES, 3 * len(sites) + 2, 2), -1, dtype=np.int64)
    for c, name in enumerate(RequestClass):
        pool = kernel.BATCH if name is RequestClass.P2 else kernel.INTERACTIVE
        mine = [s for s, spec in enumerate(sites) if name in spec.takes]
        # Only the most urgent comes round again, for the headroom.
        gates = (pool, kernel.OPEN) if name is RequestClass.P0 else (pool,)
        for row, found in enumerate((s, gate) for gate in gates for s in mine):
            rows[c, row] = found
        for row, s in enumerate(reversed(mine), 2 * len(sites) + 1):
            rows[c, row] = s, pool
    return rows


def _tallies() -> NDArray[np.int64]:
    rows = np.zeros((kernel.CLASSES, kernel.TALLY_COLUMNS), dtype=np.int64)
    rows[:, [kernel.FIRST_CUT, kernel.LAST_CUT]] = -1
    return rows


def _paces(lanes: int) -> NDArray[np.float64]:
    pace = np.zeros((lanes, 5))
    pace[:, [kernel.ITERATION_END, kernel.BEGINS]] = np.inf
    return pace


def _headroom(spec: SiteSpec) -> int:
    return spec.let_through if spec.headroom is None else spec.headroom


def _instances(sites: Sequence[SiteSpec], count: int) -> NDArray[np.int64]:
    rows = np.zeros((count, 2), dtype=np.int64)
    first = 0
    for spec in sites:
        rows[first : first + spec.min_instances, 0] = kernel.LIVE
        first += spec.max_instances
    return rows


def _lanes(sites: Sequence[SiteSpec], count: int) -> NDArray[np.int64]:
    rows = np.zeros((count, kernel.LANE_COLUMNS), dtype=np.int64)
    rows[:, [kernel.PARTIAL, kernel.ITERATION]] = -1
    rows[:, kernel.WAIT_HEAD : kernel.WAIT_TAIL + kernel.CLASSES] = -1
    lane = instance = 0
    for s, spec in enumerate(sites):
        for _ in range(spec.max_instances):
            rows[lane : lane + spec.servers, kernel.OF_SITE] = s
            rows[lane : lane + spec.servers, kernel.OF_INSTANCE] = instance
            lane, instance = lane + spec.servers, instance + 1
    return rows


def _site(spec: SiteSpec, service: ServiceModel) -> NDArray[np.float64]:
    how = spec.scaling
    prompt, answer = spec.factors
    row = np.zeros(kernel.SITE_COLUMNS)
    row[[kernel.NETWORK, kernel.PROMPT, kernel.PACE]] = spec.network_s, prompt, answer * (service.token_s or 1.0)
    row[[kernel.STRETCH, kernel.LANGUAGE]] = service.stretch, float(service.language)
    row[[kernel.CHUNK, kernel.DELAY, kernel.MIXED]] = service.most_read, service.delay_s, service.mixed
    row[kernel.BATCH_SHARE] = spec.batch_share
    row[[kernel.TARGET, kernel.COOLDOWN, kernel.COLD_START]] = how.target, how.out_cooldown_s, how.cold_start_s
    row[[kernel.JITTER, kernel.FAILURE, kernel.RETRY]] = how.jitter, how.failure, how.retry_s
    row[[kernel.GROW_ABOVE, kernel.SHRINK_BELOW]] = how.grow_above, how.shrink_below
    row[[kernel.ACTED_AT, kernel.KV_SHARE]] = -np.inf, spec.kv_share
    return row


def _fleet(spec: SiteSpec) -> NDArray[np.int64]:
    how = spec.scaling
    row = np.zeros(kernel.FLEET_COLUMNS, dtype=np.int64)
    row[[kernel.SERVERS, kernel.SLOTS]] = spec.servers, spec.slots
    row[[kernel.GATE_SLOTS, kernel.HEADROOM]] = spec.let_through, _headroom(spec)
    row[[kernel.LIMIT, kernel.KV]] = spec.most_at_server or np.iinfo(np.int64).max, spec.kv_tokens or 0
    row[[kernel.LEAST, kernel.MOST]] = spec.min_instances, spec.max_instances
    row[kernel.FOLLOWS] = how.slots_follow
    row[kernel.ROUTING] = kernel.RANDOM if how.balancing == "random" else kernel.LEAST_BUSY
    row[kernel.SCALER] = _SCALERS.index(how.by)
    row[kernel.OUT_TICKS] = max(1, math.ceil(how.out_after_s / TICK_S))
    row[kernel.IN_TICKS] = max(1, math.ceil(how.in_after_s / TICK_S))
    row[kernel.WINDOW] = max(1, round(how.out_after_s / 60))
    row[kernel.BILLED] = spec.min_instances
    row[kernel.PROMPTS] = spec.most_unread_tokens or 0
    row[kernel.ADDRESSES] = spec.site == Site.PRIVATE
    return row


def _rule(objective: Objective, tries: Tries | None) -> list[float]:
    def bound(value: float | None) -> float:
        return math.inf if value is None else float(value)

    bounds = (objective.lost_after_s, objective.patience_s, objective.again_s)
    measure = float(kernel.MEASURES.index(objective.measure))
    each, whole = (tries.one_s, tries.all_s) if tries else (None, None)
    more = (objective.per_token_s, each, whole, None)
    return [measure, objective.within_s, *map(bound, bounds), 0.0, *map(bound, more)]


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
    answers = state.fleet[:, kernel.ANSWERS : kernel.ANSWERS + kernel.CLASSES].sum(axis=1)
    paid = {spec.site: float(state.site[s, kernel.INSTANCE_SECONDS]) for s, spec in enumerate(system.sites)}
    used = {spec.site: float(state.site[s, kernel.FLIGHT_SECONDS]) for s, spec in enumerate(system.sites)}
    slots = {spec.site: spec.servers * spec.slots for spec in system.sites}
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
    waits, firsts, latencies, paces = (state.bins[k, c] for k in range(4))
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
        first_token_p50_s=_quantile(firsts, 0.5),
        first_token_p99_s=_quantile(firsts, 0.99),
        per_token_p50_s=_quantile(paces, 0.5),
        per_token_p99_s=_quantile(paces, 0.99),
        latency_p50_s=_quantile(latencies, 0.5),
        latency_p99_s=_quantile(latencies, 0.99),
        latency_p99_interval_s=_ranked(latencies, 0.99),
        interval=_interval(state.timeline[:, [kernel.OFFERED_BY + c, kernel.MISSED_BY + c]]),
    )


def _interval(rows: NDArray[np.float64]) -> tuple[float, float] | None:
    """Of the share in time, by batch means: stretches of equal time, each weighted by its requests (a ratio of means:
    Law, Simulation Modeling and Analysis, 9.5.3)."""
    if len(rows) < 2 * _BATCHES:
        return None
    offered, missed = np.array([part.sum(axis=0) for part in np.array_split(rows, _BATCHES)]).T
    if (offered > 0).sum() < _BATCHES // 2:
        return None
    share = missed.sum() / offered.sum()
    spread = missed - share * offered
    half = _STUDENT * math.sqrt(float((spread**2).sum()) / (_BATCHES * (_BATCHES - 1))) / offered.mean()
    return float(max(0.0, 1 - share - half)), float(min(1.0, 1 - share + half))


def _ranked(bins: NDArray[np.int64], share: float) -> tuple[float, float] | None:
    """The quantile's 95 % interval: between the order statistics of which the binomial law says that it lies there
    (David and Nagaraja, Order Statistics, 7.1). ``None`` where its upper rank is beyond the last."""
    total = int(bins.sum())
    half = 1.96 * math.sqrt(share * (1 - share) / total) if total else 1.0
    return (_quantile(bins, share - half), _quantile(bins, share + half)) if share + half <= 1 else None


def _quantile(bins: NDArray[np.int64], share: float) -> float:
    """The upper edge of the bin that holds the quantile; 0 below the first edge, and where nothing was measured."""
    total = bins.sum()
    if total == 0:
        return 0.0
    at = int(np.searchsorted(np.cumsum(bins), share * total))
    return 0.0 if at == 0 else kernel.BIN_START_S * kernel.BIN_RATIO**at
