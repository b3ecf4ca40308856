"""A page for people that needs no other file: what reports say, and the one template that lays it out."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spillway.page.chart import Chart

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATE: Final = "page.html"
_SCRIPT: Final = "live.js"


@dataclass(frozen=True)
class Table:
    """``words``: how many columns from the left hold words; the others hold numbers."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1


@dataclass(frozen=True)
class Image:
    """``said``: what is to be seen, for who does not see it. ``source``: a data URI."""

    said: str
    source: str


@dataclass(frozen=True)
class Section:
    """``lines``: a list of sentences."""

    heading: str
    lines: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    images: tuple[Image, ...] = ()


@dataclass(frozen=True)
class Page:
    """``verdict``: a word, and whether it is good; ``None`` where nothing was judged. ``facts``: what the report is
    about, e.g. the stack and the package. ``renewed_s``: seconds after which a page that is served asks for itself
    anew; a report never does."""

    title: str
    lead: str
    facts: Mapping[str, str]
    sections: tuple[Section, ...]
    verdict: tuple[str, bool] | None = None
    renewed_s: float | None = None


def png(said: str, path: Path) -> Image:
    return Image(said, f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}")


def write_page(page: Page, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(page), encoding="utf-8")


def render(page: Page) -> str:
    return _templates().get_template(_TEMPLATE).render(page=page)


def live_script() -> str:
    """The one script that there is, as it stands in a page that renews itself."""
    return _templates().get_template(_SCRIPT).render()


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
