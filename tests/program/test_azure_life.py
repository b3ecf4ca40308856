"""A stack with Azure ML taken through its life: up, a canary, promoted, another size, down, and again.

Traffic is sampled all the while: once the endpoint has some it never has none.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from policies.catalogue import ALL
from policies.judge import judge
from policies.resources import Context
from spillway.contracts.manifest import read_manifest
from spillway.twin.deployer.api import UpResult
from spillway.twin.deployer.policy import plain_resources
from stacks.stack_file import read_settings
from tests.program.site import Site, site
from tests.stacks.files import REMOVE, changed, flat
from tests.support.packages import small_package

pytestmark = [pytest.mark.heavy, pytest.mark.soak]

S = "spillway:"
ML = "azure-native:machinelearningservices"
AZURE_ML = f"{S}burst.azure_ml"
QUESTIONS = [policy for policy in ALL if policy.name in ("services-accept", "changes-go-through", "flows-open")]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = site(tmp_path_factory.mktemp("life"), "local")
    try:
        yield made
    finally:
        made.servers.stop()


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


def up(made: Site, changes: dict[str, Any]) -> UpResult:
    """Brought up, judged, and looked at again: a second ``up`` would change nothing."""
    deployer = made.changed_to(changes)
    done = deployer.up()
    policies = read_settings(flat(changed(made.config, changes))).policies
    verdict = judge(plain_resources(done.resources), policies, Context(), QUESTIONS)
    assert [(v.finding.rule, v.finding.message) for v in verdict.violations] == []
    assert {step.op for step in deployer.preview().steps} <= {"same", "read"}
    return done


def deployments(done: UpResult) -> set[str]:
    return {r.inputs["deploymentName"] for r in done.resources if r.type == f"{ML}:OnlineDeployment"}


def test_it_is_brought_up_changed_and_taken_down_twice(stack: Site, tmp_path: Path) -> None:
    alone = {f"{S}burst.sagemaker": REMOVE}
    first = read_manifest(stack.config[f"{S}package"]["path"]).version
    second = {f"{S}package.path": str(small_package(tmp_path / "second", slots=6))}
    canary = {
        "blue": {"package_version": first, "traffic": 90},
        "green": {"traffic": 10},
    }
    with sampled(stack) as sampler:
        assert deployments(up(stack, alone)) == {"blue-nc4ast4v3"}
        done = up(stack, {**alone, **second, f"{AZURE_ML}.deployments": canary})
        assert deployments(done) == {"blue-nc4ast4v3", "green-nc4ast4v3"}
        promoted = {**alone, **second, f"{AZURE_ML}.deployments": {"green": {"traffic": 100}}}
        assert deployments(up(stack, promoted)) == {"green-nc4ast4v3"}
        larger = {**promoted, f"{AZURE_ML}.vm_size": "Standard_NC8as_T4_v3"}
        assert deployments(up(stack, larger)) == {"green-nc8ast4v3"}
    assert sampler.seen == [
        {"blue-nc4ast4v3": 100},
        {"blue-nc4ast4v3": 90, "green-nc4ast4v3": 10},
        {"green-nc4ast4v3": 100},
        {"green-nc8ast4v3": 100},
    ]
    assert sampler.empty == 0
    stack.changed_to(larger).destroy()
    assert deployments(up(stack, larger)) == {"green-nc8ast4v3"}
