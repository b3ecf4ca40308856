"""https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html"""

from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.flows.documents import Call
from spillway.conformance.flows.doors.pod_identities import by_token
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import allow, asked, deployment, inline, made, role, world

ISSUER = "oidc.example.com/id/1"
PROVIDER = f"arn:aws:iam::123456789012:oidc-provider/{ISSUER}"


def trust(account: str = "server", audience: str = "sts.amazonaws.com") -> dict[str, Any]:
    claims = {f"{ISSUER}:sub": f"system:serviceaccount:apps:{account}", f"{ISSUER}:aud": audience}
    return {
        "Effect": "Allow",
        "Principal": {"Federated": PROVIDER},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": claims},
    }


def closed(
    statement: dict[str, Any], issuer: str = ISSUER, audiences: tuple[str, ...] = ("sts.amazonaws.com",)
) -> set[str]:
    owner = role("owner", statement)
    token = {"serviceAccountToken": {"audience": "sts.amazonaws.com", "path": "token"}}
    pod = deployment("server", serviceAccountName="server", volumes=[{"name": "t", "projected": {"sources": [token]}}])
    container = pod.props["spec"]["template"]["spec"]["containers"][0]
    container["volumeMounts"] = [{"name": "t", "mountPath": "/var/run/aws"}]
    container["env"] = [
        {"name": "AWS_ROLE_ARN", "value": owner.outputs["arn"]},
        {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/var/run/aws/token"},
    ]
    identities = [{"oidcs": [{"issuer": f"https://{ISSUER}"}]}]
    provider = {"url": f"https://{issuer}", "clientIdLists": list(audiences)}
    resources: list[Resource] = [
        owner,
        inline(owner, allow("s3:GetObject")),
        pod,
        made("aws:eks/cluster:Cluster", "eks", {}, identities=identities),
        made("aws:iam/openIdConnectProvider:OpenIdConnectProvider", "provider", provider, id=PROVIDER),
    ]
    plan = world(*resources)
    found = asked(by_token(plan, plan.pods[0], [Call("s3:GetObject", "arn:aws:s3:::x/y")]))
    return {one.path for one in found}


def test_a_pod_whose_token_the_role_trusts() -> None:
    assert closed(trust()) == set()


@pytest.mark.parametrize("statement", [trust("other"), trust(audience="other")])
def test_a_role_for_another_pod(statement: dict[str, Any]) -> None:
    assert closed(statement) == {"assumeRolePolicy"}


def test_the_provider_stands_for_the_clusters_issuer_and_takes_the_audience() -> None:
    assert "url" in closed(trust(), issuer="oidc.example.com/id/2")
    assert closed(trust(), audiences=("other",)) == {"clientIdLists"}
