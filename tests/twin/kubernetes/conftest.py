from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from spillway.twin.kubernetes.standin import KubernetesStandIn
from tests.support.twin_server import Driver, serve


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve("kubernetes", tmp_path_factory.mktemp("kubernetes")) as url:
        yield url


@pytest.fixture
def driver(endpoint: str) -> Driver:
    return Driver(KubernetesStandIn(endpoint))


_count = 0


@pytest.fixture
def namespace(driver: Driver) -> str:
    """A fresh namespace."""
    global _count
    _count += 1
    name = f"test-{_count}"
    driver.create("kubernetes:core/v1:Namespace", f"{name}-ns", {"metadata": {"name": name}})
    return name


def deployment(namespace: str, name: str = "web", **container: Any) -> dict[str, Any]:
    labels = {"app": name}
    pod = {"containers": [{"name": "web", "image": "registry.example/web:1", **container}]}
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
