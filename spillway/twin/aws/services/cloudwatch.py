"""Alarms and dashboards. The alarms are evaluated by ``spillway.twin.aws.alarms``."""

from __future__ import annotations

import json
from typing import Any

from spillway.twin.aws.alarms import patch_alarms
from spillway.twin.aws.recorder import Call, RefusedError
from spillway.twin.aws.row import Part, Row, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service

_TAGS = Tags("TagResource", "UntagResource", {"ResourceARN": "{arn}"})
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

_ROWS = (
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
        tags=_TAGS,
        drift={"threshold": "Threshold", "actionsEnabled": "ActionsEnabled"},
        note="evaluated each second by our server, over windows that end now",
        coverage="filled",
        samples=(
            Sample(
                "alarm",
                {
                    "comparisonOperator": "GreaterThanThreshold",
                    "evaluationPeriods": 1,
                    "metricName": "BurstDollarsPerHour",
                    "namespace": "Spillway",
                    "period": 60,
                    "statistic": "Maximum",
                    "threshold": 50,
                    "dimensions": {"Stack": "test"},
                    "alarmActions": ["$topic.arn"],
                    "treatMissingData": "notBreaching",
                    "tags": OWNED,
                },
                change={"threshold": 60},
            ),
            Sample(
                "math-alarm",
                {
                    "comparisonOperator": "GreaterThanThreshold",
                    "evaluationPeriods": 1,
                    "threshold": 1.2,
                    "metricQueries": [
                        {"id": "e1", "expression": "m1 / m2", "label": "per GPU", "returnData": True},
                        {
                            "id": "m1",
                            "metric": {
                                "metricName": "D",
                                "namespace": "Spillway",
                                "period": 60,
                                "stat": "Sum",
                                "dimensions": {"A": "b"},
                            },
                        },
                        {
                            "id": "m2",
                            "metric": {"metricName": "G", "namespace": "Spillway", "period": 60, "stat": "Sum"},
                        },
                    ],
                },
            ),
        ),
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
        tags=_TAGS,
        coverage="filled",
        note="the actions suppressor is only recorded",
        samples=(
            Sample(
                "composite",
                {
                    "alarmName": "both",
                    "alarmRule": "ALARM($alarm.name) OR ALARM($math-alarm.name)",
                    "alarmActions": ["$topic.arn"],
                    "tags": OWNED,
                },
            ),
        ),
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
        samples=(Sample("dashboard", {"dashboardName": "main", "dashboardBody": '{"widgets": []}'}),),
    ),
)


def _put_composite_alarm(call: Call) -> dict[str, Any]:
    """Checked as CloudWatch does: the rule must parse and each alarm in it exist."""
    from moto.cloudwatch.models import cloudwatch_backends

    from spillway.twin.aws.alarm_rules import RuleError, alarms_in, parse_rule

    backend: Any = cloudwatch_backends[call.account][call.region]
    params = call.params
    try:
        rule = parse_rule(params["AlarmRule"])
    except RuleError as error:
        raise RefusedError("ValidationError", f"AlarmRule: {error}") from error
    missing = sorted(alarms_in(rule) - set(backend.alarms))
    if missing:
        raise RefusedError("ValidationError", f"AlarmRule names alarms that do not exist: {', '.join(missing)}")
    backend.put_metric_alarm(
        name=params["AlarmName"],
        namespace=None,
        metric_name=None,
        metric_data_queries=None,
        comparison_operator=None,
        evaluation_periods=None,
        datapoints_to_alarm=None,
        period=None,
        threshold=None,
        statistic=None,
        extended_statistic=None,
        description=params.get("AlarmDescription"),
        dimensions=[],
        alarm_actions=params.get("AlarmActions", []),
        ok_actions=params.get("OKActions", []),
        insufficient_data_actions=params.get("InsufficientDataActions", []),
        unit=None,
        actions_enabled=params.get("ActionsEnabled", True),
        treat_missing_data=None,
        evaluate_low_sample_count_percentile=None,
        threshold_metric_id=None,
        rule=params["AlarmRule"],
        tags=params.get("Tags", []),
    )
    return {}


def _alarm_history(call: Call) -> dict[str, Any]:
    """State changes, newest first unless asked otherwise."""
    from moto.cloudwatch.models import cloudwatch_backends

    params = call.params
    alarms = cloudwatch_backends[call.account][call.region].alarms.values()
    items = [
        {
            "AlarmName": alarm.name,
            "AlarmType": "MetricAlarm" if alarm.rule is None else "CompositeAlarm",
            "Timestamp": moment,
            "HistoryItemType": "StateUpdate",
            "HistorySummary": f"Alarm updated from {old} to {new}",
            "HistoryData": json.dumps(
                {"oldState": {"stateValue": old}, "newState": {"stateValue": new, "stateReason": reason}}
            ),
        }
        for alarm in alarms
        if params.get("AlarmName") in (None, alarm.name)
        for moment, old, new, reason in getattr(alarm, "transitions", [])
    ]
    items.sort(key=lambda item: item["Timestamp"], reverse=params.get("ScanBy") != "TimestampAscending")
    wanted = params.get("HistoryItemType", "StateUpdate") == "StateUpdate"
    return {"AlarmHistoryItems": items[: int(params.get("MaxRecords", 100))] if wanted else []}


SERVICE = Service(
    "cloudwatch",
    _ROWS,
    answers={"PutCompositeAlarm": _put_composite_alarm, "DescribeAlarmHistory": _alarm_history},
    patch=patch_alarms,
)
