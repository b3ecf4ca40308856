from __future__ import annotations

from ipaddress import ip_network

from spillway.conformance.flows.addresses import covered, ranges, uncovered
from spillway.contracts.resources import UNKNOWN


def test_what_is_no_ipv4_range_is_left_out() -> None:
    assert ranges(["10.0.0.0/8", UNKNOWN, "::/0", "nonsense"]) == (ip_network("10.0.0.0/8"),)
    assert ranges(None) == ()


def test_ranges_that_hold_another_together_cover_it() -> None:
    halves = ranges(["10.0.0.0/9", "10.128.0.0/9"])
    assert covered(ranges("10.0.0.0/8")[0], halves)
    assert uncovered(ranges(["10.0.0.0/8", "11.0.0.0/8"]), halves) == [ip_network("11.0.0.0/8")]
