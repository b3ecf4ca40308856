"""Who issues the tokens (JWT) that clients may bring in place of a key, and what of a token means something here."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from spillway.contracts.frozen import Frozen

Claim = Annotated[str, Field(pattern=r"^[A-Za-z0-9_:/.-]{1,128}$")]
JWKS_CLUSTER: Final = "jwks"
"""Envoy's cluster of the issuer's keys."""


class TokenIssuer(Frozen):
    """An issuer of JSON Web Tokens (RFC 7519)."""

    issuer: str
    """``iss`` of its tokens."""
    audiences: tuple[str, ...] = Field(min_length=1)
    """One of these has to be in ``aud``: tokens for others are not for this gateway."""
    jwks_url: Annotated[str, Field(pattern=r"^https?://[^\s/]+/\S*$")]
    """Where its public keys are (RFC 7517)."""
    client_claim: Claim = "sub"
    """The claim whose value is a client's name."""
    class_claim: Claim | None = None
    """The claim with the most urgent class that a token allows; ``None``: what the client may."""
    ca_file: str = "/etc/ssl/certs/ca-certificates.crt"
    """Authorities that are trusted where the keys are fetched."""
