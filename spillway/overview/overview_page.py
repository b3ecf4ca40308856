"""The overview as a page that renews itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from spillway.contracts.answer_cache import CACHED_SITE
from spillway.drill.report import charts, recovery_lines
from spillway.drill.result import DrillResult
from spillway.overview.overview import LATELY, Overview
from spillway.page.page import Page, Section, Table

_MINUTES = int(LATELY.total_seconds() // 60)


def page_of(seen: Overview, about: Mapping[str, str], every_s: float) -> Page:
    """``about``: the stack and its package. ``every_s``: seconds between two looks."""
    return Page(
        title=f"Spillway {seen.stack}",
        verdict=("all is well", True) if seen.well else ("needs a look", False),
        lead=f"Answers are those of the last {_MINUTES} minutes. Renewed every {every_s:g} s.",
        facts={**about, "as of": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"},
        sections=(
            *([Section("Problems", lines=seen.problems)] if seen.problems else []),
            Section("Sites", tables=(_sites(seen),)),
            Section("Classes", lines=_spill(seen), tables=(_classes(seen),)),
            Section("Cost", lines=_cost(seen)),
            _alarms(seen),
            _drill(seen.drill),
        ),
        renewed_s=every_s,
    )


def _sites(seen: Overview) -> Table:
    whole = sum(site.answers for site in seen.sites)
    rows = tuple(
        (
            site.name,
            site.state,
            site.detail or "–",
            f"{site.answers:.0f}",
            f"{site.answers / whole:.1%}" if whole else "–",
            _usd(site.usd_per_gpu_hour),
        )
        for site in seen.sites
    )
    return Table(
        "Sites, in the order of spilling", ("site", "state", "detail", "answers", "share", "$/GPU-hour"), rows, 3
    )


def _classes(seen: Overview) -> Table:
    sites = dict.fromkeys((*(site.name for site in seen.sites), CACHED_SITE))
    rows = tuple(
        (name, "closed" if name in seen.closed else "open", *(f"{found.get(site, 0.0):.0f}" for site in sites))
        for name, found in seen.answers.items()
    )
    return Table("Answers by class and site", ("class", "spill", *sites), rows, words=2)


def _spill(seen: Overview) -> tuple[str, ...]:
    share = seen.spill_share
    return (f"Burst sites answered {share:.1%}." if share is not None else "Nobody asked lately.",)


def _cost(seen: Overview) -> tuple[str, ...]:
    if seen.usd_per_gpu_hour is None and seen.burst_usd_per_hour is None:
        return ("The cost function has told nothing lately.",)
    return (f"Blended: {_usd(seen.usd_per_gpu_hour)} $/GPU-hour.", f"Burst: {_usd(seen.burst_usd_per_hour)} $/h.")


def _alarms(seen: Overview) -> Section:
    """Those that ring, of how many."""
    rings = tuple((one.name, one.since, one.reason) for one in seen.alarms if one.rings)
    said = f"Ringing: {len(rings)} of {len(seen.alarms)}."
    tables = (Table("Alarms that ring", ("alarm", "since", "reason"), rings, words=3),) if rings else ()
    return Section("Alarms", lines=(said,), tables=tables)


def _drill(drill: DrillResult | None) -> Section:
    heading = "Last drill"
    if drill is None:
        return Section(heading, lines=("There was none yet: spillway drill.",))
    ended = "passed" if drill.passed else "failed"
    failed = (f"Not held: {check.name} ({check.detail})" for check in drill.checks if not check.passed)
    recovery = (line for phase in drill.phases for line in recovery_lines(phase))
    said = f"“{drill.plan}”, begun {drill.started_at}: {ended}."
    return Section(heading, lines=(said, *failed, *recovery), charts=charts(drill))


def _usd(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
