"""The AWS calls of the agent. ``AWS_ENDPOINT_URL`` moves them to another endpoint, as boto3 documents."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

CONFIG = Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 1})
"""One short try: every call here is repeated soon anyway, and a late answer is worth nothing."""


@cache
def client(service: str, region: str) -> Any:
    """A boto3 client, made once."""
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
