"""What scales SageMaker endpoints."""

from __future__ import annotations

from spillway.twin.aws.recorder import nothing
from spillway.twin.aws.row import Part, Row, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service

_TAGS = Tags("TagResource", "UntagResource", {"ResourceARN": "{arn}"})

_ROWS = (
    Row(
        token="aws:appautoscaling/target:Target",
        service="application-autoscaling",
        create="RegisterScalableTarget",
        id="{resourceId}",
        rename={"roleArn": "RoleARN"},
        key={
            "ServiceNamespace": "{serviceNamespace}",
            "ResourceId": "{resourceId}",
            "ScalableDimension": "{scalableDimension}",
        },
        read="DescribeScalableTargets",
        read_key={
            "ServiceNamespace": "{serviceNamespace}",
            "ResourceIds": ["{resourceId}"],
            "ScalableDimension": "{scalableDimension}",
        },
        live="ScalableTargets[0]",
        delete="DeregisterScalableTarget",
        parts=(Part("RegisterScalableTarget", ("minCapacity", "maxCapacity", "suspendedState"), update_only=True),),
        drift={"minCapacity": "MinCapacity", "maxCapacity": "MaxCapacity"},
        outputs={"arn": "@ScalableTargetARN"},
        tags=_TAGS,
        name="",
        samples=(
            Sample(
                "scaling",
                {
                    "serviceNamespace": "sagemaker",
                    "resourceId": "endpoint/$endpoint.name/variant/main",
                    "scalableDimension": "sagemaker:variant:DesiredInstanceCount",
                    "minCapacity": 1,
                    "maxCapacity": 4,
                    "tags": OWNED,
                },
                change={"maxCapacity": 6},
            ),
        ),
    ),
    Row(
        token="aws:appautoscaling/policy:Policy",
        service="application-autoscaling",
        create="PutScalingPolicy",
        id="{serviceNamespace}/{resourceId}/{scalableDimension}/{name}",
        rename={
            "stepScalingPolicyConfiguration.stepAdjustments.metricIntervalLowerBound": "MetricIntervalLowerBound",
        },
        key={
            "ServiceNamespace": "{serviceNamespace}",
            "ResourceId": "{resourceId}",
            "ScalableDimension": "{scalableDimension}",
            "PolicyName": "{name}",
        },
        read="DescribeScalingPolicies",
        read_key={
            "ServiceNamespace": "{serviceNamespace}",
            "ResourceId": "{resourceId}",
            "ScalableDimension": "{scalableDimension}",
            "PolicyNames": ["{name}"],
        },
        live="ScalingPolicies[?PolicyName=='{name}'] | [0]",
        delete="DeleteScalingPolicy",
        parts=(
            Part(
                "PutScalingPolicy",
                (
                    "policyType",
                    "stepScalingPolicyConfiguration",
                    "targetTrackingScalingPolicyConfiguration",
                    "predictiveScalingPolicyConfiguration",
                ),
                update_only=True,
            ),
        ),
        replaces=("policyType",),
        outputs={"arn": "@PolicyARN", "alarmArns": "@Alarms[].AlarmARN"},
        note="policies scale nothing by themselves",
        samples=(
            Sample(
                "tracking",
                {
                    "serviceNamespace": "sagemaker",
                    "resourceId": "$scaling.resourceId",
                    "scalableDimension": "$scaling.scalableDimension",
                    "policyType": "TargetTrackingScaling",
                    "targetTrackingScalingPolicyConfiguration": {
                        "targetValue": 70,
                        "scaleInCooldown": 300,
                        "predefinedMetricSpecification": {
                            "predefinedMetricType": "SageMakerVariantInvocationsPerInstance"
                        },
                    },
                },
            ),
            Sample(
                "stepping",
                {
                    "serviceNamespace": "sagemaker",
                    "resourceId": "$scaling.resourceId",
                    "scalableDimension": "$scaling.scalableDimension",
                    "policyType": "StepScaling",
                    "stepScalingPolicyConfiguration": {
                        "adjustmentType": "ExactCapacity",
                        "metricAggregationType": "Average",
                        "cooldown": 60,
                        "stepAdjustments": [{"metricIntervalLowerBound": "0", "scalingAdjustment": 1}],
                    },
                },
            ),
        ),
    ),
    Row(
        token="aws:appautoscaling/scheduledAction:ScheduledAction",
        service="application-autoscaling",
        create="PutScheduledAction",
        id="{name}-{serviceNamespace}-{resourceId}",
        rename={"name": "ScheduledActionName"},
        key={
            "ServiceNamespace": "{serviceNamespace}",
            "ResourceId": "{resourceId}",
            "ScalableDimension": "{scalableDimension}",
            "ScheduledActionName": "{name}",
        },
        read="DescribeScheduledActions",
        read_key={"ServiceNamespace": "{serviceNamespace}", "ScheduledActionNames": ["{name}"]},
        live="ScheduledActions[0]",
        delete="DeleteScheduledAction",
        parts=(
            Part(
                "PutScheduledAction",
                ("schedule", "scalableTargetAction", "startTime", "endTime", "timezone"),
                update_only=True,
            ),
        ),
        outputs={"arn": "@ScheduledActionARN"},
        samples=(
            Sample(
                "nightly",
                {
                    "serviceNamespace": "sagemaker",
                    "resourceId": "$scaling.resourceId",
                    "scalableDimension": "$scaling.scalableDimension",
                    "schedule": "cron(0 22 * * ? *)",
                    "scalableTargetAction": {"minCapacity": 1, "maxCapacity": 1},
                },
            ),
        ),
    ),
)

SERVICE = Service("application-autoscaling", _ROWS, answers={"TagResource": nothing, "UntagResource": nothing})
