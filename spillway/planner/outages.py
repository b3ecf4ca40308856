"""Availability over the long run: what outages of the private site and of its instances cost.

Outages are rare, so they are drawn one at a time, from twelve parts of the times at which they begin and that they
last, and run on the trace. What is late besides the calm's share, times the outages an hour, is what they cost.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from spillway.contracts.classes import RequestClass, Site
from spillway.planner.kernel import state
from spillway.planner.service import ServiceModel
from spillway.planner.simulate import Outcome, run_outages
from spillway.planner.system import Failures, System
from spillway.planner.trace import Trace

P0 = RequestClass.P0
EPISODES: Final = 12
"""Outages that are drawn of one kind."""
WHOLE_SITE: Final = -1
"""As the instance that an outage is of."""
_SEEN_S: Final = 7200.0
"""Seconds of an outage that are simulated; the rest is as the second half of them. By then burst has grown."""
_AFTER_S: Final = 900.0
"""Seconds after an outage that are simulated."""
_BIN_S: Final = 300.0


def available_with_outages(
    trace: Trace,
    service: ServiceModel,
    system: System,
    calm: Outcome,
    failures: Failures,
    *,
    seed: int = 1,
    least: float = 0.0,
) -> float:
    """P0's availability over the long run. ``calm``: the system on the trace while nothing is out. ``least``: once it
    is below that, no more is simulated, and it is so much at most."""
    private, available = system.site(Site.PRIVATE), calm.classes[P0].available
    if private is None or private.min_instances == 0:
        return available
    if failures.site_mtbf_h is not None:
        if len(system.sites) == 1:
            # Nothing is answered while it is out.
            available *= failures.site_mtbf_h / (failures.site_mtbf_h + failures.site_mttr_h)
        else:
            an_hour = 1 / (failures.site_mtbf_h + failures.site_mttr_h)
            drawn = _drawn(trace, WHOLE_SITE, failures.site_mttr_h, seed)
            available -= _cost(trace, service, system, calm, drawn, an_hour, seed, available - least)
    if failures.instance_mtbf_h is not None:
        an_hour = private.min_instances / (failures.instance_mtbf_h + failures.instance_mttr_h)
        drawn = _drawn(trace, 0, failures.instance_mttr_h, seed)
        available -= _cost(trace, service, system, calm, drawn, an_hour, seed, available - least)
    return available


def _drawn(trace: Trace, which: int, mttr_h: float, seed: int) -> list[tuple[NDArray[np.float64], float]]:
    """Outages in the order in which they begin: the rows of what is simulated of each, and how long it lasts."""
    dice = np.random.default_rng(seed)
    shares = (np.arange(EPISODES) + dice.random((2, EPISODES))) / EPISODES
    begins = dice.permutation(shares[0]) * trace.duration_s
    lasts = -np.log1p(-shares[1]) * mttr_h * 3600
    ends = begins + np.minimum(lasts, _SEEN_S)
    rows = (np.array([[b, 0, which, 1], [e, 0, which, -1]]) for b, e in zip(begins, ends, strict=True))
    return sorted(zip(rows, lasts.tolist(), strict=True), key=lambda one: one[0][0, 0])


def _cost(
    trace: Trace,
    service: ServiceModel,
    system: System,
    calm: Outcome,
    drawn: list[tuple[NDArray[np.float64], float]],
    an_hour: float,
    seed: int,
    most: float,
) -> float:
    """Share of P0 that these outages make late; above ``most``, that or more."""
    late, offered_an_hour = 0.0, calm.classes[P0].offered / calm.hours
    if not offered_an_hour:
        return 0.0
    each, share = an_hour / EPISODES / offered_an_hour, 1 - calm.classes[P0].available
    timelines = run_outages(trace, service, system, [rows for rows, _ in drawn], _AFTER_S, seed=seed, bin_s=_BIN_S)
    for (rows, lasts_s), timeline in zip(drawn, timelines, strict=True):
        late += _late(timeline, share, float(rows[0, 0]), lasts_s)
        if late * each > most:
            break
    return late * each


def _late(timeline: NDArray[np.float64], share: float, begin_s: float, lasts_s: float) -> float:
    """P0 requests that one outage makes late. ``share``: of them that is late in calm."""
    late = timeline[:, state.MISSED_BY] - timeline[:, state.OFFERED_BY] * share
    at = (np.arange(len(late)) + 0.5) * _BIN_S - begin_s
    total = float(late[at > -_BIN_S].sum())
    if lasts_s > _SEEN_S:
        steady = late[(at >= _SEEN_S / 2) & (at < _SEEN_S)]
        total += float(steady.sum()) / (_SEEN_S / 2) * (lasts_s - _SEEN_S)
    return max(0.0, total)
