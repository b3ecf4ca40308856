"""Stacks with Azure ML taken through their life: up, a canary, promoted, another size, down, and again.

On an existing cluster with Azure ML alone, and on AKS behind Traffic Manager; driven by the embedded deployer, and by
Pulumi's own engine where it is on PATH. Azure's role assignments are in force a second after they were made. Traffic is
sampled all the while: once the endpoint has some it never has none.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from policies.catalogue import ALL
from policies.judge import judge
from policies.resources import Context
from spillway.contracts.manifest import read_manifest
from spillway.twin.deployer.api import UpResult
from spillway.twin.deployer.embedded import EmbeddedDeployer
from spillway.twin.deployer.policy import plain_resources
from spillway.twin.deployer.pulumi_cli import PulumiCli
from stacks.stack_file import read_settings
from tests.program.engines import ENGINES, Engine
from tests.program.site import Site, site
from tests.stacks.files import PASSPHRASE, REMOVE, changed, flat, project, secrets_for
from tests.support.packages import small_package

pytestmark = [pytest.mark.heavy, pytest.mark.soak, pytest.mark.timeout(1800)]

S = "spillway:"
ML = "azure-native:machinelearningservices"
AZURE_ML = f"{S}burst.azure_ml"
QUESTIONS = [policy for policy in ALL if policy.name in ("services-accept", "changes-go-through", "flows-open")]
RIGHTS_AFTER_S = 1.0
AZURE_ML_ALONE = {f"{S}burst.sagemaker": REMOVE}
PLATFORM = f"/subscriptions/{'9' * 8}-0000-4000-8000-{'9' * 12}/resourceGroups/dns"
ZONE = f"{PLATFORM}/providers/Microsoft.Network/dnszones/dev.example.com"
"""Of the platform team, in a subscription of its own."""
BEHIND_TRAFFIC_MANAGER = {
    f"{S}exposure": "public",
    f"{S}client_cidrs": ["198.51.100.0/24"],
    f"{S}dns": {"provider": "traffic_manager", "zone_name": "dev.example.com", "zone_id": ZONE},
}


@dataclass(frozen=True)
class Life:
    """One stack's, under one deployer. ``base``: how its stack file differs from the example's all the while."""

    made: Site
    base: dict[str, Any]
    engine: Engine

    def config(self, changes: dict[str, Any]) -> dict[str, Any]:
        edited = changed(self.made.config, {**self.base, **changes})
        return {**edited, **secrets_for(edited)}

    def deployer(self, changes: dict[str, Any]) -> EmbeddedDeployer | PulumiCli:
        folder = project(self.made.folder, self.config(changes))
        return self.engine(folder, "test", folder / "state", self.made.servers.stand_ins(), PASSPHRASE)

    def up(self, changes: dict[str, Any]) -> UpResult:
        """Brought up, judged, and looked at again: a second ``up`` would change nothing."""
        deployer = self.deployer(changes)
        done = deployer.up()
        policies = read_settings(flat(self.config(changes))).policies
        verdict = judge(plain_resources(done.resources), policies, Context(), QUESTIONS)
        assert [(v.finding.rule, v.finding.message) for v in verdict.violations] == []
        assert {step.op for step in deployer.preview().steps} <= {"same", "read"}
        return done


class Sampler:
    """Asks Azure for the endpoints' traffic, again and again. ``empty``: how often there was none after there was."""

    def __init__(self, made: Site) -> None:
        self._base, self._group = made.servers.endpoints["azure"], made.config[f"{S}azure"]["subscription_id"]
        self.seen: list[dict[str, int]] = []
        self.empty = 0

    def sample(self) -> None:
        groups = self._list(f"/subscriptions/{self._group}/resourceGroups")
        for group in groups:
            for workspace in self._list(f"{group}/providers/Microsoft.MachineLearningServices/workspaces"):
                for endpoint in self._bodies(f"{workspace}/onlineEndpoints"):
                    traffic = endpoint["properties"].get("traffic") or {}
                    self.empty += bool(self.seen) and sum(traffic.values()) != 100
                    if traffic and (not self.seen or self.seen[-1] != traffic):
                        self.seen.append(traffic)

    def _list(self, path: str) -> list[str]:
        return [one["id"] for one in self._bodies(path)]

    def _bodies(self, path: str) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self._base}{path}?api-version=2024-10-01", timeout=30) as answer:
            return json.load(answer)["value"]


@contextmanager
def sampled(made: Site) -> Iterator[Sampler]:
    sampler, ended = Sampler(made), threading.Event()

    def go_on() -> None:
        while not ended.wait(0.02):
            sampler.sample()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield sampler
    finally:
        ended.set()
        thread.join()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param


@pytest.fixture(
    params=[
        pytest.param(("local", AZURE_ML_ALONE), id="existing"),
        pytest.param(("dev", BEHIND_TRAFFIC_MANAGER), id="aks"),
    ]
)
def life(request: pytest.FixtureRequest, tmp_path: Path, engine: Engine) -> Iterator[Life]:
    stack, base = request.param
    made = site(tmp_path / "life", stack, rights_after_s=RIGHTS_AFTER_S)
    if base is BEHIND_TRAFFIC_MANAGER:
        platform_team(made.servers.endpoints["azure"])
    try:
        yield Life(made, base, engine)
    finally:
        made.servers.stop()


def platform_team(endpoint: str) -> None:
    for path, version, place in (
        (PLATFORM, "2025-04-01", "eastus"),
        (ZONE, "2018-05-01", "global"),
    ):
        url, body = f"{endpoint}{path}?api-version={version}", json.dumps({"location": place}).encode()
        urllib.request.urlopen(urllib.request.Request(url, data=body, method="PUT"), timeout=10).close()


def records(endpoint: str) -> list[str]:
    with urllib.request.urlopen(f"{endpoint}{ZONE}/CNAME?api-version=2018-05-01", timeout=10) as answer:
        return [one["name"] for one in json.load(answer)["value"]]


def deployments(done: UpResult) -> set[str]:
    return {r.inputs["deploymentName"] for r in done.resources if r.type == f"{ML}:OnlineDeployment"}


def test_it_is_brought_up_changed_and_taken_down_twice(life: Life, tmp_path: Path) -> None:
    first = read_manifest(life.made.config[f"{S}package"]["path"]).version
    second = {f"{S}package.path": str(small_package(tmp_path / "second", slots=6))}
    canary = {
        "blue": {"package_version": first, "traffic": 90},
        "green": {"traffic": 10},
    }
    promoted = {**second, f"{AZURE_ML}.deployments": {"green": {"traffic": 100}}}
    larger = {**promoted, f"{AZURE_ML}.vm_size": "Standard_NC8as_T4_v3"}
    with sampled(life.made) as sampler:
        assert deployments(life.up({})) == {"blue-nc4ast4v3"}
        done = life.up({**second, f"{AZURE_ML}.deployments": canary})
        assert deployments(done) == {"blue-nc4ast4v3", "green-nc4ast4v3"}
        assert deployments(life.up(promoted)) == {"green-nc4ast4v3"}
        assert deployments(life.up(larger)) == {"green-nc8ast4v3"}
    assert sampler.seen == [
        {"blue-nc4ast4v3": 100},
        {"blue-nc4ast4v3": 90, "green-nc4ast4v3": 10},
        {"green-nc4ast4v3": 100},
        {"green-nc8ast4v3": 100},
    ]
    assert sampler.empty == 0
    behind_traffic_manager, azure = life.base is BEHIND_TRAFFIC_MANAGER, life.made.servers.endpoints["azure"]
    assert not behind_traffic_manager or records(azure) == ["inference"]
    life.deployer(larger).destroy()
    assert not behind_traffic_manager or records(azure) == []
    assert deployments(life.up(larger)) == {"green-nc8ast4v3"}
