"""Budgets, cost anomalies, parameters."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.row import Part, Row, Scope, Tags

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


def _update_budget(scope: Scope) -> list[dict[str, Any]]:
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

ROWS = (
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
            Part("UpdateBudget", tuple(_BUDGET), build=_update_budget, update_only=True),
            Part("DeleteNotification", ("notifications",), build=_old_notifications, update_only=True),
            Part("CreateNotification", ("notifications",), build=_new_notifications, update_only=True),
        ),
        replaces=("budgetType",),
        local=("accountId", "autoAdjustData", "plannedLimits", "billingViewArn", "filterExpression", "metrics"),
        outputs={"arn": "arn:{partition}:budgets::{account}:budget/{name}"},
        tags=Tags("TagResource", "UntagResource", {"ResourceARN": "{arn}"}, "ResourceTags", "ResourceTagKeys"),
        note="UpdateBudget and tags are our server's; no bill is read, so no budget is ever exceeded",
        coverage="filled",
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
    ),
    Row(
        token="aws:costexplorer/anomalyMonitor:AnomalyMonitor",
        service="ce",
        create="CreateAnomalyMonitor",
        id="@MonitorArn",
        rename={
            "name": "AnomalyMonitor.MonitorName",
            "monitorType": "AnomalyMonitor.MonitorType",
            "monitorDimension": "AnomalyMonitor.MonitorDimension",
        },
        parts=(Part("UpdateAnomalyMonitor", ("name",), rename={"name": "MonitorName"}, update_only=True),),
        key={"MonitorArn": "{id}"},
        read="GetAnomalyMonitors",
        read_key={"MonitorArnList": ["{id}"]},
        live="AnomalyMonitors[?MonitorArn=='{id}'] | [0]",
        delete="DeleteAnomalyMonitor",
        local=("monitorSpecification",),
        outputs={"arn": "{id}"},
        tags=Tags("TagResource", "UntagResource", {"ResourceArn": "{id}"}, "ResourceTags", "ResourceTagKeys"),
        coverage="recorded",
    ),
    Row(
        token="aws:costexplorer/anomalySubscription:AnomalySubscription",
        service="ce",
        create="CreateAnomalySubscription",
        id="@SubscriptionArn",
        rename={
            "name": "AnomalySubscription.SubscriptionName",
            "frequency": "AnomalySubscription.Frequency",
            "monitorArnLists": "AnomalySubscription.MonitorArnList",
            "subscribers": "AnomalySubscription.Subscribers",
            "accountId": "AnomalySubscription.AccountId",
            "thresholdExpression": "AnomalySubscription.ThresholdExpression",
            "thresholdExpression.ands": "And",
            "thresholdExpression.ors": "Or",
        },
        key={"SubscriptionArn": "{id}"},
        read="GetAnomalySubscriptions",
        read_key={"SubscriptionArnList": ["{id}"]},
        live="AnomalySubscriptions[?SubscriptionArn=='{id}'] | [0]",
        delete="DeleteAnomalySubscription",
        parts=(
            Part(
                "UpdateAnomalySubscription",
                ("frequency", "monitorArnLists", "subscribers", "thresholdExpression"),
                rename={
                    "frequency": "Frequency",
                    "monitorArnLists": "MonitorArnList",
                    "subscribers": "Subscribers",
                    "thresholdExpression": "ThresholdExpression",
                },
                update_only=True,
            ),
        ),
        outputs={"arn": "{id}"},
        tags=Tags("TagResource", "UntagResource", {"ResourceArn": "{id}"}, "ResourceTags", "ResourceTagKeys"),
        coverage="recorded",
    ),
    Row(
        token="aws:ssm/parameter:Parameter",
        service="ssm",
        create="PutParameter",
        id="{name}",
        rename={"insecureValue": "Value", "valueWo": "Value", "valueWoVersion": "", "arn": ""},
        key={"Name": "{id}"},
        read="GetParameter",
        read_key={"Name": "{id}", "WithDecryption": True},
        live="Parameter",
        delete="DeleteParameter",
        parts=(
            Part(
                "PutParameter",
                ("value", "insecureValue", "description", "allowedPattern", "tier", "dataType"),
                build=lambda scope: [
                    {
                        "Name": scope["id"],
                        "Type": scope["type"],
                        "Value": scope.get("value") or scope.get("insecureValue"),
                        "Overwrite": True,
                    }
                    | {
                        member: scope[name]
                        for name, member in (
                            ("description", "Description"),
                            ("allowedPattern", "AllowedPattern"),
                            ("tier", "Tier"),
                            ("dataType", "DataType"),
                            ("keyId", "KeyId"),
                        )
                        if scope.get(name)
                    }
                ],
                update_only=True,
            ),
        ),
        local=("overwrite", "valueWo", "valueWoVersion", "arn"),
        outputs={"arn": "@ARN", "value": "@Value", "version": "@Version"},
        secret_outputs=("value",),
        drift={"value": "Value"},
        tags=Tags(
            "AddTagsToResource",
            "RemoveTagsFromResource",
            {"ResourceType": "Parameter", "ResourceId": "{id}"},
        ),
    ),
)
