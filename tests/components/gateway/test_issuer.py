"""The gateway's certificate by ACME, and who may prove its name."""

from __future__ import annotations

from components.gateway.issuer import GatewayCertificate, GatewayCertificateArgs
from components.gateway.rights import zone_rights
from components.gateway.settings import AcmeSettings
from tests.support.recording import Recorded, context, of_type, record


def build() -> list[Recorded]:
    args = GatewayCertificateArgs(
        settings=AcmeSettings(email="platform@example.com"),
        host="inference.example.com",
        region="eu-west-1",
        zone_id="Z1",
        role_arn="arn:role",
        cert_manager=("cert-manager", "cm"),
    )
    return record(lambda: GatewayCertificate(context(), args))


def test_a_certificate_is_proved_by_an_account_of_its_own() -> None:
    found = build()
    (issuer,) = of_type(found, "kubernetes:cert-manager.io/v1:Issuer")
    acme = issuer.inputs["spec"]["acme"]
    assert acme["server"] == "https://acme-v02.api.letsencrypt.org/directory"
    route53 = acme["solvers"][0]["dns01"]["route53"]
    assert (route53["hostedZoneID"], route53["role"]) == ("Z1", "arn:role")
    account = route53["auth"]["kubernetes"]["serviceAccountRef"]["name"]
    (made,) = of_type(found, "kubernetes:core/v1:ServiceAccount")
    assert account == made.inputs["metadata"]["name"]
    (role,) = of_type(found, "kubernetes:rbac.authorization.k8s.io/v1:Role")
    assert role.inputs["rules"][0]["resourceNames"] == [account]
    (binding,) = of_type(found, "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding")
    assert binding.inputs["subjects"] == [{"kind": "ServiceAccount", "name": "cm", "namespace": "cert-manager"}]


def test_a_deployment_waits_for_the_certificate_and_not_for_a_gateway_without_one() -> None:
    (certificate,) = of_type(build(), "kubernetes:cert-manager.io/v1:Certificate")
    assert certificate.inputs["metadata"]["annotations"] == {"pulumi.com/waitFor": "condition=Ready"}
    assert certificate.inputs["spec"]["dnsNames"] == ["inference.example.com"]


def test_the_zone_gets_text_records_and_nothing_else() -> None:
    """https://cert-manager.io/docs/configuration/acme/dns01/route53/, with the zone's ID."""
    statements = {one["Sid"]: one for one in zone_rights("eu-west-1", "Z1")}
    assert statements["Prove"]["Condition"] == {
        "ForAllValues:StringEquals": {"route53:ChangeResourceRecordSetsRecordTypes": ["TXT"]}
    }
    assert {one["Resource"] for one in statements.values()} == {
        "arn:aws:route53:::change/*",
        "arn:aws:route53:::hostedzone/Z1",
    }
