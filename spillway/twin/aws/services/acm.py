"""Certificates."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.row import Row, Scope, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import ACCOUNT, QueueCall, Service
from spillway.twin.aws.services.route53 import public_values
from spillway.twin.provider import StandInError


def _issued(scope: Scope, answer: Any) -> str:
    """The provider asks until ACM has issued it, 75 minutes by default. Here nothing changes while it asks.

    In its own words (https://github.com/hashicorp/terraform-provider-aws/issues/9338).
    """
    status = answer["Certificate"]["Status"]
    if status != "ISSUED":
        raise StandInError(
            f"waiting for ACM Certificate ({scope['certificateArn']}) to be issued: timeout while waiting for state to "
            f"become 'ISSUED' (last state: '{status}'): public DNS does not answer with its validation records; "
            "somebody has to delegate to the zone that holds them"
        )
    return scope["certificateArn"]


_ROWS = (
    Row(
        token="aws:acm/certificate:Certificate",
        service="acm",
        create="RequestCertificate",
        id="@CertificateArn",
        rename={"validationOptions": "DomainValidationOptions", "caArn": "CertificateAuthorityArn"},
        key={"CertificateArn": "{id}"},
        read="DescribeCertificate",
        live="Certificate",
        delete="DeleteCertificate",
        defaults={"validationMethod": "DNS"},
        local=("earlyRenewalDuration", "options"),
        outputs={
            "arn": "{id}",
            "domainValidationOptions": "@DomainValidationOptions[].{DomainName: DomainName, "
            "resourceRecordName: ResourceRecord.Name, resourceRecordType: ResourceRecord.Type, "
            "resourceRecordValue: ResourceRecord.Value}",
        },
        tags=Tags(
            "AddTagsToCertificate",
            "RemoveTagsFromCertificate",
            {"CertificateArn": "{id}"},
            keys="Tags",
        ),
        name="",
        note="certificates that are requested, not imported",
        samples=(
            Sample(
                "certificate",
                {
                    "domainName": "api.example.com",
                    "validationMethod": "DNS",
                    "tags": OWNED,
                },
            ),
        ),
    ),
    Row(
        token="aws:acm/certificateValidation:CertificateValidation",
        service="acm",
        create="DescribeCertificate",
        id=_issued,
        key={"CertificateArn": "{certificateArn}"},
        read="DescribeCertificate",
        live="Certificate",
        local=("validationRecordFqdns",),
        name="",
        coverage="filled",
        note="refused until public DNS has each validation record, in a zone to which somebody delegates",
        samples=(
            Sample("validation", {"certificateArn": "$certificate.arn", "validationRecordFqdns": ["$proof.fqdn"]}),
        ),
    ),
)


def _patch(_: QueueCall) -> None:
    """moto issues each certificate after a minute; ACM those alone whose names it finds proved in public DNS."""
    from moto.acm.models import CertBundle

    bundle: Any = CertBundle
    ours = bundle.check

    def check(certificate: Any) -> None:
        if (certificate.type, certificate.status) != ("AMAZON_ISSUED", "PENDING_VALIDATION"):
            ours(certificate)
        elif all(map(_proved, certificate.describe()["Certificate"]["DomainValidationOptions"])):
            certificate.status = "ISSUED"

    bundle.check = check


def _proved(option: dict[str, Any]) -> bool:
    record = option["ResourceRecord"]
    found = public_values(ACCOUNT, record["Name"], record["Type"])
    return record["Value"].rstrip(".") in {value.rstrip(".") for value in found}


SERVICE = Service("acm", _ROWS, patch=_patch)
