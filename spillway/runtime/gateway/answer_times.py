"""How long streams take to their first token and for each further one, by class, as Prometheus' histograms.

What failed never had a first token: it counts as later than every bound. Whose client left, or was at fault, does not
count.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from math import inf

from spillway.contracts.answer_times import FIRST_TOKEN, TOKEN, bounds, le
from spillway.contracts.routing import RoutingTable
from spillway.contracts.usage import Usage


class Histogram:
    """``counts``: of each bucket alone, the last without an end."""

    def __init__(self, ends: tuple[float, ...]) -> None:
        self.ends = ends
        self.counts = [0] * (len(ends) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.ends, seconds)] += 1
        self.sum += seconds if seconds < inf else 0.0

    def lines(self, name: str, labels: str) -> Iterator[str]:
        below = 0
        for end, count in zip((*map(le, self.ends), "+Inf"), self.counts, strict=True):
            below += count
            yield f'{name}_bucket{{{labels},le="{end}"}} {below}'
        yield f"{name}_count{{{labels}}} {below}"
        yield f"{name}_sum{{{labels}}} {self.sum:.6f}"


class AnswerTimes:
    """Belongs to one event loop."""

    def __init__(self, table: RoutingTable) -> None:
        self._histograms = {
            (metric, route.request_class.value): Histogram(bounds(metric, route))
            for metric in (FIRST_TOKEN, TOKEN)
            for route in table.classes
        }

    def take(self, usage: Usage) -> None:
        """An answer is over."""
        if not usage.streamed or not (usage.status == 200 or usage.status >= 500):
            return
        first_s = inf if usage.status >= 500 or usage.first_ms is None else usage.first_ms / 1000
        self._histograms[FIRST_TOKEN, usage.request_class].observe(first_s)
        further = (usage.completion or 0) - 1
        if first_s < inf and further > 0 and usage.duration_ms is not None:
            self._histograms[TOKEN, usage.request_class].observe((usage.duration_ms / 1000 - first_s) / further)

    def metrics(self) -> Iterator[str]:
        """Lines for Prometheus."""
        for (metric, request_class), histogram in self._histograms.items():
            yield from histogram.lines(metric, f'class="{request_class}"')
