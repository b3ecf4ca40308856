"""The container in Azure's network that carries a package from S3 into a closed storage account."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from spillway.conformance.flows.documents import Call
from spillway.conformance.flows.doors import azure_rights, private_links, rights
from spillway.conformance.flows.doors.azure_firewalls import SUBNET
from spillway.conformance.flows.doors.pod_identities import is_entra
from spillway.conformance.flows.flow import Closed, Door, Flow
from spillway.conformance.flows.world import World
from spillway.contracts.resources import Resource

GROUP: Final = "azure-native:containerinstance:ContainerGroup"
CONTAINER: Final = "azure-native:storage:BlobContainer"
_ACCOUNT: Final = "azure-native:storage:StorageAccount"
_DELEGATION: Final = "Microsoft.ContainerInstance/containerGroups"
SOURCE: Final = re.compile(r":s3,[^:]*:(?P<bucket>[a-z0-9.-]+)/(?P<folder>\S+)")
TARGET: Final = re.compile(r":azureblob,.*account=(?P<account>[a-z0-9]+)[^:]*:(?P<container>[^/]+)/\S+")
_WRITERS: Final = ("Storage Blob Data Contributor", "Storage Blob Data Owner")


def couriers(world: World) -> Iterator[tuple[Resource, dict[str, str]]]:
    """Container groups that copy a package, with the variables of their container."""
    for group in world.graph.of(GROUP):
        for container in group.props.get("containers") or ():
            given: list[Mapping[str, Any]] = list(container.get("environmentVariables") or ())
            variables = {str(one.get("name")): str(one.get("value")) for one in given}
            if SOURCE.fullmatch(variables.get("PACKAGE_SOURCE", "")):
                yield group, variables


def to_account(world: World, group: Resource, variables: Mapping[str, str]) -> Iterator[Flow]:
    """Courier → storage account."""
    target = TARGET.fullmatch(variables.get("PACKAGE_TARGET", ""))
    if target is None:
        return
    account = _named(world, _ACCOUNT, "accountName", target["account"])
    container = _named(world, CONTAINER, "containerName", target["container"])
    identity = azure_rights.identity_by_client(world, variables.get("AZURE_CLIENT_ID", ""))
    doors = [Door("subnet for containers", partial(_delegated, world, group))]
    endpoint = private_links.endpoint_of(world, account.id, "blob") if account else None
    if endpoint is not None:
        doors += private_links.from_inside(world, endpoint)
    elif account is not None:
        doors.append(Door("private endpoint", partial(_no_endpoint, account)))
    doors.append(Door("rights", partial(azure_rights.may, world, identity, container, "write blobs", *_WRITERS)))
    yield Flow(group.name, f"storage account {target['account']}", "tcp/443", tuple(doors))


def from_bucket(world: World, group: Resource, variables: Mapping[str, str], calls: list[Call]) -> list[Door]:
    """The doors between a courier and the bucket, those of the bucket aside."""
    identity = azure_rights.identity_by_client(world, variables.get("AZURE_CLIENT_ID", ""))
    principal = identity.outputs.get("principalId") if identity else None
    trusted = [
        rights.Trusted(
            str(provider.outputs.get("arn")),
            "sts:AssumeRoleWithWebIdentity",
            {
                f"{_issuer(provider)}:sub": str(principal),
                f"{_issuer(provider)}:aud": str((provider.props.get("clientIdLists") or [""])[0]),
            },
            "Federated",
        )
        for provider in world.graph.of(rights.PROVIDER)
        if is_entra(provider)
    ]
    return [
        Door("way out of the subnet", partial(_way_out, world, group)),
        Door("token issuer", partial(_vouches, world, variables.get("AWS_ROLE_ARN"))),
        *rights.identity(world, variables.get("AWS_ROLE_ARN"), trusted, calls, group),
    ]


def _vouches(world: World, arn: str | None) -> Iterator[Closed]:
    """Whether the role trusts tokens of Entra; a provider that the plan does not make is not judged."""
    role = world.by_arn(arn, rights.ROLE)
    trust = str(role.props.get("assumeRolePolicy")) if role else ""
    for provider in world.graph.of(rights.PROVIDER):
        if str(provider.outputs.get("arn")) in trust and not is_entra(provider):
            yield Closed(
                provider,
                "url",
                "the courier's role trusts another issuer than Microsoft Entra, which signs the tokens of its identity",
                "Register https://sts.windows.net/<tenant>/ as its issuer.",
            )


def _issuer(provider: Resource) -> str:
    return str(provider.props.get("url")).removeprefix("https://")


def _named(world: World, type_: str, key: str, name: str) -> Resource | None:
    return next((one for one in world.graph.of(type_) if one.props.get(key) == name), None)


def _subnets(world: World, group: Resource) -> list[Resource]:
    """Those that the plan makes; one that is there already is its owner's affair."""
    found = [world.by_id(one.get("id"), SUBNET) for one in group.props.get("subnetIds") or ()]
    return [one for one in found if one is not None]


def _delegated(world: World, group: Resource) -> Iterator[Closed]:
    """https://learn.microsoft.com/azure/container-instances/container-instances-virtual-network-concepts."""
    if not group.props.get("subnetIds"):
        yield Closed(group, "subnetIds", "it stands in no network, and the account is closed", "Give it a subnet.")
    for subnet in _subnets(world, group):
        services = [one.get("serviceName") for one in subnet.props.get("delegations") or ()]
        if _DELEGATION not in services:
            yield Closed(
                subnet,
                "delegations",
                "container groups stand in a subnet that is delegated to them: SubnetDelegationMissing",
                f"Delegate it to {_DELEGATION}.",
            )


def _way_out(world: World, group: Resource) -> Iterator[Closed]:
    """https://learn.microsoft.com/azure/container-instances/container-instances-nat-gateway."""
    for subnet in _subnets(world, group):
        own_way = subnet.props.get("natGateway") or subnet.props.get("routeTable")
        if not own_way and subnet.props.get("defaultOutboundAccess") is False:
            yield Closed(
                subnet,
                "natGateway",
                "the subnet has no way out, so the container reaches neither its image nor S3",
                "Give it a NAT gateway, or a route to the firewall.",
            )


def _no_endpoint(account: Resource) -> Iterator[Closed]:
    yield Closed(
        account, "publicNetworkAccess", "public access is off, and no private endpoint leads to the blobs", "Add one."
    )
