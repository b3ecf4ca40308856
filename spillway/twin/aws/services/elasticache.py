"""Redis."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.recorder import Call, Kind, RefusedError
from spillway.twin.aws.row import Part, Row, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service

_ROWS = (
    Row(
        token="aws:elasticache/subnetGroup:SubnetGroup",
        service="elasticache",
        create="CreateCacheSubnetGroup",
        id="{name}",
        noun="CacheSubnetGroup",
        defaults={"description": "Managed by Pulumi"},
        key={"CacheSubnetGroupName": "{name}"},
        read="DescribeCacheSubnetGroups",
        live="CacheSubnetGroups[0]",
        delete="DeleteCacheSubnetGroup",
        parts=(Part("ModifyCacheSubnetGroup", ("description", "subnetIds"), update_only=True),),
        outputs={"arn": "@ARN"},
        tags=Tags("AddTagsToResource", "RemoveTagsFromResource", {"ResourceName": "{arn}"}),
        coverage="filled",
        samples=(Sample("cache-subnets", {"subnetIds": ["$subnet.id"], "tags": OWNED}),),
    ),
    Row(
        token="aws:elasticache/parameterGroup:ParameterGroup",
        service="elasticache",
        create="CreateCacheParameterGroup",
        id="{name}",
        noun="CacheParameterGroup",
        rename={"family": "CacheParameterGroupFamily"},
        defaults={"description": "Managed by Pulumi"},
        key={"CacheParameterGroupName": "{name}"},
        read="DescribeCacheParameterGroups",
        live="CacheParameterGroups[0]",
        delete="DeleteCacheParameterGroup",
        parts=(
            Part(
                "ModifyCacheParameterGroup",
                ("parameters",),
                rename={
                    "parameters": "ParameterNameValues",
                    "parameters.name": "ParameterName",
                    "parameters.value": "ParameterValue",
                },
            ),
        ),
        outputs={"arn": "@ARN"},
        tags=Tags("AddTagsToResource", "RemoveTagsFromResource", {"ResourceName": "{arn}"}),
        coverage="recorded",
        samples=(
            Sample(
                "cache-parameters",
                {"family": "redis7", "parameters": [{"name": "maxmemory-policy", "value": "allkeys-lru"}]},
            ),
        ),
    ),
    Row(
        token="aws:elasticache/replicationGroup:ReplicationGroup",
        service="elasticache",
        create="CreateReplicationGroup",
        id="{replicationGroupId}",
        rename={
            "description": "ReplicationGroupDescription",
            "nodeType": "CacheNodeType",
            "parameterGroupName": "CacheParameterGroupName",
            "subnetGroupName": "CacheSubnetGroupName",
            "preferredCacheClusterAzs": "PreferredCacheClusterAZs",
            "maintenanceWindow": "PreferredMaintenanceWindow",
            "logDeliveryConfigurations.destination": "",
            "numCacheClusters": "NumCacheClusters",
            "multiAzEnabled": "MultiAZEnabled",
        },
        key={"ReplicationGroupId": "{replicationGroupId}"},
        read="DescribeReplicationGroups",
        live="ReplicationGroups[0]",
        gone="Status=='deleting'",
        delete="DeleteReplicationGroup",
        parts=(
            Part(
                "ModifyReplicationGroup",
                (
                    "description",
                    "nodeType",
                    "engineVersion",
                    "automaticFailoverEnabled",
                    "multiAzEnabled",
                    "parameterGroupName",
                    "snapshotRetentionLimit",
                    "snapshotWindow",
                    "maintenanceWindow",
                    "notificationTopicArn",
                    "securityGroupIds",
                ),
                update_only=True,
            ),
        ),
        local=("applyImmediately", "finalSnapshotIdentifier", "authTokenUpdateStrategy", "logDeliveryConfigurations"),
        outputs={
            "arn": "@ARN",
            "primaryEndpointAddress": "@NodeGroups[0].PrimaryEndpoint.Address",
            "readerEndpointAddress": "@NodeGroups[0].ReaderEndpoint.Address",
            "configurationEndpointAddress": "@ConfigurationEndpoint.Address",
        },
        tags=Tags("AddTagsToResource", "RemoveTagsFromResource", {"ResourceName": "{arn}"}),
        name="replicationGroupId",
        name_limit=40,
        note="no Redis starts; log delivery is only recorded",
        samples=(
            Sample(
                "cache",
                {
                    "description": "cache",
                    "engine": "redis",
                    "nodeType": "cache.t4g.small",
                    "numCacheClusters": 2,
                    "automaticFailoverEnabled": True,
                    "multiAzEnabled": True,
                    "atRestEncryptionEnabled": True,
                    "transitEncryptionEnabled": True,
                    "subnetGroupName": "$cache-subnets.name",
                    "securityGroupIds": ["$group.id"],
                    "tags": OWNED,
                },
                change={"description": "new"},
            ),
        ),
    ),
)

_RECORDED = (
    Kind(
        "elasticache",
        ("CacheParameterGroupName",),
        "CreateCacheParameterGroup",
        "",
        "ModifyCacheParameterGroup",
        "DeleteCacheParameterGroup",
        "DescribeCacheParameterGroups",
        "CacheParameterGroups",
        by="CacheParameterGroupName",
        made={"ARN": "arn:aws:elasticache:{region}:{account}:parametergroup:{CacheParameterGroupName}"},
        missing="CacheParameterGroupNotFound",
    ),
)


def _delete_subnet_group(call: Call) -> dict[str, Any]:
    _subnet_groups(call).pop(_subnet_group(call).cache_subnet_group_name, None)
    return {}


def _modify_subnet_group(call: Call) -> dict[str, Any]:
    group = _subnet_group(call)
    if "CacheSubnetGroupDescription" in call.params:
        group.cache_subnet_group_description = call.params["CacheSubnetGroupDescription"]
    if "SubnetIds" in call.params:
        group.subnet_ids = call.params["SubnetIds"]
    return {"CacheSubnetGroup": {"CacheSubnetGroupName": group.cache_subnet_group_name, "ARN": group.arn}}


def _subnet_groups(call: Call) -> dict[str, Any]:
    from moto.elasticache.models import elasticache_backends

    return elasticache_backends[call.account][call.region].cache_subnet_groups


def _subnet_group(call: Call) -> Any:
    name = call.params["CacheSubnetGroupName"]
    group = _subnet_groups(call).get(name)
    if group is None:
        raise RefusedError("CacheSubnetGroupNotFoundFault", f"CacheSubnetGroup {name} not found.")
    return group


SERVICE = Service(
    "elasticache",
    _ROWS,
    recorded=_RECORDED,
    answers={"DeleteCacheSubnetGroup": _delete_subnet_group, "ModifyCacheSubnetGroup": _modify_subnet_group},
)
