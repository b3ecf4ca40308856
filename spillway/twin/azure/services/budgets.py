"""Budgets: Pulumi's modules ``consumption`` and ``costmanagement``."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import Row
from spillway.twin.azure.sample import GROUP, Sample

_BUDGET: Final = {
    "scope": GROUP,
    "budgetName": "monthly",
    "amount": 1000.0,
    "category": "Cost",
    "timeGrain": "Monthly",
    "timePeriod": {"startDate": "2026-01-01T00:00:00Z"},
}

ROWS: Final = (
    Row(
        "consumption:Budget",
        "/{scope}/providers/Microsoft.Consumption/budgets/{budgetName}",
        "consumption.Budget",
        sample=Sample(_BUDGET),
    ),
    Row(
        "costmanagement:Budget",
        "/{scope}/providers/Microsoft.CostManagement/budgets/{budgetName}",
        "costmanagement.Budget",
        sample=Sample(_BUDGET),
    ),
)
