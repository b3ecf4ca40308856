"""The cost guard on Azure: a monthly budget on the stack's resource groups, the backstop behind the live signal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pulumi
from pulumi_azure_native import consumption

from components.base import Component, StackContext
from components.cost_guard.settings import CostSettings


@dataclass(frozen=True)
class AzureCostGuardArgs:
    """``node_group_name``: where AKS puts its nodes, which are most of its bill. ``action_group_id``: who is told
    besides the settings' addresses, ``None`` for nobody."""

    settings: CostSettings
    resource_group_name: pulumi.Input[str]
    subscription_id: str
    node_group_name: str | None = None
    action_group_id: pulumi.Input[str] | None = None


class AzureCostGuard(Component):
    """Outputs: ``budget_name``."""

    def __init__(
        self, context: StackContext, args: AzureCostGuardArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("cost-guard-azure", context, opts)
        self.args = args
        percents = args.settings.budgets.alert_percents
        notices = {f"actual-{percent}": self._notice("Actual", percent) for percent in percents}
        budget = consumption.Budget(
            f"{context.prefix}-azure-budget",
            budget_name=f"{context.prefix}-monthly",
            # Nodes stand in a group of AKS's own, so that the budget is the subscription's, of these groups.
            scope=f"/subscriptions/{args.subscription_id}",
            filter=consumption.BudgetFilterArgs(
                dimensions=consumption.BudgetComparisonExpressionArgs(
                    name="ResourceGroupName",
                    operator=consumption.BudgetOperatorType.IN_,
                    values=[args.resource_group_name, *([args.node_group_name] if args.node_group_name else [])],
                )
            ),
            amount=args.settings.budgets.azure_usd_per_month,
            category=consumption.CategoryType.COST,
            time_grain=consumption.TimeGrainType.MONTHLY,
            time_period=consumption.BudgetTimePeriodArgs(start_date=_month_start()),
            notifications={**notices, "forecast-100": self._notice("Forecasted", 100)},
            # Azure wants the current month when the budget is made; afterwards that date is history.
            opts=self.child(ignore_changes=["timePeriod"]),
        )
        self.budget_name = budget.name
        self.register_outputs({"budget_name": self.budget_name})

    def _notice(self, kind: str, percent: int) -> consumption.NotificationArgs:
        """Azure refuses a notice for nobody, so the group's owners get it where no address is known."""
        emails, group = list(self.args.settings.notify_emails), self.args.action_group_id
        return consumption.NotificationArgs(
            enabled=True,
            operator=consumption.OperatorType.GREATER_THAN,
            threshold=percent,
            threshold_type=kind,
            contact_emails=emails,
            contact_groups=[group] if group is not None else None,
            contact_roles=None if emails else ["Owner"],
        )


def _month_start() -> str:
    return datetime.now(UTC).strftime("%Y-%m-01T00:00:00Z")
