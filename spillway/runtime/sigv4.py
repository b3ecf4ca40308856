"""AWS signatures for what the agent sends itself, made by botocore."""

from __future__ import annotations

from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import Session

from spillway.contracts.routing import SigV4


class Signer:
    """Signs with the credentials that the site's route names: a file, or the default chain, refreshed by botocore."""

    def __init__(self, auth: SigV4) -> None:
        session = Session(profile=auth.profile if auth.credentials_file else None)
        if auth.credentials_file:
            session.set_config_variable("credentials_file", auth.credentials_file)
        self._session = session
        self._auth = auth

    def sign(self, method: str, url: str, headers: dict[str, str], body: bytes) -> dict[str, str]:
        """The headers to send; ``url`` names the host as the site knows it. ``LookupError``: no credentials."""
        credentials = self._session.get_credentials()
        if credentials is None:
            raise LookupError("no AWS credentials: give the agent a role, or a credentials file in the routing table")
        request = AWSRequest(method, url, headers={**headers, "Host": urlsplit(url).netloc}, data=body)
        SigV4Auth(credentials.get_frozen_credentials(), self._auth.service, self._auth.region).add_auth(request)
        return dict(request.headers.items())
