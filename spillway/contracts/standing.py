"""What costs money by standing there: list prices of networks, control planes, small machines and the like.

``standing_prices.json`` beside this module is the data, each price with its source and date, in US dollars of us-east-1
and eastus. GPU machines have a catalogue of their own (:mod:`spillway.contracts.prices`).
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from spillway.contracts.prices import HOURS_PER_MONTH

HOME: Final = {"aws": "us-east-1", "ec2": "us-east-1", "azure": "eastus"}
"""Whose prices these are; those of other regions are taken for the same, and said to be estimates."""


class Standing(NamedTuple):
    """US dollars an hour of one, and where that is from."""

    usd_per_hour: float
    source: str


@cache
def _table() -> dict[str, Any]:
    return json.loads(files("spillway.contracts").joinpath("standing_prices.json").read_text(encoding="utf-8"))


def standing(what: str) -> Standing | None:
    """The price of e.g. ``aws nat gateway`` or ``ec2 m7i.xlarge``; ``None`` where it is not known."""
    found = _table()["prices"].get(what)
    if found is None:
        return None
    usd, per, source = found
    known = _table()["sources"][source]
    return Standing(usd / (HOURS_PER_MONTH if per == "month" else 1.0), f"{known['text']}, read on {known['read_on']}")
