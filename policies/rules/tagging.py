"""Tags: whoever finds a resource finds its owner and its payer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack
from policies.rules.workloads import WORKLOADS
from spillway.contracts.names import LABEL_PREFIX
from spillway.contracts.resources import UNKNOWN


class TagSettings(PolicySettings):
    """Which tags are asked for."""

    keys: Annotated[tuple[str, ...], Field(min_length=1)] = ("owner", "cost-centre", "stack")
    """Tags of cloud resources; the same with ``label_prefix`` before them are labels of Kubernetes workloads."""

    label_prefix: str = LABEL_PREFIX
    """Starts the labels' names."""


TAGGED = (
    "aws:acm/certificate:Certificate",
    "aws:cloudwatch/logGroup:LogGroup",
    "aws:cloudwatch/metricAlarm:MetricAlarm",
    "aws:ec2/eip:Eip",
    "aws:ec2/instance:Instance",
    "aws:ec2/launchTemplate:LaunchTemplate",
    "aws:ec2/natGateway:NatGateway",
    "aws:ec2/placementGroup:PlacementGroup",
    "aws:ec2/securityGroup:SecurityGroup",
    "aws:ec2/subnet:Subnet",
    "aws:ec2/vpc:Vpc",
    "aws:ec2/vpcEndpoint:VpcEndpoint",
    "aws:ec2/vpnConnection:VpnConnection",
    "aws:ecs/cluster:Cluster",
    "aws:ecs/service:Service",
    "aws:ecs/taskDefinition:TaskDefinition",
    "aws:eks/cluster:Cluster",
    "aws:eks/nodeGroup:NodeGroup",
    "aws:iam/role:Role",
    "aws:kms/key:Key",
    "aws:lambda/function:Function",
    "aws:lb/loadBalancer:LoadBalancer",
    "aws:route53/healthCheck:HealthCheck",
    "aws:route53/zone:Zone",
    "aws:servicediscovery/privateDnsNamespace:PrivateDnsNamespace",
    "aws:servicediscovery/service:Service",
    "aws:s3/bucket:Bucket",
    "aws:sagemaker/endpoint:Endpoint",
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration",
    "aws:sagemaker/model:Model",
    "aws:secretsmanager/secret:Secret",
    "aws:sns/topic:Topic",
    "aws:sqs/queue:Queue",
    "azure-native:containerregistry:Registry",
    "azure-native:containerservice:AgentPool",
    "azure-native:containerservice:ManagedCluster",
    "azure-native:keyvault:Vault",
    "azure-native:machinelearningservices:BatchEndpoint",
    "azure-native:machinelearningservices:Compute",
    "azure-native:machinelearningservices:OnlineDeployment",
    "azure-native:machinelearningservices:OnlineEndpoint",
    "azure-native:machinelearningservices:Workspace",
    "azure-native:network:NetworkSecurityGroup",
    "azure-native:network:PublicIPAddress",
    "azure-native:network:VirtualNetwork",
    "azure-native:network:VirtualNetworkGateway",
    "azure-native:operationalinsights:Workspace",
    "azure-native:resources:ResourceGroup",
    "azure-native:storage:StorageAccount",
)
"""What costs money or holds data, and takes tags."""


def _tags(stack: Stack, settings: TagSettings) -> Iterator[Finding]:
    for resource in stack.of(*TAGGED):
        tags = resource.get("tags")
        missing = [key for key in settings.keys if not isinstance(tags, dict) or not tags.get(key)]
        if missing and tags is not UNKNOWN:
            yield Finding(resource, f"tags lack {', '.join(missing)}")
    for workload in stack.of(*WORKLOADS):
        labels = workload.get("metadata.labels")
        names = [f"{settings.label_prefix}{key}" for key in settings.keys]
        missing = [name for name in names if not isinstance(labels, dict) or not labels.get(name)]
        if missing and labels is not UNKNOWN:
            yield Finding(workload, f"metadata.labels lack {', '.join(missing)}")


POLICIES = (
    Policy(
        "required-tags",
        "What costs money or holds data has the tags that name its owner, its payer and its stack.",
        "Pass the stack's tags (`owner`, `cost_centre` and `tags` in the stack file) to the resource.",
        _tags,
        TagSettings,
    ),
)
