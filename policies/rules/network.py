"""Network exposure: who can reach what from the Internet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack, entries, is_missing, is_other_than, is_true
from policies.rules.capacity import AGENT_POOL, COMPUTE, INSTANCE, LAUNCH_TEMPLATE, MANAGED_CLUSTER
from spillway.contracts.property_values import texts
from spillway.contracts.resources import UNKNOWN, at

_ANYWHERE = ("0.0.0.0/0", "::/0", "*", "internet", "any")


def _open(value: Any) -> bool:
    return any(text.lower() in _ANYWHERE for text in texts(value))


def _security_groups(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for group in stack.of("aws:ec2/securityGroup:SecurityGroup", "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"):
        for index, rule in enumerate(entries(group.get("ingress"))):
            if _open(rule.get("cidrBlocks")) or _open(rule.get("ipv6CidrBlocks")):
                yield Finding(group, f"ingress.{index} lets everybody in")
    for rule in stack.of("aws:ec2/securityGroupRule:SecurityGroupRule"):
        if rule.get("type") == "ingress" and (_open(rule.get("cidrBlocks")) or _open(rule.get("ipv6CidrBlocks"))):
            yield Finding(rule, "it lets everybody in")
    for rule in stack.of("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"):
        if _open(rule.get("cidrIpv4")) or _open(rule.get("cidrIpv6")):
            yield Finding(rule, "it lets everybody in")
    for group in stack.of("azure-native:network:NetworkSecurityGroup"):
        for index, rule in enumerate(entries(group.get("securityRules"))):
            if _admits_everybody(rule):
                yield Finding(group, f"securityRules.{index} lets everybody in")
    for rule in stack.of("azure-native:network:SecurityRule"):
        if _admits_everybody(rule.props):
            yield Finding(rule, "it lets everybody in")


def _admits_everybody(rule: Any) -> bool:
    admits = str(at(rule, "direction")).lower() == "inbound" and str(at(rule, "access")).lower() == "allow"
    return admits and (_open(at(rule, "sourceAddressPrefix")) or _open(at(rule, "sourceAddressPrefixes")))


_INTERNAL = {
    "service.beta.kubernetes.io/aws-load-balancer-scheme": "internal",
    "service.beta.kubernetes.io/azure-load-balancer-internal": "true",
    "networking.gke.io/load-balancer-type": "internal",
}


def _services(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for service in stack.of("kubernetes:core/v1:Service"):
        if service.get("spec.type") != "LoadBalancer":
            continue
        annotations = service.get("metadata.annotations")
        known = annotations if isinstance(annotations, dict) else {}
        internal = annotations is UNKNOWN or any(
            str(known.get(key, "")).lower() == value for key, value in _INTERNAL.items()
        )
        ranges = service.get("spec.loadBalancerSourceRanges")
        if not internal and (is_missing(ranges) or _open(ranges)):
            yield Finding(service, "spec.loadBalancerSourceRanges admits everybody to a public load balancer")


def _api_servers(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for cluster in stack.of("aws:eks/cluster:Cluster"):
        access = cluster.get("vpcConfig.endpointPublicAccess")
        ranges = cluster.get("vpcConfig.publicAccessCidrs")
        if (access is None or is_true(access)) and (is_missing(ranges) or _open(ranges)):
            yield Finding(cluster, "vpcConfig.publicAccessCidrs opens the API server to everybody")
    for cluster in stack.of(MANAGED_CLUSTER):
        ranges = cluster.get("apiServerAccessProfile.authorizedIPRanges")
        private = cluster.get("apiServerAccessProfile.enablePrivateCluster")
        if private is not UNKNOWN and not is_true(private) and (is_missing(ranges) or _open(ranges)):
            yield Finding(cluster, "apiServerAccessProfile.authorizedIPRanges opens the API server to everybody")


_ADDRESS_FLAGS = {
    "aws:ec2/subnet:Subnet": ("mapPublicIpOnLaunch",),
    INSTANCE: ("associatePublicIpAddress",),
    LAUNCH_TEMPLATE: ("networkInterfaces.0.associatePublicIpAddress",),
    "aws:ecs/service:Service": ("networkConfiguration.assignPublicIp",),
    AGENT_POOL: ("enableNodePublicIP",),
    COMPUTE: ("properties.properties.enableNodePublicIp",),
}


def _machine_addresses(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for type_, paths in _ADDRESS_FLAGS.items():
        for resource in stack.of(type_):
            for path in paths:
                if is_true(resource.get(path)):
                    yield Finding(resource, f"{path} gives machines public addresses")
    for cluster in stack.of(MANAGED_CLUSTER):
        for index, pool in enumerate(entries(cluster.get("agentPoolProfiles"))):
            if is_true(pool.get("enableNodePublicIP")):
                yield Finding(cluster, f"agentPoolProfiles.{index}.enableNodePublicIP gives machines public addresses")


_PRIVATE_SERVICES = {
    "azure-native:keyvault:Vault": "properties.publicNetworkAccess",
    "azure-native:containerregistry:Registry": "publicNetworkAccess",
    "azure-native:storage:StorageAccount": "publicNetworkAccess",
    "azure-native:redisenterprise:RedisEnterprise": "publicNetworkAccess",
    "azure-native:cache:Redis": "publicNetworkAccess",
}


def _azure_services(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for type_, path in _PRIVATE_SERVICES.items():
        for resource in stack.of(type_):
            if is_other_than(resource.get(path), "Disabled"):
                yield Finding(resource, f"{path} has to be Disabled; private endpoints reach it")


POLICIES = (
    Policy(
        "closed-security-groups",
        "No security group or network rule lets everybody in.",
        "Name the networks that may call (`client_cidrs` in the stack file), or refer to another security group.",
        _security_groups,
        severity="high",
    ),
    Policy(
        "closed-load-balancers",
        "A public load balancer of Kubernetes admits named networks only.",
        "Set `client_cidrs` in the stack file, or `exposure: internal`.",
        _services,
        severity="high",
    ),
    Policy(
        "closed-api-server",
        "A Kubernetes API server is private, or open to named networks only.",
        "Set `connectivity.deployer` to `in_vpc_runner` or `tunnel`, or give `authorised_cidrs`.",
        _api_servers,
        severity="critical",
    ),
    Policy(
        "no-public-machines",
        "No machine or task has a public address of its own.",
        "Put it into a private subnet behind a NAT gateway or an interface endpoint.",
        _machine_addresses,
        severity="high",
    ),
    Policy(
        "private-azure-services",
        "Azure's vaults, registries, storage accounts and caches refuse the public network.",
        "Set public network access to Disabled and give the resource a private endpoint.",
        _azure_services,
        severity="high",
    ),
)
