"""Machines and launch templates, and what EC2's other files share: ``vpc``, ``security_groups`` and ``vpn``."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.recorder import Kind
from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service

TAGS = Tags("CreateTags", "DeleteTags", {"Resources": ["{id}"]}, keys="Tags")


def by_id(token: str, create: str, id_: str, read: str, ids: str, delete: str, delete_by: str, **more: Any) -> Row:
    """A row for a thing that ``Describe...s`` finds by its id."""
    live = more.pop("live", f"{ids.removesuffix('Ids')}s[0]")
    return Row(
        token=f"aws:ec2/{token[0].lower()}{token[1:]}:{token}",
        service="ec2",
        create=create,
        id=id_,
        read=read,
        read_key={ids: ["{id}"]},
        live=live,
        delete=delete,
        key={delete_by: "{id}"},
        name=more.pop("name", ""),
        tags=TAGS,
        **more,
    )


def arn(kind: str) -> str:
    return f"arn:{{partition}}:ec2:{{region}}:{{account}}:{kind}/{{id}}"


_TEMPLATE_DATA = [
    "blockDeviceMappings",
    "capacityReservationSpecification",
    "cpuOptions",
    "creditSpecification",
    "disableApiStop",
    "disableApiTermination",
    "ebsOptimized",
    "enclaveOptions",
    "hibernationOptions",
    "iamInstanceProfile",
    "imageId",
    "instanceInitiatedShutdownBehavior",
    "instanceMarketOptions",
    "instanceRequirements",
    "instanceType",
    "kernelId",
    "keyName",
    "licenseSpecifications",
    "maintenanceOptions",
    "metadataOptions",
    "monitoring",
    "networkInterfaces",
    "placement",
    "privateDnsNameOptions",
    "ramDiskId",
    "securityGroupNames",
    "tagSpecifications",
    "userData",
    "vpcSecurityGroupIds",
]
_TEMPLATE_RENAME = {name: f"LaunchTemplateData.{name[0].upper()}{name[1:]}" for name in _TEMPLATE_DATA} | {
    "vpcSecurityGroupIds": "LaunchTemplateData.SecurityGroupIds",
    "securityGroupNames": "LaunchTemplateData.SecurityGroups",
    "networkInterfaces.securityGroups": "Groups",
    "networkInterfaces.ipv4Addresses": "PrivateIpAddresses",
    "description": "VersionDescription",
}


def _template_default(scope: Scope) -> list[dict[str, Any]]:
    if not scope.get("updateDefaultVersion"):
        return []
    found = scope["call"]("DescribeLaunchTemplates", {"LaunchTemplateIds": [scope["id"]]})["LaunchTemplates"][0]
    return [{"LaunchTemplateId": scope["id"], "DefaultVersion": str(found["LatestVersionNumber"])}]


_ROWS = (
    by_id(
        "Instance",
        "RunInstances",
        "@Instances[0].InstanceId",
        "DescribeInstances",
        "InstanceIds",
        "TerminateInstances",
        "InstanceId",
        delete_key={"InstanceIds": ["{id}"]},
        live="Reservations[0].Instances[0]",
        gone="State.Name=='terminated' || State.Name=='shutting-down'",
        tag_kind="instance",
        fixed={"MinCount": 1, "MaxCount": 1},
        rename={
            "ami": "ImageId",
            "vpcSecurityGroupIds": "SecurityGroupIds",
            "launchTemplate.id": "LaunchTemplateId",
            "launchTemplate.name": "LaunchTemplateName",
            "availabilityZone": "Placement.AvailabilityZone",
            "tenancy": "Placement.Tenancy",
            "monitoring": "Monitoring.Enabled",
            "iamInstanceProfile": "IamInstanceProfile.Name",
        },
        local=(
            "volumeTags",
            "userDataReplaceOnChange",
            "forceDestroy",
            "getPasswordData",
            "rootBlockDevice",
            "sourceDestCheck",
        ),
        outputs={"arn": arn("instance"), "privateIp": "@PrivateIpAddress", "instanceState": "@State.Name"},
        note="no machine starts; the root device and volume tags are only recorded",
        samples=(
            Sample(
                "machine",
                {
                    "subnetId": "$subnet.id",
                    "ami": "ami-12c6146b",
                    "launchTemplate": {"id": "$template.id", "version": "$template.latestVersion"},
                    "tags": OWNED,
                },
                change={"tags": {"owner": "x"}},
            ),
        ),
    ),
    by_id(
        "LaunchTemplate",
        "CreateLaunchTemplate",
        "@LaunchTemplate.LaunchTemplateId",
        "DescribeLaunchTemplates",
        "LaunchTemplateIds",
        "DeleteLaunchTemplate",
        "LaunchTemplateId",
        tag_kind="launch-template",
        name="name",
        rename={**_TEMPLATE_RENAME, "name": "LaunchTemplateName"},
        local=("updateDefaultVersion", "defaultVersion"),
        parts=(
            Part("CreateLaunchTemplateVersion", (*_TEMPLATE_DATA, "description"), update_only=True),
            Part("ModifyLaunchTemplate", (*_TEMPLATE_DATA, "description"), build=_template_default, update_only=True),
        ),
        outputs={
            "arn": arn("launch-template"),
            "latestVersion": "@LatestVersionNumber",
            "defaultVersion": "@DefaultVersionNumber",
        },
        samples=(
            Sample(
                "template",
                {
                    "namePrefix": "gpu-",
                    "instanceType": "g5.xlarge",
                    "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1},
                    "blockDeviceMappings": [
                        {
                            "deviceName": "/dev/xvda",
                            "ebs": {"encrypted": "true", "volumeSize": 100, "volumeType": "gp3"},
                        }
                    ],
                    "monitoring": {"enabled": True},
                    "vpcSecurityGroupIds": ["$group.id"],
                    "tagSpecifications": [{"resourceType": "instance", "tags": OWNED}],
                    "updateDefaultVersion": True,
                    "tags": OWNED,
                },
                change={"instanceType": "g6.xlarge"},
            ),
        ),
    ),
    Row(
        token="aws:ec2/placementGroup:PlacementGroup",
        service="ec2",
        create="CreatePlacementGroup",
        id="{name}",
        rename={"name": "GroupName"},
        key={"GroupName": "{name}"},
        read="DescribePlacementGroups",
        read_key={"GroupNames": ["{name}"]},
        live="PlacementGroups[0]",
        delete="DeletePlacementGroup",
        name="name",
        tag_kind="placement-group",
        tags=Tags("CreateTags", "DeleteTags", {"Resources": ["{placementGroupId}"]}, keys="Tags"),
        outputs={
            "arn": "arn:{partition}:ec2:{region}:{account}:placement-group/{name}",
            "placementGroupId": "@GroupId",
        },
        coverage="recorded",
        note="no machine is placed",
        samples=(
            Sample("placement", {"name": "gpu", "strategy": "cluster", "tags": OWNED}, replace={"strategy": "spread"}),
        ),
    ),
)

_RECORDED = (
    Kind(
        "ec2",
        key=("GroupName",),
        create="CreatePlacementGroup",
        delete="DeletePlacementGroup",
        list="DescribePlacementGroups",
        many="PlacementGroups",
        by="GroupNames",
        made={"GroupId": "pg-{uuid}"},
        fixed={"State": "available"},
        missing="InvalidPlacementGroup.Unknown",
        exists="InvalidPlacementGroup.Duplicate",
    ),
)

SERVICE = Service("ec2", _ROWS, recorded=_RECORDED)
