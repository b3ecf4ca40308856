from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from spillway.twin.deployer.api import Deployer, Event, PreviewResult
from spillway.twin.deployer.embedded import EmbeddedDeployer
from spillway.twin.deployer.pulumi_cli import PulumiCli
from tests.support.demo_project import PASSPHRASE, DemoProject
from tests.support.memory_cloud import DemoStandIn, MemoryCloud


@dataclass
class Demo:
    """A project, its cloud, and a deployer on both."""

    root: Path
    kind: type[EmbeddedDeployer] | type[PulumiCli]
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.project = DemoProject(self.root)
        self.cloud = MemoryCloud(self.root / "cloud.json")
        self.stand_in = DemoStandIn(self.cloud)

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    @property
    def deployer(self) -> Deployer:
        return self.made()

    def made(self, **options: Any) -> Deployer:
        on_event = self.events.append
        return self.kind(self.root, "test", self.state_dir, [self.stand_in], PASSPHRASE, on_event=on_event, **options)


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    """On the embedded deployer."""
    return Demo(tmp_path, EmbeddedDeployer)


@pytest.fixture(params=["embedded", pytest.param("pulumi", marks=pytest.mark.pulumi_cli)])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Demo:
    """On each deployer; the Pulumi CLI only where it is on PATH."""
    if request.param == "pulumi" and shutil.which("pulumi") is None:
        pytest.skip("there is no `pulumi` on PATH")
    return Demo(tmp_path, EmbeddedDeployer if request.param == "embedded" else PulumiCli)


def ops(result: PreviewResult) -> dict[str, str]:
    """Logical name -> operation, for what is not the same (components and the stack left out)."""
    return {step.name: step.op for step in result.steps if step.op != "same" and step.custom}


def index(log: Sequence[str], start: str) -> int:
    """Where in the cloud's log the first entry with this start is."""
    return next(i for i, entry in enumerate(log) if entry.startswith(start))
