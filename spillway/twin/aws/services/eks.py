"""Kubernetes clusters, their nodes, and who may enter."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.recorder import Call, Kind, RefusedError
from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service

_TAGS = Tags("TagResource", "UntagResource", {"resourceArn": "{arn}"}, "tags", "tagKeys")


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

_ROWS = (
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
        tags=_TAGS,
        samples=(
            Sample(
                "cluster",
                {
                    "roleArn": "$role.arn",
                    "version": "1.33",
                    "vpcConfig": {
                        "subnetIds": ["$subnet.id", "$subnet-b.id"],
                        "endpointPrivateAccess": True,
                        "endpointPublicAccess": False,
                    },
                    "enabledClusterLogTypes": ["api", "audit"],
                    "encryptionConfig": {"provider": {"keyArn": "$key.arn"}, "resources": ["secrets"]},
                    "accessConfig": {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False},
                    "upgradePolicy": {"supportType": "STANDARD"},
                    "bootstrapSelfManagedAddons": False,
                    "tags": OWNED,
                },
                change={"version": "1.34", "enabledClusterLogTypes": ["api"]},
                replace={"roleArn": "arn:aws:iam::123456789012:role/other"},
            ),
        ),
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
        tags=_TAGS,
        note="no machine starts",
        samples=(
            Sample(
                "nodes",
                {
                    "clusterName": "$cluster.name",
                    "nodeRoleArn": "$role.arn",
                    "subnetIds": ["$subnet.id"],
                    "scalingConfig": {"desiredSize": 1, "minSize": 1, "maxSize": 3},
                    "launchTemplate": {"id": "$template.id", "version": "1"},
                    "taints": [{"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}],
                    "labels": {"gpu": "true"},
                    "amiType": "AL2023_x86_64_NVIDIA",
                    "capacityType": "ON_DEMAND",
                    "updateConfig": {"maxUnavailable": 1},
                    "nodeRepairConfig": {"enabled": True},
                    "tags": OWNED,
                },
                change={"scalingConfig": {"desiredSize": 2, "minSize": 1, "maxSize": 4}},
            ),
        ),
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
        tags=_TAGS,
        coverage="recorded",
        samples=(
            Sample(
                "addon",
                {
                    "clusterName": "$cluster.name",
                    "addonName": "vpc-cni",
                    "resolveConflictsOnCreate": "OVERWRITE",
                    "resolveConflictsOnUpdate": "OVERWRITE",
                    "podIdentityAssociations": [{"roleArn": "$role.arn", "serviceAccount": "aws-node"}],
                    "tags": OWNED,
                },
                change={"configurationValues": "{}"},
            ),
        ),
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
        tags=_TAGS,
        coverage="recorded",
        samples=(
            Sample(
                "entry",
                {"clusterName": "$cluster.name", "principalArn": "$role.arn", "type": "STANDARD", "tags": OWNED},
                change={"kubernetesGroups": ["admins"]},
            ),
        ),
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
        samples=(
            Sample(
                "entry-policy",
                {
                    "clusterName": "$cluster.name",
                    "principalArn": "$role.arn",
                    "policyArn": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
                    "accessScope": {"type": "cluster"},
                },
            ),
        ),
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
        tags=_TAGS,
        coverage="recorded",
        samples=(
            Sample(
                "pod-identity",
                {
                    "clusterName": "$cluster.name",
                    "namespace": "kube-system",
                    "serviceAccount": "autoscaler",
                    "roleArn": "$role.arn",
                    "tags": OWNED,
                },
            ),
        ),
    ),
)

_RECORDED = (
    Kind(
        "eks",
        ("clusterName", "addonName"),
        "CreateAddon",
        "DescribeAddon",
        "UpdateAddon",
        "DeleteAddon",
        "ListAddons",
        "addons",
        made={"addonArn": "arn:aws:eks:{region}:{account}:addon/{clusterName}/{addonName}/{uuid}"},
        fixed={"status": "ACTIVE"},
    ),
    Kind(
        "eks",
        ("clusterName", "principalArn"),
        "CreateAccessEntry",
        "DescribeAccessEntry",
        "UpdateAccessEntry",
        "DeleteAccessEntry",
        "ListAccessEntries",
        "accessEntries",
        made={"accessEntryArn": "arn:aws:eks:{region}:{account}:access-entry/{clusterName}/{uuid}"},
    ),
    Kind(
        "eks",
        ("clusterName", "principalArn", "policyArn"),
        "AssociateAccessPolicy",
        "",
        "",
        "DisassociateAccessPolicy",
        "ListAssociatedAccessPolicies",
        "associatedAccessPolicies",
        overwrite=True,
    ),
    Kind(
        "eks",
        ("clusterName", "associationId"),
        "CreatePodIdentityAssociation",
        "DescribePodIdentityAssociation",
        "UpdatePodIdentityAssociation",
        "DeletePodIdentityAssociation",
        "ListPodIdentityAssociations",
        "associations",
        made={
            "associationId": "a-{uuid}",
            "associationArn": "arn:aws:eks:{region}:{account}:podidentityassociation/{clusterName}/{associationId}",
        },
    ),
)


def _update_cluster_version(call: Call) -> dict[str, Any]:
    from moto.eks.models import eks_backends

    cluster = eks_backends[call.account][call.region].clusters.get(call.params["name"])
    if cluster is None:
        raise RefusedError("ResourceNotFoundException", f"No cluster found for name: {call.params['name']}.")
    cluster.version = call.params["version"]
    return {"update": {"id": "update", "status": "Successful", "type": "VersionUpdate"}}


def _update_nodegroup_version(call: Call) -> dict[str, Any]:
    from moto.eks.models import eks_backends

    cluster = eks_backends[call.account][call.region].clusters.get(call.params["clusterName"])
    group = cluster.nodegroups.get(call.params["nodegroupName"]) if cluster else None
    if group is None:
        raise RefusedError("ResourceNotFoundException", f"No node group found: {call.params['nodegroupName']}.")
    for member, attribute in (
        ("version", "version"),
        ("releaseVersion", "release_version"),
        ("launchTemplate", "launch_template"),
    ):
        if member in call.params:
            setattr(group, attribute, call.params[member])
    return {"update": {"id": "update", "status": "Successful", "type": "VersionUpdate"}}


SERVICE = Service(
    "eks",
    _ROWS,
    recorded=_RECORDED,
    answers={"UpdateClusterVersion": _update_cluster_version, "UpdateNodegroupVersion": _update_nodegroup_version},
)
