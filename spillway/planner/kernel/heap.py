"""Who acts next: a heap of all lanes and instances, in which each always stands once. Lane ``l`` is number ``l``."""

from __future__ import annotations

from spillway.planner.kernel.compiled import compiled
from spillway.planner.kernel.state import State


@compiled
def schedule(st: State, who: int, time: float) -> None:
    """``who`` acts at ``time`` and no longer at any other; never, where that is infinite."""
    earlier = time < st.due[who]
    st.due[who] = time
    if earlier:
        _up(st, who)
    else:
        _down(st, who)


@compiled
def _up(st: State, who: int) -> None:
    at = st.rank[who]
    while at > 0:
        above = (at - 1) >> 1
        other = st.order[above]
        if st.due[other] <= st.due[who]:
            break
        st.order[at], st.rank[other] = other, at
        at = above
    st.order[at], st.rank[who] = who, at


@compiled
def _down(st: State, who: int) -> None:
    at, size = st.rank[who], len(st.order)
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size and st.due[st.order[below + 1]] < st.due[st.order[below]]:
            below += 1
        other = st.order[below]
        if st.due[other] >= st.due[who]:
            break
        st.order[at], st.rank[other] = other, at
        at = below
    st.order[at], st.rank[who] = who, at
