"""Containers: clusters, tasks and services."""

from __future__ import annotations

import json
from typing import Any

from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service

_TAGS = Tags("TagResource", "UntagResource", {"resourceArn": "{arn}"}, "tags", "tagKeys")


def _task(scope: Scope) -> list[dict[str, Any]]:
    """Container definitions arrive as JSON text."""
    names = [
        "family",
        "cpu",
        "memory",
        "networkMode",
        "executionRoleArn",
        "taskRoleArn",
        "requiresCompatibilities",
        "ipcMode",
        "pidMode",
        "runtimePlatform",
        "ephemeralStorage",
        "enableFaultInjection",
    ]
    params = {name: scope[name] for name in names if scope.get(name) is not None}
    if "runtimePlatform" in params:
        params["runtimePlatform"] = {k: v for k, v in params["runtimePlatform"].items() if v is not None}
    params["containerDefinitions"] = json.loads(scope["containerDefinitions"])
    if scope.get("volumes"):
        params["volumes"] = [_volume(volume) for volume in scope["volumes"]]
    if scope["tags"]:
        params["tags"] = [{"key": key, "value": value} for key, value in sorted(scope["tags"].items())]
    return [params]


def _volume(volume: dict[str, Any]) -> dict[str, Any]:
    params: dict[str, Any] = {"name": volume["name"]}
    if volume.get("hostPath"):
        params["host"] = {"sourcePath": volume["hostPath"]}
    if volume.get("configureAtLaunch") is not None:
        params["configuredAtLaunch"] = volume["configureAtLaunch"]
    return params


def _service(scope: Scope) -> dict[str, Any]:
    names = [
        "cluster",
        "taskDefinition",
        "desiredCount",
        "launchType",
        "platformVersion",
        "schedulingStrategy",
        "healthCheckGracePeriodSeconds",
        "enableEcsManagedTags",
        "propagateTags",
        "enableExecuteCommand",
        "availabilityZoneRebalancing",
        "deploymentController",
    ]
    params = {name: scope[name] for name in names if scope.get(name) is not None}
    deployment: dict[str, Any] = {}
    for name, member in (
        ("deploymentMinimumHealthyPercent", "minimumHealthyPercent"),
        ("deploymentMaximumPercent", "maximumPercent"),
        ("deploymentCircuitBreaker", "deploymentCircuitBreaker"),
        ("alarms", "alarms"),
    ):
        if scope.get(name) is not None:
            deployment[member] = scope[name]
    if deployment:
        params["deploymentConfiguration"] = deployment
    network = scope.get("networkConfiguration")
    if network:
        params["networkConfiguration"] = {
            "awsvpcConfiguration": {
                "subnets": network["subnets"],
                "securityGroups": network.get("securityGroups") or [],
                "assignPublicIp": "ENABLED" if network.get("assignPublicIp") else "DISABLED",
            }
        }
    for name, member in (
        ("loadBalancers", "loadBalancers"),
        ("capacityProviderStrategies", "capacityProviderStrategy"),
        ("serviceRegistries", "serviceRegistries"),
    ):
        if scope.get(name):
            params[member] = scope[name]
            if not isinstance(params[member], list):
                params[member] = [params[member]]
    return params


def _create_service(scope: Scope) -> list[dict[str, Any]]:
    tags = [{"key": key, "value": value} for key, value in sorted(scope["tags"].items())]
    return [{"serviceName": scope["name"], **_service(scope)} | ({"tags": tags} if tags else {})]


def _update_service(scope: Scope) -> list[dict[str, Any]]:
    fixed = ("launchType", "schedulingStrategy", "deploymentController")
    return [{"service": scope["name"]} | {k: v for k, v in _service(scope).items() if k not in fixed}]


def _stop_service(call: Any, scope: Scope) -> None:
    call("UpdateService", {"cluster": scope.get("cluster", "default"), "service": scope["name"], "desiredCount": 0})


_SERVICE = [
    "taskDefinition",
    "desiredCount",
    "networkConfiguration",
    "healthCheckGracePeriodSeconds",
    "deploymentMinimumHealthyPercent",
    "deploymentMaximumPercent",
    "deploymentCircuitBreaker",
    "alarms",
    "enableExecuteCommand",
    "platformVersion",
    "loadBalancers",
    "capacityProviderStrategies",
    "propagateTags",
    "enableEcsManagedTags",
]

_ROWS = (
    Row(
        token="aws:ecs/cluster:Cluster",
        service="ecs",
        create="CreateCluster",
        id="@cluster.clusterArn",
        rename={"name": "clusterName", "settings": "settings"},
        key={"cluster": "{name}"},
        read="DescribeClusters",
        read_key={"clusters": ["{id}"], "include": ["SETTINGS", "CONFIGURATIONS"]},
        live="clusters[0]",
        gone="status=='INACTIVE'",
        delete="DeleteCluster",
        parts=(Part("UpdateCluster", ("settings", "configuration", "serviceConnectDefaults"), update_only=True),),
        outputs={"arn": "@clusterArn"},
        tags=_TAGS,
        samples=(Sample("ecs", {"settings": [{"name": "containerInsights", "value": "enabled"}], "tags": OWNED}),),
    ),
    Row(
        token="aws:ecs/clusterCapacityProviders:ClusterCapacityProviders",
        service="ecs",
        create="PutClusterCapacityProviders",
        id="{clusterName}",
        rename={"clusterName": "cluster", "defaultCapacityProviderStrategies": "defaultCapacityProviderStrategy"},
        fixed={"capacityProviders": [], "defaultCapacityProviderStrategy": []},
        key={"cluster": "{clusterName}"},
        read="DescribeClusters",
        read_key={"clusters": ["{clusterName}"]},
        live="clusters[0]",
        parts=(
            Part(
                "PutClusterCapacityProviders",
                ("capacityProviders", "defaultCapacityProviderStrategies"),
                build=lambda scope: [
                    {
                        "cluster": scope["clusterName"],
                        "capacityProviders": scope.get("capacityProviders") or [],
                        "defaultCapacityProviderStrategy": scope.get("defaultCapacityProviderStrategies") or [],
                    }
                ],
                update_only=True,
            ),
        ),
        name="",
        samples=(Sample("ecs-providers", {"clusterName": "$ecs.name", "capacityProviders": ["FARGATE"]}),),
    ),
    Row(
        token="aws:ecs/taskDefinition:TaskDefinition",
        service="ecs",
        create="RegisterTaskDefinition",
        build=_task,
        id="@taskDefinition.family",
        key={"taskDefinition": "{arn}"},
        read="DescribeTaskDefinition",
        live="taskDefinition",
        gone="status=='INACTIVE'",
        delete="DeregisterTaskDefinition",
        local=("skipDestroy", "trackLatest"),
        outputs={
            "arn": "@taskDefinitionArn",
            "arnWithoutRevision": "arn:{partition}:ecs:{region}:{account}:task-definition/{family}",
            "revision": "@revision",
        },
        tags=_TAGS,
        name="",
        note="no container starts",
        samples=(
            Sample(
                "task",
                {
                    "family": "gateway",
                    "cpu": "512",
                    "memory": "1024",
                    "networkMode": "awsvpc",
                    "requiresCompatibilities": ["FARGATE"],
                    "executionRoleArn": "$role.arn",
                    "taskRoleArn": "$role.arn",
                    "runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"},
                    "volumes": [{"name": "config"}],
                    "containerDefinitions": json.dumps(
                        [
                            {
                                "name": "envoy",
                                "image": "envoy:1",
                                "essential": True,
                                "portMappings": [{"containerPort": 8080, "protocol": "tcp"}],
                            }
                        ]
                    ),
                    "tags": OWNED,
                },
            ),
        ),
    ),
    Row(
        token="aws:ecs/service:Service",
        service="ecs",
        create="CreateService",
        build=_create_service,
        id="@service.serviceArn",
        key={"cluster": "{cluster}", "service": "{name}"},
        read="DescribeServices",
        read_key={"cluster": "{cluster}", "services": ["{name}"]},
        live="services[0]",
        gone="status=='INACTIVE'",
        delete="DeleteService",
        before_delete=_stop_service,
        parts=(Part("UpdateService", tuple(_SERVICE), build=_update_service, update_only=True),),
        local=("waitForSteadyState", "forceNewDeployment", "forceDelete", "triggers", "sigintRollback"),
        outputs={"arn": "@serviceArn"},
        drift={"desiredCount": "desiredCount"},
        tags=_TAGS,
        note="no container starts",
        samples=(
            Sample(
                "service",
                {
                    "cluster": "$ecs.arn",
                    "taskDefinition": "$task.arn",
                    "desiredCount": 2,
                    "launchType": "FARGATE",
                    "networkConfiguration": {
                        "subnets": ["$subnet.id"],
                        "securityGroups": ["$group.id"],
                        "assignPublicIp": False,
                    },
                    "loadBalancers": [
                        {"targetGroupArn": "$targets.arn", "containerName": "envoy", "containerPort": 8080}
                    ],
                    "deploymentCircuitBreaker": {"enable": True, "rollback": True},
                    "deploymentMinimumHealthyPercent": 100,
                    "tags": OWNED,
                },
                change={"desiredCount": 3},
            ),
        ),
    ),
)

SERVICE = Service("ecs", _ROWS)
