"""EventBridge rules."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service

_TAGS = Tags("TagResource", "UntagResource", {"ResourceARN": "{arn}"})
_EVENT_TARGET = [
    "arn",
    "roleArn",
    "input",
    "inputPath",
    "inputTransformer",
    "deadLetterConfig",
    "retryPolicy",
    "sqsTarget",
    "ecsTarget",
    "batchTarget",
    "kinesisTarget",
    "httpTarget",
    "sagemakerPipelineTarget",
    "appsyncTarget",
    "redshiftTarget",
    "runCommandTargets",
]


def _event_target(scope: Scope) -> list[dict[str, Any]]:
    target: dict[str, Any] = {"Id": scope["targetId"], "Arn": scope["arn"]}
    if scope.get("inputTransformer"):
        transformer = scope["inputTransformer"]
        target["InputTransformer"] = {"InputTemplate": transformer["inputTemplate"]}
        if transformer.get("inputPaths"):
            target["InputTransformer"]["InputPathsMap"] = transformer["inputPaths"]
    if scope.get("retryPolicy"):
        names = {"maximumEventAgeInSeconds": "MaximumEventAgeInSeconds", "maximumRetryAttempts": "MaximumRetryAttempts"}
        target["RetryPolicy"] = {names[k]: v for k, v in scope["retryPolicy"].items() if v is not None}
    if scope.get("deadLetterConfig"):
        target["DeadLetterConfig"] = {"Arn": scope["deadLetterConfig"]["arn"]}
    if scope.get("sqsTarget"):
        target["SqsParameters"] = {"MessageGroupId": scope["sqsTarget"]["messageGroupId"]}
    for name, member in (("roleArn", "RoleArn"), ("input", "Input"), ("inputPath", "InputPath")):
        if scope.get(name) is not None:
            target[member] = scope[name]
    bus = {"EventBusName": scope["eventBusName"]} if scope.get("eventBusName") else {}
    return [{"Rule": scope["rule"], "Targets": [target], **bus}]


_ROWS = (
    Row(
        token="aws:cloudwatch/eventRule:EventRule",
        service="events",
        create="PutRule",
        id="{name}",
        noun="Rule",
        rename={"isEnabled": ""},
        key={"Name": "{id}", "EventBusName": "{eventBusName}"},
        read="DescribeRule",
        delete="DeleteRule",
        delete_key={"Name": "{id}", "EventBusName": "{eventBusName}", "Force": True},
        parts=(Part("PutRule", update_only=True, key={"Name": "{id}"}),),
        local=("forceDestroy", "isEnabled"),
        outputs={"arn": "@RuleArn || Arn"},
        tags=_TAGS,
        note="rules are fired by the twin's function runner",
        samples=(
            Sample(
                "rule",
                {"scheduleExpression": "rate(1 minute)", "state": "ENABLED", "tags": OWNED},
                change={"state": "DISABLED"},
            ),
        ),
    ),
    Row(
        token="aws:cloudwatch/eventTarget:EventTarget",
        service="events",
        create="PutTargets",
        build=_event_target,
        id="{rule}-{targetId}",
        key={"Rule": "{rule}"},
        read="ListTargetsByRule",
        read_key={"Rule": "{rule}", "EventBusName": "{eventBusName}"},
        live="Targets[?Id=='{targetId}'] | [0]",
        delete="RemoveTargets",
        delete_key={"Rule": "{rule}", "EventBusName": "{eventBusName}", "Ids": ["{targetId}"], "Force": True},
        parts=(Part("PutTargets", tuple(_EVENT_TARGET), build=_event_target, update_only=True),),
        local=("forceDestroy",),
        name="targetId",
        name_limit=64,
        samples=(
            Sample(
                "target", {"rule": "$rule.name", "arn": "$function.arn", "retryPolicy": {"maximumRetryAttempts": 2}}
            ),
        ),
    ),
)

SERVICE = Service("events", _ROWS)
