"""How many requests of P0 the private vLLM servers can begin in time.

P0 is let in above the slots and waits in the engine's queue, in front of everybody else. Where more of it comes than is
answered, that queue grows until each waits for as long as its class allows: then the engine takes up requests that are
given up a moment later, and hardly one is answered, here or anywhere else. So while requests wait, a site takes as many
as run, and those that are begun within half of what P0 allows at the rate at which answers end; the next one spills.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from spillway.contracts.routing import SiteRoute
from spillway.runtime.gateway.server_metrics import samples, values

RUNNING: Final = samples("vllm:num_requests_running")
_WAITING: Final = samples("vllm:num_requests_waiting")
_ENDED: Final = re.compile(
    r'^vllm:request_success_total\{[^}]*finished_reason="(?:stop|length|repetition)"[^}]*\}\s+([0-9.eE+-]+)$',
    re.MULTILINE,
)
"""Answers that were made to their end; of those given up the reason is ``abort``. ``FinishReason`` in vLLM 0.30's
``vllm/v1/engine/__init__.py``, ``counter_request_success`` in ``vllm/v1/metrics/loggers.py``."""
_SHARE: Final = 0.5
"""Of what P0 allows: what is read is old by the next reading, and reading the prompt takes some of it."""
_REOPENED: Final = 1.25
"""By how much, from one reading to the next, more are taken again while nobody waits."""
_FORGOTTEN: Final = 1 << 20
"""Requests at once that no site has."""


class QueueRoom:
    """``first_token_s``: what P0 allows."""

    def __init__(self, first_token_s: float) -> None:
        self._wait_s = first_token_s * _SHARE
        self._last: tuple[float, float] | None = None
        self.most: int | None = None
        """Requests at once of the whole site; ``None`` where the queue is no limit."""

    def take(self, read: Sequence[str], now: float) -> None:
        """The servers' metrics of one moment."""
        running, waiting, ended = (sum(values(what, read)) for what in (RUNNING, _WAITING, _ENDED))
        before, self._last = self._last, (ended, now)
        if waiting and before and now > before[1]:
            # A server that started anew counts from nothing.
            rate = max(0.0, ended - before[0]) / (now - before[1])
            self.most = max(1, int(running + max(1.0, rate * self._wait_s)))
        elif not waiting and self.most is not None:
            opened = int(self.most * _REOPENED) + 1
            self.most = opened if opened < _FORGOTTEN else None


def shortened(route: SiteRoute, most: int | None) -> SiteRoute:
    """The route with as little room for P0 above its slots as leaves it at most so many requests at once."""
    if most is None or most >= route.slots + route.room_above:
        return route
    return route.model_copy(update={"headroom": max(0, most - route.slots)})
