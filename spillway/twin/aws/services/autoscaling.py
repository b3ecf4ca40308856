"""Groups of machines."""

from __future__ import annotations

from spillway.twin.aws.row import Part, Row
from spillway.twin.aws.sample import Sample
from spillway.twin.aws.service import Service

_ROWS = (
    Row(
        token="aws:autoscaling/group:Group",
        service="autoscaling",
        create="CreateAutoScalingGroup",
        id="{name}",
        noun="AutoScalingGroup",
        rename={
            "vpcZoneIdentifiers": "VPCZoneIdentifier",
            "launchTemplate.id": "LaunchTemplateId",
            "launchTemplate.name": "LaunchTemplateName",
        },
        key={"AutoScalingGroupName": "{id}"},
        read="DescribeAutoScalingGroups",
        read_key={"AutoScalingGroupNames": ["{id}"]},
        live="AutoScalingGroups[0]",
        delete="DeleteAutoScalingGroup",
        delete_key={"AutoScalingGroupName": "{id}", "ForceDelete": True},
        parts=(Part("UpdateAutoScalingGroup", ("minSize", "maxSize", "desiredCapacity"), update_only=True),),
        local=(
            "forceDelete",
            "forceDeleteWarmPool",
            "ignoreFailedScalingActivities",
            "waitForCapacityTimeout",
            "waitForElbCapacity",
            "minElbCapacity",
            "metricsGranularity",
            "enabledMetrics",
            "suspendedProcesses",
            "instanceRefresh",
            "warmPool",
            "tags",
        ),
        drift={"desiredCapacity": "DesiredCapacity"},
        outputs={"arn": "@AutoScalingGroupARN"},
        note="tags, metrics and warm pools are only recorded",
        samples=(
            Sample(
                "group-of-machines",
                {
                    "minSize": 0,
                    "maxSize": 2,
                    "desiredCapacity": 0,
                    "vpcZoneIdentifiers": ["$subnet.id"],
                    "launchTemplate": {"id": "$template.id", "version": "$Latest"},
                    "tags": [{"key": "owner", "value": "platform", "propagateAtLaunch": True}],
                },
                change={"maxSize": 3},
            ),
        ),
    ),
)

SERVICE = Service("autoscaling", _ROWS)
