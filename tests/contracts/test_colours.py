"""The colours of the sites can be told apart without seeing colour."""

from __future__ import annotations

from itertools import pairwise

from spillway.contracts.classes import Site
from spillway.contracts.colours import site_colours


def _lightness(colour: str) -> float:
    """CIE L*, 0 to 100."""
    shares = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    luminance = sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return 116 * luminance ** (1 / 3) - 16


def test_each_site_has_a_colour_that_differs_in_grey() -> None:
    colours = site_colours()
    assert set(colours) == set(Site)
    shades = sorted(_lightness(colour) for colour in colours.values())
    assert min(b - a for a, b in pairwise(shades)) > 10


def test_another_site_has_a_colour_of_its_own_and_changes_none() -> None:
    colours = site_colours(["private", "elsewhere"])
    assert colours["elsewhere"] not in site_colours().values()
    assert {site: colours[site] for site in Site} == site_colours()
