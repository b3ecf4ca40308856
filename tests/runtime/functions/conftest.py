from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto import mock_aws

from spillway.runtime.functions import aws as aws_api
from spillway.runtime.functions import azure as azure_api


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty account on moto, and functions that start cold."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setattr(azure_api, "PAUSE_S", 0.0)
    aws_api.client.cache_clear()
    with mock_aws():
        yield
    aws_api.client.cache_clear()
