"""Certificates."""

from __future__ import annotations

from spillway.twin.aws.row import Row, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service

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
                    "subjectAlternativeNames": ["b.example.com"],
                    "tags": OWNED,
                },
            ),
        ),
    ),
    Row(
        token="aws:acm/certificateValidation:CertificateValidation",
        service="acm",
        create="DescribeCertificate",
        id="{certificateArn}",
        key={"CertificateArn": "{certificateArn}"},
        read="DescribeCertificate",
        live="Certificate",
        local=("validationRecordFqdns",),
        name="",
        note="waits for nothing: the certificate is taken as validated",
        samples=(
            Sample("validation", {"certificateArn": "$certificate.arn", "validationRecordFqdns": ["_a.example.com"]}),
        ),
    ),
)

SERVICE = Service("acm", _ROWS)
