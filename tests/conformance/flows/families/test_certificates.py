from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.flows.families.certificates import FAMILY
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import allow, asked, inline, kubernetes, made, role, world

ISSUER = "oidc.example.com/id/1"
ZONE_ARN = "arn:aws:route53:::hostedzone/Z1"
TRUST = {
    "Effect": "Allow",
    "Principal": {"Federated": "arn:provider"},
    "Action": "sts:AssumeRoleWithWebIdentity",
    "Condition": {
        "StringEquals": {f"{ISSUER}:sub": "system:serviceaccount:gw:prover", f"{ISSUER}:aud": "sts.amazonaws.com"}
    },
}
OF_ANOTHER = {"StringEquals": {f"{ISSUER}:sub": "system:serviceaccount:gw:other"}}
RIGHTS = (
    allow("route53:GetChange", "arn:aws:route53:::change/*"),
    allow("route53:ListResourceRecordSets", ZONE_ARN),
    allow("route53:ChangeResourceRecordSets", ZONE_ARN),
)
TOKENS = {"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["prover"], "verbs": ["create"]}


def plan(
    trust: dict[str, Any] = TRUST,
    rights: tuple[dict[str, Any], ...] = RIGHTS,
    zone: dict[str, Any] | None = None,
    tokens: dict[str, Any] = TOKENS,
    issuer: str = "acme",
) -> list[Resource]:
    """A certificate, who gets it, and the zone that proves its name."""
    may = role("prover", trust)
    route53 = {
        "hostedZoneID": "Z1",
        "role": may.outputs["arn"],
        "auth": {"kubernetes": {"serviceAccountRef": {"name": "prover"}}},
    }
    acme = {"solvers": [{"dns01": {"route53": route53}}]}
    spec = {"secretName": "tls", "dnsNames": ["inference.example.com"], "issuerRef": {"kind": "Issuer", "name": issuer}}
    binding = {"roleRef": {"name": "tokens"}, "subjects": [{"kind": "ServiceAccount", "name": "cert-manager"}]}
    props = {"url": f"https://{ISSUER}", "clientIdLists": ["sts.amazonaws.com"]}
    return [
        may,
        inline(may, *rights),
        made("aws:iam/openIdConnectProvider:OpenIdConnectProvider", "provider", props, id="arn:provider"),
        made("aws:route53/zone:Zone", "zone", {"name": "example.com", **(zone or {})}, id="Z1"),
        kubernetes("cert-manager.io/v1:Issuer", "acme", "gw", spec={"acme": acme}),
        kubernetes("cert-manager.io/v1:Certificate", "shown", "gw", spec=spec),
        kubernetes("rbac.authorization.k8s.io/v1:Role", "tokens", "gw", rules=[tokens]),
        kubernetes("rbac.authorization.k8s.io/v1:RoleBinding", "tokens", "gw", **binding),
    ]


def told(resources: list[Resource]) -> str:
    (flow,) = FAMILY.flows(world(*resources))
    return " ".join(closed.message for closed in asked(flow.doors))


def test_a_certificate_that_can_be_proved_has_open_doors() -> None:
    assert told(plan()) == ""


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"issuer": "nobody"}, "no issuer has that name"),
        ({"rights": RIGHTS[:2]}, "may not call route53:ChangeResourceRecordSets"),
        ({"rights": RIGHTS[1:]}, "may not call route53:GetChange"),
        ({"trust": {**TRUST, "Condition": OF_ANOTHER}}, "does not let arn:provider take it on"),
        ({"zone": {"vpcs": [{"vpcId": "v"}]}}, "cannot see a proof in a private zone"),
        ({"zone": {"name": "example.org"}}, "zone example.org proves none of"),
        ({"tokens": {**TOKENS, "verbs": ["get"]}}, "nobody lets cert-manager ask for a token"),
        ({"tokens": {**TOKENS, "resourceNames": ["other"]}}, "nobody lets cert-manager ask for a token"),
    ],
)
def test_what_stands_between_a_certificate_and_its_proof_is_told(fault: dict[str, Any], message: str) -> None:
    assert message in told(plan(**fault))
