"""Cost anomalies."""

from __future__ import annotations

from spillway.twin.aws.recorder import Kind, nothing
from spillway.twin.aws.row import Part, Row, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service

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
        samples=(
            Sample(
                "monitor",
                {"name": "services", "monitorType": "DIMENSIONAL", "monitorDimension": "SERVICE", "tags": OWNED},
                change={"name": "all-services"},
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
    "ce", _ROWS, recorded=_RECORDED, answers={"TagResource": nothing, "UntagResource": nothing}, regional=False
)
