"""Whether region, partition, names, limits and quotas allow a plan."""

from __future__ import annotations

from typing import Final

from spillway.conformance.places import lengths, region_rules, tag_rules
from spillway.conformance.rule import Rule

RULES: Final[tuple[Rule, ...]] = (*tag_rules.RULES, *region_rules.RULES, *lengths.RULES)
