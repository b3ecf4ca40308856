from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from spillway.conformance.flows.flow import Answer, Closed, Door, Family, Flow
from spillway.conformance.flows.picture import rows, write_page
from spillway.conformance.flows.world import World
from spillway.conformance.rule import Source
from tests.conformance.flows.plans import vpc
from tests.support.browser import LOOKS, Look, problems


def nothing(_: World) -> Iterator[Flow]:
    yield from ()


FAMILY = Family("flow-x", "Something is reached", Source("a page", "https://example.com", "1"), nothing)
FIRST, SECOND = Door("names", lambda: iter(())), Door("way", lambda: iter(()))
FLOW = Flow("a <b>", "c", "tcp/443", (FIRST, SECOND))
SHUT = Answer(FAMILY, FLOW, ((SECOND, Closed(vpc(), "routes", "no way & no wind", "Build one.")),))
OPEN = Answer(FAMILY, FLOW, ())


def page(folder: Path, *answers: Answer) -> str:
    write_page(answers, {"stack": "test"}, folder / "flows.html")
    return (folder / "flows.html").read_text(encoding="utf-8")


def test_an_open_arrow_is_whole_and_a_closed_one_breaks_at_its_door(tmp_path: Path) -> None:
    green, red = page(tmp_path, OPEN), page(tmp_path, SHUT)
    assert "every arrow can be walked" in green
    assert "stroke:var(--bad)" not in green
    assert "stroke-dasharray" not in green
    assert all(text in red for text in ("stroke-dasharray", "no way &amp; no wind", "a &lt;b&gt;"))
    assert "<script" not in red


@pytest.mark.heavy
@pytest.mark.parametrize("look", LOOKS)
def test_the_page_reads_well_on_every_screen(tmp_path: Path, look: Look) -> None:
    other = replace(FAMILY, name="flow-y", says="Something else is reached")
    page(tmp_path, OPEN, SHUT, replace(OPEN, family=other, flow=replace(FLOW, source="a name that is long " * 4)))
    assert problems(tmp_path / "flows.html", look) == []


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
