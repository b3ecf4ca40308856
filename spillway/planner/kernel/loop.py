"""The event loop: arrivals in order, and between them all that happens by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from spillway.planner.kernel.compiled import compiled
from spillway.planner.kernel.fleet import outage, ready, scale
from spillway.planner.kernel.gates import cut, offer, send_again
from spillway.planner.kernel.instances import bill, count_serving, in_flight
from spillway.planner.kernel.queues import act, miss, row_of
from spillway.planner.kernel.rooms import ROOM_PERIOD_S, read_rooms
from spillway.planner.kernel.state import (
    AGAIN,
    ARRIVED,
    BIN,
    CLASS,
    CLASSES,
    DONE,
    DUE,
    FIRST_SENT,
    GIVEN_UP,
    HEAD,
    HOPELESS,
    IN_FLIGHT,
    LENGTH,
    LOST,
    MISSED,
    MOST_MISSED,
    NEXT_ROOM,
    NEXT_SAMPLE,
    NEXT_TICK,
    NOW,
    OFFERED,
    OFFERED_BY,
    OUTAGE,
    PER_SITE,
    RING_FULL,
    SAMPLE,
    SERVING,
    SITE,
    SLOTS,
    TICK,
    WAITING,
    State,
)
from spillway.planner.kernel.tries import next_cut


@compiled
def open_gates(st: State) -> None:
    """At the beginning: what serves is counted."""
    for s in range(st.fleet.shape[0]):
        count_serving(st, s)


@compiled
def _sample(st: State) -> None:
    at = st.count[SAMPLE]
    st.count[SAMPLE] = at + 1
    if at < st.timeline.shape[0]:
        for c in range(CLASSES):
            st.timeline[at, WAITING] += st.tally[c, LENGTH]
        for s in range(st.fleet.shape[0]):
            st.timeline[at, PER_SITE + 2 * s] = st.fleet[s, IN_FLIGHT]
            st.timeline[at, PER_SITE + 2 * s + 1] = st.fleet[s, SERVING] * st.fleet[s, SLOTS]


@compiled
def _until(st: State, time: float) -> None:
    """Everything that happens up to ``time``, in order; outages before servers, those before tries
    that are cut, those before what is sent again."""
    while True:
        out = st.outages[st.count[OUTAGE], 0] if st.count[OUTAGE] < len(st.outages) else np.inf
        who = st.order[0]
        event = st.due[who]
        again, klass = np.inf, 0
        for c in range(CLASSES):
            if st.tally[c, LENGTH] > 0 and st.ring[c, st.tally[c, HEAD], DUE] < again:
                again, klass = st.ring[c, st.tally[c, HEAD], DUE], c
        late, late_class = next_cut(st)
        due = min(min(min(out, event), min(again, late)), min(st.clock[NEXT_TICK], st.clock[NEXT_SAMPLE]))
        due = min(due, st.clock[NEXT_ROOM])
        if due > time:
            return
        st.clock[NOW] = due
        if due == out:
            outage(st)
        elif due == event:
            if who < st.lane.shape[0]:
                act(st, who)
            else:
                ready(st, who - st.lane.shape[0])
        elif due == late:
            cut(st, late_class)
        elif due == again:
            send_again(st, klass)
        elif due == st.clock[NEXT_ROOM]:
            read_rooms(st)
            st.clock[NEXT_ROOM] += ROOM_PERIOD_S
        elif due == st.clock[NEXT_TICK]:
            scale(st)
            st.clock[NEXT_TICK] += st.clock[TICK]
        else:
            _sample(st)
            st.clock[NEXT_SAMPLE] += st.clock[BIN]


@compiled
def run(st: State, arrival: Any, prompt: Any, work: Any, tokens: Any, klass: Any, begin: int) -> tuple[int, int]:
    """The requests from ``begin`` on. Returns why it stopped and how many requests are done with."""
    room = st.ring.shape[1] - st.place.shape[0]
    for at in range(begin, len(arrival)):
        _until(st, arrival[at])
        st.clock[NOW] = arrival[at]
        c = np.int64(klass[at])
        # Room is left for all who are at a site, should it go away.
        if st.tally[c, LENGTH] >= room and st.rule[c, AGAIN] < np.inf:
            return RING_FULL, at
        if st.tally[c, MISSED] > st.rule[c, MOST_MISSED]:
            return HOPELESS, at
        st.tally[c, OFFERED] += 1
        st.timeline[row_of(st, arrival[at]), OFFERED_BY + c] += 1
        offer(st, c, (arrival[at], prompt[at], work[at], tokens[at]))  # pyright: ignore[reportArgumentType]
    return DONE, len(arrival)


@compiled
def end_of_trace(st: State, end: float) -> None:
    """The rest of the trace's time; what is paid for, and what is at work, is counted up to there."""
    _until(st, end)
    st.clock[NOW] = end
    for s in range(st.fleet.shape[0]):
        bill(st, s, 0)
        in_flight(st, s, 0)


@compiled
def drain(st: State, drain_s: float) -> None:
    """Until everybody is answered, ``drain_s`` seconds at most. Who is not answered then is lost."""
    last = st.clock[NOW] + drain_s
    while st.clock[NOW] < last and _still_there(st) > 0:
        step = min(last, st.clock[NOW] + 60.0)
        _until(st, step)
        st.clock[NOW] = step
    for c in range(CLASSES):
        st.tally[c, LOST] += st.tally[c, LENGTH]
        for k in range(st.tally[c, LENGTH]):
            miss(st, c, st.ring[c, (st.tally[c, HEAD] + k) % st.ring.shape[1], FIRST_SENT])
    for r in range(st.place.shape[0]):
        if st.place[r, SITE] >= 0 and not st.place[r, GIVEN_UP]:
            st.tally[st.place[r, CLASS], LOST] += 1
            miss(st, st.place[r, CLASS], st.work[r, ARRIVED])


@compiled
def _still_there(st: State) -> int:
    there = 0
    for c in range(CLASSES):
        there += st.tally[c, LENGTH]
    for s in range(st.fleet.shape[0]):
        there += st.fleet[s, IN_FLIGHT]
    return there
