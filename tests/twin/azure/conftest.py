from __future__ import annotations

from collections.abc import Iterator

import pytest

from spillway.twin.azure.standin import AzureStandIn
from tests.support.twin_server import Driver, serve


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve("azure", tmp_path_factory.mktemp("azure")) as url:
        yield url


@pytest.fixture
def driver(endpoint: str) -> Driver:
    return Driver(AzureStandIn(endpoint))
