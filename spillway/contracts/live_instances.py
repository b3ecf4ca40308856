"""Live instances of the sites that a gateway cannot ask itself: the cost signal writes them, the agents read them.

One SSM parameter holds them as JSON, each with the moment at which it was read. Standard library only: the functions
carry this module.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

FRESH_S: Final = 300.0
"""Seconds for which a count holds. The signal comes each minute, so five of them have failed by then."""


@dataclass(frozen=True)
class LiveCount:
    """``instances``: that serve a site's requests as a whole; a fraction where the site splits them over deployments.
    ``read_at``: seconds since 1970."""

    instances: float
    read_at: float

    def is_fresh(self, now: float) -> bool:
        return now - self.read_at <= FRESH_S


def to_json(counts: Mapping[str, LiveCount]) -> str:
    """The parameter's value, by site."""
    return json.dumps({site: asdict(count) for site, count in counts.items()})


def from_json(text: str) -> dict[str, LiveCount]:
    """What :func:`to_json` wrote. ``ValueError``: it is something else."""
    try:
        return {
            site: LiveCount(float(one["instances"]), float(one["read_at"])) for site, one in json.loads(text).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError('live instances must be JSON such as {"<site>": {"instances": 2, "read_at": 0}}') from None
