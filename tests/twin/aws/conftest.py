from __future__ import annotations

from collections.abc import Iterator

import pytest

from spillway.twin.aws.standin import AwsStandIn
from tests.twin.aws.support import Server, start


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(tmp_path_factory.mktemp("aws"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def stand_in(server: Server) -> AwsStandIn:
    return AwsStandIn(server.endpoint)
