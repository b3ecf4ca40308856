"""Verifies what AWS verifies: a request's signature (version 4), and the token that is a request signed beforehand.

Both raise :class:`RefusalError` with AWS's own error types.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, NamedTuple
from urllib.parse import parse_qs

from aiohttp import web
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from spillway.contracts import aws_token as token

STAMP: Final = "%Y%m%dT%H%M%SZ"


class RefusalError(Exception):
    """The cloud says no, in the cloud's words."""

    def __init__(self, status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.headers = status, kind, message, headers or {}


class Verifier(NamedTuple):
    """``access_keys``: secret key by access key id. ``clock_skew_s``: how far a signature's time may be away."""

    region: str
    service: str
    access_keys: Mapping[str, str]
    clock_skew_s: float = 300.0

    def verify(self, request: web.Request, body: bytes) -> None:
        """Refuses a request that was not signed as it should be."""
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        if scheme != "AWS4-HMAC-SHA256":
            raise RefusalError(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        parts = {name.strip(): value for name, _, value in (part.partition("=") for part in rest.split(","))}
        signed = parts.get("SignedHeaders", "").split(";")
        access_key, scope = self._scope(parts.get("Credential", ""))
        stamp = request.headers.get("X-Amz-Date", "")
        self._check_time(stamp, scope[0])
        if "host" not in signed or "x-amz-date" not in signed:
            raise RefusalError(403, "InvalidSignatureException", "'Host' and 'X-Amz-Date' must be signed")
        claimed = request.headers.get("X-Amz-Content-SHA256")
        if claimed is not None and claimed != sha256(body).hexdigest():
            raise RefusalError(403, "InvalidSignatureException", "The payload does not match its hash")
        expected = self._signature(request, body, signed, access_key, stamp)
        _compare(expected, parts.get("Signature", ""))

    def verify_token(self, request: web.Request) -> None:
        """Refuses a request whose bearer token is none of these keys', of another region, or past its time."""
        scheme, _, brought = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise RefusalError(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        host = token.host(self.service)
        signed, _, query = _opened(brought, token.prefix(self.service)).partition("?")
        fields = {name: values[0] for name, values in parse_qs(query).items()}
        if signed != f"{host}/" or fields.get("Action") != token.ACTION or not query.endswith(token.VERSION):
            raise _bad_token()
        access_key, scope = self._scope(fields.get("X-Amz-Credential", ""))
        self._check_life(fields, scope[0])
        plain = query.removesuffix(token.VERSION).rpartition("&X-Amz-Signature=")[0]
        again = AWSRequest("POST", f"https://{host}/?{plain}", headers={"host": host})
        again.context["timestamp"] = fields["X-Amz-Date"]
        signer = SigV4QueryAuth(Credentials(access_key, self.access_keys[access_key]), self.service, self.region)
        expected = str(signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again))
        _compare(expected, fields.get("X-Amz-Signature", ""))

    def _scope(self, credential: str) -> tuple[str, list[str]]:
        access_key, *scope = credential.split("/")
        if access_key not in self.access_keys:
            raise RefusalError(
                403, "UnrecognizedClientException", "The security token included in the request is invalid."
            )
        if len(scope) != 4 or scope[1:] != [self.region, self.service, "aws4_request"]:
            wanted = f"{self.region}/{self.service}"
            raise RefusalError(403, "InvalidSignatureException", f"Credential should be scoped to {wanted}.")
        return access_key, scope

    def _check_time(self, stamp: str, day: str) -> None:
        away = abs((datetime.now(UTC) - _time(stamp)).total_seconds())
        if away > self.clock_skew_s or not stamp.startswith(day):
            raise RefusalError(403, "InvalidSignatureException", f"Signature expired: {stamp}")

    def _check_life(self, fields: Mapping[str, str], day: str) -> None:
        stamp, seconds = fields.get("X-Amz-Date", ""), fields.get("X-Amz-Expires", "")
        if not seconds.isdigit() or not 0 < int(seconds) <= token.LIFETIME_S or not stamp.startswith(day):
            raise _bad_token()
        age = datetime.now(UTC) - _time(stamp)
        if not timedelta(seconds=-self.clock_skew_s) <= age <= timedelta(seconds=int(seconds)):
            raise RefusalError(403, "ExpiredTokenException", "The security token included in the request is expired")

    def _signature(self, request: web.Request, body: bytes, signed: list[str], access_key: str, stamp: str) -> str:
        again = AWSRequest(
            method=request.method,
            url=f"https://{request.host}{request.raw_path}",
            headers={name: request.headers.get(name, "") for name in signed},
            data=body,
        )
        again.context["timestamp"] = stamp
        again.context["payload_signing_enabled"] = True
        signer = SigV4Auth(Credentials(access_key, self.access_keys[access_key]), self.service, self.region)
        return str(signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again))


def _opened(brought: str, prefix: str) -> str:
    if not brought.startswith(prefix):
        raise _bad_token()
    try:
        return base64.b64decode(brought.removeprefix(prefix), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise _bad_token() from None


def _bad_token() -> RefusalError:
    return RefusalError(403, "UnrecognizedClientException", "The security token included in the request is invalid.")


def _time(stamp: str) -> datetime:
    try:
        return datetime.strptime(stamp, STAMP).replace(tzinfo=UTC)
    except ValueError:
        raise RefusalError(403, "InvalidSignatureException", "X-Amz-Date is missing or malformed") from None


def _compare(expected: str, brought: str) -> None:
    if not hmac.compare_digest(expected, brought):
        raise RefusalError(
            403,
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided.",
        )
