"""What each kind of resource costs: by standing there, by use, nothing of its own, or more than is known.

A kind that stands in no table here has a line in the bill without a price: nothing is taken for free unsaid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from policies.resources import Stack, entries, number
from policies.rules.capacity import (
    COUNTED,
    INSTANCE,
    LAUNCH_TEMPLATE,
    MANAGED_CLUSTER,
    NODE_GROUP,
    SCALING_TARGET,
)
from spillway.contracts.property_values import items, text, texts
from spillway.contracts.resources import Resource

Counted = float | tuple[float, float]
"""How many, or how many at rest and at most."""
Count = Callable[[Stack, Resource], Counted]
ECS_SERVICE: Final = "aws:ecs/service:Service"
EKS: Final = "aws:eks/cluster:Cluster"
KUBERNETES_SERVICE: Final = "kubernetes:core/v1:Service"
VPN_GATEWAY: Final = "azure-native:network:VirtualNetworkGateway"


def _one(stack: Stack, resource: Resource) -> float:
    return 1.0


def _subnets(stack: Stack, endpoint: Resource) -> float:
    """An interface endpoint is paid in each zone; one for S3 costs nothing as a gateway."""
    if text(endpoint.get("vpcEndpointType")) != "Interface":
        return 0.0
    return float(len(texts(endpoint.get("subnetIds"))) or 1)


def published(service: Resource) -> float:
    """A load balancer stands behind a Kubernetes Service that asks for one."""
    return float(text(service.get("spec.type")) == "LoadBalancer")


def _premium(stack: Stack, registry: Resource) -> float:
    return float(text(registry.get("sku.name")) == "Premium")


def _paid_control(stack: Stack, cluster: Resource) -> float:
    return float(text(cluster.get("sku.tier")) == "Standard")


def _criteria(stack: Stack, alert: Resource) -> float:
    return float(len(entries(alert.get("criteria.allOf"))) or 1)


def _rules(stack: Stack, acl: Resource) -> float:
    return float(len(items(acl.get("rules"))))


def _gigabytes(stack: Stack, machine: Resource) -> Counted:
    """Disks of a machine, or of a node group."""
    template = stack.named(machine.get("launchTemplate.id"), LAUNCH_TEMPLATE)
    disk = number(template.get("blockDeviceMappings.0.ebs.volumeSize")) if template else number(machine.get("diskSize"))
    each = disk or 0.0
    if machine.type == INSTANCE:
        return each
    least = each * (number(machine.get("scalingConfig.desiredSize")) or 0.0)
    return least, max(least, each * (number(machine.get("scalingConfig.maxSize")) or 0.0))


def _resolvers(stack: Stack, endpoint: Resource) -> float:
    """A resolver's endpoint is paid by the address."""
    return float(len(items(endpoint.get("ipAddresses"))))


def _extras(stack: Stack, check: Resource) -> float:
    """What a health check is paid for besides: TLS, a text that is looked for, a short interval, latency
    (https://aws.amazon.com/route53/pricing/)."""
    kind = text(check.get("type"))
    asked = (
        kind.startswith("HTTPS"),
        kind.endswith("STR_MATCH"),
        number(check.get("requestInterval")) == 10,
        check.get("measureLatency") is True,
    )
    return float(sum(asked))


def _addresses(stack: Stack, balancer: Resource) -> float:
    """Public IPv4 addresses of a load balancer: one in each of its subnets."""
    return 0.0 if balancer.get("internal") is True else float(len(texts(balancer.get("subnets"))))


def _vcpus(stack: Stack, service: Resource) -> Counted:
    return _of_tasks(stack, service, "cpu")


def _task_gb(stack: Stack, service: Resource) -> Counted:
    return _of_tasks(stack, service, "memory")


def _of_tasks(stack: Stack, service: Resource, key: str) -> Counted:
    """Fargate's tasks: CPUs and memory are counted in 1024ths, of one CPU and one GB."""
    task = stack.named(service.get("taskDefinition"), "aws:ecs/taskDefinition:TaskDefinition")
    if task is None:
        return 0.0
    each = (number(task.get(key)) or 0.0) / 1024
    least = each * (number(service.get("desiredCount")) or 1.0)
    name = text(service.get("name"))
    grown = (
        number(target.get("maxCapacity"))
        for target in stack.of(SCALING_TARGET)
        if name and text(target.get("resourceId")).endswith(f"/{name}")
    )
    return least, max(least, each * (next(grown, None) or 0.0))


AWS, AZURE = "aws", "azure"
STANDING: Final[tuple[tuple[str, str, str, Count], ...]] = (
    (AWS, "aws:ec2/natGateway:NatGateway", "nat gateway", _one),
    (AWS, EKS, "eks cluster", _one),
    (AWS, "aws:ec2/vpcEndpoint:VpcEndpoint", "interface endpoint", _subnets),
    (AWS, "aws:ec2/vpnConnection:VpnConnection", "vpn connection", _one),
    (AWS, "aws:route53/resolverEndpoint:ResolverEndpoint", "resolver address", _resolvers),
    (AWS, "aws:lb/loadBalancer:LoadBalancer", "load balancer", _one),
    (AWS, "aws:lb/loadBalancer:LoadBalancer", "public ipv4", _addresses),
    (AWS, ECS_SERVICE, "fargate vcpu", _vcpus),
    (AWS, ECS_SERVICE, "fargate gb", _task_gb),
    (AWS, "aws:ec2/eip:Eip", "public ipv4", _one),
    (AWS, "aws:kms/key:Key", "kms key", _one),
    (AWS, "aws:secretsmanager/secret:Secret", "secret", _one),
    (AWS, "aws:route53/zone:Zone", "hosted zone", _one),
    (AWS, "aws:servicediscovery/privateDnsNamespace:PrivateDnsNamespace", "hosted zone", _one),
    (AWS, "aws:route53/healthCheck:HealthCheck", "health check", _one),
    (AWS, "aws:route53/healthCheck:HealthCheck", "health check option", _extras),
    (AWS, "aws:cloudwatch/metricAlarm:MetricAlarm", "alarm", _one),
    (AWS, "aws:cloudwatch/compositeAlarm:CompositeAlarm", "composite alarm", _one),
    (AWS, "aws:cloudwatch/dashboard:Dashboard", "dashboard", _one),
    (AWS, "aws:wafv2/webAcl:WebAcl", "web acl", _one),
    (AWS, "aws:wafv2/webAcl:WebAcl", "web acl rule", _rules),
    (AWS, NODE_GROUP, "gp3 gb", _gigabytes),
    (AWS, INSTANCE, "gp3 gb", _gigabytes),
    (AZURE, "azure-native:network:NatGateway", "nat gateway", _one),
    (AZURE, "azure-native:network:PublicIPAddress", "public ipv4", _one),
    (AZURE, "azure-native:network:PrivateEndpoint", "private endpoint", _one),
    (AZURE, "azure-native:network:VirtualNetworkGatewayConnection", "vpn connection", _one),
    (AZURE, "azure-native:dns:Zone", "hosted zone", _one),
    (AZURE, "azure-native:privatedns:PrivateZone", "hosted zone", _one),
    (AZURE, "azure-native:containerregistry:Registry", "registry premium", _premium),
    (AZURE, MANAGED_CLUSTER, "aks standard", _paid_control),
    (AZURE, "azure-native:monitor:MetricAlert", "alert", _criteria),
    (AZURE, "azure-native:trafficmanager:Endpoint", "traffic manager endpoint", _one),
)
"""Cloud, resource type, price, and how many of it one resource is."""


class Use(NamedTuple):
    """Something that is paid by use. ``price``: its key among the standing prices, empty where none is known."""

    words: str
    price: str = ""


_S3 = Use("S3: storage and requests", "aws storage gb")
_LOGS = Use("CloudWatch: logs and Spillway's own metrics", "aws logs gb")
BY_USE: Final[dict[str, tuple[Use, ...]]] = {
    "aws:s3/bucket:Bucket": (_S3,),
    "aws:s3/bucketV2:BucketV2": (_S3,),
    "aws:lambda/function:Function": (Use("Lambda: runs"),),
    "aws:cloudwatch/logGroup:LogGroup": (_LOGS,),
    "aws:ec2/flowLog:FlowLog": (_LOGS,),
    "aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration": (_LOGS,),
    "aws:sns/topic:Topic": (Use("SNS: notices"),),
    "aws:servicediscovery/service:Service": (Use("Cloud Map: registered tasks"),),
    "aws:sqs/queue:Queue": (Use("SQS: requests"),),
    "aws:scheduler/schedule:Schedule": (Use("EventBridge Scheduler: calls"),),
    "aws:ecr/repository:Repository": (Use("ECR: images", "aws images gb"),),
    "aws:ecr/pullThroughCacheRule:PullThroughCacheRule": (Use("ECR: images", "aws images gb"),),
    "aws:ec2/natGateway:NatGateway": (Use("NAT gateways: bytes that pass", "aws nat gb"),),
    "aws:ec2/vpcEndpoint:VpcEndpoint": (Use("interface endpoints: bytes that pass", "aws endpoint gb"),),
    "aws:lb/loadBalancer:LoadBalancer": (Use("load balancers: capacity units"),),
    "aws:ec2/vpc:Vpc": (Use("traffic out of AWS, to clients and to the other cloud", "aws egress gb"),),
    "azure-native:storage:StorageAccount": (Use("Azure Storage: storage and requests"),),
    "azure-native:operationalinsights:Workspace": (Use("Log Analytics: logs taken in", "azure logs gb"),),
    "azure-native:applicationinsights:Component": (Use("Log Analytics: logs taken in", "azure logs gb"),),
    "azure-native:monitor:DiagnosticSetting": (Use("Log Analytics: logs taken in", "azure logs gb"),),
    "azure-native:keyvault:Vault": (Use("Key Vault: operations"),),
    "azure-native:network:NatGateway": (Use("Azure NAT gateways: bytes that pass", "azure nat gb"),),
    "azure-native:network:PrivateEndpoint": (Use("private endpoints: bytes that pass", "azure endpoint gb"),),
    "azure-native:network:VirtualNetwork": (Use("traffic out of Azure"),),
    "azure-native:network:VirtualNetworkPeering": (Use("peered networks: bytes that pass", "azure peering gb"),),
    "azure-native:eventgrid:SystemTopic": (Use("Event Grid: events"),),
    "azure-native:containerinstance:ContainerGroup": (
        Use("Container Instances: the seconds that copies of the package take"),
    ),
    "azure-native:machinelearningservices:Workspace": (Use("the workspace: its managed network's private endpoints"),),
    "kubernetes:apps/v1:StatefulSet": (Use("volumes that pods and charts claim"),),
    "kubernetes:helm.sh/v3:Release": (Use("volumes that pods and charts claim"),),
}
"""By resource type."""

FREE: Final[dict[str, tuple[str, ...]]] = {
    "its machines are counted, by their type": COUNTED,
    "who may do what costs nothing": (
        "aws:iam/", "aws:ec2/securityGroup", "aws:vpc/securityGroup", "aws:ec2/defaultSecurityGroup", "aws:eks/access",
        "aws:eks/podIdentityAssociation", "aws:lambda/permission", "aws:sns/topicPolicy", "aws:sqs/queuePolicy",
        "aws:ecr/repositoryPolicy", "aws:s3/bucketPolicy", "aws:s3/bucketPublicAccessBlock", "aws:s3/bucketAcl",
        "aws:s3/bucketOwnershipControls", "azure-native:authorization:", "azure-native:managedidentity:",
        "azure-native:network:NetworkSecurityGroup", "azure-native:network:SecurityRule",
    ),
    "how it scales, is watched or is told costs nothing": (
        "aws:appautoscaling/", "aws:budgets/", "aws:costexplorer/", "aws:sns/topicSubscription", "aws:cloudwatch/event",
        "aws:cloudwatch/logMetricFilter", "azure-native:consumption:", "azure-native:costmanagement:",
        "azure-native:monitor:ActionGroup", "azure-native:monitor:AutoscaleSetting", "azure-native:portal:",
        "azure-native:containerservice:MaintenanceConfiguration",
    ),
    "public certificates cost nothing": ("aws:acm/",),
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/placement-groups.html
    "where machines stand costs nothing": ("aws:ec2/placementGroup",),
    "networks and the ways in them cost nothing, what passes does": (
        "aws:ec2/customerGateway", "aws:ec2/internetGateway", "aws:ec2/route", "aws:ec2/subnet", "aws:ec2/vpnGateway",
        "aws:ec2/vpnConnectionRoute", "azure-native:network:LocalNetworkGateway",
        "azure-native:network:PrivateDnsZoneGroup",
        "azure-native:network:RouteTable", "azure-native:network:Subnet", "azure-native:privatedns:VirtualNetworkLink",
    ),
    "a part of what is priced beside it": (
        "aws:ecs/cluster", "aws:ecs/clusterCapacityProviders", "aws:ecs/taskDefinition", "aws:eks/addon",
        "aws:kms/alias",
        "aws:lambda/alias", "aws:lambda/eventSourceMapping", "aws:lambda/functionEventInvokeConfig", "aws:lb/listener",
        "aws:lb/targetGroup", "aws:route53/record", "aws:s3/bucket", "aws:ecr/lifecyclePolicy",
        "aws:scheduler/scheduleGroup", "aws:secretsmanager/secretVersion", "aws:wafv2/webAclAssociation",
        "aws:elasticache/parameterGroup", "aws:elasticache/subnetGroup", "azure-native:dns:RecordSet",
        "azure-native:keyvault:Key", "azure-native:keyvault:Secret", "azure-native:privatedns:PrivateRecordSet",
        "azure-native:machinelearningservices:Datastore", "azure-native:machinelearningservices:Environment",
        "azure-native:machinelearningservices:ManagedNetworkSettingsRule",
        "azure-native:machinelearningservices:Model", "azure-native:machinelearningservices:WorkspaceConnection",
        "azure-native:resources:", "azure-native:storage:", "azure-native:trafficmanager:Profile",
    ),
    "standard parameters cost nothing": ("aws:ssm/parameter",),
    "it runs on the cluster's nodes": ("kubernetes:",),
}  # fmt: skip
"""Why a kind costs nothing of its own, with how such types begin."""
NOT_PRICED: Final[dict[str, str]] = {
    "aws:elasticache/replicationGroup:ReplicationGroup": "no list price of its nodes is known",
    "azure-native:redis:Redis": "no list price of its sizes is known",
    "azure-native:redisenterprise:RedisEnterprise": "no list price of its sizes is known",
    "azure-native:redisenterprise:Database": "no list price of its sizes is known",
    "azure-native:machinelearningservices:Registry": "what it stores in each region is paid by use",
    "azure-native:monitor:ScheduledQueryRule": "paid by how often it looks and at how much",
    "azure-native:web:AppServicePlan": "no list price of its sizes is known",
    "azure-native:web:WebApp": "no list price of its plan's sizes is known",
}
"""What costs money of which nobody here knows how much, and why."""


def why_free(type_: str) -> str:
    """Empty where a kind is not known to cost nothing of its own."""
    return next((why for why, begins in FREE.items() if type_.startswith(begins)), "")


def why_not_priced(type_: str) -> str:
    """Why the bill has no price of a kind; empty where it has one, or none is needed."""
    priced = {row[1] for row in STANDING} | {*BY_USE, MANAGED_CLUSTER, VPN_GATEWAY}
    if type_ in NOT_PRICED:
        return NOT_PRICED[type_]
    # Providers and stacks are of Pulumi itself.
    known = type_ in priced or type_.startswith("pulumi:") or why_free(type_)
    return "" if known else "no table of the bill has its kind"
