"""Log groups."""

from __future__ import annotations

from spillway.twin.aws.recorder import nothing
from spillway.twin.aws.row import Part, Row, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service

_ROWS = (
    Row(
        token="aws:cloudwatch/logGroup:LogGroup",
        service="logs",
        create="CreateLogGroup",
        id="{name}",
        key={"logGroupName": "{id}"},
        read="DescribeLogGroups",
        read_key={"logGroupNamePrefix": "{id}"},
        live="logGroups[?logGroupName=='{id}'] | [0]",
        delete="DeleteLogGroup",
        parts=(
            Part("PutRetentionPolicy", ("retentionInDays",), undo="DeleteRetentionPolicy"),
            Part("AssociateKmsKey", ("kmsKeyId",), undo="DisassociateKmsKey", update_only=True),
        ),
        local=("skipDestroy",),
        outputs={"arn": "arn:{partition}:logs:{region}:{account}:log-group:{name}"},
        tags=Tags("TagResource", "UntagResource", {"resourceArn": "{arn}"}, "tags", "tagKeys"),
        samples=(
            Sample(
                "flow-group", {"name": "/flow", "retentionInDays": 30, "tags": OWNED}, change={"retentionInDays": 60}
            ),
        ),
    ),
    Row(
        token="aws:cloudwatch/logMetricFilter:LogMetricFilter",
        service="logs",
        create="PutMetricFilter",
        id="{name}",
        rename={
            "name": "filterName",
            "pattern": "filterPattern",
            "metricTransformation": "metricTransformations",
            "metricTransformation.name": "metricName",
            "metricTransformation.namespace": "metricNamespace",
            "metricTransformation.value": "metricValue",
        },
        key={"logGroupName": "{logGroupName}", "filterName": "{name}"},
        read="DescribeMetricFilters",
        read_key={"logGroupName": "{logGroupName}", "filterNamePrefix": "{name}"},
        live="metricFilters[?filterName=='{name}'] | [0]",
        delete="DeleteMetricFilter",
        parts=(Part("PutMetricFilter", update_only=True),),
        replaces=("logGroupName",),
        note="log lines make no metrics",
        samples=(
            Sample(
                "filter",
                {
                    "logGroupName": "$flow-group.name",
                    "pattern": "ERROR",
                    "metricTransformation": {"name": "Errors", "namespace": "Spillway", "value": "1"},
                },
            ),
        ),
    ),
)

SERVICE = Service("logs", _ROWS, answers={"AssociateKmsKey": nothing, "DisassociateKmsKey": nothing})
