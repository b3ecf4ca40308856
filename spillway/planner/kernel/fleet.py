"""Growth and failure: each site's autoscaler, cold starts, outages."""

from __future__ import annotations

import math

import numpy as np

from spillway.planner.kernel.compiled import compiled
from spillway.planner.kernel.gates import asked_of, refuse, route
from spillway.planner.kernel.heap import schedule
from spillway.planner.kernel.instances import at_work, bill, count_serving, draw, in_flight, leave_if_idle
from spillway.planner.kernel.queues import give_up, leave
from spillway.planner.kernel.state import (
    ABOVE,
    ABSENT,
    ACTED_AT,
    ANSWERING,
    BEGINS,
    BELOW,
    BUSY_AT_TICK,
    BUSY_SECONDS,
    CLASS,
    CLASSES,
    COLD_START,
    COOLDOWN,
    DEMAND,
    DRAINING,
    FAILURE,
    FIRST,
    FLIGHT_SECONDS,
    GIVEN_UP,
    GROW_ABOVE,
    IN_TICKS,
    INSTANCE,
    ITERATION,
    ITERATION_END,
    JITTER,
    LANE,
    LANGUAGE,
    LEAST,
    LIVE,
    LOAD_AT_TICK,
    MINUTE,
    MOST,
    NEXT,
    NOW,
    OUT_TICKS,
    OUTAGE,
    PARTIAL,
    RATE,
    REPLICA,
    RETRY,
    SCALER,
    SENT,
    SERVERS,
    SERVING,
    SHRINK_BELOW,
    SITE,
    STARTING,
    STEPS,
    TARGET,
    TICK,
    TICKS,
    TRIED,
    WAIT_HEAD,
    WANTED_BELOW,
    WINDOW,
    State,
)

_MINUTE_S = 60.0


@compiled
def ready(st: State, number: int) -> None:
    """An instance has started."""
    schedule(st, st.lane.shape[0] + number, np.inf)
    if st.instance[number, 0] == STARTING:
        st.instance[number, 0] = LIVE
    for s in range(st.fleet.shape[0]):
        count_serving(st, s)


@compiled
def _launch(st: State, s: int) -> None:
    """Begin to provision an instance in a free place; a failed attempt is made again after a pause."""
    for i in range(st.fleet[s, MOST]):
        number = st.fleet[s, INSTANCE] + i
        if st.instance[number, 0] == ABSENT:
            st.instance[number, 0] = STARTING
            bill(st, s, 1)
            delay = 0.0
            while draw(st) < st.site[s, FAILURE]:
                delay += st.site[s, RETRY]
            jitter = 1.0 + st.site[s, JITTER] * (2.0 * draw(st) - 1.0)
            schedule(st, st.lane.shape[0] + number, st.clock[NOW] + delay + st.site[s, COLD_START] * jitter)
            return


@compiled
def _retire(st: State, s: int) -> None:
    """Take the last live instance out of service; what it works on is finished first."""
    for i in range(st.fleet[s, MOST] - 1, -1, -1):
        number = st.fleet[s, INSTANCE] + i
        if st.instance[number, 0] == LIVE:
            st.instance[number, 0] = DRAINING
            count_serving(st, s)
            leave_if_idle(st, st.fleet[s, LANE] + i * st.fleet[s, SERVERS])
            return


@compiled
def _there(st: State, s: int) -> int:
    """Instances that serve or are about to."""
    there = 0
    for i in range(st.fleet[s, MOST]):
        if st.instance[st.fleet[s, INSTANCE] + i, 0] in (STARTING, LIVE):
            there += 1
    return there


@compiled
def _load(st: State, s: int) -> float:
    """What the site's autoscaler holds at its target, on the mean since it looked last."""
    so_far = 0.0
    for k in range(st.fleet.shape[0]):
        if k == s or st.fleet[s, SCALER] == DEMAND:
            in_flight(st, k, 0)
            so_far += st.site[k, FLIGHT_SECONDS]
    load = (so_far - st.site[s, LOAD_AT_TICK]) / st.clock[TICK]
    st.site[s, LOAD_AT_TICK] = so_far
    return load


@compiled
def _track(st: State, s: int) -> None:
    """Target tracking on requests in flight, as AWS's Application Auto Scaling does it, and, at whatever site they are,
    as Kubernetes' horizontal autoscaler does it."""
    load = _load(st, s)
    wanted = math.ceil(load / st.site[s, TARGET] - 1e-9)
    wanted = min(st.fleet[s, MOST], max(st.fleet[s, LEAST], wanted))
    there, now = _there(st, s), st.clock[NOW]
    st.fleet[s, ABOVE] = st.fleet[s, ABOVE] + 1 if wanted > there else 0
    st.fleet[s, BELOW] = st.fleet[s, BELOW] + 1 if wanted < there else 0
    st.fleet[s, WANTED_BELOW] = max(st.fleet[s, WANTED_BELOW], wanted) if wanted < there else 0
    if st.fleet[s, ABOVE] >= st.fleet[s, OUT_TICKS] and now - st.site[s, ACTED_AT] >= st.site[s, COOLDOWN]:
        for _ in range(wanted - there):
            _launch(st, s)
        st.fleet[s, ABOVE] = 0
        st.site[s, ACTED_AT] = now
    if st.fleet[s, BELOW] >= st.fleet[s, IN_TICKS]:
        for _ in range(there - st.fleet[s, WANTED_BELOW]):
            _retire(st, s)
        st.fleet[s, BELOW] = 0
        st.fleet[s, WANTED_BELOW] = 0


@compiled
def _step(st: State, s: int) -> None:
    """Once a minute: one instance more or less by how busy servers were over the window, as Azure Monitor's rules."""
    at_work(st, s, 0)
    working = st.site[s, BUSY_SECONDS] - st.site[s, BUSY_AT_TICK]
    st.site[s, BUSY_AT_TICK] = st.site[s, BUSY_SECONDS]
    window, minute = st.fleet[s, WINDOW], st.fleet[s, MINUTE]
    st.busy_minutes[s, minute % window] = working / (_MINUTE_S * max(1, st.fleet[s, SERVING]))
    st.fleet[s, MINUTE] = minute + 1
    if minute + 1 < window or st.clock[NOW] - st.site[s, ACTED_AT] < st.site[s, COOLDOWN]:
        return
    busy, there = 0.0, _there(st, s)
    for minute in range(window):
        busy += st.busy_minutes[s, minute] / window
    if busy > st.site[s, GROW_ABOVE] and there < st.fleet[s, MOST]:
        _launch(st, s)
        st.site[s, ACTED_AT] = st.clock[NOW]
    elif busy < st.site[s, SHRINK_BELOW] and there > st.fleet[s, LEAST]:
        _retire(st, s)
        st.site[s, ACTED_AT] = st.clock[NOW]


@compiled
def scale(st: State) -> None:
    """Every autoscaler looks, those by steps once a minute."""
    st.count[TICKS] += 1
    minute = st.count[TICKS] % int(_MINUTE_S / st.clock[TICK]) == 0
    for s in range(st.fleet.shape[0]):
        if st.fleet[s, MOST] > st.fleet[s, LEAST]:
            if st.fleet[s, SCALER] != STEPS:
                _track(st, s)
            elif minute:
                _step(st, s)


@compiled
def _again(st: State, r: int) -> None:
    """The server went away over it: the gateway tries the next site. Of a language model it is tried once more, from
    the far end of the sites, unless the client has part of the answer."""
    c, k, row = st.place[r, CLASS], st.place[r, REPLICA], st.place[r, TRIED] + 1
    if st.place[r, GIVEN_UP]:
        leave(st, r)
        return
    if st.site[st.place[r, SITE], LANGUAGE] > 0.0:
        after_failure = 2 * st.fleet.shape[0] + 1
        if st.work[r, FIRST] >= 0.0 or row > after_failure:
            give_up(st, r)
            return
        row = after_failure
    sent, asked = st.work[r, SENT], asked_of(st, r)
    leave(st, r)
    if not route(st, c, k, row, sent, asked):
        refuse(st, c, asked)


@compiled
def _empty(st: State, at: int) -> None:
    """A server that is gone, with all that it had."""
    partial, r = st.lane[at, PARTIAL], st.lane[at, ITERATION]
    if r < 0 and partial >= 0:
        r = partial
        st.place[r, NEXT] = -1
    st.lane[at, PARTIAL], st.lane[at, ITERATION] = -1, -1
    st.pace[at, ITERATION_END], st.pace[at, BEGINS], st.pace[at, RATE] = np.inf, np.inf, 0.0
    schedule(st, at, np.inf)
    while st.lane[at, ANSWERING] > 0:
        st.lane[at, ANSWERING] -= 1
        _again(st, st.answering[at, st.lane[at, ANSWERING]])
    while r >= 0:
        following = st.place[r, NEXT]
        _again(st, r)
        r = following
    for c in range(CLASSES):
        while st.lane[at, WAIT_HEAD + c] >= 0:
            r = st.lane[at, WAIT_HEAD + c]
            st.lane[at, WAIT_HEAD + c] = st.place[r, NEXT]
            _again(st, r)


@compiled
def outage(st: State) -> None:
    """The next row of the outages: a site or an instance of it goes, or comes back."""
    row = st.outages[st.count[OUTAGE]]
    st.count[OUTAGE] += 1
    s, which, change = int(row[1]), int(row[2]), int(row[3])
    for i in range(st.fleet[s, MOST]):
        if which < 0 or which == i:
            st.instance[st.fleet[s, INSTANCE] + i, 1] += change
    count_serving(st, s)
    if change < 0:
        return
    for i in range(st.fleet[s, MOST]):
        if st.instance[st.fleet[s, INSTANCE] + i, 1] > 0:
            for k in range(st.fleet[s, SERVERS]):
                _empty(st, st.fleet[s, LANE] + i * st.fleet[s, SERVERS] + k)
