"""Makes the tokens that AWS's OpenAI routes want.

A token is made anew long before it ends: its life is the shorter one of its own and of the role's credentials, which
botocore renews 15 minutes before they end.
"""

from __future__ import annotations

import base64

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest

from spillway.contracts import aws_token as token
from spillway.contracts.credentials import AwsToken
from spillway.runtime.gateway.aws import Credentials


class AwsTokenMaker:
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
