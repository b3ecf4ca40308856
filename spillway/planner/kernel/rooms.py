"""How many requests the KV caches of the private servers have room for, as the gateway's agent reads it of vLLM.

While the caches are more than half as full as they may be, the site has as many slots as requests like those that run
would fit, and P0 keeps its room above them: ``spillway/runtime/gateway/kv_room.py``, in its own words.
"""

from __future__ import annotations

from spillway.planner.kernel.compiled import compiled
from spillway.planner.kernel.instances import count_serving
from spillway.planner.kernel.state import (
    ADDRESSES,
    ANSWERING,
    ITERATION,
    KV,
    KV_SHARE,
    KV_USED,
    LEFT,
    NEXT,
    PARTIAL,
    ROOM,
    RUNNING,
    SERVING,
    VIRTUAL,
    WORK,
    State,
)

ROOM_PERIOD_S = 2.0
_EARLY = 0.5


@compiled
def read_rooms(st: State) -> None:
    """What each private server's cache holds now."""
    for s in range(st.fleet.shape[0]):
        serving = st.fleet[s, SERVING]
        if st.fleet[s, ADDRESSES] and st.fleet[s, KV] > 0 and serving > 0:
            running = held = 0.0
            for i in range(serving):
                at = st.serving[s, i]
                running += st.lane[at, RUNNING]
                held += _held(st, at)
            used, most = held / (serving * st.fleet[s, KV]), st.site[s, KV_SHARE]
            limited = running > 0.0 and used >= most * _EARLY
            st.fleet[s, ROOM] = max(1, int(running * most / used)) if limited else 0
            count_serving(st, s)


@compiled
def _held(st: State, at: int) -> float:
    """Tokens that are there by now, of those that the requests will need."""
    still = 0.0
    for i in range(st.lane[at, ANSWERING]):
        still += st.ends[at, i] - st.pace[at, VIRTUAL]
    r = st.lane[at, ITERATION]
    while r >= 0:
        still += st.work[r, LEFT] + st.work[r, WORK]
        r = st.place[r, NEXT]
    r = st.lane[at, PARTIAL]
    if r >= 0 and st.lane[at, ITERATION] < 0:
        still += st.work[r, LEFT] + st.work[r, WORK]
    return max(0.0, st.lane[at, KV_USED] - still)
