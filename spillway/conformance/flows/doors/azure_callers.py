"""Functions and gateways that call Azure: the identity that trusts their role, and what its roles let it do.

Sources as in :mod:`azure_rights`, and for the token
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_token_claims.html (read 2026-11-30).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from spillway.conformance.flows.documents import Call, like
from spillway.conformance.flows.doors import azure_rights
from spillway.conformance.flows.doors.azure_rights import ASSIGNMENT, FEDERATED
from spillway.conformance.flows.flow import Closed, Door
from spillway.conformance.flows.workloads import Pod
from spillway.conformance.flows.world import World
from spillway.contracts.azure_calls import ACTIONS, TOKEN_ALGORITHM, TOKEN_AUDIENCE, TOKEN_LIFETIME_S, Caller
from spillway.contracts.azure_roles import ROLES
from spillway.contracts.names import AZURE_MANAGER_URL
from spillway.contracts.resources import Resource

_ROLE: Final = "azure-native:authorization:RoleDefinition"
_ISSUER: Final = re.compile(r"https://[0-9a-z-]+\.tokens\.sts\.global\.api\.aws")
_BUILT_IN: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(ROLES.values(), ()),
    ROLES["Owner"]: ("*",),
    ROLES["Contributor"]: ("*",),
    ROLES["Reader"]: ("*/read",),
    ROLES["Traffic Manager Contributor"]: ("Microsoft.Network/trafficManagerProfiles/*",),
}
"""Built-in roles by ID → those of their actions that these callers could need."""
TOKEN: Final = Call(
    "sts:GetWebIdentityToken",
    "*",
    {
        "sts:IdentityTokenAudience": TOKEN_AUDIENCE,
        "sts:SigningAlgorithm": TOKEN_ALGORITHM,
        "sts:DurationSeconds": str(TOKEN_LIFETIME_S),
    },
)
"""What such a caller asks AWS for first."""


def doors(
    world: World,
    caller: Caller,
    role_arn: Any,
    client_id: str,
    urls: Iterable[str],
    holder: Resource,
    pod: Pod | None = None,
) -> tuple[Door, ...]:
    """Between a caller with this role and what it calls of Azure. ``holder``: the function, or the gateway; ``pod``: of
    AKS, whose own token is shown in the place of AWS's word about the role."""
    identity = azure_rights.identity_by_client(world, client_id)
    if identity is None:
        return (Door("managed identity", partial(_nobody, holder, client_id)),)
    by_role = partial(_trusts, world, identity, role_arn, holder)
    return (
        Door(f"trust of {identity.name}", partial(azure_rights.federated, world, pod, identity) if pod else by_role),
        *(Door(f"roles of {identity.name}", partial(_may, world, caller, identity, url)) for url in urls),
    )


def _nobody(holder: Resource, client_id: str) -> Iterator[Closed]:
    yield Closed(holder, "environment", f"no managed identity of the plan has the client id {client_id}", "Name one.")


def _trusts(world: World, identity: Resource, role_arn: Any, holder: Resource) -> Iterator[Closed]:
    own = [
        one for one in world.graph.of(FEDERATED) if one.props.get("resourceName") == identity.props.get("resourceName")
    ]
    for one in own:
        of_aws = _ISSUER.fullmatch(str(one.props.get("issuer"))) is not None
        if one.props.get("subject") == role_arn and of_aws and TOKEN_AUDIENCE in (one.props.get("audiences") or ()):
            return
    yield Closed(
        next(iter(own), identity),
        "subject" if own else "",
        f"the identity does not trust AWS's token about the role of {holder.name}: AADSTS70021",
        f"Give it a federated credential: AWS's issuer of the account, the role's ARN, audience {TOKEN_AUDIENCE}.",
    )


def _may(world: World, caller: Caller, identity: Resource, url: str) -> Iterator[Closed]:
    path = url.removeprefix(AZURE_MANAGER_URL).partition("?")[0]
    namespace, *rest = path.rpartition("/providers/")[2].split("/")
    kind = "/".join([namespace, *rest[::2]])
    given = list(_given(world, identity.outputs.get("principalId"), path))
    for action in ACTIONS[caller]:
        wanted = re.sub(r"/(\w+/action|\w+)$", "", action).lower() == kind.lower()
        if wanted and not any(like(pattern, action, False) for pattern in given):
            yield Closed(
                identity,
                "",
                f"identity {identity.name} has no role with {action} on {path}: AuthorizationFailed",
                f"Give it one; the {caller} makes this call.",
            )


def _given(world: World, principal: Any, path: str) -> Iterator[str]:
    """Actions of the roles on the path and above it; a role that nobody here knows may allow all of them."""
    made: Mapping[str, Resource] = {str(one.id).lower(): one for one in world.graph.of(_ROLE)}
    for one in world.graph.of(ASSIGNMENT):
        scope = str(one.props.get("scope")).lower().rstrip("/")
        above = path.lower() == scope or path.lower().startswith(f"{scope}/")
        if not above or one.props.get("principalId") != principal:
            continue
        given = str(one.props.get("roleDefinitionId")).lower()
        role = made.get(given)
        if role is None:
            yield from _BUILT_IN.get(given.rpartition("/")[2], ("*",))
            continue
        for permission in role.props.get("permissions") or ():
            yield from permission.get("actions") or ()
