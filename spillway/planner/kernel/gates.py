"""Where a request goes: the gateway's two levels, as docs/explanation/overflow.md has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from spillway.planner.kernel.compiled import compiled
from spillway.planner.kernel.instances import draw
from spillway.planner.kernel.queues import abandon, enter, miss
from spillway.planner.kernel.state import (
    AGAIN,
    ARRIVED,
    AT,
    CLASS,
    DUE,
    ENDPOINT_GATE,
    ENDPOINT_SITE,
    ENTERED,
    FIRST,
    FIRST_CUT,
    FIRST_SENT,
    FLIGHT,
    FREE,
    GATE,
    GIVEN_UP,
    HEAD,
    LEFT,
    LENGTH,
    LIMIT,
    LOST,
    NEXT,
    NOW,
    OPEN,
    PATIENCE,
    PROMPT_ASKED,
    PROMPT_TOKENS,
    PROMPTS,
    RANDOM,
    REPLICA,
    ROUTING,
    SENT,
    SERVING,
    SITE,
    STARTED,
    THROUGH,
    TOKENS,
    TOKENS_ASKED,
    TRIED,
    UNREAD,
    WHOLE,
    WORK,
    WORK_ASKED,
    State,
)
from spillway.planner.kernel.tries import connected, left_alone, was_cut, watch

_NEAR = 1e-6


@compiled
def offer(st: State, c: int, asked: Any) -> None:
    """A client sends it, to any process of the gateway."""
    processes = st.gate.shape[2]
    k = int(draw(st) * processes) if processes > 1 else 0
    if not route(st, c, k, 0, st.clock[NOW], asked):
        refuse(st, c, asked)


@compiled
def route(st: State, c: int, k: int, row: int, sent: float, asked: Any) -> bool:
    """Send it to the first site, from the row of its endpoints on, that takes it; ``False`` where none does."""
    while st.endpoint[c, row, ENDPOINT_SITE] >= 0:
        s, gate = st.endpoint[c, row, ENDPOINT_SITE], st.endpoint[c, row, ENDPOINT_GATE]
        if _lets_through(st, s, gate, k):
            at = _server(st, s, k)
            if at >= 0 and st.count[FREE] >= 0:
                _send(st, at, c, k, row, sent, asked)
                return True
        row += 1
    return False


@compiled
def _lets_through(st: State, s: int, gate: int, k: int) -> bool:
    full = False
    for inner in range(gate, OPEN + 1):
        full = full or st.gate[s, inner, k] >= st.fleet[s, GATE + inner]
    return not full


@compiled
def _server(st: State, s: int, k: int) -> int:
    """As the site's balancer chooses; -1 where nobody serves or the chosen one refuses."""
    serving, at = st.fleet[s, SERVING], -1
    first = int(draw(st) * serving) if serving > 1 else 0
    for step in range(serving):
        other = st.serving[s, (first + step) % serving]
        if not left_alone(st, k, other) and (at < 0 or st.active[k, other] < st.active[k, at]):
            at = other
        if at >= 0 and (st.fleet[s, ROUTING] == RANDOM or st.active[k, at] == 0):
            break
    if at < 0 or st.lane[at, FLIGHT] >= st.fleet[s, LIMIT]:
        return -1
    return at if st.fleet[s, PROMPTS] == 0 or st.lane[at, UNREAD] < st.fleet[s, PROMPTS] else -1


@compiled
def _send(st: State, at: int, c: int, k: int, tried: int, sent: float, asked: Any) -> None:
    r = st.count[FREE]
    st.count[FREE] = st.place[r, NEXT]
    s, gate = st.endpoint[c, tried, ENDPOINT_SITE], st.endpoint[c, tried, ENDPOINT_GATE]
    place, row = st.place[r], st.work[r]
    place[CLASS], place[SITE], place[AT], place[REPLICA], place[THROUGH] = c, s, at, k, gate
    place[TRIED], place[GIVEN_UP] = tried, 0
    row[ARRIVED], row[SENT], row[ENTERED], row[STARTED], row[FIRST] = asked[FIRST_SENT], sent, st.clock[NOW], -1.0, -1.0
    row[PROMPT_TOKENS], row[LEFT], row[WORK] = asked[PROMPT_ASKED], asked[PROMPT_ASKED], asked[WORK_ASKED]
    row[TOKENS] = asked[TOKENS_ASKED]
    connected(st, k, at)
    watch(st, r)
    enter(st, at, r)


@compiled
def asked_of(st: State, r: int) -> Any:
    """What is asked by a request at a site."""
    row = st.work[r]
    return row[ARRIVED], row[PROMPT_TOKENS], row[WORK], row[TOKENS]


@compiled
def cut(st: State, c: int) -> None:
    """The time of the class's first try is over: the next site is asked, as long as the whole request has time."""
    r = st.tally[c, FIRST_CUT]
    k, at, row, sent, asked = (
        st.place[r, REPLICA],
        st.place[r, AT],
        st.place[r, TRIED] + 1,
        st.work[r, SENT],
        asked_of(st, r),
    )
    was_cut(st, k, at)
    abandon(st, r)
    if st.clock[NOW] >= sent + st.rule[c, WHOLE] - _NEAR or not route(st, c, k, row, sent, asked):
        refuse(st, c, asked)


@compiled
def refuse(st: State, c: int, asked: Any) -> None:
    """Nobody took it: its client sends it again after a while, or it is lost."""
    arrived = asked[FIRST_SENT]
    again = st.clock[NOW] + st.rule[c, AGAIN]
    if again == np.inf or again - arrived > st.rule[c, PATIENCE] or st.tally[c, LENGTH] >= st.ring.shape[1]:
        st.tally[c, LOST] += 1
        miss(st, c, arrived)
        return
    row = st.ring[c, (st.tally[c, HEAD] + st.tally[c, LENGTH]) % st.ring.shape[1]]
    for column in range(len(asked)):
        row[column] = asked[column]
    row[DUE] = again
    st.tally[c, LENGTH] += 1


@compiled
def send_again(st: State, c: int) -> None:
    """The class's first in the ring is due."""
    row = st.ring[c, st.tally[c, HEAD]]
    asked = row[FIRST_SENT], row[PROMPT_ASKED], row[WORK_ASKED], row[TOKENS_ASKED]
    st.tally[c, HEAD] = (st.tally[c, HEAD] + 1) % st.ring.shape[1]
    st.tally[c, LENGTH] -= 1
    offer(st, c, asked)
