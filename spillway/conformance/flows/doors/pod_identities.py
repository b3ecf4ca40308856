"""How a pod becomes a role of AWS: by the cluster's own tokens, or by EKS Pod Identity.

Tokens: https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html; Pod Identity:
https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html (read 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from spillway.conformance.flows.documents import Call
from spillway.conformance.flows.doors.cluster_services import addon
from spillway.conformance.flows.doors.rights import PROVIDER, ROLE, Trusted, identity
from spillway.conformance.flows.doors.vpc_endpoints import Place, api, caller_context
from spillway.conformance.flows.flow import Closed, Door
from spillway.conformance.flows.workloads import Pod
from spillway.conformance.flows.world import World
from spillway.contracts.resources import Resource

ASSOCIATION: Final = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
_BY_TOKEN: Final = "sts:AssumeRoleWithWebIdentity"
POD_IDENTITY: Final = ("sts:AssumeRole", "sts:TagSession")


def issuer(world: World) -> str | None:
    """The cluster's own token issuer, where the plan makes the cluster."""
    if world.eks:
        oidcs = (world.eks.outputs.get("identities") or [{}])[0].get("oidcs") or [{}]
        return oidcs[0].get("issuer")
    if world.aks:
        return (world.aks.outputs.get("oidcIssuerProfile") or {}).get("issuerURL")
    return None


def is_entra(provider: Resource) -> bool:
    """It stands for Microsoft Entra, which vouches for identities in Azure and for no pod."""
    return str(provider.props.get("url")).removeprefix("https://").startswith("sts.windows.net/")


def by_token(world: World, pod: Pod, calls: Sequence[Call]) -> list[Door]:
    """The doors of a pod that has ``AWS_ROLE_ARN`` and a projected token; none where it has neither."""
    doors: list[Door] = []
    for arn in pod.environment("AWS_ROLE_ARN"):
        provider = _provider(world, arn)
        trusted = [
            Trusted(provider.id or "", _BY_TOKEN, _claims(provider, pod.namespace, pod.account, audience), "Federated")
            for audience in _audiences(pod)
            if provider
        ]
        doors.append(Door("token issuer", partial(_trusted_issuer, world, pod, arn, provider)))
        doors += identity(world, arn, trusted, calls, pod.resource)
    return doors


def of_account(world: World, arn: Any, namespace: str, account: str, audience: str) -> list[Trusted]:
    """A service account by a token of its own, as the role that it is exchanged for sees it."""
    provider = _provider(world, str(arn))
    if provider is None:
        return []
    return [Trusted(provider.id or "", _BY_TOKEN, _claims(provider, namespace, account, audience), "Federated")]


def token_exchange(world: World, place: Place, pod: Pod) -> list[Door]:
    """The way to STS, where the token is exchanged; nobody has signed that call yet."""
    context: dict[str, str | None] = {"aws:PrincipalAccount": None}
    return api(world, place, "sts", [Call(_BY_TOKEN, arn, context) for arn in pod.environment("AWS_ROLE_ARN")])


def _provider(world: World, arn: str) -> Resource | None:
    """The provider whose tokens the cluster signs, else the one that the role names."""
    own, found = issuer(world), world.graph.of(PROVIDER)
    if own:
        return next((one for one in found if str(one.props.get("url")).rstrip("/") == own.rstrip("/")), None)
    role = world.by_arn(arn, ROLE)
    text = str(role.props.get("assumeRolePolicy")) if role else ""
    return next((one for one in found if one.id and one.id in text), None)


def _claims(provider: Resource, namespace: str, account: str, audience: str) -> dict[str, str | None]:
    host = str(provider.props.get("url")).removeprefix("https://")
    subject = f"system:serviceaccount:{namespace}:{account}"
    # IAM writes the issuer into condition keys as the provider's ARN ends: with its trailing slash, if it has one.
    names = {host, host.rstrip("/")}
    return {f"{name}:{key}": value for name in names for key, value in (("sub", subject), ("aud", audience))}


def _audiences(pod: Pod) -> list[str]:
    """Of the projected tokens that AWS is shown; a token without an audience is for the API server."""
    path = next(iter(pod.environment("AWS_WEB_IDENTITY_TOKEN_FILE")), "")
    mounts = {
        mount.get("name")
        for container in pod.containers
        for mount in container.get("volumeMounts") or ()
        if path.startswith(str(mount.get("mountPath")))
    }
    return [
        source["serviceAccountToken"].get("audience", "")
        for volume in pod.volumes
        if volume.get("name") in mounts
        for source in (volume.get("projected") or {}).get("sources") or ()
        if source.get("serviceAccountToken")
    ]


def _trusted_issuer(world: World, pod: Pod, arn: str, provider: Resource | None) -> Iterator[Closed]:
    role = world.by_arn(arn, ROLE)
    if role is None:
        return
    if provider is None:
        providers = [one for one in world.graph.of(PROVIDER) if not is_entra(one)]
        if issuer(world) or providers:
            yield Closed(
                providers[0] if len(providers) == 1 else role,
                "url" if len(providers) == 1 else "assumeRolePolicy",
                "no OpenID Connect provider of the plan stands for the issuer of the cluster's tokens",
                "Register the cluster's issuer; connectivity.federation does it.",
            )
        return
    audiences = _audiences(pod)
    if not audiences:
        yield Closed(pod.resource, f"{pod.template}.spec.volumes", "the pod mounts no token for AWS", "Project one.")
    for audience in audiences:
        if audience not in (provider.props.get("clientIdLists") or ()):
            yield Closed(
                provider,
                "clientIdLists",
                f"the provider takes no tokens for {audience}",
                "Add the audience of the pod's token.",
            )


def associated(world: World, namespace: str, account: str, role: Any, calls: Sequence[Call]) -> list[Door]:
    """The doors of a service account that Pod Identity gives the role."""
    place = Place(world.node_subnets)
    trusted = [Trusted("pods.eks.amazonaws.com", action) for action in POD_IDENTITY]
    holder = world.by_arn(role, ROLE)
    on = world.eks.outputs.get("arn", "*") if world.eks else "*"
    asked = [Call("eks-auth:AssumeRoleForPodIdentity", str(on), caller_context(world.account))]
    return [
        Door("Pod Identity", partial(_associated, world, namespace, account, holder)),
        *addon(world, "eks-pod-identity-agent"),
        *api(world, place, "eks-auth", asked),
        *(identity(world, role, trusted, calls, holder) if holder else []),
    ]


def _associated(world: World, namespace: str, account: str, role: Resource | None) -> Iterator[Closed]:
    arn = role.outputs.get("arn") if role else None
    for found in world.graph.of(ASSOCIATION):
        key = (found.props.get("namespace"), found.props.get("serviceAccount"))
        if key == (namespace, account) and found.props.get("roleArn") == arn:
            return
    for found in world.graph.of("aws:eks/addon:Addon"):
        for one in found.props.get("podIdentityAssociations") or ():
            if one.get("serviceAccount") == account and one.get("roleArn") == arn:
                return
    yield Closed(
        role,
        "",
        f"no Pod Identity association gives service account {namespace}/{account} this role",
        "Associate the service account with the role.",
    )
