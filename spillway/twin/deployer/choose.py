"""Which deployer drives a twin: the Pulumi CLI where it is on PATH, else the embedded one. A twin keeps its own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from spillway.contracts.resources import Policies
from spillway.twin.deployer.api import ConfigError, Deployer, OnEvent
from spillway.twin.deployer.embedded import EmbeddedDeployer
from spillway.twin.deployer.pulumi_cli import PulumiCli
from spillway.twin.provider import StandIn

DeployerKind = Literal["embedded", "pulumi"]
_SAID: dict[DeployerKind, str] = {"embedded": "the embedded deployer", "pulumi": "the Pulumi CLI"}


def choose_deployer(
    project_dir: Path,
    stack: str,
    state_dir: Path,
    stand_ins: Sequence[StandIn],
    passphrase: str,
    *,
    kind: DeployerKind | None = None,
    on_event: OnEvent | None = None,
    policies: Policies | None = None,
    parallel: int = 16,
    secrets: Mapping[str, str] | None = None,
) -> Deployer:
    """The deployer that owns the twin; for a new twin, ``kind``, or what this machine has.

    ``secrets``: secret config by full key, for what the stack file leaves to the twin; it wins over the file.
    Raises :class:`ConfigError`: the twin belongs to the other deployer, or the CLI is asked for and not there.
    """
    owner = owner_of(state_dir)
    wanted = kind or owner or ("pulumi" if shutil.which("pulumi") else "embedded")
    if owner is not None and owner != wanted:
        raise ConfigError(
            f"The twin in {state_dir} belongs to {_SAID[owner]}; {_SAID[wanted]} does not touch it. "
            "Use its own deployer, or take the twin down first."
        )
    if wanted == "pulumi" and shutil.which("pulumi") is None:
        raise ConfigError(f"The twin in {state_dir} is driven by the Pulumi CLI, and there is no `pulumi` on PATH.")
    state_dir.mkdir(parents=True, exist_ok=True)
    _marker(state_dir).write_text(wanted)
    make = EmbeddedDeployer if wanted == "embedded" else PulumiCli
    return make(
        project_dir,
        stack,
        state_dir,
        stand_ins,
        passphrase,
        on_event=on_event,
        policies=policies,
        parallel=parallel,
        secrets=secrets,
    )


def owner_of(state_dir: Path) -> DeployerKind | None:
    """Which deployer the state folder belongs to."""
    marker = _marker(state_dir)
    if not marker.exists():
        return None
    return "pulumi" if marker.read_text().strip() == "pulumi" else "embedded"


def _marker(state_dir: Path) -> Path:
    return state_dir / "deployer"
