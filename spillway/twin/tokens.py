"""JSON Web Tokens signed with RS256, as AWS makes them and Entra checks them (RFC 7515, 7517 and 7519)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

_BITS: Final = 2048
_EXPONENT: Final = 65537


class TokenError(Exception):
    """It is no token, or none that the key has signed."""


class Signer:
    """A key of its own. ``keys``: what others check its tokens with, as JSON Web Keys."""

    def __init__(self, key_id: str) -> None:
        self._key = rsa.generate_private_key(_EXPONENT, _BITS)
        self._key_id = key_id

    def sign(self, claims: Mapping[str, Any]) -> str:
        header = {"alg": "RS256", "kid": self._key_id, "typ": "JWT"}
        signed = f"{_packed(header)}.{_packed(claims)}"
        return f"{signed}.{_text(self._key.sign(signed.encode(), padding.PKCS1v15(), SHA256()))}"

    @property
    def keys(self) -> dict[str, Any]:
        numbers = self._key.public_key().public_numbers()
        own = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self._key_id}
        return {"keys": [{**own, "n": _text(numbers.n.to_bytes(_BITS // 8)), "e": _text(_EXPONENT.to_bytes(3))}]}


def claims_of(token: str) -> dict[str, Any]:
    """What it says, whoever signed it. Raises :class:`TokenError`."""
    return _parts(token)[1]


def check(token: str, keys: Mapping[str, Any]) -> None:
    """Raises :class:`TokenError`, unless one of ``keys`` has signed it."""
    header, _ = _parts(token)
    signed, _, signature = token.rpartition(".")
    for key in keys["keys"]:
        if key["kid"] != header.get("kid") or header.get("alg") != "RS256":
            continue
        numbers = rsa.RSAPublicNumbers(int.from_bytes(_bytes(key["e"])), int.from_bytes(_bytes(key["n"])))
        try:
            numbers.public_key().verify(_bytes(signature), signed.encode(), padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            break
        return
    raise TokenError("none of the issuer's keys has signed it")


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        header, claims, _ = token.split(".")
        return json.loads(_bytes(header)), json.loads(_bytes(claims))
    except ValueError:
        raise TokenError("it is no JSON Web Token") from None


def _packed(value: Mapping[str, Any]) -> str:
    return _text(json.dumps(value, separators=(",", ":")).encode())


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
