"""What watches and what tells: CloudWatch, logs, events, schedules, topics and queues."""

from __future__ import annotations

import json
from typing import Any

from spillway.twin.aws.row import Part, Row, Scope, Tags

ARN_TAGS = Tags("TagResource", "UntagResource", {"ResourceARN": "{arn}"})
_QUEUE_ATTRIBUTES = {
    "contentBasedDeduplication": "ContentBasedDeduplication",
    "deduplicationScope": "DeduplicationScope",
    "delaySeconds": "DelaySeconds",
    "fifoQueue": "FifoQueue",
    "fifoThroughputLimit": "FifoThroughputLimit",
    "kmsDataKeyReusePeriodSeconds": "KmsDataKeyReusePeriodSeconds",
    "kmsMasterKeyId": "KmsMasterKeyId",
    "maxMessageSize": "MaximumMessageSize",
    "messageRetentionSeconds": "MessageRetentionPeriod",
    "policy": "Policy",
    "receiveWaitTimeSeconds": "ReceiveMessageWaitTimeSeconds",
    "redriveAllowPolicy": "RedriveAllowPolicy",
    "redrivePolicy": "RedrivePolicy",
    "sqsManagedSseEnabled": "SqsManagedSseEnabled",
    "visibilityTimeoutSeconds": "VisibilityTimeout",
}
_TOPIC_ATTRIBUTES = {
    "contentBasedDeduplication": "ContentBasedDeduplication",
    "deliveryPolicy": "DeliveryPolicy",
    "displayName": "DisplayName",
    "fifoTopic": "FifoTopic",
    "kmsMasterKeyId": "KmsMasterKeyId",
    "policy": "Policy",
    "signatureVersion": "SignatureVersion",
    "tracingConfig": "TracingConfig",
}
_SUBSCRIPTION_ATTRIBUTES = {
    "deliveryPolicy": "DeliveryPolicy",
    "filterPolicy": "FilterPolicy",
    "filterPolicyScope": "FilterPolicyScope",
    "rawMessageDelivery": "RawMessageDelivery",
    "redrivePolicy": "RedrivePolicy",
    "subscriptionRoleArn": "SubscriptionRoleArn",
}
_TOPIC_FEEDBACK = tuple(
    f"{protocol}{kind}"
    for protocol in ("application", "firehose", "http", "lambda", "sqs")
    for kind in ("FailureFeedbackRoleArn", "SuccessFeedbackRoleArn", "SuccessFeedbackSampleRate")
)


def text(value: Any) -> str:
    """A value as SNS and SQS hold attributes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)


def _attributes(scope: Scope, names: dict[str, str]) -> dict[str, str]:
    return {member: text(scope[name]) for name, member in names.items() if scope.get(name) is not None}


def _queue(scope: Scope) -> list[dict[str, Any]]:
    return [{"QueueName": scope["name"], "Attributes": _attributes(scope, _QUEUE_ATTRIBUTES), "tags": scope["tags"]}]


def _queue_changes(scope: Scope) -> list[dict[str, Any]]:
    return [{"QueueUrl": scope["id"], "Attributes": _attributes(scope, _QUEUE_ATTRIBUTES)}]


def _topic(scope: Scope) -> list[dict[str, Any]]:
    pairs = [{"Key": key, "Value": value} for key, value in sorted(scope["tags"].items())]
    return [{"Name": scope["name"], "Attributes": _attributes(scope, _TOPIC_ATTRIBUTES), "Tags": pairs}]


def _topic_changes(scope: Scope) -> list[dict[str, Any]]:
    changed = {name for name in _TOPIC_ATTRIBUTES if scope.get(name) != scope["old"].get(name)}
    return [
        {"TopicArn": scope["id"], "AttributeName": _TOPIC_ATTRIBUTES[name], "AttributeValue": text(scope.get(name, ""))}
        for name in sorted(changed)
    ]


def _subscription(scope: Scope) -> list[dict[str, Any]]:
    return [
        {
            "TopicArn": scope["topic"],
            "Protocol": scope["protocol"],
            "Endpoint": scope["endpoint"],
            "Attributes": _attributes(scope, _SUBSCRIPTION_ATTRIBUTES),
            "ReturnSubscriptionArn": True,
        }
    ]


def _subscription_changes(scope: Scope) -> list[dict[str, Any]]:
    changed = {name for name in _SUBSCRIPTION_ATTRIBUTES if scope.get(name) != scope["old"].get(name)}
    return [
        {
            "SubscriptionArn": scope["id"],
            "AttributeName": _SUBSCRIPTION_ATTRIBUTES[name],
            "AttributeValue": text(scope.get(name, "")),
        }
        for name in sorted(changed)
    ]


def _topic_policy(scope: Scope) -> list[dict[str, Any]]:
    return [{"TopicArn": scope["arn"], "AttributeName": "Policy", "AttributeValue": scope["policy"]}]


def _queue_policy(scope: Scope) -> list[dict[str, Any]]:
    return [{"QueueUrl": scope["queueUrl"], "Attributes": {"Policy": scope["policy"]}}]


_ALARM_RENAME = {
    "name": "AlarmName",
    "alarmDescription": "AlarmDescription",
    "evaluateLowSampleCountPercentiles": "EvaluateLowSampleCountPercentile",
    "metricQueries": "Metrics",
    "metricQueries.metric": "MetricStat",
    "metricQueries.metric.metricName": "Metric.MetricName",
    "metricQueries.metric.namespace": "Metric.Namespace",
    "metricQueries.metric.dimensions": "Metric.Dimensions",
}
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


ROWS = (
    Row(
        token="aws:cloudwatch/metricAlarm:MetricAlarm",
        service="cloudwatch",
        create="PutMetricAlarm",
        id="{name}",
        noun="Alarm",
        rename=_ALARM_RENAME,
        key={"AlarmName": "{id}"},
        read="DescribeAlarms",
        read_key={"AlarmNames": ["{id}"], "AlarmTypes": ["MetricAlarm"]},
        live="MetricAlarms[0]",
        delete="DeleteAlarms",
        delete_key={"AlarmNames": ["{id}"]},
        parts=(Part("PutMetricAlarm", update_only=True, key={"AlarmName": "{name}"}),),
        outputs={"arn": "@AlarmArn"},
        tags=ARN_TAGS,
        drift={"threshold": "Threshold", "actionsEnabled": "ActionsEnabled"},
        note="evaluated each second by our server, over windows that end now",
        coverage="filled",
    ),
    Row(
        token="aws:cloudwatch/compositeAlarm:CompositeAlarm",
        service="cloudwatch",
        create="PutCompositeAlarm",
        id="{alarmName}",
        noun="Alarm",
        rename={
            "actionsSuppressor": "ActionsSuppressor",
            "actionsSuppressor.alarm": "",
            "actionsSuppressor.waitPeriod": "",
            "actionsSuppressor.extensionPeriod": "",
        },
        key={"AlarmName": "{id}"},
        read="DescribeAlarms",
        read_key={"AlarmNames": ["{id}"], "AlarmTypes": ["CompositeAlarm"]},
        live="CompositeAlarms[0]",
        delete="DeleteAlarms",
        delete_key={"AlarmNames": ["{id}"]},
        parts=(Part("PutCompositeAlarm", update_only=True, key={"AlarmName": "{alarmName}"}),),
        local=("actionsSuppressor",),
        name="",
        outputs={"arn": "@AlarmArn"},
        tags=ARN_TAGS,
        coverage="filled",
        note="the actions suppressor is only recorded",
    ),
    Row(
        token="aws:cloudwatch/dashboard:Dashboard",
        service="cloudwatch",
        create="PutDashboard",
        id="{dashboardName}",
        key={"DashboardName": "{id}"},
        read="GetDashboard",
        delete="DeleteDashboards",
        delete_key={"DashboardNames": ["{id}"]},
        parts=(Part("PutDashboard", ("dashboardBody",), update_only=True),),
        name="",
    ),
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
    ),
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
        tags=ARN_TAGS,
        note="rules are fired by the twin's function runner",
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
    ),
    Row(
        token="aws:lambda/permission:Permission",
        service="lambda",
        create="AddPermission",
        id="{statementId}",
        rename={"function": "FunctionName"},
        key={"FunctionName": "{function}", "StatementId": "{statementId}"},
        read="GetPolicy",
        read_key={"FunctionName": "{function}", "Qualifier": "{qualifier}"},
        delete="RemovePermission",
        name="statementId",
    ),
    Row(
        token="aws:scheduler/scheduleGroup:ScheduleGroup",
        service="scheduler",
        create="CreateScheduleGroup",
        id="{name}",
        key={"Name": "{id}"},
        read="GetScheduleGroup",
        delete="DeleteScheduleGroup",
    ),
    Row(
        token="aws:scheduler/schedule:Schedule",
        service="scheduler",
        create="CreateSchedule",
        id="{groupName}/{name}",
        defaults={"groupName": "default"},
        fixed={"ClientToken": "{token}"},
        key={"Name": "{name}", "GroupName": "{groupName}"},
        read="GetSchedule",
        delete="DeleteSchedule",
        parts=(Part("UpdateSchedule", update_only=True),),
        drift={"state": "State"},
        note="fired by the twin's function runner",
    ),
    Row(
        token="aws:sns/topic:Topic",
        service="sns",
        create="CreateTopic",
        build=_topic,
        id="@TopicArn",
        key={"TopicArn": "{id}"},
        read="GetTopicAttributes",
        live="Attributes",
        delete="DeleteTopic",
        parts=(Part("SetTopicAttributes", tuple(_TOPIC_ATTRIBUTES), build=_topic_changes, update_only=True),),
        replaces=("fifoTopic",),
        local=(*_TOPIC_FEEDBACK, "archivePolicy", "fifoThroughputScope"),
        outputs={"arn": "{id}"},
        tags=Tags("TagResource", "UntagResource", {"ResourceArn": "{id}"}),
        note="delivery feedback roles and archive policy are only recorded",
    ),
    Row(
        token="aws:sns/topicPolicy:TopicPolicy",
        service="sns",
        create="SetTopicAttributes",
        build=_topic_policy,
        id="{arn}",
        key={"TopicArn": "{arn}"},
        read="GetTopicAttributes",
        live="Attributes",
        parts=(Part("SetTopicAttributes", ("policy",), build=_topic_policy, update_only=True),),
        outputs={"owner": "{account}"},
        name="",
    ),
    Row(
        token="aws:sns/topicSubscription:TopicSubscription",
        service="sns",
        create="Subscribe",
        build=_subscription,
        id="@SubscriptionArn",
        key={"SubscriptionArn": "{id}"},
        read="GetSubscriptionAttributes",
        live="Attributes",
        delete="Unsubscribe",
        parts=(
            Part(
                "SetSubscriptionAttributes",
                tuple(_SUBSCRIPTION_ATTRIBUTES),
                build=_subscription_changes,
                update_only=True,
            ),
        ),
        local=("confirmationTimeoutInMinutes", "endpointAutoConfirms", "replayPolicy"),
        outputs={"arn": "{id}", "ownerId": "{account}"},
        name="",
    ),
    Row(
        token="aws:sqs/queue:Queue",
        service="sqs",
        create="CreateQueue",
        build=_queue,
        id="@QueueUrl",
        key={"QueueUrl": "{id}"},
        read="GetQueueAttributes",
        read_key={"QueueUrl": "{id}", "AttributeNames": ["All"]},
        live="Attributes",
        delete="DeleteQueue",
        parts=(Part("SetQueueAttributes", tuple(_QUEUE_ATTRIBUTES), build=_queue_changes, update_only=True),),
        replaces=("fifoQueue",),
        outputs={"arn": "@QueueArn", "url": "{id}"},
        tags=Tags("TagQueue", "UntagQueue", {"QueueUrl": "{id}"}),
    ),
    Row(
        token="aws:sqs/queuePolicy:QueuePolicy",
        service="sqs",
        create="SetQueueAttributes",
        build=_queue_policy,
        id="{queueUrl}",
        key={"QueueUrl": "{queueUrl}"},
        read="GetQueueAttributes",
        read_key={"QueueUrl": "{queueUrl}", "AttributeNames": ["Policy"]},
        live="Attributes.Policy",
        parts=(Part("SetQueueAttributes", ("policy",), build=_queue_policy, update_only=True),),
        name="",
    ),
)
