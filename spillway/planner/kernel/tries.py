"""What the gateway does about a try that lasts too long: it is cut, and its server left alone for a while.

Envoy's rules, as ``components/gateway`` sets them. A try ends with ``per_try_timeout``, the whole request with the
route's ``timeout``; of a language model's stream only its first token is waited for. Three tries in a row that were
cut, with none between that got a connection, take a host out for 3 s times the number of times, 15 s at most, and it
comes back at a look once a second (``DetectorHostMonitorImpl::localOriginFailure`` and
``DetectorImpl::checkHostForUneject`` in Envoy's ``source/common/upstream/outlier_detection_impl.cc``).
"""

from __future__ import annotations

import math

import numpy as np

from spillway.planner.kernel.compiled import compiled
from spillway.planner.kernel.state import (
    ADDRESSES,
    ALONE_UNTIL,
    CLASS,
    CLASSES,
    CUT_AT,
    CUT_IN_A_ROW,
    EARLIER,
    FIRST_CUT,
    LANE,
    LAST_CUT,
    LATER,
    NETWORK,
    NOW,
    OF_SITE,
    SENT,
    SITE,
    TIMES_ALONE,
    TRY,
    WHOLE,
    State,
)

_IN_A_ROW = 3
_ALONE_S = 3.0
_LONGEST_ALONE_S = 15.0
_MOST_TIMES = 6.0


@compiled
def watch(st: State, r: int) -> None:
    """A try begins. The class's tries stand in the order in which they are cut."""
    c, now = st.place[r, CLASS], st.clock[NOW]
    due = min(now + st.rule[c, TRY], st.work[r, SENT] + st.rule[c, WHOLE])
    st.work[r, CUT_AT] = due
    if due == np.inf:
        return
    # What comes back from the site is on its way for a while.
    due = max(now, due - st.site[st.place[r, SITE], NETWORK])
    st.work[r, CUT_AT] = due
    before = st.tally[c, LAST_CUT]
    while before >= 0 and st.work[before, CUT_AT] > due:
        before = st.place[before, EARLIER]
    after = st.place[before, LATER] if before >= 0 else st.tally[c, FIRST_CUT]
    _join(st, c, before, r)
    _join(st, c, r, after)


@compiled
def unwatch(st: State, r: int) -> None:
    """It ended by itself, or has begun to answer."""
    if st.work[r, CUT_AT] < np.inf:
        st.work[r, CUT_AT] = np.inf
        _join(st, st.place[r, CLASS], st.place[r, EARLIER], st.place[r, LATER])


@compiled
def _join(st: State, c: int, before: int, after: int) -> None:
    if before >= 0:
        st.place[before, LATER] = after
    else:
        st.tally[c, FIRST_CUT] = after
    if after >= 0:
        st.place[after, EARLIER] = before
    else:
        st.tally[c, LAST_CUT] = before


@compiled
def next_cut(st: State) -> tuple[float, int]:
    """When the next try is cut, and of which class it is."""
    due, klass = np.inf, 0
    for c in range(CLASSES):
        first = st.tally[c, FIRST_CUT]
        if first >= 0 and st.work[first, CUT_AT] < due:
            due, klass = st.work[first, CUT_AT], c
    return due, klass


@compiled
def _host(st: State, at: int) -> int:
    s = st.lane[at, OF_SITE]
    return at if st.fleet[s, ADDRESSES] else st.fleet[s, LANE]


@compiled
def left_alone(st: State, k: int, at: int) -> bool:
    """Whether the process sends nothing to the server now."""
    return st.host[k, _host(st, at), ALONE_UNTIL] > st.clock[NOW]


@compiled
def connected(st: State, k: int, at: int) -> None:
    """A try got its connection."""
    st.host[k, _host(st, at), CUT_IN_A_ROW] = 0.0


@compiled
def was_cut(st: State, k: int, at: int) -> None:
    """A try at the server was cut."""
    row, now = st.host[k, _host(st, at)], st.clock[NOW]
    row[CUT_IN_A_ROW] += 1.0
    if row[CUT_IN_A_ROW] < _IN_A_ROW or row[ALONE_UNTIL] > now:
        return
    row[CUT_IN_A_ROW] = 0.0
    quiet = math.floor(now) - row[ALONE_UNTIL]
    row[TIMES_ALONE] = min(_MOST_TIMES, max(0.0, row[TIMES_ALONE] - quiet) + 1.0)
    # Looks are at whole seconds.
    row[ALONE_UNTIL] = math.ceil(now + min(_LONGEST_ALONE_S, _ALONE_S * row[TIMES_ALONE]))
