"""Tokens about a role for services outside AWS, which moto does not make.

Claims: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_token_claims.html; refusals: the
operation's model in botocore, and
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_policies.html. Read on 2026-11-30.
"""

from __future__ import annotations

import threading
import time
import uuid
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from spillway.conformance.flows.documents import Call as Asked
from spillway.conformance.flows.documents import allows, denies
from spillway.twin.aws.recorder import Call, RefusedError
from spillway.twin.aws.service import ACCOUNT, Service
from spillway.twin.tokens import Signer

ISSUER: Final = f"https://{uuid.uuid5(uuid.NAMESPACE_DNS, ACCOUNT)}.tokens.sts.global.api.aws"
_NAMESPACE: Final = "https://sts.amazonaws.com/"
_LIFETIME_S: Final = 300
ALGORITHMS: Final = ("RS256", "ES384")


class Issuer:
    """Of the account. Switched on, as the account of a stack is that stands in two clouds."""

    def __init__(self) -> None:
        self.enabled = True
        self._lock = threading.Lock()

    @cached_property
    def _signer(self) -> Signer:
        return Signer(str(uuid.uuid4()))

    def sign(self, claims: dict[str, Any]) -> str:
        with self._lock:
            return self._signer.sign(claims)

    @property
    def keys(self) -> dict[str, Any]:
        with self._lock:
            return self._signer.keys


ACCOUNTS_ISSUER: Final = Issuer()
GATEWAYS: Final[dict[str, str]] = {}
"""Access key → ARN of the role whose session it stands for: the twin's gateways keep theirs as long as they run."""


def _get_web_identity_token(call: Call) -> dict[str, Any]:
    params, now = call.params, int(time.time())
    lifetime = int(params.get("DurationSeconds") or _LIFETIME_S)
    _within_limits(call)
    if not ACCOUNTS_ISSUER.enabled:
        raise RefusedError(
            "OutboundWebIdentityFederationDisabledException",
            "Outbound web identity federation is not enabled for this account.",
        )
    role, expires = _role(call)
    _allowed(call, role, lifetime)
    if expires is not None and now + lifetime > expires:
        raise RefusedError(
            "SessionDurationEscalationException", "The token would be valid for longer than the session is."
        )
    audiences = params["Audience"]
    claims = {
        "iss": ISSUER,
        "aud": audiences[0] if len(audiences) == 1 else audiences,
        "sub": role,
        "iat": now,
        "exp": now + lifetime,
        "jti": str(uuid.uuid4()),
        _NAMESPACE: {"aws_account": ACCOUNT, "source_region": call.region, "principal_id": role},
    }
    return {
        "WebIdentityToken": ACCOUNTS_ISSUER.sign(claims),
        "Expiration": datetime.fromtimestamp(now + lifetime, UTC),
    }


def _within_limits(call: Call) -> None:
    """botocore checks what is too short, and leaves the rest to AWS."""
    operation: Any = call.operation
    members = operation.input_shape.members
    audience, lifetime = members["Audience"].metadata, members["DurationSeconds"].metadata
    given, seconds = call.params.get("Audience") or (), call.params.get("DurationSeconds")
    longest = members["Audience"].member.metadata["max"]
    wrong = [
        ("audience", not audience["min"] <= len(given) <= audience["max"] or any(len(one) > longest for one in given)),
        ("durationSeconds", seconds is not None and not lifetime["min"] <= int(seconds) <= lifetime["max"]),
        ("signingAlgorithm", call.params.get("SigningAlgorithm") not in ALGORITHMS),
    ]
    if found := next((name for name, is_wrong in wrong if is_wrong), None):
        raise RefusedError(
            "ValidationError", f"1 validation error detected: Value at '{found}' failed to satisfy constraint"
        )
    if call.params["SigningAlgorithm"] != ALGORITHMS[0]:
        raise RefusedError("ValidationError", f"the stand-in signs with {ALGORITHMS[0]} only")


def _role(call: Call) -> tuple[str, float | None]:
    """ARN of the role whose session it is, and when that ends; a user otherwise."""
    from moto.sts.models import sts_backends

    if call.access_key in GATEWAYS:
        return GATEWAYS[call.access_key], None
    session = sts_backends[ACCOUNT]["aws"].get_assumed_role_from_access_key(call.access_key)
    if session is None:
        return f"arn:aws:iam::{ACCOUNT}:user/twin", None
    return session.role_arn, session.expiration.replace(tzinfo=UTC).timestamp()


def _allowed(call: Call, role_arn: str, lifetime: int) -> None:
    """Whether a policy of the role lets it ask. The twin's own user may do everything."""
    from moto.iam.models import iam_backends

    roles = [one for one in iam_backends[ACCOUNT]["aws"].roles.values() if one.arn == role_arn]
    if not roles:
        return
    attached = roles[0].managed_policies.values()
    versions = [each for one in attached for each in one.versions if each.version_id == one.default_version_id]
    documents = [*roles[0].policies.values(), *(each.document for each in versions)]
    for audience in call.params["Audience"]:
        context = {
            "sts:IdentityTokenAudience": audience,
            "sts:DurationSeconds": str(lifetime),
            "sts:SigningAlgorithm": call.params["SigningAlgorithm"],
        }
        asked = Asked("sts:GetWebIdentityToken", "*", context)
        if any(denies(one, asked) for one in documents) or not any(allows(one, asked) for one in documents):
            message = f"User: {role_arn} is not authorized to perform: sts:GetWebIdentityToken on resource: *"
            raise RefusedError("AccessDenied", message)


def enable(_: Call) -> dict[str, Any]:
    """IAM's operation."""
    if ACCOUNTS_ISSUER.enabled:
        raise RefusedError("FeatureEnabled", "Outbound web identity federation is already enabled.")
    ACCOUNTS_ISSUER.enabled = True
    return {"IssuerIdentifier": ISSUER}


def disable(_: Call) -> dict[str, Any]:
    """IAM's operation."""
    _enabled()
    ACCOUNTS_ISSUER.enabled = False
    return {}


def information(_: Call) -> dict[str, Any]:
    """IAM's operation."""
    _enabled()
    return {"IssuerIdentifier": ISSUER, "JwtVendingEnabled": True}


def _enabled() -> None:
    if not ACCOUNTS_ISSUER.enabled:
        raise RefusedError("FeatureDisabled", "Outbound web identity federation is disabled.")


SERVICE = Service("sts", (), answers={"GetWebIdentityToken": _get_web_identity_token})
