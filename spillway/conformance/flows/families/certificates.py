"""Certificates by ACME: cert-manager's issuer → role → zone.

https://cert-manager.io/docs/configuration/acme/dns01/route53/ (read 2026-11-30): the token of a service account is
exchanged for the role; a text record in the zone proves the name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from spillway.conformance.flows.documents import Call
from spillway.conformance.flows.doors import pod_identities, rights
from spillway.conformance.flows.flow import Closed, Door, Family, Flow
from spillway.conformance.flows.world import World
from spillway.conformance.rule import Source
from spillway.contracts.resources import Resource

_ISSUERS: Final = ("kubernetes:cert-manager.io/v1:Issuer", "kubernetes:cert-manager.io/v1:ClusterIssuer")
_CERTIFICATE: Final = "kubernetes:cert-manager.io/v1:Certificate"
_ROLE: Final = "kubernetes:rbac.authorization.k8s.io/v1:Role"
_BINDING: Final = "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding"
_ZONE: Final = "aws:route53/zone:Zone"
_AUDIENCE: Final = "sts.amazonaws.com"
"""Of the tokens that cert-manager asks for where the issuer names none."""


def flows(world: World) -> Iterator[Flow]:
    for certificate in world.graph.of(_CERTIFICATE):
        issuer = _issuer(world, certificate)
        doors = [Door("issuer", partial(_has_issuer, certificate, issuer))]
        if issuer is not None:
            for route53 in _solvers(issuer):
                doors += _proves(world, certificate, issuer, route53)
        yield Flow("cert-manager", f"certificate {certificate.get('metadata.name')}", "tcp/443", tuple(doors))


def _issuer(world: World, certificate: Resource) -> Resource | None:
    kind, name = certificate.get("spec.issuerRef.kind") or "Issuer", certificate.get("spec.issuerRef.name")
    for found in world.graph.of(*_ISSUERS):
        here = kind == "ClusterIssuer" or found.get("metadata.namespace") == certificate.get("metadata.namespace")
        if here and found.type.endswith(f":{kind}") and found.get("metadata.name") == name:
            return found
    return None


def _has_issuer(certificate: Resource, issuer: Resource | None) -> Iterator[Closed]:
    if issuer is None:
        yield Closed(certificate, "spec.issuerRef", "no issuer has that name there", "Name one that there is.")


def _solvers(issuer: Resource) -> Iterator[Mapping[str, Any]]:
    for solver in issuer.get("spec.acme.solvers") or ():
        if route53 := ((solver.get("dns01") or {}).get("route53")):
            yield route53


def _proves(world: World, certificate: Resource, issuer: Resource, route53: Mapping[str, Any]) -> list[Door]:
    zone = f"arn:aws:route53:::hostedzone/{route53.get('hostedZoneID')}"
    calls = [
        Call("route53:GetChange", "arn:aws:route53:::change/any"),
        Call("route53:ListResourceRecordSets", zone),
        Call("route53:ChangeResourceRecordSets", zone, {"route53:ChangeResourceRecordSetsRecordTypes": "TXT"}),
    ]
    names = certificate.get("spec.dnsNames") or ()
    doors = [Door("zone", partial(_covers, world, issuer, route53.get("hostedZoneID"), names))]
    account = (((route53.get("auth") or {}).get("kubernetes") or {}).get("serviceAccountRef") or {}).get("name")
    if account is None:
        return doors
    namespace = str(issuer.get("metadata.namespace"))
    trusted = pod_identities.of_account(world, route53.get("role"), namespace, account, _AUDIENCE)
    return [
        *doors,
        Door("right to the token", partial(_gets_token, world, issuer, namespace, account)),
        *rights.identity(world, route53.get("role"), trusted, calls, issuer),
    ]


def _covers(world: World, issuer: Resource, zone_id: Any, names: Any) -> Iterator[Closed]:
    """The authority looks from the Internet."""
    for zone in world.graph.of(_ZONE):
        if zone.id != zone_id:
            continue
        if zone.get("vpcs"):
            yield Closed(
                zone, "vpcs", "the authority cannot see a proof in a private zone", "Prove it in a public one."
            )
        domain = str(zone.get("name")).rstrip(".")
        if not all(str(name).removeprefix("*.") == domain or str(name).endswith(f".{domain}") for name in names):
            yield Closed(issuer, "spec.acme.solvers", f"zone {domain} proves none of {names}", "Name their zone.")


def _gets_token(world: World, issuer: Resource, namespace: str, account: str) -> Iterator[Closed]:
    roles = {one.get("metadata.name") for one in world.graph.of(_ROLE) if _allows_token(one, namespace, account)}
    bound = [one for one in world.graph.of(_BINDING) if one.get("metadata.namespace") == namespace]
    if not any(one.get("roleRef.name") in roles and one.get("subjects") for one in bound):
        yield Closed(
            issuer,
            "spec.acme.solvers",
            f"nobody lets cert-manager ask for a token of service account {namespace}/{account}",
            "Bind a role with `create` on serviceaccounts/token to cert-manager's service account.",
        )


def _allows_token(role: Resource, namespace: str, account: str) -> bool:
    return role.get("metadata.namespace") == namespace and any(
        "serviceaccounts/token" in (rule.get("resources") or ())
        and "create" in (rule.get("verbs") or ())
        and account in (rule.get("resourceNames") or (account,))
        for rule in role.get("rules") or ()
    )


FAMILY: Final = Family(
    "flow-certificates",
    "A certificate that cert-manager is to get has an issuer that can prove its name",
    Source(
        "cert-manager: Route53",
        "https://cert-manager.io/docs/configuration/acme/dns01/route53/",
        "2026-11-30",
    ),
    flows,
)
