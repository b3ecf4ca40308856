"""Gets the tokens that Azure ML wants, for the word of AWS or of the cluster about who this gateway is.

Such a token lives for 60 to 90 minutes, as Entra draws it
(https://learn.microsoft.com/entra/identity-platform/access-tokens#token-lifetime, read on 2026-11-30).
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from urllib.error import HTTPError

from spillway.contracts.azure_calls import (
    CLIENT_VARIABLE,
    TENANT_VARIABLE,
    TOKEN_ALGORITHM,
    TOKEN_AUDIENCE,
    TOKEN_FILE_VARIABLE,
    TOKEN_LIFETIME_S,
)
from spillway.contracts.credentials import EntraToken
from spillway.contracts.function_config import AzureIdentity
from spillway.runtime.functions import azure
from spillway.runtime.gateway.aws import client


class EntraRefusedError(OSError):
    """Says Entra's code and no more: its words may hold what it was shown."""


class EntraTokenMaker:
    """Gets tokens for the identity that the environment names."""

    def __init__(self, auth: EntraToken) -> None:
        self._auth = auth

    def make(self) -> str:
        """A fresh token. ``OSError`` and botocore's errors: Entra or AWS cannot be reached or refuses; ``LookupError``:
        the environment says nothing."""
        identity = AzureIdentity(os.environ[TENANT_VARIABLE], os.environ[CLIENT_VARIABLE])
        try:
            # One short try: the next renewal is another.
            return azure.exchange(identity, _assertion(), self._auth.audience, tries=1)
        except HTTPError as error:
            raise EntraRefusedError(f"{error.code} {_code(error)}".strip()) from None


def _assertion() -> str:
    if file := os.environ.get(TOKEN_FILE_VARIABLE):
        # The cluster renews it.
        return Path(file).read_text().strip()
    asked = {"Audience": [TOKEN_AUDIENCE], "SigningAlgorithm": TOKEN_ALGORITHM, "DurationSeconds": TOKEN_LIFETIME_S}
    return client("sts").get_web_identity_token(**asked)["WebIdentityToken"]


def _code(error: HTTPError) -> str:
    with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
        return f"AADSTS{int(json.loads(error.read())['error_codes'][0])}"
    return ""
