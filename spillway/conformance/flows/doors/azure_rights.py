"""Role assignments of Azure, and identities that a cluster's tokens open.

A role on a scope holds for all below it (https://learn.microsoft.com/azure/role-based-access-control/scope-overview);
the roles' IDs: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles. Federation:
https://learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust-user-assigned-managed-identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from spillway.conformance.flows.doors import pod_identities
from spillway.conformance.flows.flow import Closed
from spillway.conformance.flows.workloads import Pod
from spillway.conformance.flows.world import World
from spillway.contracts.azure_roles import ROLES
from spillway.contracts.resources import Resource

IDENTITY: Final = "azure-native:managedidentity:UserAssignedIdentity"
ASSIGNMENT: Final = "azure-native:authorization:RoleAssignment"
FEDERATED: Final = "azure-native:managedidentity:FederatedIdentityCredential"


def holds(world: World, principal: Any, scope: str, *roles: str) -> bool:
    """Whether the principal has one of the roles on the scope or above it."""
    wanted = {ROLES[name] for name in roles}
    for found in world.graph.of(ASSIGNMENT):
        role = str(found.props.get("roleDefinitionId")).rpartition("/")[2].lower()
        at = str(found.props.get("scope")).lower().rstrip("/")
        below = scope.lower() == at or scope.lower().startswith(f"{at}/")
        if role in wanted and below and found.props.get("principalId") == principal:
            return True
    return False


def may(world: World, identity: Resource | None, on: Resource | None, why: str, *roles: str) -> Iterator[Closed]:
    """Whether an identity has one of the roles on a resource. ``why``: what it needs it for."""
    if identity is None or on is None or on.id is None:
        return
    principal = identity.outputs.get("principalId")
    if not holds(world, principal, on.id, *roles):
        near = _near(world, on.id, roles)
        yield Closed(
            near or on,
            "principalId" if near else "",
            f"identity {identity.name} has no role on {on.name} that lets it {why}: {' or '.join(roles)}",
            f"Assign {roles[0]} on it to the identity.",
        )


def _near(world: World, scope: str, roles: tuple[str, ...]) -> Resource | None:
    """An assignment on the same scope that would be it, were it not for somebody whom the plan does not know."""
    ids = {ROLES[name] for name in roles}
    known = {one.outputs.get("principalId") for one in world.graph.of(IDENTITY)}
    for found in world.graph.of(ASSIGNMENT):
        same = str(found.props.get("scope")).lower() == scope.lower()
        fits = str(found.props.get("roleDefinitionId")).rpartition("/")[2].lower() in ids
        if same and fits and found.props.get("principalId") not in known:
            return found
    return None


def identity_by_client(world: World, client: str) -> Resource | None:
    return next((one for one in world.graph.of(IDENTITY) if one.outputs.get("clientId") == client), None)


def federated(world: World, pod: Pod, identity: Resource) -> Iterator[Closed]:
    """Whether an identity trusts the token that the pod shows Entra."""
    issuer = pod_identities.issuer(world)
    subject = f"system:serviceaccount:{pod.namespace}:{pod.account}"
    found = [
        one for one in world.graph.of(FEDERATED) if one.props.get("resourceName") == identity.props.get("resourceName")
    ]
    for one in found:
        same_issuer = issuer is None or str(one.props.get("issuer")).rstrip("/") == issuer.rstrip("/")
        shown = set(_audiences(pod)) & set(one.props.get("audiences") or ())
        if one.props.get("subject") == subject and same_issuer and shown:
            return
    yield Closed(
        next(iter(found), identity),
        "subject" if found else "",
        f"no federated credential of the identity is for {subject} with the token's issuer and audience",
        "Add one for the pod's service account; connectivity.federation does it.",
    )


def _audiences(pod: Pod) -> list[str]:
    return [
        source["serviceAccountToken"].get("audience", "")
        for volume in pod.volumes
        for source in (volume.get("projected") or {}).get("sources") or ()
        if source.get("serviceAccountToken")
    ]
