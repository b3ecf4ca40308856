"""A drill's result for people: a table for the terminal, and one HTML file with a timeline and no script."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spillway.contracts.classes import Site
from spillway.contracts.colours import site_colours
from spillway.drill.bill import Bill
from spillway.drill.result import ChatResult, ClassResult, DrillResult, PhaseResult

if TYPE_CHECKING:
    from rich.table import Table

_OTHER: Final = "#8a8a8a"
_LOST: Final = "#c0262d"

_WIDTH, _HEIGHT = 960, 240
_LEFT, _TOP, _BOTTOM = 44, 34, 28
_COLUMNS: Final = ("phase", "class", "requests", *map(str, Site), "lost", "P50 ms", "P99 ms")
_SHARES: Final = ("available", "on time")
_CHAT: Final = ("TPOT P50 ms", "TPOT P99 ms", "cut", "tokens lost")
"""Columns of a drill of chats, whose P50 and P99 are those of the first token."""


def render_table(result: DrillResult) -> Table:
    """One row for each phase and class; print it with rich."""
    from rich.table import Table

    table = Table(title=f"Drill “{result.plan}”: {'passed' if result.passed else 'FAILED'}", caption=_recovery(result))
    for column in _columns(result):
        table.add_column(column, justify="left" if column in ("phase", "class") else "right")
    for phase in result.phases:
        _add_rows(table, phase.name, phase.classes)
    _add_rows(table, "whole drill", result.totals)
    return table


def _columns(result: DrillResult) -> tuple[str, ...]:
    if all(found.chat is None for found in result.totals.values()):
        return (*_COLUMNS, *_SHARES)
    timed = (f"TTFT {column}" if column.endswith("ms") else column for column in _COLUMNS)
    return (*timed, *_SHARES, *_CHAT)


def write_html(result: DrillResult, path: Path) -> None:
    """A self-contained page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(result), encoding="utf-8")


def _add_rows(table: Table, title: str, classes: dict[str, ClassResult]) -> None:
    rows = list(_rows(title, classes))
    for number, row in enumerate(rows, 1):
        table.add_row(*row, end_section=number == len(rows), style="red" if row[6] != "0" else None)


def _rows(title: str, classes: dict[str, ClassResult]) -> Iterator[tuple[str, ...]]:
    for number, (name, found) in enumerate(classes.items()):
        sites = (str(found.answered.get(site, 0)) for site in Site)
        yield (
            title if number == 0 else "",
            name,
            str(found.requests),
            *sites,
            str(found.lost),
            _milliseconds(found.p50_ms),
            _milliseconds(found.p99_ms),
            f"{found.availability:.2%}",
            f"{found.on_time:.1%}",
            *(_chat_cells(found.chat) if found.chat else ()),
        )


def _chat_cells(chat: ChatResult) -> tuple[str, ...]:
    lost = str(chat.tokens_lost)
    return (_milliseconds(chat.tpot_p50_ms), _milliseconds(chat.tpot_p99_ms), str(chat.cut), lost)


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _recovery(result: DrillResult) -> str:
    lines = [line for phase in result.phases for line in recovery_lines(phase)]
    return "\n".join([*lines, *([bill_line(result.bill)] if result.bill else [])])


def bill_line(bill: Bill) -> str:
    """In words: what the drill cost at list prices."""
    sites: dict[str, float] = {}
    for line in bill.lines:
        sites[line.site] = sites.get(line.site, 0.0) + line.usd
    parts = ", ".join(f"{site} {usd:.4f} $" for site, usd in sites.items())
    missed = f"; {bill.missed} samples missed" if bill.missed else ""
    return f"bill: {bill.usd:.2f} $ ({parts}{missed})"


def recovery_lines(phase: PhaseResult) -> Iterator[str]:
    """In words: how long it took until others answered, and until the site was back."""
    if phase.broken and phase.elsewhere_s is not None:
        settled = "" if phase.disturbed_s is None else f", last lost request after {phase.disturbed_s:.1f} s"
        yield f"{phase.name}: others answered after {phase.elsewhere_s:.2f} s{settled}"
    if phase.back_s is not None:
        yield f"{phase.name}: back after {phase.back_s:.1f} s"


def _page(result: DrillResult) -> str:
    verdict = "passed" if result.passed else "failed"
    checks = _html_rows(("✓" if c.passed else "✗", c.name, c.detail) for c in result.checks)
    rows = _html_rows(row for p in result.phases for row in _rows(p.name, p.classes))
    totals = _html_rows(_rows("whole drill", result.totals))
    recovery = "".join(f"<li>{html.escape(line)}</li>" for p in result.phases for line in recovery_lines(p))
    lost = _html_rows((reason, str(count)) for reason, count in result.reasons.items())
    heads = "".join(f"<th>{name}</th>" for name in _columns(result))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Spillway drill: {verdict}</title><style>{_STYLE}</style></head><body>
<h1>Drill “{html.escape(result.plan)}”: <span class="{verdict}">{verdict}</span></h1>
<p>{html.escape(result.gateway)}, {html.escape(result.started_at)}, {result.duration_s:.0f} s. Latency counts from the
time a request was due. Lost: no correct answer within the class's deadline + 2 s.</p>
{_timeline(result)}
<h2>Checks</h2><table><tbody>{checks}</tbody></table>
<h2>Phases</h2><table><thead><tr>{heads}</tr></thead><tbody>{rows}{totals}</tbody></table>
<h2>Recovery</h2><ul>{recovery or "<li>nothing was broken</li>"}</ul>
<h2>Bill</h2><table><thead><tr><th>site</th><th>$/h of one</th><th>instance hours</th><th>$</th></tr></thead>
<tbody>{_bill_rows(result.bill)}</tbody></table>
<h2>Lost requests</h2><table><tbody>{lost or "<tr><td>none</td></tr>"}</tbody></table>
</body></html>
"""


def _bill_rows(bill: Bill | None) -> str:
    if bill is None:
        return "<tr><td>nobody said what ran</td></tr>"
    rows = [(x.site, f"{x.usd_per_hour:.4f}", f"{x.instance_hours:.4f}", f"{x.usd:.4f}") for x in bill.lines]
    return _html_rows([*rows, ("together, to the cent", "", "", f"{bill.usd:.2f}")])


def _html_rows(rows: Iterable[tuple[str, ...]]) -> str:
    return "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)


def _timeline(result: DrillResult) -> str:
    """Requests per second by site, stacked; phases with broken sites as bands; lost requests on top."""
    seconds = result.timeline
    tallest = max((sum(s.answered.values()) + s.lost for s in seconds), default=0) or 1
    across = (_WIDTH - _LEFT) / max(len(seconds), 1)
    up = (_HEIGHT - _TOP - _BOTTOM) / tallest
    floor = _HEIGHT - _BOTTOM
    parts = [_band(phase, across) for phase in result.phases]
    colours = site_colours()
    for second in seconds:
        top = float(floor)
        layers = [(colours.get(s, _OTHER), n) for s, n in second.answered.items()]
        for colour, count in (*layers, (_LOST, second.lost)):
            top -= count * up
            if count:
                parts.append(_rect(_LEFT + second.at_s * across, top, max(across - 0.6, 0.4), count * up, colour))
    axis = f'<line x1="{_LEFT}" y1="{floor}" x2="{_WIDTH}" y2="{floor}" stroke="#444"/>'
    marks = "".join(_text(_LEFT + at * across, floor + 16, f"{at} s") for at in range(0, len(seconds), _step(seconds)))
    scale = _text(4, _TOP + 10, f"{tallest}/s") + _text(4, floor, "0")
    names = {**colours, "lost": _LOST}
    legend = "".join(f'<span class="key" style="background:{colour}"></span>{name} ' for name, colour in names.items())
    title = "Requests per second by the site that answered"
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}{axis}'
        f"{marks}{scale}</svg><figcaption>{legend}</figcaption></figure>"
    )


def _step(seconds: tuple[object, ...]) -> int:
    return next((step for step in (5, 10, 20, 30, 60, 120) if len(seconds) / step <= 15), 300)


def _band(phase: PhaseResult, across: float) -> str:
    left, width = _LEFT + phase.start_s * across, (phase.end_s - phase.start_s) * across
    fill = "#f3d9d9" if phase.broken else "#eef2f0"
    title = f"<title>{html.escape(phase.name)}</title>"
    band = f'<rect x="{left:.1f}" y="0" width="{width:.1f}" height="{_HEIGHT - _BOTTOM}" fill="{fill}">{title}</rect>'
    letters = max(int(width / 6.2), 0)
    name = phase.name if len(phase.name) <= letters else phase.name[: max(letters - 1, 0)] + "…"
    return band + _text(left + 3, 14, name if letters > 2 else "")


def _rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>'


def _text(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}">{html.escape(words)}</text>'


_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; font-size: 13px } td, th { padding: 3px 9px; border-bottom: 1px solid #ddd }
td { font-variant-numeric: tabular-nums } th { text-align: left } svg { width: 100%; height: auto }
text { font-size: 11px; fill: #333 } figure { margin: 1rem 0 } .passed { color: #1d6b3a } .failed { color: #c0262d }
.key { display: inline-block; width: 11px; height: 11px; margin: 0 4px 0 12px }
"""
