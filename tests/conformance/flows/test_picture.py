from __future__ import annotations

from collections.abc import Iterator

from spillway.conformance.flows.flow import Answer, Closed, Door, Family, Flow
from spillway.conformance.flows.picture import page, rows
from spillway.conformance.flows.world import World
from spillway.conformance.rule import Source
from tests.conformance.flows.plans import vpc


def nothing(_: World) -> Iterator[Flow]:
    yield from ()


FAMILY = Family("flow-x", "Something is reached", Source("a page", "https://example.com", "1"), nothing)
FIRST, SECOND = Door("names", lambda: iter(())), Door("way", lambda: iter(()))
FLOW = Flow("a <b>", "c", "tcp/443", (FIRST, SECOND))
SHUT = Answer(FAMILY, FLOW, ((SECOND, Closed(vpc(), "routes", "no way & no wind", "Build one.")),))
OPEN = Answer(FAMILY, FLOW, ())


def test_an_open_arrow_is_green_and_a_closed_one_breaks_at_its_door() -> None:
    green, red = page([OPEN], "test"), page([SHUT], "test")
    assert "Every arrow can be walked" in green
    assert "stroke-dasharray" not in green
    assert all(text in red for text in ("stroke-dasharray", "no way &amp; no wind", "a &lt;b&gt;"))
    assert "<script" not in red


def test_programs_read_the_same() -> None:
    (row,) = rows([SHUT])
    assert (row["open"], row["doors"]) == (False, ["names", "way"])
    assert row["closed"] == [
        {
            "door": "way",
            "resource": "vpc",
            "urn": vpc().urn,
            "path": "routes",
            "message": "no way & no wind",
            "remediation": "Build one.",
        }
    ]
