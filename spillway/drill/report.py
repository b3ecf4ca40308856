"""A drill's result for people: a table for the terminal, and a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spillway.contracts.classes import Site
from spillway.contracts.colours import site_colours
from spillway.drill.bill import Bill
from spillway.drill.result import ChatResult, ClassResult, DrillResult, PhaseResult
from spillway.page.chart import LOST, OTHER, Chart, Series, Stretch, lines, stacked
from spillway.page.page import Page, Section, Table, write_page

if TYPE_CHECKING:
    from rich.table import Table as TerminalTable

_COLUMNS: Final = ("phase", "class", "requests", *map(str, Site), "lost", "P50 ms", "P99 ms")
_SHARES: Final = ("available", "on time")
_CHAT: Final = ("TPOT P50 ms", "TPOT P99 ms", "cut", "tokens lost")
"""Columns of a drill of chats, whose P50 and P99 are those of the first token."""


def render_table(result: DrillResult) -> TerminalTable:
    """One row for each phase and class; print it with rich."""
    from rich.table import Table as TerminalTable

    verdict = result.verdict if result.passed else result.verdict.upper()
    table = TerminalTable(title=f"Drill “{result.plan}”: {verdict}", caption=_recovery(result))
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


def write_html(result: DrillResult, path: Path, about: Mapping[str, str]) -> None:
    """A page that needs no other file. ``about``: what was drilled, e.g. its stack and package."""
    write_page(_page(result, about), path)


def write_json(result: DrillResult, path: Path) -> None:
    """What ``spillway plan --validate`` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result.to_json(), indent=2) + "\n", encoding="utf-8")


def _add_rows(table: TerminalTable, title: str, classes: dict[str, ClassResult]) -> None:
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


def _page(result: DrillResult, about: Mapping[str, str]) -> Page:
    rows = [row for phase in result.phases for row in _rows(phase.name, phase.classes)]
    phases = Table("What clients saw", _columns(result), (*rows, *_rows("whole drill", result.totals)), words=2)
    recovery = tuple(line for phase in result.phases for line in recovery_lines(phase))
    checks = tuple(("held" if one.passed else "not held", one.name, one.detail) for one in result.checks)
    lost = tuple((reason, str(count)) for reason, count in result.reasons.items())
    reasons = (Table("Why requests were lost", ("reason", "requests"), lost),) if lost else ()
    return Page(
        title=f"Drill “{result.plan}”",
        verdict=(result.verdict, result.passed),
        lead="Latency counts from the time a request was due. Lost: no right answer within the class's deadline + 2 s.",
        facts={**about, "gateway": result.gateway, "begun": result.started_at, "took": f"{result.duration_s:.0f} s"},
        sections=(
            Section("Over time", charts=charts(result)),
            Section("Checks", tables=(Table("What had to hold", ("verdict", "what", "detail"), checks, words=3),)),
            Section("Phases", tables=(phases,)),
            Section("Recovery", lines=recovery or ("nothing was broken",)),
            Section("Bill", **_bill(result.bill)),
            Section("Lost requests", lines=() if lost else ("none",), tables=reasons),
        ),
    )


def _bill(bill: Bill | None) -> dict[str, Any]:
    if bill is None:
        return {"lines": ("nobody said what ran",)}
    rows = [(x.site, f"{x.usd_per_hour:.4f}", f"{x.instance_hours:.4f}", f"{x.usd:.4f}") for x in bill.lines]
    together = ("together, to the cent", "", "", f"{bill.usd:.2f}")
    return {"tables": (Table("At list prices", ("site", "$/h of one", "instance hours", "$"), (*rows, together)),)}


def charts(result: DrillResult) -> tuple[Chart, Chart]:
    """Who answered, and how quickly, second by second."""
    stretches = [Stretch(phase.name, phase.start_s, phase.end_s, bool(phase.broken)) for phase in result.phases]
    seconds, colours = result.timeline, site_colours()
    sites = dict.fromkeys((*colours, *(site for second in seconds for site in second.answered)))
    answered = [
        Series(site, colours.get(site, OTHER), [second.answered.get(site, 0) for second in seconds]) for site in sites
    ]
    lost = Series("lost", LOST, [second.lost for second in seconds])
    requests = sum(found.requests for found in result.totals.values())
    gone = sum(found.lost for found in result.totals.values())
    half = Series("half of them within", "var(--good)", [second.p50_ms for second in seconds])
    slowest = Series("the slowest", "var(--bad)", [second.slowest_ms for second in seconds])
    peak = max((second.slowest_ms or 0.0 for second in seconds), default=0.0)
    return (
        stacked(
            "Requests per second by the site that answered",
            f"{requests} requests, {gone} of them lost; the tables below have the numbers by phase",
            [*answered, lost],
            stretches,
        ),
        lines("Latency of what was answered", f"At most {peak:.0f} ms", [half, slowest], stretches, "ms"),
    )
