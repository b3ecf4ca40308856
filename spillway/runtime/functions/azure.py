"""Entra's log-in and Azure Resource Manager for whoever has the standard library and boto3, and nothing else.

``SPILLWAY_AZURE_ENDPOINT_URL`` and ``SPILLWAY_AZURE_LOGIN_URL`` move the calls to another endpoint, as
``AWS_ENDPOINT_URL`` does for AWS: the twin sets them.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from spillway.contracts.azure_calls import TOKEN_ALGORITHM, TOKEN_AUDIENCE, TOKEN_LIFETIME_S
from spillway.contracts.function_config import AzureIdentity
from spillway.contracts.names import AZURE_MANAGER_URL
from spillway.runtime.functions.aws import web_identity_token

LOGIN_URL = "https://login.microsoftonline.com"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TIMEOUT_S = 10
TRIES = 3
BUSY = (408, 429, 500, 502, 503, 504)
"""Answers after which the same call may succeed. Everything asked here may be asked twice."""
PAUSE_S = 0.5


def token(identity: AzureIdentity) -> str:
    """A bearer token of Entra's in exchange for AWS's word of who this function is."""
    return exchange(identity, web_identity_token(TOKEN_AUDIENCE, TOKEN_ALGORITHM, TOKEN_LIFETIME_S), AZURE_MANAGER_URL)


def exchange(identity: AzureIdentity, assertion: str, audience: str, tries: int = TRIES) -> str:
    """The same for any token about somebody whom the identity trusts."""
    form = {
        "grant_type": "client_credentials",
        "client_id": identity.client_id,
        "client_assertion_type": ASSERTION,
        "client_assertion": assertion,
        "scope": f"{audience}/.default",
    }
    base = os.environ.get("SPILLWAY_AZURE_LOGIN_URL", LOGIN_URL)
    url = f"{base}/{identity.tenant_id}/oauth2/v2.0/token"
    return _answer(urllib.request.Request(url, data=urllib.parse.urlencode(form).encode()), tries)["access_token"]


def call(url: str, bearer: str, body: Mapping[str, Any] | None = None) -> Any:
    """GET an address of Resource Manager, or PATCH it where there is a ``body``; the answer's JSON.

    Tried three times while Azure is busy or cannot be reached. Raises ``OSError`` (``HTTPError`` included) after that.
    """
    url = url.replace(AZURE_MANAGER_URL, os.environ.get("SPILLWAY_AZURE_ENDPOINT_URL", AZURE_MANAGER_URL), 1)
    headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    return _answer(urllib.request.Request(url, data=data, headers=headers, method="PATCH" if data else "GET"))


def _answer(request: urllib.request.Request, tries: int = TRIES) -> Any:
    for left in reversed(range(tries)):
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                # A change that is accepted and made later is answered by 202, without a body.
                return json.loads(answer.read() or b"{}")
        except OSError as error:
            busy = not isinstance(error, urllib.error.HTTPError) or error.code in BUSY
            if not (busy and left):
                raise
        time.sleep(PAUSE_S * 2 ** (tries - 1 - left))
    raise AssertionError("unreachable")
