"""Every conformance rule, by the question that it answers."""

from __future__ import annotations

from typing import Final

from spillway.conformance import life_cycle, places, services
from spillway.conformance.flows.walk import RULES as FLOWS
from spillway.conformance.rule import Rule

QUESTIONS: Final[dict[str, tuple[Rule, ...]]] = {
    "services-accept": services.RULES,
    "flows-open": FLOWS,
    "changes-go-through": life_cycle.RULES,
    "places-allow": places.RULES,
}
"""Policy's name → its rules."""
