"""The certificate of the service's name: asked for in one stage, waited for in the next."""

from __future__ import annotations

from components.failover_dns.certificate import Certificate, CertificateArgs
from tests.components.gateway.recorded import context
from tests.support.recording import Recorded, of_type, record

OUTPUTS = {
    "aws:acm/certificate:Certificate": {
        "domainValidationOptions": [
            {"resourceRecordName": "_x.example.com", "resourceRecordType": "CNAME", "resourceRecordValue": "_y.aws"}
        ]
    },
    "aws:route53/record:Record": {"fqdn": "_x.example.com"},
}
VALIDATION = "aws:acm/certificateValidation:CertificateValidation"


def certificate(waited_for: bool) -> list[Recorded]:
    def make() -> None:
        made = Certificate(context(), CertificateArgs(host="inference.example.com", zone_id="Z0PUBLIC"))
        if waited_for:
            made.issued()

    return record(make, outputs=OUTPUTS)


def test_it_is_asked_for_with_its_proof_and_waits_for_nobody() -> None:
    made = certificate(waited_for=False)
    (asked,) = of_type(made, "aws:acm/certificate:Certificate")
    (proof,) = of_type(made, "aws:route53/record:Record")
    assert asked.inputs["domainName"] == "inference.example.com"
    assert (proof.inputs["zoneId"], proof.inputs["name"]) == ("Z0PUBLIC", "_x.example.com")
    assert of_type(made, VALIDATION) == []


def test_who_uses_it_waits_for_the_proof() -> None:
    (waited,) = of_type(certificate(waited_for=True), VALIDATION)
    assert waited.inputs["validationRecordFqdns"] == ["_x.example.com"]
