"""Where a request goes: the gateway's two levels, as docs/explanation/overflow.md has them."""

from __future__ import annotations

import numpy as np

from spillway.planner.kernel.compiled import compiled
from spillway.planner.kernel.instances import draw
from spillway.planner.kernel.queues import enter, miss
from spillway.planner.kernel.state import (
    AGAIN,
    ARRIVED,
    AT,
    BATCH,
    CLASS,
    DUE,
    ENTERED,
    FIRST,
    FIRST_SENT,
    FLIGHT,
    FREE,
    GATE,
    HEAD,
    INTERACTIVE,
    LEFT,
    LENGTH,
    LIMIT,
    LOST,
    NEXT,
    NOW,
    OPEN,
    PATIENCE,
    PROMPT_TOKENS,
    RANDOM,
    REPLICA,
    RING_PROMPT,
    RING_TOKENS,
    RING_WORK,
    ROUTING,
    SERVING,
    SITE,
    STARTED,
    TAKES,
    THROUGH,
    TOKENS,
    WORK,
    State,
)


@compiled
def route(st: State, c: int, arrived: float, prompt: float, work: float, tokens: float) -> bool:
    """Send it to the first site whose gate lets it through; ``False`` where none does."""
    processes = st.gate.shape[2]
    k = int(draw(st) * processes) if processes > 1 else 0
    pool = BATCH if c == 2 else INTERACTIVE
    # Only the most urgent comes round again, for the headroom.
    for gate in range(pool, OPEN + 1 if c == 0 else pool + 1):
        for s in range(st.fleet.shape[0]):
            if st.fleet[s, TAKES + c] and _lets_through(st, s, gate, k):
                at = _server(st, s, k)
                if at >= 0:
                    _send(st, s, at, k, gate, c, arrived, prompt, work, tokens)
                    return True
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
    serving = st.fleet[s, SERVING]
    if serving == 0:
        return -1
    first = int(draw(st) * serving) if serving > 1 else 0
    at = st.serving[s, first]
    if st.fleet[s, ROUTING] != RANDOM:
        for step in range(1, serving):
            if st.active[k, at] == 0:
                break
            other = st.serving[s, (first + step) % serving]
            if st.active[k, other] < st.active[k, at]:
                at = other
    return at if st.lane[at, FLIGHT] < st.fleet[s, LIMIT] else -1


@compiled
def _send(
    st: State, s: int, at: int, k: int, gate: int, c: int, arrived: float, prompt: float, work: float, tokens: float
) -> None:
    r = st.count[FREE]
    st.count[FREE] = st.place[r, NEXT]
    place, row = st.place[r], st.work[r]
    place[CLASS], place[SITE], place[AT], place[REPLICA], place[THROUGH] = c, s, at, k, gate
    row[ARRIVED], row[ENTERED], row[STARTED], row[FIRST] = arrived, st.clock[NOW], -1.0, -1.0
    row[PROMPT_TOKENS], row[LEFT], row[WORK], row[TOKENS] = prompt, prompt, work, tokens
    enter(st, at, r)


@compiled
def refuse(st: State, c: int, arrived: float, prompt: float, work: float, tokens: float) -> None:
    """No gate let it through: its client sends it again after a while, or it is lost."""
    again = st.clock[NOW] + st.rule[c, AGAIN]
    if again == np.inf or again - arrived > st.rule[c, PATIENCE] or st.tally[c, LENGTH] >= st.ring.shape[1]:
        st.tally[c, LOST] += 1
        miss(st, c, arrived)
        return
    row = st.ring[c, (st.tally[c, HEAD] + st.tally[c, LENGTH]) % st.ring.shape[1]]
    row[DUE], row[FIRST_SENT], row[RING_PROMPT], row[RING_WORK], row[RING_TOKENS] = again, arrived, prompt, work, tokens
    st.tally[c, LENGTH] += 1


@compiled
def send_again(st: State, c: int) -> None:
    """The class's first in the ring is due."""
    row = st.ring[c, st.tally[c, HEAD]]
    arrived, prompt, work, tokens = row[FIRST_SENT], row[RING_PROMPT], row[RING_WORK], row[RING_TOKENS]
    st.tally[c, HEAD] = (st.tally[c, HEAD] + 1) % st.ring.shape[1]
    st.tally[c, LENGTH] -= 1
    if not route(st, c, arrived, prompt, work, tokens):
        refuse(st, c, arrived, prompt, work, tokens)
