"""The colour of each site in charts and reports."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from typing import Final

from spillway.contracts.classes import Site, SiteName

_PALETTE: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#f0e442")
"""Okabe and Ito's colours without black and the red that means a loss here: people who see no red, no green or no blue
tell them apart, and the first three differ in grey, too. https://jfly.uni-koeln.de/color/"""

LOST: Final = "#c0262d"
"""What is lost, late or waits."""


def site_colours(others: Iterable[SiteName] = ()) -> dict[SiteName, str]:
    """Of the sites that Spillway ships, in spill order, and after them of those ``others`` that are none of these."""
    return dict(zip(dict.fromkeys((*Site, *others)), cycle(_PALETTE), strict=False))
