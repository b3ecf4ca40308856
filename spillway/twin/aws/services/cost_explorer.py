"""Cost anomalies, and tags that costs are counted by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final
from weakref import WeakKeyDictionary

from spillway.twin.aws.recorder import Call, Kind, Recorder, nothing
from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service

_MEMBERS: Final = {"And", "CostCategories", "Dimensions", "Not", "Or", "Tags"}
_FILTERS: Final = ("CostCategories", "Dimensions", "Tags")
_OF_A_STACK: Final = {"Key": "stack", "Values": ["test"], "MatchOptions": None}


def _whole(text: str) -> bool:
    """Whether an expression has every member, empty ones as null: so the provider keeps what it reads, and so the
    example in pulumi-aws's `costexplorer.AnomalyMonitor` is written."""
    found = json.loads(text)
    given = [found[name] for name in _FILTERS if found.get(name)]
    return set(found) >= _MEMBERS and all("MatchOptions" in one for one in given)


def _expression(inputs: Scope) -> Scope:
    text = inputs.get("monitorSpecification")
    return {"monitorSpecification": _without_nulls(json.loads(text))} if isinstance(text, str) else {}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return value


_statuses: Final[WeakKeyDictionary[Recorder, dict[str, str]]] = WeakKeyDictionary()
"""Of the account's tag keys, those that were ever activated."""


def _set_statuses(call: Call) -> dict[str, Any]:
    """A key that no resource carries is no error of the call, but told in its answer."""
    known, errors = set(_carried(call.account)), []
    for entry in call.params["CostAllocationTagsStatus"]:
        key = entry["TagKey"]
        if key in known:
            _statuses.setdefault(call.recorder, {})[key] = entry["Status"]
        else:
            errors.append({"TagKey": key, "Code": "TagKeysNotFoundException", "Message": "Tag keys not found"})
    return {"Errors": errors}


def _list_statuses(call: Call) -> dict[str, Any]:
    wanted, statuses = call.params.get("TagKeys"), _statuses.get(call.recorder, {})
    keys = sorted(key for key in set(_carried(call.account)) if not wanted or key in wanted)
    tags = [{"TagKey": key, "Type": "UserDefined", "Status": statuses.get(key, "Inactive")} for key in keys]
    return {"CostAllocationTags": tags}


def _carried(account: str) -> Iterator[str]:
    """Keys of tags in the regions in which the account has notices, as a stack's cost guard has."""
    from moto.resourcegroupstaggingapi.models import resourcegroupstaggingapi_backends
    from moto.sns.models import sns_backends

    for region in list(sns_backends[account]):
        yield from resourcegroupstaggingapi_backends[account][region].get_tag_keys()[1]


_ROWS = (
    Row(
        token="aws:costexplorer/anomalyMonitor:AnomalyMonitor",
        service="ce",
        create="CreateAnomalyMonitor",
        id="@MonitorArn",
        rename={
            "name": "AnomalyMonitor.MonitorName",
            "monitorType": "AnomalyMonitor.MonitorType",
            "monitorDimension": "AnomalyMonitor.MonitorDimension",
            "monitorSpecification": "AnomalyMonitor.MonitorSpecification",
        },
        prepare=_expression,
        kept_as_given={"monitorSpecification": _whole},
        parts=(Part("UpdateAnomalyMonitor", ("name",), rename={"name": "MonitorName"}, update_only=True),),
        key={"MonitorArn": "{id}"},
        read="GetAnomalyMonitors",
        read_key={"MonitorArnList": ["{id}"]},
        live="AnomalyMonitors[?MonitorArn=='{id}'] | [0]",
        delete="DeleteAnomalyMonitor",
        outputs={"arn": "{id}"},
        tags=Tags("TagResource", "UntagResource", {"ResourceArn": "{id}"}, "ResourceTags", "ResourceTagKeys"),
        coverage="recorded",
        note="a CUSTOM one whose expression lacks a member is replaced at each `up`, as by the provider",
        samples=(
            Sample(
                "monitor",
                {"name": "services", "monitorType": "DIMENSIONAL", "monitorDimension": "SERVICE", "tags": OWNED},
                change={"name": "all-services"},
            ),
            Sample(
                "monitor-of-a-stack",
                {
                    "name": "stack",
                    "monitorType": "CUSTOM",
                    "monitorSpecification": json.dumps({**dict.fromkeys(sorted(_MEMBERS)), "Tags": _OF_A_STACK}),
                },
            ),
        ),
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
        samples=(
            Sample(
                "anomalies",
                {
                    "name": "anomalies",
                    "frequency": "IMMEDIATE",
                    "monitorArnLists": ["$monitor.arn"],
                    "subscribers": [{"type": "SNS", "address": "$topic.arn"}],
                    "thresholdExpression": {
                        "dimension": {
                            "key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
                            "values": ["100"],
                            "matchOptions": ["GREATER_THAN_OR_EQUAL"],
                        }
                    },
                    "tags": OWNED,
                },
            ),
        ),
    ),
    Row(
        token="aws:costexplorer/costAllocationTag:CostAllocationTag",
        service="ce",
        create="UpdateCostAllocationTagsStatus",
        build=lambda scope: [{"CostAllocationTagsStatus": [{"TagKey": scope["tagKey"], "Status": scope["status"]}]}],
        id="{tagKey}",
        key={"CostAllocationTagsStatus": [{"TagKey": "{id}", "Status": "Inactive"}]},
        parts=(
            Part(
                "UpdateCostAllocationTagsStatus",
                ("status",),
                build=lambda scope: [
                    {"CostAllocationTagsStatus": [{"TagKey": scope["id"], "Status": scope["status"]}]}
                ],
                update_only=True,
            ),
        ),
        read="ListCostAllocationTags",
        read_key={"TagKeys": ["{id}"]},
        live="CostAllocationTags[?TagKey=='{id}'] | [0]",
        gone="Status=='Inactive'",
        delete="UpdateCostAllocationTagsStatus",
        name="",
        outputs={"type": "@Type"},
        coverage="recorded",
        note="a key is known as soon as a resource carries it: AWS needs up to 24 hours",
        samples=(Sample("allocation-tag", {"tagKey": "owner", "status": "Active"}, after=("topic",)),),
    ),
)

_RECORDED = (
    Kind(
        "ce",
        ("MonitorArn",),
        "CreateAnomalyMonitor",
        "",
        "UpdateAnomalyMonitor",
        "DeleteAnomalyMonitor",
        "GetAnomalyMonitors",
        "AnomalyMonitors",
        by="MonitorArnList",
        within="AnomalyMonitor",
        made={"MonitorArn": "arn:aws:ce::{account}:anomalymonitor/{uuid}"},
        missing="UnknownMonitorException",
    ),
    Kind(
        "ce",
        ("SubscriptionArn",),
        "CreateAnomalySubscription",
        "",
        "UpdateAnomalySubscription",
        "DeleteAnomalySubscription",
        "GetAnomalySubscriptions",
        "AnomalySubscriptions",
        by="SubscriptionArnList",
        within="AnomalySubscription",
        made={"SubscriptionArn": "arn:aws:ce::{account}:anomalysubscription/{uuid}"},
        missing="UnknownSubscriptionException",
    ),
)

SERVICE = Service(
    "ce",
    _ROWS,
    recorded=_RECORDED,
    answers={
        "TagResource": nothing,
        "UntagResource": nothing,
        "UpdateCostAllocationTagsStatus": _set_statuses,
        "ListCostAllocationTags": _list_statuses,
    },
    regional=False,
)
