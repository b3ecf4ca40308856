"""The bearer token of AWS's OpenAI routes: a request that was signed beforehand, in one word.

As AWS's own library makes it (``tests/runtime/gateway/test_aws_token.py`` names it): a ``POST`` of
``https://<service>.amazonaws.com/?Action=CallWithBearerToken``, signed in its query for the endpoint's region, followed
by ``&Version=1``, without its scheme, in base64, behind a prefix. Whoever holds it may invoke what the signer may,
until it or the signer's own credentials expire.
"""

from __future__ import annotations

from typing import Final

ACTION: Final = "CallWithBearerToken"
VERSION: Final = "&Version=1"
LIFETIME_S: Final = 12 * 3600
"""The longest that AWS takes."""


def prefix(service: str) -> str:
    """What a token of the service begins with."""
    return f"{service}-api-key-"


def host(service: str) -> str:
    """For whom the request in it is signed."""
    return f"{service}.amazonaws.com"
