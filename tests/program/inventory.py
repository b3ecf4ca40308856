"""How many of each kind the emulated clouds hold, asked with plain clients, beside what a checkpoint says."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

import boto3
from botocore.config import Config

from spillway.twin.deployer.api import Resource

_PREFIX: Final = "spillway-test"
_IDENTITY: Final = {
    "region_name": "us-east-1",
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
    "config": Config(retries={"max_attempts": 1}),
}
_OURS: Final = [{"Name": "tag:stack", "Values": [_PREFIX]}]


def _ec2(call: str, key: str) -> Callable[[Any], list[Any]]:
    def ask(aws: Any) -> list[Any]:
        client = aws("ec2")
        given = "Filter" if call == "describe_flow_logs" else "Filters"
        return getattr(client, call)(**{given: _OURS})[key]

    return ask


def _named(service: str, call: str, key: str, name: str) -> Callable[[Any], list[Any]]:
    def ask(aws: Any) -> list[Any]:
        items = aws(service).get_paginator(call).paginate().search(f"{key}[].{name}")
        # Autoscaling makes alarms of its own for a target.
        return [item for item in items if _PREFIX in (item or "") and not item.startswith("TargetTracking-")]

    return ask


def _keys(aws: Any) -> list[Any]:
    client = aws("kms")
    keys = [item["KeyId"] for item in client.list_keys()["Keys"]]
    return [
        key
        for key in keys
        if {"TagKey": "stack", "TagValue": _PREFIX} in client.list_resource_tags(KeyId=key)["Tags"]
        and client.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"
    ]


def _addresses(aws: Any) -> list[Any]:
    return aws("ec2").describe_addresses(Filters=_OURS)["Addresses"]


_AWS: Final[dict[str, Callable[[Any], list[Any]]]] = {
    "aws:ec2/vpc:Vpc": _ec2("describe_vpcs", "Vpcs"),
    "aws:ec2/subnet:Subnet": _ec2("describe_subnets", "Subnets"),
    "aws:ec2/vpcEndpoint:VpcEndpoint": _ec2("describe_vpc_endpoints", "VpcEndpoints"),
    "aws:ec2/routeTable:RouteTable": _ec2("describe_route_tables", "RouteTables"),
    "aws:ec2/internetGateway:InternetGateway": _ec2("describe_internet_gateways", "InternetGateways"),
    "aws:ec2/natGateway:NatGateway": _ec2("describe_nat_gateways", "NatGateways"),
    "aws:ec2/flowLog:FlowLog": _ec2("describe_flow_logs", "FlowLogs"),
    "aws:ec2/eip:Eip": _addresses,
    "aws:kms/key:Key": _keys,
    "aws:s3/bucket:Bucket": lambda aws: aws("s3").list_buckets()["Buckets"],
    "aws:iam/role:Role": _named("iam", "list_roles", "Roles", "RoleName"),
    "aws:cloudwatch/metricAlarm:MetricAlarm": _named("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    "aws:cloudwatch/logGroup:LogGroup": _named("logs", "describe_log_groups", "logGroups", "logGroupName"),
    "aws:sns/topic:Topic": _named("sns", "list_topics", "Topics", "TopicArn"),
    "aws:lambda/function:Function": _named("lambda", "list_functions", "Functions", "FunctionName"),
    "aws:sagemaker/model:Model": _named("sagemaker", "list_models", "Models", "ModelName"),
    "aws:sagemaker/endpoint:Endpoint": _named("sagemaker", "list_endpoints", "Endpoints", "EndpointName"),
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": _named(
        "sagemaker", "list_endpoint_configs", "EndpointConfigs", "EndpointConfigName"
    ),
    "aws:secretsmanager/secret:Secret": _named("secretsmanager", "list_secrets", "SecretList", "Name"),
    "aws:lb/loadBalancer:LoadBalancer": _named("elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerName"),
    "aws:route53/zone:Zone": lambda aws: [
        # One that the stack only names is taken for there, and is no work of its own.
        zone
        for zone in aws("route53").list_hosted_zones()["HostedZones"]
        if zone["Name"] != "."
    ],
    "aws:route53/healthCheck:HealthCheck": lambda aws: aws("route53").list_health_checks()["HealthChecks"],
}

_GROUP: Final = f"/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/{_PREFIX}"
_AZURE: Final = {
    "azure-native:storage:StorageAccount": "Microsoft.Storage/storageAccounts",
    "azure-native:keyvault:Vault": "Microsoft.KeyVault/vaults",
    "azure-native:network:PrivateEndpoint": "Microsoft.Network/privateEndpoints",
    "azure-native:network:VirtualNetwork": "Microsoft.Network/virtualNetworks",
    "azure-native:containerregistry:Registry": "Microsoft.ContainerRegistry/registries",
    "azure-native:machinelearningservices:Workspace": "Microsoft.MachineLearningServices/workspaces",
}
_KUBERNETES: Final = {
    "kubernetes:core/v1:Namespace": "api/v1/namespaces",
    "kubernetes:core/v1:Service": "api/v1/services",
    "kubernetes:core/v1:ConfigMap": "api/v1/configmaps",
    "kubernetes:apps/v1:Deployment": "apis/apps/v1/deployments",
    "kubernetes:networking.k8s.io/v1:NetworkPolicy": "apis/networking.k8s.io/v1/networkpolicies",
    "kubernetes:policy/v1:PodDisruptionBudget": "apis/policy/v1/poddisruptionbudgets",
}
_ONLINE: Final = "azure-native:machinelearningservices:OnlineEndpoint"
"""Below a workspace, whose name ends differently in each subscription."""
COUNTED: Final = frozenset({*_AWS, *_AZURE, _ONLINE, *_KUBERNETES})


def in_the_clouds(endpoints: dict[str, str]) -> dict[str, int]:
    """How many of each type there are."""

    def aws(service: str) -> Any:
        return boto3.client(service, endpoint_url=endpoints["aws"], **_IDENTITY)  # pyright: ignore[reportCallIssue]

    counts = {type_: len(ask(aws)) for type_, ask in _AWS.items()}
    for type_, path in _AZURE.items():
        counts[type_] = len(_arm(endpoints, path))
    workspaces = _AZURE["azure-native:machinelearningservices:Workspace"]
    names = [each["name"] for each in _arm(endpoints, workspaces)]
    counts[_ONLINE] = sum(len(_arm(endpoints, f"{workspaces}/{name}/onlineEndpoints")) for name in names)
    for type_, path in _KUBERNETES.items():
        items = _get(f"{endpoints['kubernetes']}/{path}")["items"]
        counts[type_] = sum("spillway.dev/stack" in (item["metadata"].get("labels") or {}) for item in items)
    return {type_: count for type_, count in counts.items() if count}


def in_the_checkpoint(resources: Iterable[Resource]) -> dict[str, int]:
    """The same, as the deployer believes."""
    return dict(Counter(resource.type for resource in resources if resource.type in COUNTED))


def _arm(endpoints: dict[str, str], path: str) -> list[Any]:
    return _get(f"{endpoints['azure']}{_GROUP}/providers/{path}?api-version=2024-01-01")["value"]


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)
