"""What ``check`` found, as people and as programs read it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from policies.judge import Exempted, Verdict, Violation
    from spillway.conformance.flows.flow import Answer


def verdict_json(verdict: Verdict, stack: str) -> dict[str, Any]:
    from policies.judge import remedy

    return {
        "stack": stack,
        "passed": not verdict.mandatory,
        "policies": verdict.ran,
        "violations": [
            {
                "policy": violation.policy.name,
                "level": violation.level,
                "severity": violation.policy.severity,
                "resource": _name(violation),
                "urn": violation.finding.resource.urn if violation.finding.resource else None,
                "message": violation.finding.message,
                "rule": violation.finding.rule or None,
                "remediation": remedy(violation.policy, violation.finding),
            }
            for violation in verdict.violations
        ],
        "exempted": [
            {"policy": e.policy.name, "resource": _name(e), "message": e.finding.message, "reason": e.reason}
            for e in verdict.exempted
        ],
    }


def verdict_text(verdict: Verdict) -> Iterator[RenderableType]:
    """A table of violations with their remedies, the exemptions, and one line that sums up."""
    from rich.table import Table

    from policies.judge import remedy

    if verdict.violations:
        table = Table("Level", "Policy", "Resource", "Fault", "How to mend it", title="Violations", show_lines=True)
        for violation in verdict.violations:
            mend = remedy(violation.policy, violation.finding)
            rule = violation.finding.rule or violation.policy.name
            table.add_row(violation.level, rule, _name(violation), violation.finding.message, mend)
        yield table
    if verdict.exempted:
        table = Table("Policy", "Resource", "Findings", "Reason", title="Exempt by the stack file")
        counts = Counter((e.policy.name, _name(e), e.reason) for e in verdict.exempted)
        for (policy, resource, reason), count in counts.items():
            table.add_row(policy, resource, str(count), reason)
        yield table
    mandatory = len(verdict.mandatory)
    advisory = len(verdict.violations) - mandatory
    told = f"{verdict.ran} policies: {mandatory} mandatory and {advisory} advisory violations"
    yield f"{told}, {len(verdict.exempted)} exempt."


def flows_text(answers: Sequence[Answer]) -> Iterator[RenderableType]:
    """A table of the flows, and one line that sums up. An exempted finding still closes its flow."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "Flow", "Over", "State", "First closed door", "Why and how to mend it", title="Flows", show_lines=True
    )
    for answer in answers:
        state = Text("open", "green") if answer.open else Text("closed", "red")
        where, why = _first_door(answer)
        table.add_row(Text(answer.flow.name), answer.flow.over, state, Text(where), Text(why))
    yield table
    closed = sum(not answer.open for answer in answers)
    yield f"{len(answers)} flows: {len(answers) - closed} open, {closed} closed."


def _first_door(answer: Answer) -> tuple[str, str]:
    if answer.open:
        return "", ""
    door, found = answer.closed[0]
    behind = f"\n{len(answer.closed) - 1} more behind it" if len(answer.closed) > 1 else ""
    named = ", ".join(filter(None, (found.resource.name if found.resource else "", found.path)))
    return f"{door.name}: {named}{behind}", f"{found.message}. {found.remedy}"


def _name(found: Violation | Exempted) -> str:
    return found.finding.resource.name if found.finding.resource else "stack"


def write_sarif(verdict: Verdict, stack_file: Path, path: Path) -> None:
    """The verdict for a code host."""
    from policies.sarif import sarif
    from spillway import __version__

    report = sarif(verdict, stack_file.as_posix(), __version__)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
