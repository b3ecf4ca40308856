"""Two stacks, two regions or two names in one account, subscription or cluster: what they must not share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from spillway.conformance.graph import Graph
from spillway.conformance.life_cycle.naming import is_fixed, prefix_of
from spillway.conformance.rule import Finding, Rule, Source
from spillway.contracts.property_values import document, items, text, texts
from spillway.contracts.resources import Resource

_ACCOUNT_WIDE: Final = {
    "aws:iam/role:Role": "name",
    "aws:iam/policy:Policy": "name",
    "aws:iam/user:User": "name",
    "aws:iam/instanceProfile:InstanceProfile": "name",
    "aws:budgets/budget:Budget": "name",
}
_OF_ALL_ACCOUNTS: Final = {
    "aws:s3/bucket:Bucket": "bucket",
    "azure-native:storage:StorageAccount": "accountName",
    "azure-native:containerregistry:Registry": "registryName",
    "azure-native:keyvault:Vault": "vaultName",
    "azure-native:redis:Redis": "name",
    "azure-native:trafficmanager:Profile": "dnsConfig.relativeName",
    "azure-native:network:Profile": "dnsConfig.relativeName",
    "azure-native:machinelearningservices:OnlineEndpoint": "endpointName",
    "azure-native:machinelearningservices:BatchEndpoint": "endpointName",
}
"""Type → property whose value is unique over all customers, in the world or in the region."""
_OF_A_STACK: Final = {
    "aws:cloudwatch/logGroup:LogGroup": "name",
    "aws:cloudwatch/metricAlarm:MetricAlarm": "name",
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": "alarmName",
    "aws:cloudwatch/dashboard:Dashboard": "dashboardName",
    "aws:ecs/service:Service": "name",
    "aws:eks/cluster:Cluster": "name",
    "aws:kms/alias:Alias": "name",
    "aws:lambda/function:Function": "name",
    "aws:sagemaker/endpoint:Endpoint": "name",
    "aws:sagemaker/modelPackageGroup:ModelPackageGroup": "modelPackageGroupName",
    "aws:scheduler/schedule:Schedule": "name",
    "aws:secretsmanager/secret:Secret": "name",
    "aws:sns/topic:Topic": "name",
    "aws:sqs/queue:Queue": "name",
    "aws:ssm/parameter:Parameter": "name",
    "azure-native:resources:ResourceGroup": "resourceGroupName",
}
_UNIQUE: Final = re.compile(r"\d{12}|[0-9a-f]{6,}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""An account's number, a hash, a UUID: what another customer's name does not have."""
_PROVIDER: Final = "pulumi:providers:kubernetes"
_CLUSTERS: Final = ("aws:eks/cluster:Cluster", "azure-native:containerservice:ManagedCluster")
_CLUSTER_WIDE: Final = re.compile(
    r"kubernetes:(core/v1:Namespace|scheduling\.k8s\.io/v1:PriorityClass|rbac\.authorization\.k8s\.io/v1:Cluster\w+"
    r"|helm\.sh/v3:Release|storage\.k8s\.io/v1:StorageClass)"
)


def _account_wide(graph: Graph) -> Iterator[Finding]:
    for type_, key in _ACCOUNT_WIDE.items():
        for resource in graph.of(type_):
            name = resource.get(key)
            if not is_fixed(resource, name) or not resource.region or resource.region in name:
                continue
            yield Finding(
                "aws-name-of-one-account",
                resource,
                key,
                "the account has one name space for all regions: the same stack in a second region collides with it",
                "Leave the name out, or put the region into it.",
            )


def _of_all_accounts(graph: Graph) -> Iterator[Finding]:
    for type_, key in _OF_ALL_ACCOUNTS.items():
        for resource in graph.of(type_):
            name = resource.get(key)
            if is_fixed(resource, name) and not _UNIQUE.search(name):
                yield Finding(
                    "name-of-all-customers",
                    resource,
                    key,
                    "the name is unique over all customers: whoever comes second, another company or another"
                    " subscription of the same, is refused",
                    "Put the account's number or a hash of the subscription into it.",
                )


def _of_a_stack(graph: Graph) -> Iterator[Finding]:
    prefix = prefix_of(graph)
    for type_, key in _OF_A_STACK.items() if prefix else ():
        for resource in graph.of(type_):
            name = resource.get(key)
            if is_fixed(resource, name) and prefix not in name:
                yield Finding(
                    "name-of-one-stack",
                    resource,
                    key,
                    "its name does not hold the stack's own (<name>-<stack>): a second stack collides with it",
                    "Begin the name with the stack's prefix.",
                )


def _metrics(graph: Graph) -> Iterator[Finding]:
    prefix = prefix_of(graph)
    for alarm in graph.of("aws:cloudwatch/metricAlarm:MetricAlarm") if prefix else ():
        dimensions = alarm.get("dimensions")
        namespace = text(alarm.get("namespace"))
        if not namespace or re.match(r"/?aws/", namespace, re.IGNORECASE) or not isinstance(dimensions, dict):
            continue
        if all(isinstance(value, str) and prefix not in value for value in dimensions.values()):
            yield Finding(
                "cloudwatch-metric-of-one-stack",
                alarm,
                "dimensions",
                "no dimension holds the stack's own name (<name>-<stack>): two stacks of one account write one metric",
                "Name the stack by its prefix in a dimension.",
            )


def _costs(graph: Graph) -> Iterator[Finding]:
    prefix = prefix_of(graph)
    for resource, key, values in _cost_filters(graph) if prefix else ():
        if values and not any(prefix in value for value in values):
            yield Finding(
                "cost-filter-of-one-stack",
                resource,
                key,
                "it counts by a value that is not this stack's alone (<name>-<stack>): it sees the costs of every stack"
                " of the account with that value",
                "Filter on a tag whose value holds the stack's prefix.",
            )


def _cost_filters(graph: Graph) -> Iterator[tuple[Resource, str, list[str]]]:
    for budget in graph.of("aws:budgets/budget:Budget"):
        yield budget, "costFilters", [v for one in items(budget.get("costFilters")) for v in texts(one.get("values"))]
    for monitor in graph.of("aws:costexplorer/anomalyMonitor:AnomalyMonitor"):
        found: Any = document(monitor.get("monitorSpecification"))
        tags = found.get("Tags") if isinstance(found, dict) else None
        yield monitor, "monitorSpecification", texts(tags.get("Values")) if isinstance(tags, dict) else []


def _cluster_names(graph: Graph) -> Iterator[Finding]:
    prefix = prefix_of(graph)
    if not prefix or graph.of(*_CLUSTERS):
        return
    for provider in graph.of(_PROVIDER):
        shared = [_name(r) for r in graph.resources if r.provider == provider.urn and _CLUSTER_WIDE.fullmatch(r.type)]
        shared = [name for name in shared if name and prefix not in name]
        if shared:
            yield Finding(
                "kubernetes-name-of-one-stack",
                provider,
                "",
                f"the cluster is not this stack's own, and {len(shared)} cluster-wide names do not hold the stack's"
                f" ({', '.join(sorted(set(shared))[:4])}, …): a second stack on it takes over this one's objects",
                "Give each stack a cluster, or put the stack's prefix into the names.",
            )


def _name(resource: Resource) -> str:
    return text(resource.get("metadata.name")) or text(resource.get("name"))


RULES: Final = (
    Rule(
        "aws-name-of-one-account",
        "Names of IAM and of Budgets are unique in the account, not in the region.",
        Source(
            "IAM and AWS STS quotas: name requirements",
            "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html",
            "2026-11-29",
        ),
        _account_wide,
    ),
    Rule(
        "name-of-all-customers",
        "Names that become public host names are unique over all customers.",
        Source(
            "Azure: naming rules and restrictions (scope global)",
            "https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules",
            "2026-11-29",
        ),
        _of_all_accounts,
    ),
    Rule(
        "name-of-one-stack",
        "Two stacks in one account and region have no name in common.",
        Source(
            "Azure: naming rules and restrictions; AWS: the API model's `ResourceInUse` errors",
            "https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules",
            "2026-11-29",
        ),
        _of_a_stack,
    ),
    Rule(
        "cloudwatch-metric-of-one-stack",
        "A metric is its namespace, name and dimensions: who writes the same three writes the same metric.",
        Source(
            "Amazon CloudWatch: metrics concepts",
            "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html",
            "2026-11-29",
        ),
        _metrics,
    ),
    Rule(
        "cost-filter-of-one-stack",
        "A budget or an anomaly monitor counts whatever matches its filter.",
        Source(
            "AWS Cost Management: budget filters",
            "https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-create-filters.html",
            "2026-11-29",
        ),
        _costs,
    ),
    Rule(
        "kubernetes-name-of-one-stack",
        "Namespaces, priority classes and operators are a cluster's, not a stack's.",
        Source(
            "Kubernetes: object names and IDs",
            "https://kubernetes.io/docs/concepts/overview/working-with-objects/names/",
            "2026-11-29",
        ),
        _cluster_names,
    ),
)
