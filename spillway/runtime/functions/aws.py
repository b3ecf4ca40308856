"""AWS clients of the functions: made once for each warm environment, and tried again when AWS is busy."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def client(service: str) -> Any:
    """A boto3 client in the function's own region. boto3 is in Lambda's runtime."""
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "max_attempts": 3})
    return boto3.client(service, config=config)  # pyright: ignore[reportArgumentType, reportCallIssue]


def web_identity_token(audience: str, algorithm: str, lifetime_s: int) -> str:
    """What AWS says to others about who this function is: a signed token, with the role's ARN as its subject."""
    asked = {"Audience": [audience], "SigningAlgorithm": algorithm, "DurationSeconds": lifetime_s}
    return client("sts").get_web_identity_token(**asked)["WebIdentityToken"]
