"""What runs: EKS, ECS, Lambda, auto scaling groups."""

from __future__ import annotations

import json
from typing import Any

from spillway.twin.aws.archives import archive_bytes
from spillway.twin.aws.row import Part, Row, Scope, Tags

_EKS_TAGS = Tags("TagResource", "UntagResource", {"resourceArn": "{arn}"}, "tags", "tagKeys")
_ECS_TAGS = Tags("TagResource", "UntagResource", {"resourceArn": "{arn}"}, "tags", "tagKeys")
_LAMBDA_TAGS = Tags("TagResource", "UntagResource", {"Resource": "{arn}"})
_FUNCTION = [
    "description",
    "deadLetterConfig",
    "environment",
    "ephemeralStorage",
    "fileSystemConfig",
    "handler",
    "imageConfig",
    "kmsKeyArn",
    "layers",
    "loggingConfig",
    "memorySize",
    "role",
    "runtime",
    "snapStart",
    "timeout",
    "tracingConfig",
    "vpcConfig",
]
_CODE = ("code", "s3Bucket", "s3Key", "s3ObjectVersion", "imageUri", "architectures", "sourceCodeHash")
_FUNCTION_RENAME = {
    "name": "FunctionName",
    "kmsKeyArn": "KMSKeyArn",
    "fileSystemConfig": "FileSystemConfigs",
    "environment.variables": "Variables",
    "imageConfig.commands": "Command",
    "s3Bucket": "Code.S3Bucket",
    "s3Key": "Code.S3Key",
    "s3ObjectVersion": "Code.S3ObjectVersion",
    "imageUri": "Code.ImageUri",
    "sourceCodeHash": "",
    "code": "Code.ZipFile",
}


def _code(scope: Scope) -> list[dict[str, Any]]:
    params: dict[str, Any] = {"FunctionName": scope["id"]}
    if scope.get("code") is not None:
        params["ZipFile"] = archive_bytes(scope["code"])
    for name, member in (
        ("s3Bucket", "S3Bucket"),
        ("s3Key", "S3Key"),
        ("s3ObjectVersion", "S3ObjectVersion"),
        ("imageUri", "ImageUri"),
        ("architectures", "Architectures"),
    ):
        if scope.get(name) is not None:
            params[member] = scope[name]
    return [params]


def _eks_change(member: str, *names: str) -> Any:
    """EKS takes one kind of change a call."""

    def build(scope: Scope) -> list[dict[str, Any]]:
        return [{"name": scope["name"], member: _eks_value(scope, names)}]

    return build


def _eks_value(scope: Scope, names: tuple[str, ...]) -> Any:
    (name,) = names
    if name == "enabledClusterLogTypes":
        every = {"api", "audit", "authenticator", "controllerManager", "scheduler"}
        on = set(scope.get(name) or [])
        return {
            "clusterLogging": [{"types": sorted(on), "enabled": True}, {"types": sorted(every - on), "enabled": False}]
        }
    return {k: v for k, v in (scope.get(name) or {}).items() if k not in ("vpcId", "clusterSecurityGroupId")}


def _node_group_change(scope: Scope) -> list[dict[str, Any]]:
    params: dict[str, Any] = {"clusterName": scope["clusterName"], "nodegroupName": scope["nodeGroupName"]}
    params["scalingConfig"] = scope["scalingConfig"]
    old, new = scope["old"].get("labels") or {}, scope.get("labels") or {}
    if old != new:
        params["labels"] = {"addOrUpdateLabels": new, "removeLabels": sorted(set(old) - set(new))}
    if scope.get("updateConfig"):
        params["updateConfig"] = scope["updateConfig"]
    return [params]


_NODE_GROUP_RENAME = {
    "nodeGroupName": "nodegroupName",
    "nodeRoleArn": "nodeRole",
    "subnetIds": "subnets",
    "taints.effect": "effect",
    "remoteAccess.ec2SshKey": "ec2SshKey",
}
_CLUSTER_RENAME = {
    "enabledClusterLogTypes": "",
    "encryptionConfig": "encryptionConfig",
    "vpcConfig": "resourcesVpcConfig",
    "defaultAddonsToRemoves": "",
    "bootstrapSelfManagedAddons": "bootstrapSelfManagedAddons",
}


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

ROWS = (
    Row(
        token="aws:eks/cluster:Cluster",
        service="eks",
        create="CreateCluster",
        id="{name}",
        rename=_CLUSTER_RENAME,
        key={"name": "{name}"},
        read="DescribeCluster",
        live="cluster",
        delete="DeleteCluster",
        parts=(
            Part(
                "UpdateClusterConfig",
                ("enabledClusterLogTypes",),
                build=_eks_change("logging", "enabledClusterLogTypes"),
            ),
            Part(
                "UpdateClusterConfig",
                ("vpcConfig",),
                build=_eks_change("resourcesVpcConfig", "vpcConfig"),
                update_only=True,
            ),
            Part(
                "UpdateClusterConfig",
                ("accessConfig",),
                build=_eks_change("accessConfig", "accessConfig"),
                update_only=True,
            ),
            Part("UpdateClusterVersion", ("version",), update_only=True),
        ),
        local=("defaultAddonsToRemoves", "forceUpdateVersion"),
        outputs={
            "certificateAuthority": "@certificateAuthority",
            "clusterId": "{name}",
            "identities": "@[{oidcs: [{issuer: identity.oidc.issuer}]}]",
        },
        tags=_EKS_TAGS,
    ),
    Row(
        token="aws:eks/nodeGroup:NodeGroup",
        service="eks",
        create="CreateNodegroup",
        id="{clusterName}:{nodeGroupName}",
        rename=_NODE_GROUP_RENAME,
        key={"clusterName": "{clusterName}", "nodegroupName": "{nodeGroupName}"},
        read="DescribeNodegroup",
        live="nodegroup",
        delete="DeleteNodegroup",
        parts=(
            Part(
                "UpdateNodegroupConfig",
                ("scalingConfig", "labels", "updateConfig"),
                build=_node_group_change,
                update_only=True,
            ),
            Part("UpdateNodegroupVersion", ("version", "releaseVersion", "launchTemplate"), update_only=True),
        ),
        local=("forceUpdateVersion", "nodeGroupNamePrefix"),
        name="nodeGroupName",
        outputs={"arn": "@nodegroupArn"},
        tags=_EKS_TAGS,
        note="no machine starts",
    ),
    Row(
        token="aws:eks/addon:Addon",
        service="eks",
        create="CreateAddon",
        id="{clusterName}:{addonName}",
        rename={
            "resolveConflictsOnCreate": "resolveConflicts",
            "podIdentityAssociations.roleArn": "roleArn",
        },
        key={"clusterName": "{clusterName}", "addonName": "{addonName}"},
        read="DescribeAddon",
        live="addon",
        delete="DeleteAddon",
        parts=(
            Part(
                "UpdateAddon",
                ("addonVersion", "configurationValues", "serviceAccountRoleArn", "resolveConflictsOnUpdate"),
                rename={"resolveConflictsOnUpdate": "resolveConflicts"},
                update_only=True,
            ),
        ),
        local=("preserve", "resolveConflictsOnUpdate"),
        name="",
        outputs={"arn": "@addonArn"},
        tags=_EKS_TAGS,
        coverage="recorded",
    ),
    Row(
        token="aws:eks/accessEntry:AccessEntry",
        service="eks",
        create="CreateAccessEntry",
        id="{clusterName}:{principalArn}",
        rename={"userName": "username"},
        key={"clusterName": "{clusterName}", "principalArn": "{principalArn}"},
        read="DescribeAccessEntry",
        live="accessEntry",
        delete="DeleteAccessEntry",
        parts=(
            Part(
                "UpdateAccessEntry",
                ("kubernetesGroups", "userName"),
                rename={"userName": "username"},
                update_only=True,
            ),
        ),
        name="",
        tags=_EKS_TAGS,
        coverage="recorded",
    ),
    Row(
        token="aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
        service="eks",
        create="AssociateAccessPolicy",
        id="{clusterName}#{principalArn}#{policyArn}",
        key={"clusterName": "{clusterName}", "principalArn": "{principalArn}", "policyArn": "{policyArn}"},
        read="ListAssociatedAccessPolicies",
        read_key={"clusterName": "{clusterName}", "principalArn": "{principalArn}"},
        live="associatedAccessPolicies[?policyArn=='{policyArn}'] | [0]",
        delete="DisassociateAccessPolicy",
        name="",
        coverage="recorded",
    ),
    Row(
        token="aws:eks/podIdentityAssociation:PodIdentityAssociation",
        service="eks",
        create="CreatePodIdentityAssociation",
        id="@association.associationId",
        key={"clusterName": "{clusterName}", "associationId": "{id}"},
        read="DescribePodIdentityAssociation",
        live="association",
        delete="DeletePodIdentityAssociation",
        parts=(
            Part("UpdatePodIdentityAssociation", ("roleArn", "targetRoleArn", "disableSessionTags"), update_only=True),
        ),
        name="",
        outputs={"associationId": "{id}"},
        tags=_EKS_TAGS,
        coverage="recorded",
    ),
    Row(
        token="aws:lambda/function:Function",
        service="lambda",
        create="CreateFunction",
        id="{name}",
        noun="Function",
        rename=_FUNCTION_RENAME,
        key={"FunctionName": "{id}"},
        read="GetFunction",
        live="Configuration",
        delete="DeleteFunction",
        parts=(
            Part("UpdateFunctionConfiguration", tuple(_FUNCTION), update_only=True),
            Part("UpdateFunctionCode", _CODE, build=_code, update_only=True),
            Part("PutFunctionConcurrency", ("reservedConcurrentExecutions",), undo="DeleteFunctionConcurrency"),
        ),
        local=(
            "skipDestroy",
            "publishTo",
            "replaceSecurityGroupsOnDestroy",
            "replacementSecurityGroupIds",
            "useResourceTimeoutForPropagation",
            "codeSha256",
        ),
        outputs={
            "arn": "@FunctionArn",
            "invokeArn": "arn:{partition}:apigateway:{region}:lambda:path/2015-03-31/functions/{arn}/invocations",
            "qualifiedArn": "{arn}:$LATEST",
            "sourceCodeSize": "@CodeSize",
        },
        tags=_LAMBDA_TAGS,
        note="code is stored; calls are queued for the twin's function runner",
        coverage="filled",
    ),
    Row(
        token="aws:lambda/alias:Alias",
        service="lambda",
        create="CreateAlias",
        id="@AliasArn",
        noun="Alias",
        rename={"name": "Name"},
        key={"FunctionName": "{functionName}", "Name": "{name}"},
        read="GetAlias",
        delete="DeleteAlias",
        parts=(Part("UpdateAlias", ("functionVersion", "description", "routingConfig"), update_only=True),),
        outputs={"arn": "@AliasArn"},
    ),
    Row(
        token="aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig",
        service="lambda",
        create="PutFunctionEventInvokeConfig",
        id="{functionName}",
        key={"FunctionName": "{functionName}", "Qualifier": "{qualifier}"},
        read="GetFunctionEventInvokeConfig",
        delete="DeleteFunctionEventInvokeConfig",
        parts=(
            Part(
                "PutFunctionEventInvokeConfig",
                ("maximumEventAgeInSeconds", "maximumRetryAttempts", "destinationConfig"),
                update_only=True,
            ),
        ),
        name="",
    ),
    Row(
        token="aws:lambda/eventSourceMapping:EventSourceMapping",
        service="lambda",
        create="CreateEventSourceMapping",
        id="@UUID",
        key={"UUID": "{id}"},
        read="GetEventSourceMapping",
        delete="DeleteEventSourceMapping",
        parts=(
            Part(
                "UpdateEventSourceMapping", ("batchSize", "enabled", "maximumBatchingWindowInSeconds"), update_only=True
            ),
        ),
        name="",
        outputs={"uuid": "{id}", "functionArn": "@FunctionArn"},
    ),
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
        tags=_ECS_TAGS,
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
        tags=_ECS_TAGS,
        name="",
        note="no container starts",
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
        tags=_ECS_TAGS,
        note="no container starts",
    ),
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
    ),
)
