"""Reads how many instances the cost signal has found at the sites that this gateway cannot ask itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from spillway.contracts.live_instances import LiveCount, from_json
from spillway.contracts.routing import LiveInstances, SiteRoute


class LiveWatch:
    """The counts as last read. A read that fails leaves them as they were, until they are too old."""

    def __init__(self, live: LiveInstances, read_parameter: Callable[[str], str | None]) -> None:
        self.live = live
        self._counts: Mapping[str, LiveCount] = {}
        self._read = read_parameter

    def check(self) -> None:
        """Read once (blocking). Raises what the reader raises, and ``ValueError`` for what are no counts."""
        text = self._read(self.live.parameter)
        self._counts = from_json(text) if text is not None else {}

    def instances(self, route: SiteRoute, now: float | None = None) -> float:
        """Of a site; those that its slots were counted for where nothing fresh is known."""
        found = self._counts.get(route.site)
        fresh = found is not None and found.is_fresh(time.time() if now is None else now)
        return found.instances if found is not None and fresh else route.instances
