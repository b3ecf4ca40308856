"""One control plane a worker for all these tests, and a cluster that each leaves as it found it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spillway.twin.kubernetes.real.control_plane import ControlPlane
from spillway.twin.kubernetes.real.programs import is_built
from tests.kubernetes.api import Api
from tests.kubernetes.cluster import Cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    built = is_built()
    why = "the control plane is not built: python scripts/kubernetes_control_plane.py"
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.kubernetes)
            item.add_marker(pytest.mark.heavy)
            if not built:
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    made = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def client(control_plane: ControlPlane) -> Api:
    return Api(control_plane.url, control_plane.token, str(control_plane.authority))


@pytest.fixture
def api(client: Api) -> Api:
    client.taken_warnings()
    return client


@pytest.fixture
def cluster(api: Api) -> Iterator[Cluster]:
    """Without nodes and stacks; both are gone afterwards."""
    made = Cluster(api)
    try:
        yield made
    finally:
        made.clear()
