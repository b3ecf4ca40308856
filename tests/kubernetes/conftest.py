"""One control plane a worker for all these tests, and a cluster that each leaves as it found it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from spillway.twin.kubernetes.real.control_plane import ControlPlane
from spillway.twin.kubernetes.real.programs import is_built
from tests.kubernetes.api import Api
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.stacks import PLANS

_LONGEST: Final = ("tests/kubernetes/test_twin.py", "test_scale_in", "a_zone_that_is_lost", "three_times_the_load")
"""They begin first, so that no worker ends long after the others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    built = is_built()
    why = "the control plane is not built: python scripts/kubernetes_control_plane.py"
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.kubernetes)
            item.add_marker(pytest.mark.heavy)
            if not built:
                item.add_marker(pytest.mark.skip(reason=why))
    longest = [item for name in _LONGEST for item in items if name in item.nodeid]
    items[:] = [item for item in items if item not in longest]
    # What a worker of pytest-xdist is given at the beginning (`LoadScheduling.schedule`), so that each has one of them.
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    at_once = max(2, (len(items) + len(longest)) // workers // 4)
    for turn, item in enumerate(longest):
        items.insert(turn * at_once, item)


@pytest.fixture(scope="session", autouse=True)
def plans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where all workers keep them."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PLANS, str(shared))
        yield


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
