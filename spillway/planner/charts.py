"""A plan's pictures (PNG, by matplotlib without a display) and its page, which carries them inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from spillway.contracts.colours import LOST, site_colours
from spillway.page.page import Page, Section, Table, png
from spillway.planner.kernel import state as kernel
from spillway.planner.offers import Bought
from spillway.planner.plan import Plan, Row
from spillway.planner.search import Candidate

_SEEN: Final = {
    "cost": "What each alternative costs a month, by site. The table of alternatives has the sums.",
    "waiting": "The slowest P0 request of each minute in the chosen plan, beside what is promised.",
    "capacity": "Busy and waiting requests in the chosen plan, by site, beside the slots that were live.",
    "front": "Dollars a month against the share of P0 in time, of all sizes that nothing cheaper is better than.",
}
CHARTS: Final = tuple(_SEEN)


def write_charts(plan: Plan, folder: Path) -> list[Path]:
    """``cost.png``, ``waiting.png``, ``capacity.png`` and ``front.png`` in ``folder``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, draw in zip(CHARTS, (_cost, _waiting, _capacity, _front), strict=True):
        figure = Figure(figsize=(9, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.add_subplot(), plan)
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=110)
        made.append(path)
    return made


def _cost(axes: Any, plan: Plan) -> None:
    """Above each bar what it costs; a bar that does not hold says so."""
    rows = [
        (name if row.judged.holds else f"{name}\n(misses)", row.judged) for name, row in named_rows(plan) if row.judged
    ]
    bottom = np.zeros(len(rows))
    for site, colour in site_colours(site for _, found in rows for site in found.bill.usd_per_hour).items():
        values = np.array([found.bill.usd_per_hour.get(site, 0.0) * 730 for _, found in rows])
        if values.any():
            axes.bar([name for name, _ in rows], values, bottom=bottom, label=site, color=colour)
            bottom += values
    for at, total in enumerate(bottom):
        axes.annotate(f"{total:,.0f} $", (at, total), ha="center", va="bottom")
    axes.set(ylabel="$ a month", title="What each alternative costs")
    axes.margins(y=0.12)
    axes.legend()


def _waiting(axes: Any, plan: Plan) -> None:
    found = plan.chosen
    timeline = found.outcome.timeline
    minutes = (np.arange(len(timeline)) + 0.5) * found.outcome.bin_s / 60
    axes.semilogy(minutes, np.maximum(timeline[:, kernel.WORST_P0], 1e-3), color=LOST, label="slowest P0")
    within = found.system.objectives[next(iter(found.system.objectives))].within_s
    axes.axhline(within, color="black", linestyle="--", label=f"{within:g} s")
    axes.set(
        xlabel="minutes", ylabel="seconds", title="The slowest of P0 in the chosen plan, as its promise measures it"
    )
    axes.legend()


def _capacity(axes: Any, plan: Plan) -> None:
    """Sampled once a row, so short peaks between two samples are not seen."""
    found = plan.chosen
    timeline = found.outcome.timeline
    minutes = (np.arange(len(timeline)) + 0.5) * found.outcome.bin_s / 60
    floor = np.zeros(len(timeline))
    colours = site_colours(spec.site for spec in found.system.sites)
    for s, spec in enumerate(found.system.sites):
        used = timeline[:, kernel.PER_SITE + 2 * s]
        axes.fill_between(minutes, floor, floor + used, step="mid", color=colours[spec.site], label=f"{spec.site} busy")
        floor = floor + used
    axes.fill_between(
        minutes, floor, floor + timeline[:, kernel.WAITING], step="mid", color=LOST, alpha=0.6, label="waiting"
    )
    live = sum(timeline[:, kernel.PER_SITE + 2 * s + 1] for s in range(len(found.system.sites)))
    axes.step(minutes, live, where="mid", color="black", label="slots live")
    # What waits beyond is cut off: a peak of it would make all else a line.
    axes.set_ylim(0, 1.3 * max(1.0, float(np.max(live)), float(floor.max())))
    axes.set(xlabel="minutes", ylabel="requests", title="Capacity against demand in the chosen plan")
    axes.legend(loc="upper center", ncols=len(found.system.sites) + 2)


_NEVER: Final = 1e-6
"""What nothing misses is drawn as missing so much, for a logarithm has no zero."""


def _front(axes: Any, plan: Plan) -> None:
    """On the share that is not in time, since the decision lies between 99.9 and 99.99 %; with the promise and the
    choice."""

    def late(found: Candidate) -> float:
        return max(_NEVER, 1 - found.p0)

    private, public, both = site_colours().values()
    for kind, colour in {"hybrid": both, "all public": public, "all private": private}.items():
        points = [c for c in plan.front if c.kind == kind]
        if points:
            axes.scatter([c.bill.month for c in points], [late(c) for c in points], color=colour, label=kind)
    axes.plot([c.bill.month for c in plan.front], [late(c) for c in plan.front], color="#aaaaaa", zorder=0)
    sized = plan.hybrid.found.need()
    axes.scatter([sized.bill.month], [late(sized)], s=180, facecolors="none", edgecolors="black", label="chosen")
    wanted = next(iter(sized.system.objectives.values())).share
    axes.axhline(1 - wanted, color="black", linestyle="--", label=f"{wanted:.2%} in time")
    axes.set_yscale("log")
    axes.invert_yaxis()
    axes.set(xlabel="$ a month", ylabel="P0 not in time", title="Nothing cheaper is better than these (while sized)")
    axes.legend()


def named_rows(plan: Plan) -> list[tuple[str, Row]]:
    rows = [("hybrid", plan.hybrid), ("all public", plan.public), ("all private", plan.private)]
    more = (("two private sites", plan.two_private), ("perfect foresight", plan.foresight))
    return [*rows, *((name, row) for name, row in more if row is not None)]


HEADINGS: Final = (
    "alternative", "instances", "$ a month", "$/GPU-hour", "$/1M tokens", "P0 in time", "with outages",
    "P0 p99", "spill", "holds",
)  # fmt: skip


def cells(name: str, row: Row) -> list[str]:
    """One alternative as a table has it; see :data:`HEADINGS`."""
    found = row.judged
    if found is None:
        near = row.found.nearest
        return [name, near.label() if near else "none", *["–"] * 7, "no: " + "; ".join(near.misses if near else ())]
    return [
        name,
        found.label(),
        f"{found.bill.month:,.0f}",
        _number(found.bill.per_gpu_hour),
        _number(found.bill.per_million_tokens),
        _share(found),
        f"{found.with_outages:.3%}" if found.with_outages is not None else "–",
        _slowest(found),
        f"{found.outcome.spill_share:.1%}",
        "yes" if found.holds else "no: " + "; ".join(found.misses),
    ]


def _share(found: Candidate) -> str:
    interval = next(iter(found.outcome.classes.values())).interval
    return f"{found.p0:.3%}" + (f" ({interval[0]:.2%} to {interval[1]:.2%})" if interval else "")


def _slowest(found: Candidate) -> str:
    """P0's 99th percentiles, in milliseconds."""
    p0 = next(iter(found.outcome.classes.values()))
    text = f"wait {p0.wait_p99_s * 1000:.0f} ms"
    if p0.per_token_p99_s:
        return f"{text}, first token {p0.first_token_p99_s * 1000:.0f} ms, {p0.per_token_p99_s * 1000:.0f} ms a token"
    return f"{text}, answer {p0.latency_p99_s * 1000:.0f} ms"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _site_lines(plan: Plan) -> list[str]:
    """What is assumed of each site of the plan, and of the public side."""
    lines: list[str] = []
    for found in (plan.chosen, plan.public.judged):
        for spec in found.system.sites if found else ():
            if spec.committed_usd_per_hour is not None and found:
                lines.append(
                    f"{spec.site}: {found.bill.committed[spec.site]} × {spec.instance_type} are committed at "
                    f"{spec.committed_usd_per_hour:.2f} $/h, more cost {spec.usd_per_hour:.2f} $/h."
                )
            if spec.factors != (1.0, 1.0):
                prompt, answer = spec.factors
                lines.append(
                    f"Estimated, not measured: on {spec.instance_type} prompts take {prompt:.2f} and answers "
                    f"{answer:.2f} times as long, by the data sheets of {plan.service.gpu or 'that machine'} and "
                    f"{spec.gpu}, or by the variant that is served there."
                )
    return lines


def summary_lines(plan: Plan) -> list[str]:
    """What was planned with, saving and break-even in words."""
    goals = (f"{name} {goal.text}, {goal.share:.2%}" for name, goal in plan.chosen.system.objectives.items())
    lines = [f"Service times: {plan.service.name} ({plan.service.source}).", f"In time: {'; '.join(goals)}."]
    lines += dict.fromkeys(_site_lines(plan))
    public = plan.public.judged
    if public is not None and not public.holds:
        lines.append(f"No saving is told: all public misses {'; '.join(public.misses)}.")
    share = plan.saving_vs_all_public
    if share is not None:
        less = f"{share:.1%} less than" if share >= 0 else f"{-share:.1%} more than"
        pays = "" if share > 0 else ": on this trace and at these prices the hybrid does not pay"
        lines.append(f"The hybrid costs {less} all public{pays}.")
    best = plan.saving_vs_best_public
    if best is not None and public is not None and plan.bought and plan.bought[0].public < public.bill.month:
        way, less = plan.bought[0], f"{best:.1%} less" if best >= 0 else f"{-best:.1%} more"
        lines.append(
            f"All public at its cheapest, {way.name}, costs {way.public:,.0f} $ a month; the hybrid, as cheap as it "
            f"can be bought, costs {less}."
        )
    both = plan.two_private.judged if plan.two_private else None
    if both is not None:
        more = plan.chosen.bill.month / both.bill.month - 1
        lines.append(
            f"Two private sites, each of the size that holds while it stands, cost {both.bill.month:,.0f} $ a month; "
            f"the hybrid {more:+.1%} against that."
        )
    lines += growth_lines(plan)
    if plan.shared and len(plan.shared.tenants) > 1:
        lines.append(plan.shared.text)
    lines += [plan.on_spot.text] if plan.on_spot else []
    even = plan.break_even_usd_per_gpu_hour
    if even is not None:
        years = f", a write-off over {plan.break_even_years:.2f} years" if plan.break_even_years is not None else ""
        lines.append(f"It stops paying against all public at {even:.2f} $ for a private GPU-hour{years}.")
    return lines


BOUGHT: Final = ("bought", "all public, $ a month", "hybrid, $ a month", "by")


def bought_cells(way: Bought) -> tuple[str, ...]:
    """See :data:`BOUGHT`."""
    hybrid = "–" if way.hybrid is None else f"{way.hybrid:,.0f}"
    return way.name, f"{way.public:,.0f}", hybrid, "; ".join(way.said)


def growth_lines(plan: Plan) -> Iterator[str]:
    """How long the sizes hold, and what is to be there by when."""
    for step in plan.growth:
        when = f"After {step.when}, at {step.traffic:.2f} times the traffic"
        if step.plan is None:
            yield f"{when}: no size holds; the sizes before miss {'; '.join(step.missed)}."
        elif step.missed:
            month = step.plan.bill.month
            yield f"{when}: {step.plan.label()} by then, {month:,.0f} $ a month; before, {'; '.join(step.missed)}."
        else:
            yield f"{when}: the sizes before hold, {step.plan.bill.month:,.0f} $ a month."


def page_of(plan: Plan, charts: Sequence[Path], title: str, about: Mapping[str, str]) -> Page:
    """``charts``: as :func:`write_charts` wrote them. ``about``: the stack and the package."""
    rows = tuple(tuple(cells(name, row)) for name, row in named_rows(plan))
    alternatives = Table("Sized by one search with the same rules", HEADINGS, rows, words=2)
    ways = Table("The same sizes, bought otherwise", BOUGHT, tuple(map(bought_cells, plan.bought)))
    notes = (f"Note: {note}." for note in plan.notes)
    return Page(
        title=title,
        lead="A month is the trace's mean hour times 730.",
        facts={**about, "requests": f"{plan.requests:,}", "seed": str(plan.seed)},
        sections=(
            Section("Alternatives", tables=(alternatives, *([ways] if plan.bought else []))),
            Section("In words", lines=(*summary_lines(plan), *plan.reasons, *notes)),
            Section("Pictures", images=tuple(png(_SEEN[path.stem], path) for path in charts)),
        ),
    )
