from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spillway.twin.kubernetes.standin import KubernetesStandIn
from spillway.twin.standin import ResourceState

URN = "urn:pulumi:test::spillway::{type}::{name}"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    state: Path = tmp_path_factory.mktemp("kubernetes")
    arguments = ["--port", str(port), "--state-dir", str(state)]
    server = subprocess.Popen([sys.executable, "-m", "spillway.twin.kubernetes.server", *arguments])
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                with urllib.request.urlopen(f"{url}/_spillway/health") as answer:
                    assert json.load(answer)["boot_id"]
                break
            except OSError:
                time.sleep(0.05)
        yield url
    finally:
        server.terminate()
        server.wait(10)


class Driver:
    """Drives a stand-in as an engine does: check, then create, update, read or delete."""

    def __init__(self, endpoint: str) -> None:
        self.stand_in = KubernetesStandIn(endpoint)

    def urn(self, type_: str, name: str) -> str:
        return URN.format(type=type_, name=name)

    def create(self, type_: str, name: str, inputs: dict[str, Any]) -> ResourceState:
        checked = self.stand_in.check(self.urn(type_, name), type_, None, inputs, b"seed")
        assert checked.failures == ()
        return self.stand_in.create(self.urn(type_, name), type_, checked.inputs)

    def update(self, type_: str, name: str, old: ResourceState, inputs: dict[str, Any]) -> ResourceState:
        checked = self.stand_in.check(self.urn(type_, name), type_, old.inputs, inputs, b"seed")
        assert checked.failures == ()
        return self.stand_in.update(self.urn(type_, name), type_, old, checked.inputs)

    def failures(self, type_: str, inputs: dict[str, Any]) -> list[str]:
        checked = self.stand_in.check(self.urn(type_, "thing"), type_, None, inputs, b"seed")
        return [f"{failure.path}: {failure.reason}" for failure in checked.failures]


@pytest.fixture
def driver(endpoint: str) -> Driver:
    return Driver(endpoint)


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
