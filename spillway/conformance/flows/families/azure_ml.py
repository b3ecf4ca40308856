"""Azure Machine Learning: gateways → endpoint, workspace → what it is made of, deployment → model store.

Managed network: https://learn.microsoft.com/azure/machine-learning/how-to-managed-network; roles of a user-assigned
identity: https://learn.microsoft.com/azure/machine-learning/how-to-identity-based-service-authentication (both read
2026-11-29); of an endpoint's own identity:
https://learn.microsoft.com/azure/machine-learning/how-to-access-resources-from-endpoints-managed-identities (read
2026-11-30).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from spillway.conformance.flows.doors import azure_callers, azure_rights, private_links
from spillway.conformance.flows.families import packages
from spillway.conformance.flows.flow import Closed, Door, Family, Flow
from spillway.conformance.flows.gateways import Caller, calls_aws, containers, gateways, reaches
from spillway.conformance.flows.world import World
from spillway.conformance.rule import Source
from spillway.contracts.azure_calls import CLIENT_VARIABLE, TOKEN_FILE_VARIABLE
from spillway.contracts.names import AZURE_MANAGER_URL
from spillway.contracts.resources import UNKNOWN, Resource

_WORKSPACE: Final = "azure-native:machinelearningservices:Workspace"
_ENDPOINT: Final = "azure-native:machinelearningservices:OnlineEndpoint"
_DEPLOYMENT: Final = "azure-native:machinelearningservices:OnlineDeployment"
_BATCH: Final = "azure-native:machinelearningservices:BatchDeployment"
_DATASTORE: Final = "azure-native:machinelearningservices:Datastore"
_RULE: Final = "azure-native:machinelearningservices:ManagedNetworkSettingsRule"
_PROVISION: Final = "azure-native:machinelearningservices:ManagedNetworkProvision"
_COMPUTE: Final = "azure-native:machinelearningservices:Compute"
_SUFFIX: Final = ".inference.ml.azure.com"
_LOGIN: Final = "login.microsoftonline.com"
_SHOWN: Final = {"AADToken": "entra_token", "Key": "bearer"}
"""What an endpoint with this ``authMode`` is shown."""
_LOCKED: Final = "AllowOnlyApprovedOutbound"
_APPROVER: Final = "Azure AI Enterprise Network Connection Approver"

_PARTS: Final = {
    "storageAccount": ("Contributor",),
    "keyVault": ("Contributor", "Key Vault Administrator"),
    "containerRegistry": ("Contributor",),
    "applicationInsights": ("Contributor",),
}
"""Property of the workspace → every role that its own identity must have there."""


def flows(world: World) -> Iterator[Flow]:
    for gateway in gateways(world):
        for site in gateway.sites:
            if str(site.get("host")).endswith(_SUFFIX):
                endpoint = _endpoint_of(world, str(site.get("host")))
                yield _from_gateway(world, gateway.caller, site, endpoint)
                yield from _by_token(world, gateway.caller, site, endpoint)
    for workspace in world.graph.of(_WORKSPACE):
        yield from _from_workspace(world, workspace)
    for deployment in world.graph.of(_DEPLOYMENT):
        yield from _from_deployment(world, deployment)


def _endpoint_of(world: World, host: str) -> Resource | None:
    found = world.graph.of(_ENDPOINT)
    return next(
        (one for one in found if host == f"{one.props.get('endpointName')}.{one.props.get('location')}{_SUFFIX}"), None
    )


def _by_token(world: World, caller: Caller, site: Mapping[str, Any], endpoint: Resource | None) -> Iterator[Flow]:
    """How a gateway gets what an endpoint with ``authMode: AADToken`` wants: AWS's word, Entra, a role."""
    if endpoint is None:
        return
    auth = site.get("auth") or {}
    doors = [Door("credential", partial(_takes, endpoint, str(auth.get("kind"))))]
    if auth.get("kind") == "entra_token":
        said = _variables(caller)
        role = said.get("AWS_ROLE_ARN") if caller.pod else caller.role
        pod = caller.pod if TOKEN_FILE_VARIABLE in said else None
        doors += reaches(world, caller, _LOGIN)
        doors += [] if pod else calls_aws(world, caller, f"sts.{world.region}.amazonaws.com", [azure_callers.TOKEN])
        client_id, url = said.get(CLIENT_VARIABLE), f"{AZURE_MANAGER_URL}{endpoint.id}"
        if client_id is not UNKNOWN:
            doors += azure_callers.doors(world, "gateway", role, str(client_id), [url], caller.resource, pod)
    yield Flow(f"agent of {caller.name}", "credential for Azure ML", "tcp/443", tuple(doors))


def _variables(caller: Caller) -> dict[str, Any]:
    """Of the agent, by name."""
    found = caller.pod.containers if caller.pod else containers(caller.resource)
    entries = (one for each in found for one in each.get("env") or each.get("environment") or ())
    return {str(one.get("name")): one.get("value") for one in entries}


def _takes(endpoint: Resource, shown: str) -> Iterator[Closed]:
    mode = endpoint.get("properties.authMode")
    if _SHOWN.get(str(mode), shown) != shown:
        yield Closed(
            endpoint,
            "properties.authMode",
            f"the endpoint takes {mode}, and the gateways show a credential of kind {shown}: 401",
            "Give the endpoint authMode AADToken, and the gateways tokens of Entra's.",
        )


def _from_gateway(world: World, caller: Caller, site: Mapping[str, Any], endpoint: Resource | None) -> Flow:
    host = str(site.get("host"))
    doors = [
        Door("TLS name", partial(_certified, caller.resource, site)),
        Door("endpoint", partial(_named, endpoint, caller.resource, host)),
    ]
    private = endpoint is not None and endpoint.get("properties.publicNetworkAccess") == "Disabled"
    doors += _privately(world, caller, endpoint, host) if endpoint and private else reaches(world, caller, host)
    return Flow(caller.name, "Azure ML endpoint", "tcp/443", tuple(doors))


def _certified(holder: Resource, site: Mapping[str, Any]) -> Iterator[Closed]:
    sni = (site.get("tls") or {}).get("sni")
    if sni != site.get("host"):
        yield Closed(
            holder,
            "",
            f"the site's certificate is for {site.get('host')}, the gateway asks for {sni}",
            "Ask for the host.",
        )


def _named(endpoint: Resource | None, holder: Resource, host: str) -> Iterator[Closed]:
    if endpoint is None:
        yield Closed(holder, "", f"no online endpoint of the plan has the name {host}", "Name one that there is.")


def _privately(world: World, caller: Caller, endpoint: Resource, host: str) -> list[Door]:
    workspace = _workspace_of(world, endpoint)
    link = private_links.endpoint_of(world, workspace.id if workspace else None, "amlworkspace")
    if link is None:
        return [Door("private endpoint", partial(_unlinked, endpoint))]
    inside = reaches(world, Caller(caller.name, caller.resource, None, caller.pod), host)
    if caller.place:
        return [*inside, *private_links.from_vpc(world, caller.place, link, host)]
    if world.aks:
        return [*inside, *private_links.from_inside(world, link)]
    return [*inside, *private_links.from_peer(world, link)]


def _workspace_of(world: World, child: Resource) -> Resource | None:
    name = child.props.get("workspaceName")
    return next((one for one in world.graph.of(_WORKSPACE) if one.props.get("workspaceName") == name), None)


def _unlinked(endpoint: Resource) -> Iterator[Closed]:
    yield Closed(
        endpoint,
        "properties.publicNetworkAccess",
        "public access is off, and no private endpoint leads to the workspace",
        "Add one, or set connectivity.burst_egress to public_with_key.",
    )


def _identity(world: World, holder: Resource) -> Resource | None:
    named = holder.props.get("primaryUserAssignedIdentity") or holder.get("identity.userAssignedIdentities.0")
    return world.by_id(named, azure_rights.IDENTITY)


def _from_workspace(world: World, workspace: Resource) -> Iterator[Flow]:
    identity = _identity(world, workspace)
    for key, roles in _PARTS.items():
        part = world.by_id(workspace.props.get(key))
        if part:
            doors = [_right(world, identity, part, "use it for the workspace", role, *_more(role)) for role in roles]
            if workspace.get("managedNetwork.isolationMode") == _LOCKED and key != "applicationInsights":
                doors.append(_approval(world, identity, part))
            yield Flow("Azure ML workspace", key, "tcp/443", tuple(doors))
    doors = [_right(world, identity, workspace, "change it", "Contributor", "Owner")]
    yield Flow("Azure ML workspace", "itself", "tcp/443", tuple(doors))
    if world.graph.of(_BATCH) and workspace.get("managedNetwork.isolationMode") == _LOCKED:
        account = world.by_id(workspace.props.get("storageAccount"))
        for part in ("queue", "table"):
            if account is None:
                continue
            door = Door("outbound rule", partial(_approved, world, workspace, account, part))
            yield Flow("Azure ML batch deployment", f"{part} of its storage", "tcp/443", (door,))


def _right(world: World, identity: Resource | None, on: Resource, why: str, *roles: str) -> Door:
    return Door(f"right {roles[0]}", partial(azure_rights.may, world, identity, on, why, *roles))


def _more(role: str) -> tuple[str, ...]:
    return ("Owner",) if role == "Contributor" else ()


def _approval(world: World, identity: Resource | None, on: Resource) -> Door:
    """Who may change a resource may approve a private endpoint to it, too."""
    return _right(
        world, identity, on, "approve the managed network's private endpoint", _APPROVER, "Contributor", "Owner"
    )


def _from_deployment(world: World, deployment: Resource) -> Iterator[Flow]:
    workspace = _workspace_of(world, deployment)
    if workspace is None:
        return
    network = [Door("managed network", partial(_provisioned, world, workspace, deployment))]
    identity = _identity(world, deployment)
    reads = ("Storage Blob Data Reader", "Storage Blob Data Contributor", "Storage Blob Data Owner")
    for store in world.graph.of(_DATASTORE):
        name = store.get("properties.accountName")
        account = next((one for one in world.graph.of(packages.ACCOUNT) if one.props.get("accountName") == name), None)
        if account:
            doors = [
                *network,
                Door("outbound rule", partial(_approved, world, workspace, account, "blob")),
                Door("rights", partial(azure_rights.may, world, identity, account, "read the model", *reads)),
                *([_approval(world, _identity(world, workspace), account)] if _foreign(workspace, account) else []),
            ]
            yield Flow("Azure ML deployment", f"model store {name}", "tcp/443", tuple(doors))
    storage = world.by_id(workspace.props.get("storageAccount"))
    if storage:
        reader = partial(azure_rights.may, world, identity, storage, "read what the workspace keeps there", *reads)
        yield Flow("Azure ML deployment", "workspace's storage", "tcp/443", (*network, Door("rights", reader)))
    registry = world.by_id(workspace.props.get("containerRegistry"))
    if registry:
        pulls = ("AcrPull", "AcrPush", "Contributor", "Owner")
        doors = [*network, Door("rights", partial(azure_rights.may, world, identity, registry, "pull images", *pulls))]
        yield Flow("Azure ML deployment", "registry", "tcp/443", tuple(doors))
    insights = world.by_id(workspace.props.get("applicationInsights"))
    if insights and insights.props.get("disableLocalAuth"):
        publish = partial(
            azure_rights.may, world, identity, insights, "publish metrics", "Monitoring Metrics Publisher"
        )
        yield Flow("Azure ML deployment", "telemetry", "tcp/443", (Door("rights", publish),))


def _provisioned(world: World, workspace: Resource, deployment: Resource) -> Iterator[Closed]:
    managed = workspace.get("managedNetwork.isolationMode") not in (None, "Disabled")
    if not managed or workspace.props.get("provisionNetworkNow"):
        return
    if not any(_provisions(one) for one in world.graph.all_needs(deployment)):
        yield Closed(
            workspace,
            "provisionNetworkNow",
            "nothing provisions the workspace's managed network before the online deployment, which needs it",
            "Set provisionNetworkNow.",
        )


def _provisions(made: Resource) -> bool:
    """Of computes it is an instance that does, and no cluster."""
    return made.type == _PROVISION or (
        made.type == _COMPUTE and made.get("properties.computeType") == "ComputeInstance"
    )


def _foreign(workspace: Resource, account: Resource) -> bool:
    """A workspace's own account gets a private endpoint by itself."""
    locked = workspace.get("managedNetwork.isolationMode") == _LOCKED
    return locked and str(workspace.props.get("storageAccount")).lower() != str(account.id).lower()


def _approved(world: World, workspace: Resource, account: Resource, part: str) -> Iterator[Closed]:
    if part == "blob" and not _foreign(workspace, account):
        return
    rules = [one.props.get("properties") or {} for one in world.graph.of(_RULE)]
    rules += list((workspace.get("managedNetwork.outboundRules") or {}).values())
    for rule in rules:
        to = rule.get("destination") or {}
        same = isinstance(to, Mapping) and str(to.get("serviceResourceId")).lower() == str(account.id).lower()
        if same and to.get("subresourceTarget") == part:
            return
    yield Closed(
        workspace,
        "managedNetwork",
        f"no outbound rule of the managed network leads to the {part}s of storage account "
        f"{account.props.get('accountName')}",
        f"Add a ManagedNetworkSettingsRule of type PrivateEndpoint to its {part}s.",
    )


FAMILY: Final = Family(
    "flow-azure-ml",
    "Gateways reach Azure ML's endpoint, and its deployments the model store, registry and telemetry",
    Source(
        "Azure Machine Learning: workspace managed virtual network isolation",
        "https://learn.microsoft.com/azure/machine-learning/how-to-managed-network",
        "2026-11-29",
    ),
    flows,
)
