"""Alerts, whom they tell, and autoscaling."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import LOCATION, Row, in_group
from spillway.twin.azure.sample import ENDPOINT, IN_GROUP, LOGS, PLACE, Sample, at

ROWS: Final = (
    in_group(
        "monitor:AutoscaleSetting",
        "Microsoft.Insights/autoscalesettings/{autoscaleSettingName}",
        "monitor.AutoscaleSettingResource",
        create_only=LOCATION,
        sample=Sample(
            {
                **PLACE,
                "autoscaleSettingName": "spill",
                "targetResourceUri": f"{ENDPOINT}/deployments/blue",
                "enabled": True,
                "profiles": [
                    {
                        "name": "default",
                        "capacity": {"minimum": "1", "maximum": "4", "default": "1"},
                        "rules": [
                            {
                                "metricTrigger": {
                                    "metricName": "CpuUtilizationPercentage",
                                    "metricResourceUri": f"{ENDPOINT}/deployments/blue",
                                    "timeGrain": "PT1M",
                                    "statistic": "Average",
                                    "timeWindow": "PT5M",
                                    "timeAggregation": "Average",
                                    "operator": "GreaterThan",
                                    "threshold": 70.0,
                                },
                                "scaleAction": {
                                    "direction": "Increase",
                                    "type": "ChangeCount",
                                    "value": "1",
                                    "cooldown": "PT5M",
                                },
                            }
                        ],
                    }
                ],
            }
        ),
    ),
    Row(
        "monitor:DiagnosticSetting",
        "/{resourceUri}/providers/Microsoft.Insights/diagnosticSettings/{name}",
        None,
        sample=Sample(
            {
                "resourceUri": ENDPOINT,
                "name": "logs",
                "workspaceId": LOGS,
                "metrics": [{"category": "AllMetrics", "enabled": True}],
            }
        ),
    ),
    in_group(
        "monitor:MetricAlert",
        "Microsoft.Insights/metricAlerts/{ruleName}",
        "monitor.MetricAlertResource",
        create_only=LOCATION,
        sample=Sample(
            {
                **IN_GROUP,
                "ruleName": "latency",
                "location": "global",
                "enabled": True,
                "severity": 2,
                "scopes": [ENDPOINT],
                "evaluationFrequency": "PT1M",
                "windowSize": "PT5M",
                "actions": [{"actionGroupId": at("Microsoft.Insights/actionGroups/oncall")}],
                "criteria": {
                    "odataType": "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria",
                    "allOf": [
                        {
                            "criterionType": "StaticThresholdCriterion",
                            "name": "p99",
                            "metricName": "RequestLatency_P99",
                            "operator": "GreaterThan",
                            "threshold": 5000.0,
                            "timeAggregation": "Average",
                        }
                    ],
                },
            }
        ),
    ),
    in_group(
        "monitor:ActionGroup",
        "Microsoft.Insights/actionGroups/{actionGroupName}",
        "monitor.ActionGroupResource",
        create_only=LOCATION,
        sample=Sample(
            {
                **IN_GROUP,
                "actionGroupName": "oncall",
                "location": "global",
                "groupShortName": "oncall",
                "enabled": True,
                "emailReceivers": [{"name": "team", "emailAddress": "team@example.com"}],
            }
        ),
    ),
    in_group(
        "monitor:ScheduledQueryRule",
        "Microsoft.Insights/scheduledQueryRules/{ruleName}",
        "monitor.ScheduledQueryRuleResource",
        create_only=LOCATION,
        identity=True,
        sample=Sample(
            {
                **PLACE,
                "ruleName": "heartbeat",
                "kind": "LogAlert",
                "severity": 1,
                "enabled": True,
                "scopes": [LOGS],
                "evaluationFrequency": "PT1M",
                "windowSize": "PT5M",
                "criteria": {
                    "allOf": [
                        {"query": "Heartbeat", "timeAggregation": "Count", "operator": "LessThan", "threshold": 1.0}
                    ]
                },
            }
        ),
    ),
)
