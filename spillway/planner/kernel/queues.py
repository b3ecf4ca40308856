"""One model server: its queue, its iterations, its answers.

Requests wait in order of urgency, then of arrival, while all slots are taken or the KV cache has no room. A prompt is
read in iterations of at most CHUNK tokens, which several prompts share; for an encoder an iteration is a batch, and a
prompt counts 1. An iteration of N takes what the table says of N, and what a prompt's chunk takes longer because of its
earlier ones; MIXED times that where answers go on beside it: each of them gets one token of it. Between iterations each
answer gets a token every PACE seconds, longer by up to STRETCH as the slots fill. A request without a prompt is such an
answer at once, and its work is in seconds.

All answers of a server progress alike, so one number, VIRTUAL, carries them all, and only the next end is an event.
"""

from __future__ import annotations

import math

import numpy as np

from spillway.planner.kernel.compiled import compiled
from spillway.planner.kernel.heap import schedule
from spillway.planner.kernel.instances import at_work, in_flight, leave_if_idle
from spillway.planner.kernel.state import (
    ANSWERED,
    ANSWERING,
    ANSWERS,
    ARRIVED,
    AT,
    BEGINS,
    BIN,
    BIN_RATIO,
    BIN_START_S,
    BINS,
    CHUNK,
    CLASS,
    CLASSES,
    DELAY,
    ENTERED,
    FIRST,
    FLIGHT,
    FREE,
    GIVEN_UP,
    IN_TIME,
    ITERATION,
    ITERATION_END,
    KV,
    KV_USED,
    LANGUAGE,
    LEFT,
    LOST,
    LOST_AFTER,
    MEASURE,
    MISSED,
    MISSED_BY,
    MIXED,
    NETWORK,
    NEXT,
    NOW,
    OF_SITE,
    OPEN,
    PACE,
    PARTIAL,
    PATIENCE,
    PER_TOKEN,
    PROMPT,
    PROMPT_TOKENS,
    RATE,
    REPLICA,
    RUNNING,
    SINCE,
    SITE,
    SLOTS,
    SPILLED,
    STARTED,
    STRETCH,
    TAKEN,
    THROUGH,
    TOKEN_WITHIN,
    TOKENS,
    UNREAD,
    VIRTUAL,
    WAIT_HEAD,
    WAIT_TAIL,
    WAITED,
    WITHIN,
    WORK,
    WORST_P0,
    State,
)
from spillway.planner.kernel.tries import unwatch

_NEAR = 1e-6
"""A millionth of a second, or of a token, is no time."""


@compiled
def enter(st: State, at: int, r: int) -> None:
    """The request, whose place is filled in, arrives at the server."""
    s, c = st.place[r, SITE], st.place[r, CLASS]
    in_flight(st, s, 1)
    st.lane[at, FLIGHT] += 1
    st.lane[at, UNREAD] += int(st.work[r, PROMPT_TOKENS])
    st.active[st.place[r, REPLICA], at] += 1
    for gate in range(st.place[r, THROUGH], OPEN + 1):
        st.gate[s, gate, st.place[r, REPLICA]] += 1
    st.place[r, NEXT] = -1
    if st.lane[at, WAIT_HEAD + c] < 0:
        st.lane[at, WAIT_HEAD + c] = r
    else:
        st.place[st.lane[at, WAIT_TAIL + c], NEXT] = r
    st.lane[at, WAIT_TAIL + c] = r
    act(st, at)


@compiled
def act(st: State, at: int) -> None:
    """What the server does now: end what is complete, begin what may begin, and say when to look again."""
    s, now = st.lane[at, OF_SITE], st.clock[NOW]
    st.pace[at, VIRTUAL] += (now - st.pace[at, SINCE]) * st.pace[at, RATE]
    st.pace[at, SINCE] = now
    if st.site[s, LANGUAGE] > 0.0:
        whole = np.rint(st.pace[at, VIRTUAL])
        if abs(st.pace[at, VIRTUAL] - whole) < _NEAR:
            st.pace[at, VIRTUAL] = whole
    if st.pace[at, ITERATION_END] <= now:
        _end_iteration(st, at)
    while st.lane[at, ANSWERING] > 0 and st.ends[at, 0] <= st.pace[at, VIRTUAL] + _NEAR:
        finish(st, _pop_answer(st, at))
    _begin_answers(st, at)
    if st.pace[at, ITERATION_END] == np.inf:
        _begin_iteration(st, at)
    rate = _rate(st, at)
    st.pace[at, RATE] = rate
    ends = np.inf
    if st.lane[at, ANSWERING] > 0:
        ends = now + max(0.0, st.ends[at, 0] - st.pace[at, VIRTUAL]) / rate
    schedule(st, at, min(ends, min(st.pace[at, ITERATION_END], st.pace[at, BEGINS])))


@compiled
def _rate(st: State, at: int) -> float:
    """Work that each answer gets in a second."""
    s = st.lane[at, OF_SITE]
    if st.pace[at, ITERATION_END] < np.inf and st.site[s, LANGUAGE] > 0.0:
        return _rest(st, at) / max(_NEAR, st.pace[at, ITERATION_END] - st.clock[NOW])
    load = (st.lane[at, ANSWERING] - 1) / max(1, st.fleet[s, SLOTS] - 1)
    return 1.0 / (st.site[s, PACE] * (1.0 + st.site[s, STRETCH] * max(0.0, load)))


@compiled
def _rest(st: State, at: int) -> float:
    """What is left of the token that an iteration gives to each answer."""
    virtual = st.pace[at, VIRTUAL]
    rest = math.floor(virtual + _NEAR) + 1.0 - virtual
    return rest if rest > _NEAR else 1.0


@compiled
def _next(st: State, at: int) -> int:
    """The request that is served next, -1 for none. Who waited too long is given up."""
    for c in range(CLASSES):
        while st.lane[at, WAIT_HEAD + c] >= 0:
            r = st.lane[at, WAIT_HEAD + c]
            # vLLM lets everybody wait, Triton for as long as its queue policy says.
            language = st.site[st.lane[at, OF_SITE], LANGUAGE] > 0.0
            if language or st.clock[NOW] - st.work[r, ENTERED] <= st.rule[c, PATIENCE]:
                return r
            st.lane[at, WAIT_HEAD + c] = st.place[r, NEXT]
            if st.place[r, GIVEN_UP]:
                leave(st, r)
            else:
                give_up(st, r)
    return -1


@compiled
def _fits(st: State, at: int, r: int) -> bool:
    s = st.lane[at, OF_SITE]
    if st.lane[at, RUNNING] >= st.fleet[s, SLOTS]:
        return False
    used = st.lane[at, KV_USED] + st.work[r, TOKENS]
    return st.fleet[s, KV] == 0 or used <= st.fleet[s, KV] or st.lane[at, RUNNING] == 0


@compiled
def _take(st: State, at: int, r: int) -> None:
    """Out of the queue, into a slot."""
    st.lane[at, WAIT_HEAD + st.place[r, CLASS]] = st.place[r, NEXT]
    st.work[r, STARTED] = st.clock[NOW]
    st.lane[at, UNREAD] -= int(st.work[r, PROMPT_TOKENS])
    st.lane[at, RUNNING] += 1
    st.lane[at, KV_USED] += int(st.work[r, TOKENS])
    if st.lane[at, RUNNING] == 1:
        at_work(st, st.lane[at, OF_SITE], 1)


@compiled
def _begin_answers(st: State, at: int) -> None:
    """Requests without a prompt begin as soon as there is a slot."""
    while True:
        r = _next(st, at)
        if r < 0 or st.work[r, PROMPT_TOKENS] > 0.0 or not _fits(st, at, r):
            return
        _take(st, at, r)
        _answer(st, at, r)


@compiled
def _begin_iteration(st: State, at: int) -> None:
    """Between two tokens of the answers, and when a batch is full or has waited long enough."""
    st.pace[at, BEGINS] = np.inf
    s, now = st.lane[at, OF_SITE], st.clock[NOW]
    partial = st.lane[at, PARTIAL]
    if partial >= 0 and st.place[partial, GIVEN_UP]:
        st.lane[at, PARTIAL] = -1
        leave(st, partial)
    r = _next(st, at)
    if st.lane[at, PARTIAL] < 0 and (r < 0 or st.work[r, PROMPT_TOKENS] <= 0.0 or not _fits(st, at, r)):
        return
    if st.site[s, LANGUAGE] > 0.0 and st.lane[at, ANSWERING] > 0:
        begun = st.pace[at, VIRTUAL] - math.floor(st.pace[at, VIRTUAL])
        if begun > 0.0:
            st.pace[at, BEGINS] = now + (1.0 - begun) / _rate(st, at)
            return
    if st.site[s, DELAY] > 0.0 and st.lane[at, FLIGHT] - st.lane[at, RUNNING] < st.site[s, CHUNK]:
        oldest = np.inf
        for c in range(CLASSES):
            if st.lane[at, WAIT_HEAD + c] >= 0:
                oldest = min(oldest, st.work[st.lane[at, WAIT_HEAD + c], ENTERED])
        if oldest + st.site[s, DELAY] > now:
            st.pace[at, BEGINS] = oldest + st.site[s, DELAY]
            return
    _fill_iteration(st, at, s)


@compiled
def _fill_iteration(st: State, at: int, s: int) -> None:
    answers = st.lane[at, ANSWERING] if st.site[s, LANGUAGE] > 0.0 else 0
    left = max(1.0, st.site[s, CHUNK] - answers)
    read = longer = 0.0
    r = st.lane[at, PARTIAL]
    st.lane[at, PARTIAL] = -1
    while left > 0.0:
        if r < 0:
            r = _next(st, at)
            if r < 0 or st.work[r, PROMPT_TOKENS] <= 0.0 or not _fits(st, at, r):
                break
            _take(st, at, r)
        taken = min(left, st.work[r, LEFT])
        st.work[r, TAKEN] = taken
        done = st.work[r, PROMPT_TOKENS] - st.work[r, LEFT]
        if done > 0.0:
            longer += max(0.0, _table(st, done + taken) - _table(st, done) - _table(st, taken))
        st.place[r, NEXT] = st.lane[at, ITERATION]
        st.lane[at, ITERATION] = r
        left -= taken
        read += taken
        if st.work[r, LEFT] > taken:
            st.lane[at, PARTIAL] = r
            break
        r = -1
    if read > 0.0:
        lasts = st.site[s, PROMPT] * (_table(st, read + answers) + longer)
        st.pace[at, ITERATION_END] = st.clock[NOW] + lasts * (st.site[s, MIXED] if answers > 0 else 1.0)


@compiled
def _table(st: State, read: float) -> float:
    """Straight lines between the measured points, and on beyond the last; below the first its own time."""
    xs, ys = st.table[0], st.table[1]
    last = len(xs) - 1
    if read <= xs[0]:
        return ys[0]
    at = 1
    while at < last and xs[at] < read:
        at += 1
    return ys[at - 1] + (read - xs[at - 1]) * (ys[at] - ys[at - 1]) / (xs[at] - xs[at - 1])


@compiled
def _end_iteration(st: State, at: int) -> None:
    st.pace[at, ITERATION_END] = np.inf
    r = st.lane[at, ITERATION]
    st.lane[at, ITERATION] = -1
    while r >= 0:
        following = st.place[r, NEXT]
        st.work[r, LEFT] -= st.work[r, TAKEN]
        if st.work[r, LEFT] <= 0.0:
            st.work[r, FIRST] = st.clock[NOW]
            if st.place[r, GIVEN_UP]:
                leave(st, r)
            elif st.work[r, WORK] > 0.0:
                unwatch(st, r)
                _answer(st, at, r)
            else:
                finish(st, r)
        r = following


@compiled
def _answer(st: State, at: int, r: int) -> None:
    """Into the heap of ends."""
    n = st.lane[at, ANSWERING]
    if n == 0:
        st.pace[at, VIRTUAL] = 0.0
    st.lane[at, ANSWERING] = n + 1
    end = st.pace[at, VIRTUAL] + st.work[r, WORK]
    while n > 0:
        above = (n - 1) >> 1
        if st.ends[at, above] <= end:
            break
        st.ends[at, n], st.answering[at, n] = st.ends[at, above], st.answering[at, above]
        n = above
    st.ends[at, n], st.answering[at, n] = end, r


@compiled
def _pop_answer(st: State, at: int) -> int:
    """The request that is complete next."""
    found = st.answering[at, 0]
    last = st.lane[at, ANSWERING] - 1
    st.lane[at, ANSWERING] = last
    end, r, n = st.ends[at, last], st.answering[at, last], 0
    while True:
        below = 2 * n + 1
        if below >= last:
            break
        if below + 1 < last and st.ends[at, below + 1] < st.ends[at, below]:
            below += 1
        if st.ends[at, below] >= end:
            break
        st.ends[at, n], st.answering[at, n] = st.ends[at, below], st.answering[at, below]
        n = below
    st.ends[at, n], st.answering[at, n] = end, r
    return found


@compiled
def _let_go(st: State, r: int) -> None:
    """The gateway knows no more of the try."""
    s, at, k = st.place[r, SITE], st.place[r, AT], st.place[r, REPLICA]
    unwatch(st, r)
    st.active[k, at] -= 1
    for gate in range(st.place[r, THROUGH], OPEN + 1):
        st.gate[s, gate, k] -= 1


@compiled
def abandon(st: State, r: int) -> None:
    """The gateway gives the try up. vLLM sees that its client is gone, and ends the request with the iteration; Triton
    does not, and works on (https://github.com/triton-inference-server/server/issues/7077)."""
    at, c = st.place[r, AT], st.place[r, CLASS]
    if st.site[st.place[r, SITE], LANGUAGE] > 0.0 and st.work[r, STARTED] < 0.0:
        _out_of_the_queue(st, at, c, r)
        leave(st, r)
        return
    _let_go(st, r)
    st.place[r, GIVEN_UP] = 1


@compiled
def _out_of_the_queue(st: State, at: int, c: int, r: int) -> None:
    following, before = st.place[r, NEXT], st.lane[at, WAIT_HEAD + c]
    if before == r:
        st.lane[at, WAIT_HEAD + c] = following
        return
    while st.place[before, NEXT] != r:
        before = st.place[before, NEXT]
    st.place[before, NEXT] = following
    if following < 0:
        st.lane[at, WAIT_TAIL + c] = before


@compiled
def leave(st: State, r: int) -> None:
    """Out of the site; its place is free."""
    s, at = st.place[r, SITE], st.place[r, AT]
    if not st.place[r, GIVEN_UP]:
        _let_go(st, r)
    in_flight(st, s, -1)
    st.lane[at, FLIGHT] -= 1
    if st.work[r, STARTED] >= 0.0:
        st.lane[at, RUNNING] -= 1
        st.lane[at, KV_USED] -= int(st.work[r, TOKENS])
        if st.lane[at, RUNNING] == 0:
            at_work(st, s, -1)
    else:
        st.lane[at, UNREAD] -= int(st.work[r, PROMPT_TOKENS])
    st.place[r, SITE] = -1
    st.place[r, NEXT] = st.count[FREE]
    st.count[FREE] = r
    leave_if_idle(st, at)


@compiled
def give_up(st: State, r: int) -> None:
    c = st.place[r, CLASS]
    st.tally[c, LOST] += 1
    miss(st, c, st.work[r, ARRIVED])
    leave(st, r)


@compiled
def row_of(st: State, time: float) -> int:
    return max(0, min(st.timeline.shape[0] - 1, int(time / st.clock[BIN])))


@compiled
def miss(st: State, c: int, arrived: float) -> None:
    """Not in time."""
    st.tally[c, MISSED] += 1
    st.timeline[row_of(st, arrived), MISSED_BY + c] += 1


@compiled
def bin_of(value: float) -> int:
    if value <= BIN_START_S:
        return 0
    return min(BINS - 1, 1 + int(math.log(value / BIN_START_S) / math.log(BIN_RATIO)))


@compiled
def finish(st: State, r: int) -> None:
    """The answer is complete."""
    if st.place[r, GIVEN_UP]:
        leave(st, r)
        return
    c, s, arrived = st.place[r, CLASS], st.place[r, SITE], st.work[r, ARRIVED]
    wait = st.work[r, STARTED] - arrived + st.site[s, NETWORK]
    latency = st.clock[NOW] - arrived + st.site[s, NETWORK]
    first = st.work[r, FIRST] - arrived + st.site[s, NETWORK] if st.work[r, FIRST] >= 0.0 else latency
    measure = (wait, first, latency)[int(st.rule[c, MEASURE])]
    if measure > st.rule[c, LOST_AFTER]:
        st.tally[c, LOST] += 1
    else:
        st.tally[c, ANSWERED] += 1
        st.fleet[s, ANSWERS + c] += 1
        if s > 0:
            st.tally[c, SPILLED] += 1
    pace = (latency - first) / st.work[r, WORK] if st.work[r, WORK] > 0.0 else 0.0
    if measure <= st.rule[c, WITHIN] and pace <= st.rule[c, TOKEN_WITHIN]:
        st.tally[c, IN_TIME] += 1
    else:
        miss(st, c, arrived)
    st.rule[c, WAITED] += wait
    st.bins[0, c, bin_of(wait)] += 1
    st.bins[1, c, bin_of(first)] += 1
    st.bins[2, c, bin_of(latency)] += 1
    if st.work[r, WORK] > 0.0:
        st.bins[PER_TOKEN, c, bin_of(pace)] += 1
    if c == 0:
        at = row_of(st, arrived)
        st.timeline[at, WORST_P0] = max(st.timeline[at, WORST_P0], measure)
    leave(st, r)
