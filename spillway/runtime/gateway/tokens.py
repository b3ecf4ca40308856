"""The tokens that sites want of the gateway, in files where Envoy reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Protocol

from spillway.contracts.credentials import AwsToken, EntraToken
from spillway.contracts.routing import RoutingTable, SiteRoute, token_name
from spillway.runtime.gateway.aws_token import AwsTokenMaker
from spillway.runtime.gateway.eds import write_atomically
from spillway.runtime.gateway.entra_token import EntraTokenMaker

RENEW_S: Final = 300.0
"""Seconds between two tokens: so old is one at most when no other can be had for a while."""
NOT_YET: Final = "no-token-yet"
"""Stands in the file until there is a token, since Envoy does not start without it. The clouds refuse it."""


class TokenMaker(Protocol):
    """Of one site."""

    def make(self) -> str:
        """A fresh token. ``LookupError``: no credentials; ``OSError``: whoever gives it does not."""
        ...


def token_maker(route: SiteRoute) -> TokenMaker | None:
    """``None`` for a site that wants no token."""
    match route.auth:
        case AwsToken():
            return AwsTokenMaker(route.auth)
        case EntraToken():
            return EntraTokenMaker(route.auth)
        case _:
            return None


def write_token(table: RoutingTable, route: SiteRoute) -> None:
    """A fresh one, if the site wants one; raises what :meth:`TokenMaker.make` does."""
    if maker := token_maker(route):
        _write(table, route, maker.make())


def write_missing_tokens(table: RoutingTable) -> None:
    """Files for Envoy to start with, where there are none."""
    for route in table.sites:
        if token_maker(route) and not Path(table.token_path(route.site)).exists():
            _write(table, route, NOT_YET)


def has_token(table: RoutingTable, route: SiteRoute) -> bool:
    """Whether the site's file holds one, be it too old."""
    return read_token(Path(table.token_path(route.site))) != NOT_YET


def read_token(file: Path) -> str:
    """What Envoy shows now."""
    return json.loads(file.read_text())["resources"][0]["generic_secret"]["secret"]["inline_string"]


def _write(table: RoutingTable, route: SiteRoute, secret: str) -> None:
    resource = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": token_name(route.site),
        "generic_secret": {"secret": {"inline_string": secret}},
    }
    write_atomically(Path(table.token_path(route.site)), json.dumps({"resources": [resource]}), mode=0o600)
