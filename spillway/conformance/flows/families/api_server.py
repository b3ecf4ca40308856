"""The cluster's API server: deployer, nodes and the machine in the VPC → API server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from spillway.conformance.flows.documents import Call
from spillway.conformance.flows.doors import azure_rights, rights, vpc_routes
from spillway.conformance.flows.doors.azure_firewalls import SUBNET
from spillway.conformance.flows.doors.firewalls import Peer, groups_allow
from spillway.conformance.flows.doors.vpc_endpoints import Place, api, caller_context
from spillway.conformance.flows.flow import Closed, Door, Family, Flow
from spillway.conformance.flows.world import World
from spillway.conformance.rule import Source
from spillway.contracts.azure_roles import ROLES
from spillway.contracts.resources import Resource

_SERVER: Final = re.compile(r"""server['"]?\s*:\s*['"]?(https?://[^\s'",}]+)""")
_INSTANCE: Final = "aws:ec2/instance:Instance"
_TEMPLATE: Final = "aws:ec2/launchTemplate:LaunchTemplate"
_ENTRY: Final = "aws:eks/accessEntry:AccessEntry"
_ASSOCIATION: Final = "aws:eks/accessPolicyAssociation:AccessPolicyAssociation"


def flows(world: World) -> Iterator[Flow]:
    if world.eks:
        yield Flow("deployer", "API server", "tcp/443", tuple(_deployer_to_eks(world, world.eks)))
        yield Flow("node", "API server", "tcp/443", (Door("private endpoint", partial(_nodes, world, world.eks)),))
        yield from _entered(world, world.eks)
    if world.aks:
        doors = (
            Door("API server's address", partial(_private_cluster, world, world.aks)),
            Door("rights in the cluster", partial(_cluster_admin, world, world.aks)),
        )
        yield Flow("deployer", "API server", "tcp/443", doors)
        identity = world.by_id(world.aks.get("identity.userAssignedIdentities.0"), azure_rights.IDENTITY)
        subnet = world.by_id(world.aks.get("agentPoolProfiles.0.vnetSubnetID"), SUBNET)
        joins = partial(azure_rights.may, world, identity, subnet, "join nodes and load balancers to it")
        rights_there = (Door("rights", partial(joins, "Network Contributor", "Contributor", "Owner")),)
        yield Flow("AKS control plane", "nodes' subnet", "tcp/443", rights_there)
    for machine in world.graph.of(_INSTANCE):
        yield from _from_machine(world, machine)


def _deployer_to_eks(world: World, cluster: Resource) -> list[Door]:
    return [
        Door("API server's address", partial(_eks_address, world, cluster)),
        Door("rights in the cluster", partial(_entry, world, cluster)),
    ]


def _servers(world: World) -> list[tuple[Resource, str]]:
    found = world.graph.of("pulumi:providers:kubernetes")
    return [(one, url) for one in found for url in _SERVER.findall(str(one.props.get("kubeconfig")))]


def _eks_address(world: World, cluster: Resource) -> Iterator[Closed]:
    if cluster.get("vpcConfig.endpointPublicAccess") is not False or _deploys_inside(world, cluster):
        return
    own = str(cluster.outputs.get("endpoint")).rstrip("/").lower()
    for provider, url in _servers(world):
        if url.rstrip("/").lower() == own:
            yield Closed(
                provider,
                "kubeconfig",
                "the deployer is told the API server's private address, which nobody outside the VPC reaches",
                "Deploy through the tunnel: give the kubeconfig its local port; connectivity.deployer chooses the way.",
            )


def _deploys_inside(world: World, cluster: Resource) -> bool:
    """Whether a machine in the VPC may become an admin of the cluster: deployments run there then."""
    for machine in world.graph.of(_INSTANCE):
        role = _role_of(world, machine)
        for admin in _admins(world, cluster):
            takes_on = Call("sts:AssumeRole", str(admin.props.get("principalArn")), caller_context(world.account))
            if role and rights.may_call(world, role, takes_on):
                return True
    return False


def _admins(world: World, cluster: Resource) -> list[Resource]:
    return [
        one
        for one in world.graph.of(_ASSOCIATION)
        if one.props.get("clusterName") == cluster.id and "Admin" in str(one.props.get("policyArn"))
    ]


def _entry(world: World, cluster: Resource) -> Iterator[Closed]:
    """Without its own bootstrap entry and without any admin, nobody may make anything in the cluster."""
    admins = _admins(world, cluster)
    entries = {one.props.get("principalArn") for one in world.graph.of(_ENTRY)}
    bootstrap = cluster.get("accessConfig.bootstrapClusterCreatorAdminPermissions")
    if bootstrap is False and not any(one.props.get("principalArn") in entries for one in admins):
        yield Closed(
            cluster,
            "accessConfig",
            "the cluster lets its creator do nothing, and no access entry makes anybody an admin",
            "Name the deployer's role in private_cluster.admin_role_arns.",
        )


def _entered(world: World, cluster: Resource) -> Iterator[Flow]:
    """Each principal that the cluster knows, and what it may do there.

    https://docs.aws.amazon.com/eks/latest/userguide/access-policies.html (read 2026-11-30): an entry by itself gives no
    right; one has it by an access policy or by RBAC on one of the entry's groups.
    """
    for entry in world.graph.of(_ENTRY):
        standard = entry.props.get("type") in (None, "STANDARD")
        if standard and entry.props.get("clusterName") == cluster.id and not entry.props.get("kubernetesGroups"):
            name = str(entry.props.get("principalArn")).rpartition("/")[2]
            door = Door("rights in the cluster", partial(_associated, world, entry))
            yield Flow(name, "API server", "tcp/443", (door,))


def _associated(world: World, entry: Resource) -> Iterator[Closed]:
    whom = ("clusterName", "principalArn")
    given = [one for one in world.graph.of(_ASSOCIATION) if all(one.get(key) == entry.get(key) for key in whom)]
    if not given:
        yield Closed(
            entry,
            "",
            "the cluster knows this principal, and no access policy or group lets it do anything there",
            "Associate an access policy with it, or give it a Kubernetes group that RBAC knows.",
        )


def _nodes(world: World, cluster: Resource) -> Iterator[Closed]:
    if cluster.get("vpcConfig.endpointPrivateAccess") is True:
        yield from vpc_routes.resolver(world, world.node_subnets)
    elif cluster.get("vpcConfig.endpointPublicAccess") is False:
        yield Closed(
            cluster, "vpcConfig", "the API server has neither a public nor a private address", "Switch one on."
        )
    else:
        yield from vpc_routes.internet(world, world.node_subnets)


def _private_cluster(world: World, cluster: Resource) -> Iterator[Closed]:
    """https://learn.microsoft.com/azure/aks/private-clusters."""
    private = cluster.get("apiServerAccessProfile.enablePrivateCluster")
    commands = cluster.get("apiServerAccessProfile.disableRunCommand") is False
    inside = world.graph.of("azure-native:compute:VirtualMachine", "azure-native:containerinstance:ContainerGroup")
    if private and not commands and not inside:
        yield Closed(
            cluster,
            "apiServerAccessProfile.enablePrivateCluster",
            "the API server's name and address exist in the cluster's own network alone, where no machine of the "
            "deployer stands",
            "Put a deployer into the network, take an existing network, or give the API server a public name.",
        )


def _cluster_admin(world: World, cluster: Resource) -> Iterator[Closed]:
    """https://learn.microsoft.com/azure/aks/manage-azure-rbac."""
    profile: Any = cluster.props.get("aadProfile") or {}
    if cluster.props.get("disableLocalAccounts") is not True or profile.get("adminGroupObjectIDs"):
        return
    role = ROLES["Azure Kubernetes Service RBAC Cluster Admin"]
    assigned = [
        one
        for one in world.graph.of("azure-native:authorization:RoleAssignment")
        if str(one.props.get("roleDefinitionId")).endswith(role)
    ]
    on_it = f"{cluster.id}/".lower()
    if profile.get("enableAzureRBAC") and not any(
        on_it.startswith(f"{str(one.props.get('scope')).lower()}/") for one in assigned
    ):
        yield Closed(
            cluster,
            "aadProfile",
            "local accounts are off, and the plan makes nobody an admin inside the cluster",
            "Name private_cluster.admin_group_ids, or assign the role RBAC Cluster Admin on the cluster.",
        )


def _from_machine(world: World, machine: Resource) -> Iterator[Flow]:
    """The deployer's machine in the VPC: Session Manager in, API server out.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/setup-create-vpc.html
    """
    template = _template_of(world, machine)
    groups = (template.props.get("vpcSecurityGroupIds") if template else None) or machine.props.get(
        "vpcSecurityGroupIds"
    )
    place = Place((str(machine.props.get("subnetId")),), tuple(groups or ()))
    calls = {
        "ssm": Call("ssm:UpdateInstanceInformation"),
        "ssmmessages": Call("ssmmessages:CreateControlChannel"),
        "ec2messages": Call("ec2messages:GetMessages"),
    }
    role = _role_of(world, machine)
    for service, call in calls.items():
        own = [Call(call.action, call.resource, caller_context(world.account))]
        trusted = [rights.Trusted("ec2.amazonaws.com")]
        doors = [
            *api(world, place, service, own),
            *(rights.identity(world, role.outputs.get("arn"), trusted, [call], machine) if role else []),
        ]
        yield Flow("deployer's machine", service, "tcp/443", tuple(doors))
    if world.eks:
        yield Flow(
            "deployer's machine",
            "API server",
            "tcp/443",
            (Door("security groups", partial(_to_server, world, world.eks, place)),),
        )


def _template_of(world: World, machine: Resource) -> Resource | None:
    return world.by_id(machine.get("launchTemplate.id"), _TEMPLATE)


def _role_of(world: World, machine: Resource) -> Resource | None:
    template = _template_of(world, machine)
    profile = world.by_arn(
        template.get("iamInstanceProfile.arn") if template else None, "aws:iam/instanceProfile:InstanceProfile"
    )
    return world.by_id(profile.props.get("role") if profile else None, rights.ROLE)


def _to_server(world: World, cluster: Resource, place: Place) -> Iterator[Closed]:
    if cluster.get("vpcConfig.endpointPrivateAccess") is False:
        return
    inside = frozenset(cluster.get("vpcConfig.securityGroupIds") or ())
    at = vpc_routes.subnet_ranges(world, cluster.get("vpcConfig.subnetIds") or ())
    yield from vpc_routes.resolver(world, place.subnets)
    yield from groups_allow(world, place.groups or (), "egress", Peer(at, inside), 443)
    source = Peer(vpc_routes.subnet_ranges(world, place.subnets), frozenset(place.groups or ()))
    yield from groups_allow(world, inside, "ingress", source, 443)


FAMILY: Final = Family(
    "flow-api-server",
    "The deployer and the nodes reach the cluster's API server, and may use it",
    Source(
        "Amazon EKS: cluster API server endpoint",
        "https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html",
        "2026-11-29",
    ),
    flows,
)
