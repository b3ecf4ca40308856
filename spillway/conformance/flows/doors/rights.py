"""IAM identities: who trusts whom, and which right a role has by its inline and attached policies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from spillway.conformance.flows import documents
from spillway.conformance.flows.documents import Call, listed
from spillway.conformance.flows.doors.managed_policies import MANAGED
from spillway.conformance.flows.flow import Closed, Door
from spillway.conformance.flows.world import World
from spillway.contracts.resources import Resource

ROLE: Final = "aws:iam/role:Role"
_INLINE: Final = "aws:iam/rolePolicy:RolePolicy"
_ATTACHED: Final = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
PROVIDER: Final = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"


@dataclass(frozen=True)
class Trusted:
    """Who takes the role on: a service of AWS, or a token of an OpenID Connect provider."""

    principal: str
    action: str = "sts:AssumeRole"
    context: Mapping[str, str | None] | None = None
    kind: str = "Service"


def service(world: World, name: str, *actions: str) -> list[Trusted]:
    """A service of AWS, such as ``lambda``, that states the account on whose behalf it asks."""
    context = {"aws:SourceAccount": world.account}
    return [Trusted(f"{name}.amazonaws.com", one, context) for one in actions or ("sts:AssumeRole",)]


def identity(world: World, arn: Any, trusted: Sequence[Trusted], calls: Sequence[Call], holder: Resource) -> list[Door]:
    """The doors between a role and what it is for. A role that the plan does not make is not judged."""
    role = world.by_arn(arn, ROLE)
    if role is None:
        return []
    return [
        Door(f"trust of {role.name}", partial(_trusts, world, role, trusted, holder)),
        Door(f"rights of {role.name}", partial(_may, world, role, calls)),
    ]


def _trusts(world: World, role: Resource, trusted: Iterable[Trusted], holder: Resource) -> Iterator[Closed]:
    document = role.props.get("assumeRolePolicy")
    for one in trusted:
        call = Call(one.action, "", one.context or {})
        statements = list(documents.allowing(document, call))
        if not any(_names(statement, one) for statement in statements):
            yield Closed(
                role,
                "assumeRolePolicy",
                f"the role does not let {one.principal} take it on ({one.action}) for {holder.name}",
                "Trust that principal, with conditions that it meets.",
            )
            return


def _names(statement: Mapping[str, Any], trusted: Trusted) -> bool:
    principal = statement.get("Principal")
    return principal == "*" or (
        isinstance(principal, Mapping) and trusted.principal in listed(principal.get(trusted.kind))
    )


def _may(world: World, role: Resource, calls: Iterable[Call]) -> Iterator[Closed]:
    inline = [
        found for found in world.graph.of(_INLINE) if found.props.get("role") in (role.id, role.props.get("name"))
    ]
    arns = {str(found.props.get("policyArn")) for found in _attachments(world, role)}
    if not arns <= set(MANAGED) or role.props.get("managedPolicyArns") or role.props.get("inlinePolicies"):
        return  # A policy of which the plan does not tell what it allows.
    for call in calls:
        denied = next((found for found in inline if documents.denies(found.props.get("policy"), call)), None)
        allowed = any(documents.allows(found.props.get("policy"), call) for found in inline)
        allowed = allowed or any(documents.like(one, call.action, False) for arn in arns for one in MANAGED[arn])
        if denied or not allowed:
            meant = denied or _meant(inline, call, bool(arns)) or role
            yield Closed(
                meant,
                "policy" if meant is not role else "",
                f"role {role.name} may not call {call.action} on {call.resource}",
                "Allow it in the role's policy.",
            )


def may_call(world: World, role: Resource, call: Call) -> bool:
    """Whether a role's policies allow a call; so where the plan does not tell what one allows."""
    return not any(True for _ in _may(world, role, [call]))


def _attachments(world: World, role: Resource) -> list[Resource]:
    return [one for one in world.graph.of(_ATTACHED) if one.props.get("role") in (role.id, role.props.get("name"))]


def _meant(inline: list[Resource], call: Call, attached: bool) -> Resource | None:
    """The policy that speaks of the same resource, else the only one that could; ``None``: the role itself."""
    texts = [(found, str(found.props.get("policy"))) for found in inline]
    same = [found for found, text in texts if call.resource != "*" and _stem(call.resource) in text]
    if not same and len(inline) == 1:
        return None if attached and f'"{call.action.partition(":")[0]}:' not in texts[0][1] else inline[0]
    return next(iter(same), None)


def _stem(arn: str) -> str:
    """The part of an ARN that a policy spells out: a bucket, else all but the wild end."""
    if arn.startswith("arn:aws:s3:::"):
        return arn.partition("/")[0]
    return arn.removesuffix(":log-stream:any").removesuffix("/any")


def decrypts(world: World, key: Any, action: str = "kms:Decrypt") -> list[Call]:
    """The call on a key, where there is one."""
    return [Call(action, key, {"kms:CallerAccount": world.account})] if isinstance(key, str) and key else []


def key_policy(world: World, key: Any) -> list[Door]:
    """Whether a key's own policy leaves its use to the account's IAM policies."""
    resource = world.by_arn(key, "aws:kms/key:Key")
    return [Door("key policy", partial(_delegates, world, resource))] if resource else []


def _delegates(world: World, key: Resource) -> Iterator[Closed]:
    root = f":iam::{world.account}:root"
    for statement in documents.allowing(key.props.get("policy"), Call("kms:Decrypt", "*")):
        principal = statement.get("Principal")
        named = listed(principal.get("AWS")) if isinstance(principal, Mapping) else [principal]
        if any(str(one).endswith(root) or one in (world.account, "*") for one in named):
            return
    if isinstance(key.props.get("policy"), str):
        yield Closed(
            key,
            "policy",
            "the key's policy leaves nothing to the account's IAM policies, so no role can decrypt with it",
            "Allow kms:* to the account's root principal.",
        )


def resource_policy(world: World, type_: str, key: str, value: Any, calls: Iterable[Call]) -> Iterator[Closed]:
    """Whether a policy on the resource denies what the caller's role would allow."""
    for found in world.graph.of(type_):
        if found.props.get(key) != value:
            continue
        for call in calls:
            if documents.denies(found.props.get("policy"), call):
                yield Closed(
                    found,
                    "policy",
                    f"the resource's own policy denies {call.action} on {call.resource}",
                    "Except the caller from the denial.",
                )
