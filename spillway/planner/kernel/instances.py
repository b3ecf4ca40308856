"""Which instances serve and are paid for, and what the gates let through because of it."""

from __future__ import annotations

import numpy as np

from spillway.planner.kernel.compiled import compiled
from spillway.planner.kernel.state import (
    ABSENT,
    BATCH,
    BATCH_SHARE,
    BILL_UNTIL,
    BILLED,
    BILLED_AT,
    BUSY,
    BUSY_AT,
    BUSY_SECONDS,
    DRAINING,
    FLIGHT,
    FLIGHT_AT,
    FLIGHT_SECONDS,
    FOLLOWS,
    GATE,
    GATE_SLOTS,
    HEADROOM,
    IN_FLIGHT,
    INSTANCE,
    INSTANCE_SECONDS,
    INTERACTIVE,
    LANE,
    LEAST,
    LIVE,
    MOST,
    NOW,
    OF_INSTANCE,
    OF_SITE,
    OPEN,
    ROOM,
    SERVERS,
    SERVING,
    State,
)


@compiled
def draw(st: State) -> float:
    """Uniform in [0, 1): SplitMix64 (Steele, Lea and Flood, 2014)."""
    st.seed[0] += np.uint64(0x9E3779B97F4A7C15)
    z = st.seed[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) / 9007199254740992.0


@compiled
def _sum_up(st: State, s: int, now: float, count: int, change: int, seconds: int, at: int) -> None:
    """A site's ``count`` changes: what it was, times how long, goes into its ``seconds``."""
    st.site[s, seconds] += st.fleet[s, count] * (now - st.site[s, at])
    st.site[s, at] = now
    st.fleet[s, count] += change


@compiled
def bill(st: State, s: int, change: int) -> None:
    """Instances that are paid for, from now on."""
    now = min(st.clock[NOW], st.clock[BILL_UNTIL])
    _sum_up(st, s, now, BILLED, change, INSTANCE_SECONDS, BILLED_AT)


@compiled
def in_flight(st: State, s: int, change: int) -> None:
    """Requests at the site, from now on."""
    _sum_up(st, s, st.clock[NOW], IN_FLIGHT, change, FLIGHT_SECONDS, FLIGHT_AT)


@compiled
def at_work(st: State, s: int, change: int) -> None:
    """Servers of the site that work, from now on."""
    _sum_up(st, s, st.clock[NOW], BUSY, change, BUSY_SECONDS, BUSY_AT)


@compiled
def count_serving(st: State, s: int) -> None:
    """Who serves now, and what the gates let through: as ``contracts.routing`` has it, for each process of the gateway.

    A site whose slots follow nothing keeps those of its fewest instances.
    """
    each, serving = st.fleet[s, SERVERS], 0
    for i in range(st.fleet[s, MOST]):
        at = st.fleet[s, INSTANCE] + i
        if st.instance[at, 0] == LIVE and st.instance[at, 1] == 0:
            for k in range(each):
                st.serving[s, serving] = st.fleet[s, LANE] + i * each + k
                serving += 1
    st.fleet[s, SERVING] = serving
    counted = serving if st.fleet[s, FOLLOWS] else st.fleet[s, LEAST] * each
    processes = st.gate.shape[2]
    slots = max(1, counted * st.fleet[s, GATE_SLOTS])
    batch = int(slots * st.site[s, BATCH_SHARE] + 1e-9)
    headroom = counted * st.fleet[s, HEADROOM]
    if 0 < st.fleet[s, ROOM] < slots:
        headroom += slots - st.fleet[s, ROOM]
        slots = st.fleet[s, ROOM]
    share = max(1, slots // processes)
    st.fleet[s, GATE + INTERACTIVE] = share
    st.fleet[s, GATE + BATCH] = min(share, max(1, batch // processes)) if batch > 0 else 0
    st.fleet[s, GATE + OPEN] = share + (max(1, headroom // processes) if headroom > 0 else 0)


@compiled
def leave_if_idle(st: State, at: int) -> None:
    """Give an instance back that was only to finish its work. ``at``: a lane of it."""
    s, i = st.lane[at, OF_SITE], st.lane[at, OF_INSTANCE]
    if st.instance[i, 0] != DRAINING:
        return
    first = st.fleet[s, LANE] + (i - st.fleet[s, INSTANCE]) * st.fleet[s, SERVERS]
    for lane in range(first, first + st.fleet[s, SERVERS]):
        if st.lane[lane, FLIGHT] > 0:
            return
    st.instance[i, 0] = ABSENT
    bill(st, s, -1)
