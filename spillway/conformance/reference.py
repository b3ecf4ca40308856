"""The generated part of the reference page ``conformance.md``."""

from __future__ import annotations

from collections.abc import Iterator

from spillway.conformance.catalogue import QUESTIONS
from spillway.contracts.schema_tables import table


def rules() -> str:
    """Every rule by the question that it answers, with its source."""
    return "\n\n".join(_sections())


def _sections() -> Iterator[str]:
    for question, rules in QUESTIONS.items():
        yield f"## {question}: {len(rules)} rules"
        rows = [
            (f"`{rule.name}`", rule.says, f"[{rule.source.title}]({rule.source.url})", rule.source.version)
            for rule in rules
        ]
        if rows:
            yield table(("Rule", "What the service says", "Source", "Version or date"), rows)
