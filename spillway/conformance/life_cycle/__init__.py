"""Whether a stack can be changed and taken down again.

The questions are asked of the dependency graph (:mod:`spillway.conformance.life_cycle.order`) and of what a service
says of names, updates and deletions.
"""

from __future__ import annotations

from typing import Final

from spillway.conformance.life_cycle import access, accounts, operators, roads, rollback, taken, updates
from spillway.conformance.rule import Rule

RULES: Final[tuple[Rule, ...]] = (
    *access.RULES,
    *roads.RULES,
    *operators.RULES,
    *rollback.RULES,
    *taken.RULES,
    *updates.RULES,
    *accounts.RULES,
)
