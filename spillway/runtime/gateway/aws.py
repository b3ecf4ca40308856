"""The AWS calls of the agent. ``AWS_ENDPOINT_URL`` moves them to another endpoint, as boto3 documents."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError
from botocore.session import Session

CONFIG = Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 1})
"""One short try: every call here is repeated soon anyway, and a late answer is worth nothing."""


class Credentials:
    """Those that a site's route names: a file's profile, or the default chain, renewed by botocore."""

    def __init__(self, file: str | None, profile: str) -> None:
        self._session = Session(profile=profile if file else None)
        if file:
            self._session.set_config_variable("credentials_file", file)

    def frozen(self) -> ReadOnlyCredentials:
        """One set that belongs together. ``LookupError``: there are none."""
        found = self._session.get_credentials()
        if found is None:
            raise LookupError("no AWS credentials: give the agent a role, or a credentials file in the routing table")
        return found.get_frozen_credentials()


@cache
def client(service: str, region: str | None = None) -> Any:
    """A boto3 client, made once; ``region``: the environment's when left out."""
    return boto3.client(service, region_name=region, config=CONFIG)  # pyright: ignore[reportArgumentType, reportCallIssue]


def read_parameter(name: str, region: str) -> str | None:
    """An SSM parameter's value, ``None`` where there is none."""
    try:
        return client("ssm", region).get_parameter(Name=name)["Parameter"]["Value"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "ParameterNotFound":
            return None
        raise


def said(error: Exception) -> str:
    """An error in words that hold no secret: its type, and AWS's code where it has one."""
    if isinstance(error, ClientError):
        return f"{type(error).__name__} {error.response.get('Error', {}).get('Code', '')}".strip()
    return type(error).__name__
