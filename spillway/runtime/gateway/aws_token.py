"""Makes the tokens that AWS's OpenAI routes want, and puts them where Envoy reads them.

A token is made anew long before it ends: its life is the shorter one of its own and of the role's credentials, which
botocore renews 15 minutes before they end.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Final

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest

from spillway.contracts import aws_token as token
from spillway.contracts.credentials import AwsToken
from spillway.contracts.routing import RoutingTable, token_name
from spillway.runtime.gateway.aws import Credentials
from spillway.runtime.gateway.eds import write_atomically

RENEW_S: Final = 300.0
"""Seconds between two tokens."""
NOT_YET: Final = "no-token-yet"
"""Stands in the file until there is a token, since Envoy does not start without it. AWS answers it with 403."""


class TokenMaker:
    """Makes tokens with the credentials that a site's route names."""

    def __init__(self, auth: AwsToken) -> None:
        self._credentials = Credentials(auth.credentials_file, auth.profile)
        self._auth = auth

    def make(self) -> str:
        """A fresh token. ``LookupError``: no credentials."""
        service, host = self._auth.service, token.host(self._auth.service)
        request = AWSRequest("POST", f"https://{host}/", headers={"host": host}, params={"Action": token.ACTION})
        frozen = self._credentials.frozen()
        SigV4QueryAuth(frozen, service, self._auth.region, expires=token.LIFETIME_S).add_auth(request)
        signed = str(request.url).removeprefix("https://") + token.VERSION
        return token.prefix(service) + base64.b64encode(signed.encode()).decode()


def write_tokens(table: RoutingTable) -> None:
    """A fresh token for each site that wants one. ``LookupError``: no credentials."""
    for route in table.sites:
        if isinstance(route.auth, AwsToken):
            _write(Path(table.token_path(route.site)), token_name(route.site), TokenMaker(route.auth).make())


def write_missing_tokens(table: RoutingTable) -> None:
    """Files for Envoy to start with, where there are none."""
    for route in table.sites:
        path = Path(table.token_path(route.site))
        if isinstance(route.auth, AwsToken) and not path.exists():
            _write(path, token_name(route.site), NOT_YET)


def _write(path: Path, name: str, secret: str) -> None:
    resource = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": name,
        "generic_secret": {"secret": {"inline_string": secret}},
    }
    write_atomically(path, json.dumps({"resources": [resource]}), mode=0o600)
