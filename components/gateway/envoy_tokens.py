"""Tokens of an issuer in place of keys: Envoy verifies them, the front asks what they say.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/jwt_authn_filter
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from components.gateway.envoy_parts import Json, dns_cluster, extension, one_endpoint, upstream_tls
from spillway.contracts.web_tokens import JWKS_CLUSTER, TokenIssuer

FILTER: Final = "envoy.filters.http.jwt_authn"
CLAIMS, FAILED = "claims", "failed"
"""Where the filter notes what a verified token says, and why one was not."""
SCHEMES: Final = ("Bearer", "bearer", "BEARER")
KEPT_S: Final = 300
"""Seconds that the issuer's keys are used before they are fetched anew: how long one that it withdraws still counts."""
MOST_CACHED: Final = 1000
"""Verified tokens that are known again by their text; times are looked at each time."""


def token_filter(issuer: TokenIssuer) -> Json:
    """A token that is verified is taken away, and its claims are noted; any other goes on to the front, which refuses
    it unless it is a key."""
    source = {"uri": issuer.jwks_url, "cluster": JWKS_CLUSTER, "timeout": "2s"}
    provider: Json = {
        "issuer": issuer.issuer,
        "audiences": list(issuer.audiences),
        "remote_jwks": {
            "http_uri": source,
            "cache_duration": f"{KEPT_S}s",
            # At the start and before they are needed; a gateway that begins while the issuer is down serves keys.
            "async_fetch": {"fast_listener": True},
            "retry_policy": {"num_retries": 2},
        },
        # A scheme is written in any letter case (RFC 9110, section 11.1); the filter compares letters.
        "from_headers": [{"name": "authorization", "value_prefix": f"{scheme} "} for scheme in SCHEMES],
        "payload_in_metadata": CLAIMS,
        "failed_status_in_metadata": FAILED,
        "require_expiration": True,
        "jwt_cache_config": {"jwt_cache_size": MOST_CACHED},
    }
    either = {"requires_any": {"requirements": [{"provider_name": "clients"}, {"allow_missing_or_failed": {}}]}}
    return extension(
        FILTER,
        "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        providers={"clients": provider},
        rules=[{"match": {"prefix": "/"}, "requires": either}],
    )


def token_cluster(issuer: TokenIssuer) -> Json:
    """Where the issuer's keys are fetched."""
    address = urlsplit(issuer.jwks_url)
    host = address.hostname or ""
    secure = address.scheme == "https"
    cluster: Json = {
        "name": JWKS_CLUSTER,
        "cluster_type": dns_cluster(each=False),
        "connect_timeout": "2s",
        "load_assignment": one_endpoint(JWKS_CLUSTER, host, address.port or (443 if secure else 80)),
    }
    if secure:
        cluster["transport_socket"] = upstream_tls(host, issuer.ca_file)
    return cluster


def token_words(issuer: TokenIssuer | None) -> Json | None:
    """What the front has to know of them."""
    if issuer is None:
        return None
    return {
        "filter": FILTER,
        "claims": CLAIMS,
        "failed": FAILED,
        "client": issuer.client_claim,
        "class": issuer.class_claim,
    }
