"""What the simulation knows. Everything is in arrays of a fixed size, few and wide, with named columns, because the
compiler's time grows with their number; memory does not grow with the number of requests.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

CLASSES: Final = 3
BINS: Final = 2048
BIN_RATIO: Final = 1.01
BIN_START_S: Final = 1e-4
"""Histograms: 2048 bins, each 1 % wider than the last, from 0.1 ms to 19 hours."""

DONE, RING_FULL, HOPELESS = range(3)
"""Why ``loop.run`` returned."""
ABSENT, STARTING, LIVE, DRAINING = range(4)
"""States of an instance."""
LEAST_BUSY, RANDOM = 0, 1
"""How a site's balancer chooses a server: the one with the fewest requests, any of those that are equal, or any."""
TRACKING, STEPS, DEMAND = range(3)
"""A site's autoscaler: requests in flight held at a target, one instance more or less by how busy servers are, or
requests in flight at whatever site held at a target."""
BATCH, INTERACTIVE, OPEN = range(3)
"""Gates of a site, each counting against the next."""
MEASURES: Final = ("wait", "first_token", "latency")
"""What an objective may be about, by its number in ``State.rule``; the histograms stand in this order, then time per
token."""
PER_TOKEN: Final = 3

# Columns of ``State.clock``, seconds. The last two are the autoscalers' step and the width of a timeline row.
NOW, NEXT_TICK, NEXT_SAMPLE, NEXT_ROOM, BILL_UNTIL, TICK, BIN = range(7)
# Columns of ``State.count``.
FREE, OUTAGE, SAMPLE, TICKS = range(4)
# Columns of ``State.site``. PROMPT is a factor of the table's times; PACE is seconds of a unit of work (a token, where
# LANGUAGE is not 0) alone on a server; CHUNK is the most of one iteration; DELAY is how long a batch waits to fill.
NETWORK, PROMPT, PACE, STRETCH, LANGUAGE, CHUNK, DELAY, MIXED, BATCH_SHARE = range(9)
TARGET, COOLDOWN, COLD_START, JITTER, FAILURE, RETRY, GROW_ABOVE, SHRINK_BELOW = range(9, 17)
FLIGHT_SECONDS, FLIGHT_AT, LOAD_AT_TICK, BUSY_SECONDS, BUSY_AT, BUSY_AT_TICK = range(17, 23)
INSTANCE_SECONDS, BILLED_AT, ACTED_AT, KV_SHARE = range(23, 27)
SITE_COLUMNS: Final = 27
# Columns of ``State.fleet``. LIMIT is of one server, KV its tokens, PROMPTS those of prompts that may wait there (0:
# any); ADDRESSES is 1 where the gateway knows each server; ROOM is the requests that the KV caches have room for, by
# the agent, 0 where they are no limit. GATE and ANSWERS begin three columns.
LANE, INSTANCE, SERVERS, SLOTS, HEADROOM, LIMIT, KV, LEAST, MOST, FOLLOWS, ROUTING, SCALER = range(12)
OUT_TICKS, IN_TICKS, WINDOW, SERVING, IN_FLIGHT, BUSY, BILLED, ABOVE, BELOW, WANTED_BELOW, MINUTE = range(12, 23)
GATE_SLOTS, PROMPTS, ADDRESSES, ROOM, GATE, ANSWERS = *range(23, 28), 30
FLEET_COLUMNS: Final = 33
# Columns of ``State.lane`` (a lane is a server) and ``State.pace``. VIRTUAL is the work that each answer of the server
# has had since it was last idle; BEGINS is when a batch or an iteration may begin; UNREAD is the tokens of the prompts
# that wait. WAIT_HEAD and WAIT_TAIL begin three.
OF_SITE, OF_INSTANCE, RUNNING, ANSWERING, FLIGHT, KV_USED, UNREAD, PARTIAL, ITERATION, WAIT_HEAD, WAIT_TAIL = (
    *range(10),
    12,
)
LANE_COLUMNS: Final = 15
VIRTUAL, SINCE, RATE, ITERATION_END, BEGINS = range(5)
# Columns of ``State.rule``: bounds in seconds, then sums over the answered. TRY and WHOLE are the gateway's;
# with more than MOST_MISSED nothing more is simulated.
MEASURE, WITHIN, LOST_AFTER, PATIENCE, AGAIN, WAITED, TOKEN_WITHIN, TRY, WHOLE, MOST_MISSED = range(10)
RULE_COLUMNS: Final = 10
# Columns of ``State.tally``. HEAD and LENGTH are of the class's ring, FIRST_CUT and LAST_CUT of its list of tries.
OFFERED, ANSWERED, IN_TIME, LOST, SPILLED, HEAD, LENGTH, FIRST_CUT, LAST_CUT, MISSED = range(10)
TALLY_COLUMNS: Final = 10
# Columns of ``State.work`` and ``State.place``: a request at a site. SENT is when its client sent it, this time; CUT_AT
# when the try is given up, infinite where it is not; FIRST when its first token was there. NEXT is the next of its
# list: free places, those who wait, those of an iteration; EARLIER and LATER are of the tries. TRIED is the row of
# ``State.endpoint``; GIVEN_UP is 1 of a try that the gateway has cut and the server works on.
ARRIVED, SENT, ENTERED, STARTED, FIRST, CUT_AT, PROMPT_TOKENS, LEFT, TAKEN, WORK, TOKENS = range(11)
WORK_COLUMNS: Final = 11
CLASS, SITE, AT, NEXT, REPLICA, THROUGH, TRIED, EARLIER, LATER, GIVEN_UP = range(10)
PLACE_COLUMNS: Final = 10
# What is asked, wherever it is tried: a tuple. Columns of ``State.ring``: that, and when it is sent again.
FIRST_SENT, PROMPT_ASKED, WORK_ASKED, TOKENS_ASKED, DUE = range(5)
# Columns of ``State.endpoint``: a site and a gate of it, -1 behind the last.
ENDPOINT_SITE, ENDPOINT_GATE = range(2)
# Columns of ``State.host``, seconds but for the counts: tries in a row that were cut, until when the gateway leaves it
# alone, and how often it did without a quiet time between.
CUT_IN_A_ROW, ALONE_UNTIL, TIMES_ALONE = range(3)
# Columns of ``State.timeline``; then requests in flight and slots live of each site. OFFERED_BY and MISSED_BY begin
# three columns, by class and time of arrival.
WORST_P0, WAITING, OFFERED_BY, MISSED_BY, PER_SITE = 0, 1, 2, 5, 8


class State(NamedTuple):
    """``[s]`` is by site, ``[c]`` by class, ``[i]`` by instance, ``[l]`` by server, ``[k]`` by process of the gateway,
    ``[r]`` by request at a site. Lanes and instances are numbered over all sites. The columns are named above."""

    clock: Any
    count: Any
    seed: Any  # uint64 [1]
    site: Any  # [s, SITE_COLUMNS] float
    fleet: Any  # [s, FLEET_COLUMNS] int
    endpoint: Any  # [c, rows, 2] what is tried in turn, then (behind a -1) what is after a server failed
    gate: Any  # [s, 3, k] requests that each process has let through
    host: Any  # [k, l, 3] what each process holds of a server; of a site with one address, its first
    serving: Any  # [s, l] lanes of the site that serve; SERVING of them
    busy_minutes: Any  # [s, minutes] how busy its servers were
    rule: Any  # [c, RULE_COLUMNS] float
    tally: Any  # [c, TALLY_COLUMNS] int
    instance: Any  # [i, 2] int: state, outages that hold it
    lane: Any  # [l, LANE_COLUMNS] int
    pace: Any  # [l, 5] float
    active: Any  # [k, l] requests that each process has at a server
    ends: Any  # [l, slots] a heap of each lane: VIRTUAL at which answers are complete
    answering: Any  # [l, slots] their requests
    due: Any  # [l + i] when a lane acts next, or an instance is ready
    order: Any  # [l + i] a heap of those
    rank: Any  # [l + i] where each stands in it
    work: Any  # [r, WORK_COLUMNS] float
    place: Any  # [r, PLACE_COLUMNS] int
    ring: Any  # [c, capacity, 5]
    outages: Any  # [n, 4] time, site, instance of it (-1: all), +1 or -1
    table: Any  # [2, n] prompt tokens (or requests of a batch), seconds
    bins: Any  # [4, c, BINS]
    timeline: Any  # [rows, PER_SITE + 2 s]
