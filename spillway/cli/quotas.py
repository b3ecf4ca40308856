"""What ``check --quotas`` and ``--live`` say of the quotas that a plan needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spillway.conformance.places.live import Answer
    from spillway.contracts.resources import Resource


def answers_of(resources: Sequence[Resource], subscription: str, *, live: bool) -> list[Answer]:
    """What the plan needs, and with ``live`` what the clouds say of it."""
    from spillway.conformance.graph import Graph
    from spillway.conformance.places.live import Answer, ask, aws_clients, azure_get
    from spillway.conformance.places.quotas import needs

    wanted = needs(Graph(resources))
    if not live:
        return [Answer(need, said="not asked") for need in wanted]
    return ask(wanted, aws_clients(), azure_get() if subscription else None, subscription)


def quotas_json(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    return [
        {
            "service": answer.need.service,
            "code": answer.need.code or None,
            "quota": answer.need.quota,
            "region": answer.need.region,
            "unit": answer.need.unit,
            "at_rest": answer.need.rest,
            "at_peak": answer.need.peak,
            "during_a_change": answer.need.changing,
            "limit": answer.limit,
            "used": answer.used,
            "verdict": answer.verdict,
            "said": answer.said or None,
        }
        for answer in answers
    ]


def quotas_text(answers: Sequence[Answer]) -> Iterator[RenderableType]:
    """A table, where there is something to tell."""
    from rich.table import Table

    if not answers:
        return
    table = Table("Service", "Code", "Quota", "Region", "At rest", "At peak", "Changing", "Limit", "", title="Quotas")
    for answer in answers:
        need = answer.need
        limit = "" if answer.limit is None else f"{answer.limit:g}"
        if answer.used:
            limit += f", {answer.used:g} used"
        counts = (f"{count:g}" for count in (need.rest, need.peak, need.changing))
        said = answer.said if answer.verdict == "unknown" else answer.verdict
        table.add_row(need.service, need.code, f"{need.quota} ({need.unit})", need.region, *counts, limit, said)
    yield table
