"""AWS signatures for what the agent sends itself, made by botocore."""

from __future__ import annotations

from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from spillway.contracts.credentials import SigV4
from spillway.runtime.gateway.aws import Credentials


class Signer:
    """Signs with the credentials that the site's route names."""

    def __init__(self, auth: SigV4) -> None:
        self._credentials = Credentials(auth.credentials_file, auth.profile)
        self._auth = auth

    def sign(self, method: str, url: str, headers: dict[str, str], body: bytes) -> dict[str, str]:
        """The headers to send; ``url`` names the host as the site knows it. ``LookupError``: no credentials."""
        frozen = self._credentials.frozen()
        request = AWSRequest(method, url, headers={**headers, "Host": urlsplit(url).netloc}, data=body)
        SigV4Auth(frozen, self._auth.service, self._auth.region).add_auth(request)
        return dict(request.headers.items())
