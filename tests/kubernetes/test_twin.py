"""`spillway up --kubernetes real`: the example's private site on a real control plane, for `kubectl` to look at."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from spillway.cli.stack import Stack
from spillway.twin import deploy
from spillway.twin.deployer.api import QUIET_OPS, Event
from spillway.twin.deployer.project import read_project
from spillway.twin.handle import TwinError, find_twin
from spillway.twin.kubernetes.kubeconfig import kubeconfig
from tests.kubernetes.cluster import is_ready
from tests.stacks.files import changed, example, project
from tests.support.packages import small_package

PREFIX = "spillway-test"


class Silent:
    """Is told how far it is."""

    def __call__(self, event: Event) -> None: ...

    def phase(self, text: str) -> Any:
        return nullcontext()

    def close(self) -> None: ...


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    config = changed(example("local"), {"spillway:package.path": str(small_package(tmp_path / "package"))})
    root = project(tmp_path / "project", config)
    made = Stack("test", read_project(root), tmp_path / "twin")
    try:
        yield made
    finally:
        deploy.down(made, Silent(), purge=True)


def listed(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)["items"]


def test_the_twin_stands_on_a_real_control_plane(stack: Stack) -> None:
    done = deploy.up(stack, stack.brief(), "embedded", Silent(), resources_only=True, kubernetes="real")
    twin = find_twin(stack.state_dir)
    assert twin is not None
    here = twin.endpoints["kubernetes"]
    # As `kubectl get nodes,pods` asks, by the kubeconfig that the twin gives out.
    assert here in kubeconfig(here)
    assert all(map(is_ready, listed(f"{here}/api/v1/nodes")))
    pods = {space: listed(f"{here}/api/v1/namespaces/{PREFIX}-{space}/pods") for space in ("serving", "gateway")}
    assert all(pods.values())
    assert all(is_ready(pod) for found in pods.values() for pod in found)
    services = {one["metadata"]["name"]: one for one in listed(f"{here}/api/v1/namespaces/{PREFIX}-gateway/services")}
    assert services["gateway"]["status"]["loadBalancer"]["ingress"] == [{"ip": "127.0.0.1", "ipMode": "VIP"}]

    again = deploy.up(stack, stack.brief(), "embedded", Silent(), resources_only=True, refresh=True)
    assert [step for step in again.result.steps if step.op not in QUIET_OPS] == []
    assert done.result.changed
    with pytest.raises(TwinError, match="runs with a real Kubernetes control plane: end it first"):
        deploy.up(stack, stack.brief(), "embedded", Silent(), kubernetes="stand-in")

    # What stands outlives the twin's processes, as a cluster outlives the machine of whoever looks at it.
    deploy.down(stack, Silent())
    third = deploy.up(stack, stack.brief(), "embedded", Silent(), resources_only=True, kubernetes="real")
    spaces = {space["metadata"]["name"] for space in listed(f"{here}/api/v1/namespaces")}
    assert f"{PREFIX}-serving" in spaces
    assert third.refreshed, "AWS and Azure forget"

    deploy.down(stack, Silent(), destroy=True)
