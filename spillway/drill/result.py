"""What a drill found, per phase and class, and its verdict."""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from spillway.contracts.classes import PROMISES, RequestClass, Site
from spillway.drill.bill import Bill
from spillway.drill.chat import ChatOutcome
from spillway.drill.load import Outcome
from spillway.drill.plan import DrillPlan, Phase
from spillway.drill.target import DrillError

BACK_SHARE: Final = 0.5
"""Share of the last answers of a phase that the returned site has to give."""
BACK_WINDOW_S: Final = 5.0
P99_OF: Final = 100
"""Requests of which at least P99 is told."""


@dataclass(frozen=True)
class ChatResult:
    """Of streamed answers. ``ttft_*``: milliseconds from the time a chat was due to its first token, ``tpot_*`` for
    each further token, over the chats that were not lost. ``cut``: streams that began and did not end; ``tokens_lost``:
    what had come of those, generated for nobody."""

    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    tpot_p50_ms: float | None
    tpot_p99_ms: float | None
    cut: int
    tokens: int
    tokens_lost: int


@dataclass(frozen=True)
class ClassResult:
    """One class in one stretch of time. ``answered``: by site. Latencies in ms over the correct answers, from the time
    each was due. ``availability``: not lost ÷ offered; ``on_time``: answered within the class's promise ÷ offered."""

    requests: int
    answered: dict[str, int]
    lost: int
    p50_ms: float | None
    p99_ms: float | None
    availability: float
    on_time: float
    chat: ChatResult | None = None


@dataclass(frozen=True)
class PhaseResult:
    """``elsewhere_s``: from the fault to the first correct answer of a site that still stands. ``disturbed_s``: from
    the fault to the last lost request. ``recovery_s``: by class, from the phase's start until P99 stays within the
    promise; 0 where it always was, ``None`` where it never is. ``moved_s``: until DNS answered otherwise. ``back_s``:
    from the return to the first answer of the returned site; ``None`` where there was none, or none is expected."""

    name: str
    start_s: float
    end_s: float
    broken: tuple[str, ...]
    classes: dict[str, ClassResult]
    elsewhere_s: float | None = None
    disturbed_s: float | None = None
    recovery_s: dict[str, float | None] = field(default_factory=dict)
    moved_s: float | None = None
    back_s: float | None = None
    back_share: float | None = None


@dataclass(frozen=True)
class Check:
    """One thing that had to hold."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Second:
    """One second of the timeline: correct answers by site of the requests due in it, and how many were lost. Of the
    correct ones half came within ``p50_ms``, and all within ``slowest_ms``; ``None`` where there is none."""

    at_s: int
    answered: dict[str, int]
    lost: int
    p50_ms: float | None = None
    slowest_ms: float | None = None


@dataclass(frozen=True)
class DrillResult:
    """``started_at``: ISO 8601, UTC. ``reasons``: why requests were lost, counted. ``bill``: ``None`` where nobody said
    what ran. ``interrupted``: somebody ended it before its plan; what had not been answered by then is not counted."""

    plan: str
    gateway: str
    started_at: str
    duration_s: float
    phases: tuple[PhaseResult, ...]
    totals: dict[str, ClassResult]
    checks: tuple[Check, ...]
    timeline: tuple[Second, ...]
    reasons: dict[str, int] = field(default_factory=dict)
    bill: Bill | None = None
    interrupted: bool = False

    @property
    def passed(self) -> bool:
        return not self.interrupted and all(check.passed for check in self.checks)

    @property
    def verdict(self) -> str:
        return "interrupted" if self.interrupted else "passed" if self.passed else "failed"

    @property
    def exit_code(self) -> int:
        """0: passed; 1: the verdict is bad; 130: interrupted. 2 (could not be run) is a :class:`DrillError` and no
        result."""
        return 130 if self.interrupted else 0 if self.passed else 1

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


def read_totals(path: Path) -> tuple[str, dict[str, Any]]:
    """The plan's name and the totals by class, of what ``spillway drill --json`` wrote.

    Raises :class:`DrillError` where it is something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        plan, totals = found["plan"], found["totals"]
        if not isinstance(totals, dict) or not isinstance(plan, str):
            raise TypeError
        interrupted = found.get("interrupted", False)
    except (OSError, ValueError, KeyError, TypeError):
        raise DrillError(f"{path} is not what `spillway drill --json` writes") from None
    if interrupted:
        raise DrillError(f"{path} is of a drill that was interrupted; let one run to its end")
    return plan, totals


def read_result(path: Path) -> DrillResult | None:
    """What a drill wrote there; ``None`` where none did, or one of another version."""
    try:
        return TypeAdapter(DrillResult).validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def summarise(
    plan: DrillPlan,
    gateway: str,
    started_at: str,
    starts: Sequence[float],
    all_: list[Outcome],
    bill: Bill | None = None,
    moves: Sequence[float] = (),
    *,
    interrupted: bool = False,
) -> DrillResult:
    """``starts``: when each phase began, seconds after the load did, and at the end when the last one ended. ``moves``:
    when DNS began to answer otherwise. ``interrupted``: the last one's end is where it was cut, so it is not judged;
    what would have followed is not there."""
    outcomes = sorted(all_, key=lambda outcome: outcome.due_s)
    phases, checks = [], []
    for phase, (start, end) in zip(plan.phases, pairwise(starts), strict=not interrupted):
        inside = [outcome for outcome in outcomes if start <= outcome.due_s < end]
        moved = next((at - start for at in moves if start <= at < end), None)
        result = _phase(phase, start, end, inside, moved)
        phases.append(result)
        if not interrupted or end < starts[-1]:
            checks += _checks(phase, result)
    wrong = [o for o in outcomes if o.status == 200 and o.problem]
    detail = wrong[0].problem if wrong else "every answer is the expected one"
    checks.append(Check("no wrong answer", not wrong, detail))
    return DrillResult(
        plan=plan.name,
        gateway=gateway,
        started_at=started_at,
        duration_s=starts[-1],
        phases=tuple(phases),
        totals=by_class(outcomes),
        checks=tuple(checks),
        timeline=_timeline(outcomes, starts[-1]),
        reasons=dict(Counter(o.problem or "answered too late" for o in outcomes if o.lost).most_common(10)),
        bill=bill,
        interrupted=interrupted,
    )


def by_class(outcomes: Iterable[Outcome]) -> dict[str, ClassResult]:
    grouped: dict[RequestClass, list[Outcome]] = {}
    for outcome in outcomes:
        grouped.setdefault(outcome.request_class, []).append(outcome)
    return {str(name): _class(grouped[name]) for name in PROMISES if name in grouped}


def _class(outcomes: list[Outcome]) -> ClassResult:
    good = [outcome for outcome in outcomes if not outcome.lost]
    latencies = sorted(outcome.latency_s * 1000 for outcome in good)
    chats = [outcome for outcome in outcomes if isinstance(outcome, ChatOutcome)]
    return ClassResult(
        requests=len(outcomes),
        answered=_by_site(good),
        lost=len(outcomes) - len(good),
        p50_ms=percentile(latencies, 50),
        p99_ms=percentile(latencies, 99),
        availability=len(good) / len(outcomes),
        on_time=sum(outcome.on_time for outcome in outcomes) / len(outcomes),
        chat=_chat(chats) if chats else None,
    )


def _chat(outcomes: list[ChatOutcome]) -> ChatResult:
    good = [outcome for outcome in outcomes if not outcome.lost]
    first = sorted(outcome.latency_s * 1000 for outcome in good)
    further = sorted(outcome.token_s * 1000 for outcome in good if outcome.token_s is not None)
    cut = [outcome for outcome in outcomes if outcome.cut]
    return ChatResult(
        ttft_p50_ms=percentile(first, 50),
        ttft_p99_ms=percentile(first, 99),
        tpot_p50_ms=percentile(further, 50),
        tpot_p99_ms=percentile(further, 99),
        cut=len(cut),
        tokens=sum(outcome.tokens for outcome in outcomes),
        tokens_lost=sum(outcome.tokens for outcome in cut),
    )


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """The smallest value that at least ``percent`` % of the values do not exceed (nearest rank)."""
    if not ordered:
        return None
    return round(ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1], 1)


def _by_site(good: Iterable[Outcome]) -> dict[str, int]:
    counts = Counter(outcome.site for outcome in good)
    return {site: counts[site] for site in (*Site, *sorted(set(counts) - set(Site))) if counts[site]}


def recovery_s(outcomes: Sequence[Outcome], start: float) -> float | None:
    """Seconds after ``start`` from which on P99 of each further second is within the class's promise; of each further
    hundred requests where these take longer: of fewer it says nothing.

    ``outcomes``: of one class, in the order in which they were due. It begins where a late one was due, or at once.
    """
    dues = [outcome.due_s for outcome in outcomes]
    late_before = [0, *accumulate(not outcome.on_time for outcome in outcomes)]

    def well_from(at: int) -> bool:
        while at < len(dues):
            to = max(bisect_left(dues, dues[at] + 1.0), at + P99_OF)
            to = to if len(dues) - to >= P99_OF else len(dues)
            if late_before[to] - late_before[at] > (to - at) // 100:
                return False
            at = to
        return True

    begins = [start, *(math.nextafter(outcome.due_s, math.inf) for outcome in outcomes if not outcome.on_time)]
    for begin in begins:
        at = bisect_left(dues, begin)
        if at < len(dues) and well_from(at):
            return round(begin - start, 3)
    return None


def _phase(phase: Phase, start: float, end: float, outcomes: list[Outcome], moved: float | None) -> PhaseResult:
    good = [outcome for outcome in outcomes if not outcome.lost]
    lost = [outcome.due_s for outcome in outcomes if outcome.lost]
    elsewhere = [o.due_s + o.latency_s for o in good if phase.broken and o.site not in phase.broken]
    back = [o.due_s + o.latency_s for o in good if phase.back_on and o.site == phase.back_on]
    last = [o for o in good if o.due_s >= end - BACK_WINDOW_S]
    share = sum(o.site == phase.back_on for o in last) / len(last) if phase.back_on and last else None
    found = sorted({outcome.request_class for outcome in outcomes})
    return PhaseResult(
        name=phase.name,
        start_s=round(start, 3),
        end_s=round(end, 3),
        broken=tuple(phase.broken),
        classes=by_class(outcomes),
        elsewhere_s=round(min(elsewhere) - start, 3) if elsewhere else None,
        disturbed_s=round(max(lost) - start, 3) if lost else None,
        recovery_s={str(name): recovery_s([o for o in outcomes if o.request_class is name], start) for name in found},
        moved_s=round(moved, 3) if moved is not None else None,
        back_s=round(min(back) - start, 3) if back else None,
        back_share=share,
    )


def _checks(phase: Phase, result: PhaseResult) -> list[Check]:
    checks = []
    for name, found in result.classes.items():
        checks += [
            Check(f"{phase.name}: {name} {what}", passed, detail)
            for what, passed, detail in _held(phase, result, RequestClass(name), found)
        ]
    if phase.back_on:
        back = result.back_share is not None and result.back_share >= BACK_SHARE
        share = f"{result.back_share or 0.0:.0%} of the last answers"
        after = f", first after {result.back_s:.1f} s" if result.back_s is not None else ""
        checks.append(Check(f"{phase.name}: back on {phase.back_on}", back, share + after))
    return checks


def _held(phase: Phase, result: PhaseResult, name: RequestClass, found: ClassResult) -> Iterator[tuple[str, bool, str]]:
    """What of the class had to hold, whether it did, and what was found."""
    if (share := phase.min_availability.get(name)) is not None:
        yield f"≥ {share * 100:g}% available", found.availability >= share, f"{found.lost} of {found.requests} lost"
    if (share := phase.min_on_time.get(name)) is not None:
        yield f"≥ {share * 100:g}% on time", found.on_time >= share, f"{found.on_time:.2%} of {found.requests}"
    if (most := phase.max_p99_ms.get(name)) is not None:
        within = found.p99_ms is not None and found.p99_ms <= most
        yield f"P99 ≤ {most:.0f} ms", within, f"{found.p99_ms} ms"
    if (most := phase.max_recovery_s.get(name)) is not None:
        took = result.recovery_s.get(name)
        detail = "it did not recover" if took is None else f"after {took:.2f} s"
        yield f"recovered within {most:g} s", took is not None and took <= most, detail
    if (most := phase.max_after_dns_s.get(name)) is not None:
        took, moved = result.recovery_s.get(name), result.moved_s
        after = took - moved if took is not None and moved is not None else None
        detail = "it did not recover" if took is None else "DNS did not move" if after is None else f"{after:.2f} s"
        yield f"recovered within {most:g} s of DNS", after is not None and after <= most, detail


def _timeline(outcomes: list[Outcome], duration_s: float) -> tuple[Second, ...]:
    seconds = []
    for at in range(math.ceil(duration_s)):
        inside = [outcome for outcome in outcomes if at <= outcome.due_s < at + 1]
        good = [outcome for outcome in inside if not outcome.lost]
        times = sorted(outcome.latency_s * 1000 for outcome in good)
        lost = len(inside) - len(good)
        seconds.append(Second(at, _by_site(good), lost, percentile(times, 50), percentile(times, 100)))
    return tuple(seconds)
