"""Certificates from outside as AWS credentials."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.recorder import Kind, nothing
from spillway.twin.aws.row import Part, Row, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service


def _roles_anywhere(noun: str, member: str, **more: Any) -> Row:
    return Row(
        token=f"aws:rolesanywhere/{noun[0].lower()}{noun[1:]}:{noun}",
        service="rolesanywhere",
        create=f"Create{noun}",
        id=f"@{member}.{member}Id",
        read=f"Get{noun}",
        live=member,
        delete=f"Delete{noun}",
        key={f"{member}Id": "{id}"},
        outputs={"arn": f"@{member}Arn"},
        tags=Tags("TagResource", "UntagResource", {"resourceArn": "{arn}"}, "tags", "tagKeys"),
        parts=(Part(f"Update{noun}", update_only=True),),
        coverage="recorded",
        **more,
    )


_PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"

_ROWS = (
    _roles_anywhere(
        "TrustAnchor",
        "trustAnchor",
        samples=(
            Sample(
                "anchor",
                {
                    "name": "on-prem",
                    "enabled": True,
                    "source": {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": _PEM}},
                    "tags": OWNED,
                },
            ),
        ),
    ),
    _roles_anywhere(
        "Profile",
        "profile",
        samples=(
            Sample(
                "ra-profile",
                {"name": "gateway", "enabled": True, "roleArns": ["$role.arn"], "durationSeconds": 3600},
                change={"durationSeconds": 1800},
            ),
        ),
    ),
)

_RECORDED = (
    Kind(
        "rolesanywhere",
        ("trustAnchorId",),
        "CreateTrustAnchor",
        "GetTrustAnchor",
        "UpdateTrustAnchor",
        "DeleteTrustAnchor",
        "ListTrustAnchors",
        "trustAnchors",
        made={
            "trustAnchorId": "{uuid}",
            "trustAnchorArn": "arn:aws:rolesanywhere:{region}:{account}:trust-anchor/{trustAnchorId}",
        },
    ),
    Kind(
        "rolesanywhere",
        ("profileId",),
        "CreateProfile",
        "GetProfile",
        "UpdateProfile",
        "DeleteProfile",
        "ListProfiles",
        "profiles",
        made={"profileId": "{uuid}", "profileArn": "arn:aws:rolesanywhere:{region}:{account}:profile/{profileId}"},
    ),
)

SERVICE = Service(
    "rolesanywhere", _ROWS, recorded=_RECORDED, answers={"TagResource": nothing, "UntagResource": nothing}
)
