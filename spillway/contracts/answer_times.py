"""How the gateways count the time to a stream's first token and of each further one: histograms by class.

Only a gateway knows a request's class, and sees those that spill and those that nobody takes; vLLM's own histograms
are of one server. The agent keeps them, alerts ask for them. One bucket of each ends at the class's own limit.
"""

from __future__ import annotations

from typing import Final

from spillway.contracts.routing import ClassRoute

FIRST_TOKEN: Final = "spillway_first_token_seconds"
TOKEN: Final = "spillway_token_seconds"
_BOUNDS: Final[dict[str, tuple[float, ...]]] = {
    FIRST_TOKEN: (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
    TOKEN: (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0),
}


def limit(metric: str, route: ClassRoute) -> float:
    """What is in time."""
    return {FIRST_TOKEN: route.first_token_s, TOKEN: route.token_s}[metric]


def bounds(metric: str, route: ClassRoute) -> tuple[float, ...]:
    """Where the class's buckets end, the last one, which has no end, left out."""
    return tuple(sorted({*_BOUNDS[metric], limit(metric, route)}))


def le(bound: float) -> str:
    """A bucket's label. Prometheus 3 makes ``2`` into ``2.0`` when it reads it, and asks for that:
    https://prometheus.io/docs/prometheus/3.5/migration/#le-and-quantile-label-values."""
    return repr(float(bound))
