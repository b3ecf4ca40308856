"""Budgets and their actions."""

from __future__ import annotations

import time
from typing import Any

from spillway.twin.aws.recorder import Call, Kind, RefusedError, nothing
from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service

_COST_TYPES = [
    "includeCredit",
    "includeDiscount",
    "includeOtherSubscription",
    "includeRecurring",
    "includeRefund",
    "includeSubscription",
    "includeSupport",
    "includeTax",
    "includeUpfront",
    "useAmortized",
    "useBlended",
]


def _when(value: str) -> str:
    """The provider writes ``2026-01-31_00:00``."""
    return value.replace("_", "T") + ":00Z" if "_" in value else value


def _budget(scope: Scope) -> dict[str, Any]:
    budget: dict[str, Any] = {
        "BudgetName": scope["name"],
        "BudgetType": scope["budgetType"],
        "TimeUnit": scope["timeUnit"],
    }
    if scope.get("limitAmount") is not None:
        budget["BudgetLimit"] = {"Amount": str(scope["limitAmount"]), "Unit": scope.get("limitUnit", "USD")}
    if scope.get("costFilters"):
        budget["CostFilters"] = {item["name"]: item["values"] for item in scope["costFilters"]}
    if scope.get("costTypes"):
        types = scope["costTypes"]
        budget["CostTypes"] = {n[0].upper() + n[1:]: types[n] for n in _COST_TYPES if types.get(n) is not None}
    period = {"Start": scope.get("timePeriodStart"), "End": scope.get("timePeriodEnd")}
    if any(period.values()):
        budget["TimePeriod"] = {key: _when(value) for key, value in period.items() if value}
    return budget


def _notification(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "NotificationType": item["notificationType"],
        "ComparisonOperator": item["comparisonOperator"],
        "Threshold": item["threshold"],
        "ThresholdType": item["thresholdType"],
    }


def _subscribers(item: dict[str, Any]) -> list[dict[str, str]]:
    mails = [{"SubscriptionType": "EMAIL", "Address": a} for a in item.get("subscriberEmailAddresses") or []]
    return mails + [{"SubscriptionType": "SNS", "Address": a} for a in item.get("subscriberSnsTopicArns") or []]


def _create_budget(scope: Scope) -> list[dict[str, Any]]:
    pairs = [{"Key": key, "Value": value} for key, value in sorted(scope["tags"].items())]
    notifications = [
        {"Notification": _notification(item), "Subscribers": _subscribers(item)}
        for item in scope.get("notifications") or []
    ]
    params: dict[str, Any] = {"AccountId": scope["account"], "Budget": _budget(scope)}
    if notifications:
        params["NotificationsWithSubscribers"] = notifications
    return [params | ({"ResourceTags": pairs} if pairs else {})]


def _changed_budget(scope: Scope) -> list[dict[str, Any]]:
    return [{"AccountId": scope["account"], "NewBudget": _budget(scope)}]


def _new_notifications(scope: Scope) -> list[dict[str, Any]]:
    old = scope["old"].get("notifications") or []
    return [
        _about(scope, i) | {"Subscribers": _subscribers(i)} for i in scope.get("notifications") or [] if i not in old
    ]


def _old_notifications(scope: Scope) -> list[dict[str, Any]]:
    new = scope.get("notifications") or []
    return [_about(scope, item) for item in scope["old"].get("notifications") or [] if item not in new]


def _about(scope: Scope, item: dict[str, Any]) -> dict[str, Any]:
    return {"AccountId": scope["account"], "BudgetName": scope["name"], "Notification": _notification(item)}


_BUDGET = [
    "budgetType",
    "timeUnit",
    "limitAmount",
    "limitUnit",
    "costFilters",
    "costTypes",
    "timePeriodStart",
    "timePeriodEnd",
]

_ROWS = (
    Row(
        token="aws:budgets/budget:Budget",
        service="budgets",
        create="CreateBudget",
        build=_create_budget,
        id="{account}:{name}",
        key={"AccountId": "{account}", "BudgetName": "{name}"},
        read="DescribeBudget",
        live="Budget",
        delete="DeleteBudget",
        parts=(
            Part("UpdateBudget", tuple(_BUDGET), build=_changed_budget, update_only=True),
            Part("DeleteNotification", ("notifications",), build=_old_notifications, update_only=True),
            Part("CreateNotification", ("notifications",), build=_new_notifications, update_only=True),
        ),
        replaces=("budgetType",),
        local=("accountId", "autoAdjustData", "plannedLimits", "billingViewArn", "filterExpression", "metrics"),
        outputs={"arn": "arn:{partition}:budgets::{account}:budget/{name}"},
        tags=Tags("TagResource", "UntagResource", {"ResourceARN": "{arn}"}, "ResourceTags", "ResourceTagKeys"),
        note="UpdateBudget and tags are our server's; no bill is read, so no budget is ever exceeded",
        coverage="filled",
        samples=(
            Sample(
                "budget",
                {
                    "budgetType": "COST",
                    "timeUnit": "MONTHLY",
                    "limitAmount": "1000",
                    "limitUnit": "USD",
                    "costFilters": [{"name": "Service", "values": ["Amazon SageMaker"]}],
                    "notifications": [
                        {
                            "comparisonOperator": "GREATER_THAN",
                            "notificationType": "ACTUAL",
                            "threshold": 80,
                            "thresholdType": "PERCENTAGE",
                            "subscriberSnsTopicArns": ["$topic.arn"],
                        }
                    ],
                    "tags": OWNED,
                },
                change={"limitAmount": "2000"},
            ),
        ),
    ),
    Row(
        token="aws:budgets/budgetAction:BudgetAction",
        service="budgets",
        create="CreateBudgetAction",
        id="@join(':', [AccountId, ActionId, BudgetName])",
        fixed={"AccountId": "{account}"},
        key={"AccountId": "{account}", "BudgetName": "{budgetName}", "ActionId": "{actionId}"},
        read="DescribeBudgetAction",
        live="Action",
        delete="DeleteBudgetAction",
        rename={
            "actionThreshold.actionThresholdType": "ActionThresholdType",
            "actionThreshold.actionThresholdValue": "ActionThresholdValue",
            "definition.scpActionDefinition.targetIds": "TargetIds",
        },
        parts=(
            Part(
                "UpdateBudgetAction",
                (
                    "actionThreshold",
                    "approvalModel",
                    "definition",
                    "executionRoleArn",
                    "notificationType",
                    "subscribers",
                ),
                update_only=True,
            ),
        ),
        local=("accountId",),
        name="",
        outputs={
            "actionId": "@ActionId",
            "arn": "arn:{partition}:budgets::{account}:budget/{budgetName}/action/{actionId}",
        },
        tags=Tags("TagResource", "UntagResource", {"ResourceARN": "{arn}"}, "ResourceTags", "ResourceTagKeys"),
        coverage="recorded",
        note="never carried out",
        samples=(
            Sample(
                "budget-action",
                {
                    "budgetName": "$budget.name",
                    "actionType": "APPLY_IAM_POLICY",
                    "approvalModel": "AUTOMATIC",
                    "notificationType": "ACTUAL",
                    "executionRoleArn": "$role.arn",
                    "actionThreshold": {"actionThresholdType": "PERCENTAGE", "actionThresholdValue": 100},
                    "definition": {"iamActionDefinition": {"policyArn": "$managed.arn", "roles": ["$role.name"]}},
                    "subscribers": [{"address": "$topic.arn", "subscriptionType": "SNS"}],
                    "tags": OWNED,
                },
                change={"approvalModel": "MANUAL"},
            ),
        ),
    ),
)

_RECORDED = (
    Kind(
        "budgets",
        ("AccountId", "BudgetName", "ActionId"),
        "CreateBudgetAction",
        "DescribeBudgetAction",
        "UpdateBudgetAction",
        "DeleteBudgetAction",
        "DescribeBudgetActionsForBudget",
        "Actions",
        made={"ActionId": "{uuid}"},
        fixed={"Status": "STANDBY"},
        missing="NotFoundException",
    ),
)


def _update_budget(call: Call) -> dict[str, Any]:
    from moto.budgets.models import budgets_backends

    new = call.params["NewBudget"]
    held = budgets_backends[call.account]["aws"].budgets[call.params["AccountId"]]
    if new["BudgetName"] not in held:
        raise RefusedError(
            "NotFoundException", f"Unable to get budget: {new['BudgetName']} - the budget doesn't exist."
        )
    budget = held[new["BudgetName"]]
    budget.budget = {**budget.budget, **new, "LastUpdatedTime": time.time()}
    return {}


SERVICE = Service(
    "budgets",
    _ROWS,
    recorded=_RECORDED,
    answers={"UpdateBudget": _update_budget, "TagResource": nothing, "UntagResource": nothing},
    regional=False,
)
