"""The event loop, compiled by numba. ``simulate`` fills :class:`State` and reads it; nobody else does.

One central queue per class feeds every site. A site has instances, an instance one or more model servers. A server
takes a request when a slot is free and its prompt pipeline is: prompts (``serial``) run one after another on a server,
answers (``parallel``) side by side in its slots, slowed by the site's stretch as they fill. Classes are served in order
of urgency; each may use its share of a site's slots.

Everything is in preallocated arrays, so that memory does not grow with the number of requests. They are few and wide,
with named columns, because the compiler's time grows with their number.
"""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numba import config, njit

CLASSES: Final = 3
BINS: Final = 2048
BIN_RATIO: Final = 1.01
BIN_START_S: Final = 1e-4
"""Histogram of waits and latencies: 2048 bins, each 1 % wider than the last, from 0.1 ms to 19 hours."""

DONE, QUEUE_FULL = 0, 1
"""Why :func:`run` returned."""

# Kinds of events, states of an instance.
_PIPELINE, _FINISH, _READY = 0, 1, 2
ABSENT, STARTING, LIVE, DRAINING = 0, 1, 2, 3

# Columns of ``State.clock``: seconds. The last two are the autoscalers' step and the width of a timeline row.
NOW, NEXT_TICK, NEXT_SAMPLE, BILL_UNTIL, TICK, BIN = range(6)
# Columns of ``State.count``.
HEAP, FREE, DRAW, OUTAGE, SAMPLE = range(5)
# Columns of ``State.site``: factors of prompt and answer, shares of the classes, autoscaling, sums over time.
PROMPT, ANSWER, STRETCH, NETWORK, SHARE = 0, 1, 2, 3, 4
TARGET, OUT_COOLDOWN, COLD_START, JITTER, FAILURE, RETRY = 7, 8, 9, 10, 11, 12
SLOT_SECONDS, USED_AT, USED_AT_TICK, INSTANCE_SECONDS, BILLED_AT, GREW_AT = 13, 14, 15, 16, 17, 18
SITE_COLUMNS: Final = 19
# Columns of ``State.fleet``: counts. ``ANSWERS`` and ``USED_BY`` begin three columns: answered, and at work, by class.
SERVERS, SLOTS, LEAST, MOST, OUT_TICKS, IN_TICKS = 0, 1, 2, 3, 4, 5
SERVING, NEXT_TRY, IN_USE, BILLED, ABOVE, BELOW, WANTED_BELOW, ANSWERS, USED_BY = 6, 7, 8, 9, 10, 11, 12, 13, 16
FLEET_COLUMNS: Final = 19
# Columns of ``State.rule``: what is measured (0 wait, 1 latency), bounds in seconds, then sums over the answered.
MEASURE, WITHIN, LOST_AFTER, PATIENCE, MOST_WAITING, WAITED, LASTED = range(7)
# Columns of ``State.tally``.
OFFERED, ANSWERED, IN_TIME, LOST, SPILLED, HEAD, LENGTH = range(7)
# Columns of ``State.work`` and ``State.place``: a request in flight. ``SITE`` is -1 when the place is free, ``NEXT`` is
# the next free one, and ``TURN`` counts its uses, so that an event of an earlier one is told apart.
ARRIVED, STARTED, SERIAL, PARALLEL = range(4)
CLASS, SITE, SERVER, TURN, NEXT = range(5)
# Columns of ``State.timeline``; then slots in use and slots live of each site.
ARRIVALS, WORST_P0, WAITING, PER_SITE = range(4)


class State(NamedTuple):
    """``[s]`` is by site, ``[c]`` by class, ``[i]`` by instance, ``[l]`` by server: server ``l`` is on instance
    ``l // SERVERS``; ``[r]`` by request in flight. The columns are named above."""

    clock: Any
    count: Any
    site: Any  # [s, SITE_COLUMNS] float
    fleet: Any  # [s, FLEET_COLUMNS] int
    rule: Any  # [c, 7] float
    tally: Any  # [c, 7] int
    instance: Any  # [s, i, 2] int: state, outages that hold it
    busy: Any  # [s, l] slots in use
    free_at: Any  # [s, l] when the prompt pipeline is free
    work: Any  # [r, 4] float
    place: Any  # [r, 5] int
    queue: Any  # [c, capacity, 3] a ring for each class: arrival, serial, parallel
    event_time: Any
    event: Any  # [n, 3] kind, a, b
    outages: Any  # [n, 4] time, site, instance (-1: all), +1 or -1
    draws: Any  # uniform random numbers, used in order
    bins: Any  # [2, c, BINS] waits, latencies
    timeline: Any  # [rows, PER_SITE + 2 s]


def _cache_dir() -> str | None:
    """A folder of the user's for compiled code; ``None`` where nothing can be written: then it compiles each time."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    for folder in (Path(home, "spillway", "numba"), Path(tempfile.gettempdir(), f"spillway-numba-{os.getuid()}")):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        # Compiled code is run: a folder that is somebody else's is not used.
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
            return str(folder)
    return None


_FOLDER = _cache_dir()
if _FOLDER:
    config.CACHE_DIR = _FOLDER  # pyright: ignore[reportAttributeAccessIssue]
_compiled = njit(cache=_FOLDER is not None, nogil=True, error_model="numpy")


@_compiled
def _push(st: State, time: float, kind: int, a: int, b: int) -> None:
    at = st.count[HEAP]
    st.count[HEAP] = at + 1
    while at > 0:
        parent = (at - 1) >> 1
        if st.event_time[parent] <= time:
            break
        st.event_time[at] = st.event_time[parent]
        for k in range(3):
            st.event[at, k] = st.event[parent, k]
        at = parent
    st.event_time[at] = time
    st.event[at, 0], st.event[at, 1], st.event[at, 2] = kind, a, b


@_compiled
def _pop(st: State) -> None:
    """Remove the earliest event, which is at 0."""
    last = st.count[HEAP] - 1
    st.count[HEAP] = last
    time = st.event_time[last]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= last:
            break
        if child + 1 < last and st.event_time[child + 1] < st.event_time[child]:
            child += 1
        if st.event_time[child] >= time:
            break
        st.event_time[at] = st.event_time[child]
        for k in range(3):
            st.event[at, k] = st.event[child, k]
        at = child
    st.event_time[at] = time
    for k in range(3):
        st.event[at, k] = st.event[last, k]


@_compiled
def _draw(st: State) -> float:
    at = st.count[DRAW]
    st.count[DRAW] = (at + 1) % len(st.draws)
    return st.draws[at]


@_compiled
def _bill(st: State, s: int, change: int) -> None:
    now = min(st.clock[NOW], st.clock[BILL_UNTIL])
    st.site[s, INSTANCE_SECONDS] += st.fleet[s, BILLED] * (now - st.site[s, BILLED_AT])
    st.site[s, BILLED_AT] = now
    st.fleet[s, BILLED] += change


@_compiled
def _use(st: State, s: int, change: int) -> None:
    now = st.clock[NOW]
    st.site[s, SLOT_SECONDS] += st.fleet[s, IN_USE] * (now - st.site[s, USED_AT])
    st.site[s, USED_AT] = now
    st.fleet[s, IN_USE] += change


@_compiled
def _server(st: State, s: int) -> int:
    """A server that can take a request now, by turns; -1 when there is none."""
    each = st.fleet[s, SERVERS]
    width = st.fleet[s, MOST] * each
    at = st.fleet[s, NEXT_TRY]
    for _ in range(width):
        if (
            st.busy[s, at] < st.fleet[s, SLOTS]
            and st.free_at[s, at] <= st.clock[NOW]
            and st.instance[s, at // each, 0] == LIVE
            and st.instance[s, at // each, 1] == 0
        ):
            st.fleet[s, NEXT_TRY] = at + 1 if at + 1 < width else 0
            return at
        at = at + 1 if at + 1 < width else 0
    return -1


@_compiled
def _start(st: State, s: int, c: int, arrived: float, serial: float, parallel: float) -> bool:
    """Give the request to the site, where the class has room and a server can begin now."""
    share = st.site[s, SHARE + c]
    slots = st.fleet[s, SERVING] * st.fleet[s, SLOTS]
    if share <= 0.0 or st.fleet[s, IN_USE] >= slots:
        return False
    # As the gateway's gates: a class counts against its own share, and all of them against the site.
    if st.fleet[s, USED_BY + c] >= max(1, int(share * slots + 1e-9)):
        return False
    at = _server(st, s)
    if at < 0:
        return False
    now = st.clock[NOW]
    r = st.count[FREE]
    st.count[FREE] = st.place[r, NEXT]
    _use(st, s, 1)
    st.fleet[s, USED_BY + c] += 1
    st.busy[s, at] += 1
    load = (st.busy[s, at] - 1) / max(1, st.fleet[s, SLOTS] - 1)
    ready = now + serial * st.site[s, PROMPT]
    done = ready + parallel * st.site[s, ANSWER] * (1.0 + st.site[s, STRETCH] * load)
    st.work[r, ARRIVED], st.work[r, STARTED], st.work[r, SERIAL], st.work[r, PARALLEL] = arrived, now, serial, parallel
    st.place[r, CLASS], st.place[r, SITE], st.place[r, SERVER] = c, s, at
    if ready > now:
        st.free_at[s, at] = ready
        _push(st, ready, _PIPELINE, s, at)
    _push(st, done, _FINISH, r, st.place[r, TURN])
    return True


@_compiled
def _leave_if_idle(st: State, s: int, i: int) -> None:
    """Give an instance back that was only to finish its work."""
    each = st.fleet[s, SERVERS]
    if st.instance[s, i, 0] != DRAINING:
        return
    for at in range(i * each, (i + 1) * each):
        if st.busy[s, at] > 0:
            return
    st.instance[s, i, 0] = ABSENT
    _bill(st, s, -1)


@_compiled
def _release(st: State, r: int) -> None:
    s, at = st.place[r, SITE], st.place[r, SERVER]
    _use(st, s, -1)
    st.fleet[s, USED_BY + st.place[r, CLASS]] -= 1
    st.busy[s, at] -= 1
    st.place[r, SITE] = -1
    st.place[r, TURN] += 1
    st.place[r, NEXT] = st.count[FREE]
    st.count[FREE] = r
    _leave_if_idle(st, s, at // st.fleet[s, SERVERS])


@_compiled
def _serve(st: State, s: int) -> None:
    """Let those who wait into the site, the most urgent first."""
    for c in range(CLASSES):
        while st.tally[c, LENGTH] > 0:
            head = st.tally[c, HEAD]
            arrived = st.queue[c, head, 0]
            if st.clock[NOW] - arrived > st.rule[c, PATIENCE]:
                st.tally[c, LOST] += 1
            elif not _start(st, s, c, arrived, st.queue[c, head, 1], st.queue[c, head, 2]):
                break
            st.tally[c, HEAD] = (head + 1) % st.queue.shape[1]
            st.tally[c, LENGTH] -= 1


@_compiled
def _bin(value: float) -> int:
    if value <= BIN_START_S:
        return 0
    return min(BINS - 1, 1 + int(math.log(value / BIN_START_S) / math.log(BIN_RATIO)))


@_compiled
def _row(st: State, time: float) -> int:
    return min(st.timeline.shape[0] - 1, int(time / st.clock[BIN]))


@_compiled
def _finish(st: State, r: int) -> None:
    c, s = st.place[r, CLASS], st.place[r, SITE]
    wait = st.work[r, STARTED] - st.work[r, ARRIVED] + st.site[s, NETWORK]
    latency = st.clock[NOW] - st.work[r, ARRIVED] + st.site[s, NETWORK]
    measure = wait if st.rule[c, MEASURE] == 0.0 else latency
    if measure > st.rule[c, LOST_AFTER]:
        st.tally[c, LOST] += 1
    else:
        st.tally[c, ANSWERED] += 1
        st.fleet[s, ANSWERS + c] += 1
        if s > 0:
            st.tally[c, SPILLED] += 1
    if measure <= st.rule[c, WITHIN]:
        st.tally[c, IN_TIME] += 1
    st.rule[c, WAITED] += wait
    st.rule[c, LASTED] += latency
    st.bins[0, c, _bin(wait)] += 1
    st.bins[1, c, _bin(latency)] += 1
    if c == 0:
        at = _row(st, st.work[r, ARRIVED])
        st.timeline[at, WORST_P0] = max(st.timeline[at, WORST_P0], wait)
    _release(st, r)
    _serve(st, s)


@_compiled
def _count_serving(st: State, s: int) -> None:
    serving = 0
    for i in range(st.fleet[s, MOST]):
        if st.instance[s, i, 0] == LIVE and st.instance[s, i, 1] == 0:
            serving += 1
    st.fleet[s, SERVING] = serving * st.fleet[s, SERVERS]


@_compiled
def _again(st: State, r: int) -> None:
    """An outage took the request's instance: it goes to the head of its queue, as the gateway tries it again."""
    c = st.place[r, CLASS]
    head = st.tally[c, HEAD] - 1
    if head < 0:
        head = st.queue.shape[1] - 1
    if st.tally[c, LENGTH] < st.queue.shape[1]:
        for k in range(3):
            st.queue[c, head, k] = st.work[r, (ARRIVED, SERIAL, PARALLEL)[k]]
        st.tally[c, HEAD] = head
        st.tally[c, LENGTH] += 1
    else:
        st.tally[c, LOST] += 1
    _release(st, r)


@_compiled
def _forget_stale(st: State, s: int) -> None:
    """Drop events of requests that an outage took, so that the heap stays within its bounds."""
    size = st.count[HEAP]
    st.count[HEAP] = 0
    for at in range(size):
        time, kind, a, b = st.event_time[at], st.event[at, 0], st.event[at, 1], st.event[at, 2]
        stale = kind == _FINISH and st.place[a, TURN] != b
        idle = kind == _PIPELINE and a == s and st.instance[s, b // st.fleet[s, SERVERS], 1] > 0
        if not stale and not idle:
            _push(st, time, kind, a, b)


@_compiled
def _outage(st: State) -> None:
    row = st.count[OUTAGE]
    st.count[OUTAGE] = row + 1
    s, which, change = int(st.outages[row, 1]), int(st.outages[row, 2]), int(st.outages[row, 3])
    each = st.fleet[s, SERVERS]
    for i in range(st.fleet[s, MOST]):
        if which < 0 or which == i:
            st.instance[s, i, 1] += change
            for at in range(i * each, (i + 1) * each):
                st.free_at[s, at] = st.clock[NOW]
    _count_serving(st, s)
    if change > 0:
        for r in range(st.place.shape[0]):
            if st.place[r, SITE] == s and st.instance[s, st.place[r, SERVER] // each, 1] > 0:
                _again(st, r)
        _forget_stale(st, s)
    for site in range(st.fleet.shape[0]):
        _serve(st, site)


@_compiled
def _launch(st: State, s: int) -> None:
    """Begin to provision an instance in a free place; a failed attempt is made again after a pause."""
    for i in range(st.fleet[s, MOST]):
        if st.instance[s, i, 0] == ABSENT:
            st.instance[s, i, 0] = STARTING
            _bill(st, s, 1)
            delay = 0.0
            while _draw(st) < st.site[s, FAILURE]:
                delay += st.site[s, RETRY]
            jitter = 1.0 + st.site[s, JITTER] * (2.0 * _draw(st) - 1.0)
            _push(st, st.clock[NOW] + delay + st.site[s, COLD_START] * jitter, _READY, s, i)
            return


@_compiled
def _retire(st: State, s: int) -> None:
    """Take the last live instance out of service; what it works on is finished first."""
    for i in range(st.fleet[s, MOST] - 1, -1, -1):
        if st.instance[s, i, 0] == LIVE:
            st.instance[s, i, 0] = DRAINING
            _leave_if_idle(st, s, i)
            _count_serving(st, s)
            return


@_compiled
def _scale(st: State, s: int) -> None:
    """Target tracking on requests in flight: those at work over the tick, and those who wait and may come here."""
    _use(st, s, 0)
    load = (st.site[s, SLOT_SECONDS] - st.site[s, USED_AT_TICK]) / st.clock[TICK]
    st.site[s, USED_AT_TICK] = st.site[s, SLOT_SECONDS]
    for c in range(CLASSES):
        if st.site[s, SHARE + c] > 0.0:
            load += st.tally[c, LENGTH]
    wanted = math.ceil(load / st.site[s, TARGET] - 1e-9)
    wanted = min(st.fleet[s, MOST], max(st.fleet[s, LEAST], wanted))
    there = 0
    for i in range(st.fleet[s, MOST]):
        if st.instance[s, i, 0] == LIVE or st.instance[s, i, 0] == STARTING:
            there += 1
    st.fleet[s, ABOVE] = st.fleet[s, ABOVE] + 1 if wanted > there else 0
    st.fleet[s, BELOW] = st.fleet[s, BELOW] + 1 if wanted < there else 0
    st.fleet[s, WANTED_BELOW] = max(st.fleet[s, WANTED_BELOW], wanted) if wanted < there else 0
    now = st.clock[NOW]
    if st.fleet[s, ABOVE] >= st.fleet[s, OUT_TICKS] and now - st.site[s, GREW_AT] >= st.site[s, OUT_COOLDOWN]:
        for _ in range(wanted - there):
            _launch(st, s)
        st.fleet[s, ABOVE] = 0
        st.site[s, GREW_AT] = now
    if st.fleet[s, BELOW] >= st.fleet[s, IN_TICKS]:
        for _ in range(there - st.fleet[s, WANTED_BELOW]):
            _retire(st, s)
        st.fleet[s, BELOW] = 0
        st.fleet[s, WANTED_BELOW] = 0


@_compiled
def _sample(st: State) -> None:
    at = st.count[SAMPLE]
    st.count[SAMPLE] = at + 1
    if at < st.timeline.shape[0]:
        for c in range(CLASSES):
            st.timeline[at, WAITING] += st.tally[c, LENGTH]
        for s in range(st.fleet.shape[0]):
            st.timeline[at, PER_SITE + 2 * s] = st.fleet[s, IN_USE]
            st.timeline[at, PER_SITE + 2 * s + 1] = st.fleet[s, SERVING] * st.fleet[s, SLOTS]


@_compiled
def _until(st: State, time: float) -> None:
    """Everything that happens up to ``time``, in order; outages before events, events before the autoscalers."""
    while True:
        outage = st.outages[st.count[OUTAGE], 0] if st.count[OUTAGE] < len(st.outages) else np.inf
        event = st.event_time[0] if st.count[HEAP] > 0 else np.inf
        due = min(min(outage, event), min(st.clock[NEXT_TICK], st.clock[NEXT_SAMPLE]))
        if due > time:
            return
        st.clock[NOW] = due
        if due == outage:
            _outage(st)
        elif due == event:
            kind, a, b = st.event[0, 0], st.event[0, 1], st.event[0, 2]
            _pop(st)
            if kind == _FINISH:
                if st.place[a, TURN] == b:
                    _finish(st, a)
            elif kind == _PIPELINE:
                _serve(st, a)
            else:
                st.instance[a, b, 0] = LIVE
                _count_serving(st, a)
                _serve(st, a)
        elif due == st.clock[NEXT_TICK]:
            for s in range(st.fleet.shape[0]):
                if st.fleet[s, MOST] > st.fleet[s, LEAST]:
                    _scale(st, s)
            st.clock[NEXT_TICK] += st.clock[TICK]
        else:
            _sample(st)
            st.clock[NEXT_SAMPLE] += st.clock[BIN]


@_compiled
def _arrive(st: State, arrived: float, serial: float, parallel: float, c: int) -> bool:
    """``False`` when the class's ring is full and has to grow first."""
    # Who waits has found no room anywhere: those behind need not look.
    if st.tally[c, LENGTH] == 0:
        for s in range(st.fleet.shape[0]):
            if _start(st, s, c, arrived, serial, parallel):
                return True
    if st.tally[c, LENGTH] >= st.rule[c, MOST_WAITING]:
        st.tally[c, LOST] += 1
        return True
    if st.tally[c, LENGTH] >= st.queue.shape[1]:
        return False
    at = (st.tally[c, HEAD] + st.tally[c, LENGTH]) % st.queue.shape[1]
    st.queue[c, at, 0], st.queue[c, at, 1], st.queue[c, at, 2] = arrived, serial, parallel
    st.tally[c, LENGTH] += 1
    return True


@_compiled
def run(st: State, arrival: Any, serial: Any, parallel: Any, klass: Any, begin: int) -> tuple[int, int]:
    """The requests from ``begin`` on. Returns why it stopped and how many requests are done with."""
    for at in range(begin, len(arrival)):
        _until(st, arrival[at])
        st.clock[NOW] = arrival[at]
        c = np.int64(klass[at])
        if not _arrive(st, arrival[at], serial[at], parallel[at], c):  # pyright: ignore[reportArgumentType]
            return QUEUE_FULL, at
        st.tally[c, OFFERED] += 1
        st.timeline[_row(st, arrival[at]), ARRIVALS] += 1
    return DONE, len(arrival)


@_compiled
def finish(st: State, end: float, patience: float) -> None:
    """The rest of the trace's time, then until everybody is answered, ``patience`` seconds at most.

    Who still waits then is lost.
    """
    _until(st, end)
    st.clock[NOW] = end
    for s in range(st.fleet.shape[0]):
        _bill(st, s, 0)
        _use(st, s, 0)
    slot_seconds = st.site[:, SLOT_SECONDS].copy()
    last = end + patience
    while st.clock[NOW] < last and st.tally[:, LENGTH].sum() + st.fleet[:, IN_USE].sum() > 0:
        step = min(last, st.clock[NOW] + 60.0)
        _until(st, step)
        st.clock[NOW] = step
    st.site[:, SLOT_SECONDS] = slot_seconds
    st.tally[:, LOST] += st.tally[:, LENGTH]
    for r in range(st.place.shape[0]):
        if st.place[r, SITE] >= 0:
            st.tally[st.place[r, CLASS], LOST] += 1
