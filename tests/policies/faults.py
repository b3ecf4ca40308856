"""Faults put into a planned `prod`: for each, the policy that is meant to find it."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

from spillway.contracts.resources import Resource

Fault = Callable[[list[Resource]], list[Resource]]


def changed(type_: str, path: str, value: Any, name: str = "") -> Fault:
    """Another value at a dotted path of the first resource of this type whose name ends so."""

    def apply(resources: list[Resource]) -> list[Resource]:
        return _replace_first(resources, type_, name, lambda resource: _with(resource, path, value))

    return apply


def removed(type_: str, name: str = "", *, every: bool = False) -> Fault:
    """Without the first resource of this type whose name ends so, or without all of them."""

    def apply(resources: list[Resource]) -> list[Resource]:
        gone = [resource for resource in resources if resource.type == type_ and resource.name.endswith(name)]
        assert gone, f"the plan has no {type_} {name}"
        return [resource for resource in resources if resource not in (gone if every else gone[:1])]

    return apply


def added(type_: str, **props: Any) -> Fault:
    """With one more resource."""
    urn = f"urn:pulumi:test::spillway::{type_}::added"
    return lambda resources: [
        *resources,
        Resource(type_, "added", urn, props, dependencies=frozenset(), region="us-east-1", clear=props),
    ]


def unprotected(type_: str) -> Fault:
    """Its option `protect` is gone."""
    return lambda resources: _replace_first(resources, type_, "", lambda r: dataclasses.replace(r, protect=False))


def routed(client: str, may_spill: str) -> Fault:
    """The routing table lets a client's data go elsewhere."""

    def change(resource: Resource) -> Resource:
        table = json.loads(resource.props["data"]["routing.json"])
        for known in table["clients"]:
            if known["name"] == client:
                known["may_spill"] = may_spill
        data = {**resource.props["data"], "routing.json": json.dumps(table)}
        return dataclasses.replace(resource, props={**resource.props, "data": data})

    return lambda resources: _replace_first(resources, "kubernetes:core/v1:ConfigMap", "gateway-config", change)


def _replace_first(
    resources: Sequence[Resource], type_: str, name: str, change: Callable[[Resource], Resource]
) -> list[Resource]:
    chosen = next((r for r in resources if r.type == type_ and r.name.endswith(name)), None)
    assert chosen is not None, f"the plan has no {type_} {name}"
    return [change(resource) if resource is chosen else resource for resource in resources]


def _with(resource: Resource, path: str, value: Any) -> Resource:
    props = copy.deepcopy(dict(resource.props))
    at: Any = props
    *parents, last = path.split(".")
    for part in parents:
        at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
    at[int(last) if isinstance(at, list) else last] = value
    return dataclasses.replace(resource, props=props)


_DEPLOYMENT = "kubernetes:apps/v1:Deployment"
_POD = "spec.template.spec"
_ML = "azure-native:machinelearningservices"
_EVERYBODY = [{"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": ["0.0.0.0/0"]}]
_INBOUND = {"direction": "Inbound", "access": "Allow", "sourceAddressPrefix": "*"}

FAULTS: dict[str, tuple[str, Fault]] = {
    "the cost alarm is gone": (
        "burst-cost-alarm",
        removed("aws:cloudwatch/metricAlarm:MetricAlarm", "cost-burst-ceiling"),
    ),
    "an endpoint has no scaling target": (
        "burst-maximum",
        removed("aws:appautoscaling/target:Target", "burst-real-time-scaling"),
    ),
    "the Azure deployment has no autoscaling": ("burst-maximum", removed("azure-native:monitor:AutoscaleSetting")),
    "a budget is gone": ("burst-budget", removed("aws:budgets/budget:Budget")),
    "the Azure budget is gone": ("burst-budget", removed("azure-native:consumption:Budget")),
    "no record leads to the standby": ("burst-failover-record", removed("aws:route53/record:Record", "secondary")),
    "an alarm is switched off": (
        "alarm-actions-on",
        changed("aws:cloudwatch/metricAlarm:MetricAlarm", "actionsEnabled", False, "cost-burst-ceiling"),
    ),
    "twenty GPU nodes": ("stack-price", changed("aws:eks/nodeGroup:NodeGroup", "scalingConfig.desiredSize", 20, "gpu")),
    "an autoscaler at forty nodes": (
        "stack-price",
        changed("aws:eks/nodeGroup:NodeGroup", "scalingConfig.maxSize", 40, "gpu"),
    ),
    "a region that is not allowed": (
        "allowed-regions",
        changed("azure-native:storage:StorageAccount", "location", "brazilsouth", "azureml-storage"),
    ),
    "an instance type that is not allowed": (
        "allowed-instance-types",
        changed("aws:eks/nodeGroup:NodeGroup", "instanceTypes", ["m7i.48xlarge"], "system"),
    ),
    "records may leave the region": ("data-residency", routed("records", "anywhere")),
    "a security group for everybody": (
        "closed-security-groups",
        changed("aws:ec2/securityGroup:SecurityGroup", "ingress", _EVERYBODY, "standby-clients"),
    ),
    "an Azure rule for everybody": (
        "closed-security-groups",
        changed("azure-native:network:NetworkSecurityGroup", "securityRules.0", _INBOUND),
    ),
    "the gateway's load balancer is open": (
        "closed-load-balancers",
        changed("kubernetes:core/v1:Service", "spec.loadBalancerSourceRanges", [], "gateway-service"),
    ),
    "the API server is open": (
        "closed-api-server",
        changed("aws:eks/cluster:Cluster", "vpcConfig.endpointPublicAccess", True),
    ),
    "machines get public addresses": (
        "no-public-machines",
        changed("aws:ec2/subnet:Subnet", "mapPublicIpOnLaunch", True),
    ),
    "the vault is public": (
        "private-azure-services",
        changed("azure-native:keyvault:Vault", "properties.publicNetworkAccess", "Enabled"),
    ),
    "a bucket without a block": (
        "private-buckets",
        removed("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"),
    ),
    "a public container": (
        "private-buckets",
        changed("azure-native:storage:BlobContainer", "publicAccess", "Blob"),
    ),
    "a listener without TLS": ("encrypted-transport", changed("aws:lb/listener:Listener", "protocol", "HTTP")),
    "a plain volume": (
        "encrypted-volumes",
        changed("aws:ec2/launchTemplate:LaunchTemplate", "blockDeviceMappings.0.ebs.encrypted", "false"),
    ),
    "logs without a key": ("own-keys", changed("aws:cloudwatch/logGroup:LogGroup", "kmsKeyId", None)),
    "a bucket without encryption": (
        "own-keys",
        removed("aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"),
    ),
    "a key that never rotates": ("key-care", changed("aws:kms/key:Key", "enableKeyRotation", False)),
    "the old metadata service": (
        "imdsv2",
        changed("aws:ec2/launchTemplate:LaunchTemplate", "metadataOptions.httpTokens", "optional"),
    ),
    "a policy for everything": (
        "no-wildcard-rights",
        added(
            "aws:iam/rolePolicy:RolePolicy",
            policy='{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}',
        ),
    ),
    "an administrator": (
        "no-wildcard-rights",
        added(
            "aws:iam/rolePolicyAttachment:RolePolicyAttachment", policyArn="arn:aws:iam::aws:policy/AdministratorAccess"
        ),
    ),
    "a role for everybody": (
        "no-open-trust",
        changed(
            "aws:iam/role:Role",
            "assumeRolePolicy",
            '{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]}',
        ),
    ),
    "an access key": ("no-shared-credentials", added("aws:iam/accessKey:AccessKey", user="robot")),
    "a bucket without its owner": ("required-tags", changed("aws:s3/bucket:Bucket", "tags.owner", "")),
    "a TTL of an hour": ("dns-ttl", changed("aws:route53/record:Record", "ttl", 3600, "secondary")),
    "a primary that nobody checks": (
        "failover-health-check",
        changed("aws:route53/record:Record", "healthCheckId", None, "primary"),
    ),
    "no rollback": (
        "sagemaker-rollback",
        changed("aws:sagemaker/endpoint:Endpoint", "deploymentConfig", None, "burst-real-time"),
    ),
    "a model that may call out": (
        "sagemaker-isolation",
        changed("aws:sagemaker/model:Model", "enableNetworkIsolation", False),
    ),
    "a public workspace": (
        "azure-ml-private-workspace",
        changed(f"{_ML}:Workspace", "publicNetworkAccess", "Enabled"),
    ),
    "logs for ever": ("log-retention", changed("aws:cloudwatch/logGroup:LogGroup", "retentionInDays", 0)),
    "a bucket that a slip deletes": ("protected-data", unprotected("aws:s3/bucket:Bucket")),
    "no memory limit": (
        "container-limits",
        changed(_DEPLOYMENT, f"{_POD}.containers.0.resources.limits", {}, "model-server-deployment"),
    ),
    "no readiness probe": (
        "container-probes",
        changed(_DEPLOYMENT, f"{_POD}.containers.0.readinessProbe", None, "gateway-deployment"),
    ),
    "no disruption budget": ("disruption-budget", removed("kubernetes:policy/v1:PodDisruptionBudget", "gateway-pdb")),
    "a privileged container": (
        "no-privileges",
        changed(
            _DEPLOYMENT,
            f"{_POD}.containers.0.securityContext.privileged",
            True,
            "model-server-deployment",
        ),
    ),
    "an image by tag": (
        "pinned-images",
        added(
            "kubernetes:core/v1:Pod",
            metadata={"labels": {f"spillway.dev/{key}": "x" for key in ("owner", "cost-centre", "stack")}},
            spec={
                "containers": [
                    {
                        "image": "docker.io/library/busybox:1.36",
                        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
                        "securityContext": {"allowPrivilegeEscalation": False, "runAsNonRoot": True},
                    }
                ]
            },
        ),
    ),
    "a password in clear": ("no-plain-secrets", added("aws:ssm/parameter:Parameter", password="correct horse")),
}
