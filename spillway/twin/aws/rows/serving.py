"""SageMaker and what scales it."""

from __future__ import annotations

from spillway.twin.aws.row import Part, Row, Tags

TAGS = Tags("AddTags", "DeleteTags", {"ResourceArn": "{arn}"})
_SCALING_TAGS = Tags("TagResource", "UntagResource", {"ResourceARN": "{arn}"})


ROWS = (
    Row(
        token="aws:sagemaker/model:Model",
        service="sagemaker",
        create="CreateModel",
        id="{name}",
        rename={
            "primaryContainer.modelDataSource.s3DataSources": "S3DataSource",
            "containers.modelDataSource.s3DataSources": "S3DataSource",
        },
        key={"ModelName": "{id}"},
        read="DescribeModel",
        delete="DeleteModel",
        tags=TAGS,
    ),
    Row(
        token="aws:sagemaker/endpointConfiguration:EndpointConfiguration",
        service="sagemaker",
        create="CreateEndpointConfig",
        id="{name}",
        noun="EndpointConfig",
        rename={
            "kmsKeyArn": "KmsKeyId",
            "productionVariants.serverlessConfig.memorySizeInMb": "MemorySizeInMB",
        },
        key={"EndpointConfigName": "{id}"},
        read="DescribeEndpointConfig",
        delete="DeleteEndpointConfig",
        tags=TAGS,
    ),
    Row(
        token="aws:sagemaker/endpoint:Endpoint",
        service="sagemaker",
        create="CreateEndpoint",
        id="{name}",
        rename={"deploymentConfig.autoRollbackConfiguration.alarms": "Alarms"},
        key={"EndpointName": "{id}"},
        read="DescribeEndpoint",
        delete="DeleteEndpoint",
        parts=(Part("UpdateEndpoint", ("endpointConfigName", "deploymentConfig"), update_only=True),),
        drift={"endpointConfigName": "EndpointConfigName"},
        tags=TAGS,
        note="in service at once; UpdateEndpoint is our server's",
        coverage="filled",
    ),
    Row(
        token="aws:sagemaker/modelPackageGroup:ModelPackageGroup",
        service="sagemaker",
        create="CreateModelPackageGroup",
        id="{modelPackageGroupName}",
        key={"ModelPackageGroupName": "{id}"},
        read="DescribeModelPackageGroup",
        delete="DeleteModelPackageGroup",
        name="",
        tags=TAGS,
    ),
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
        tags=_SCALING_TAGS,
        name="",
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
    ),
)
