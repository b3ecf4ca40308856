"""The prod stack of the real program, with every target on, and its resources by type and name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from spillway.conformance.graph import Graph
from spillway.twin.deployer.api import Resource
from spillway.twin.deployer.embedded import EmbeddedDeployer
from spillway.twin.deployer.policy import plain_resources
from spillway.twin.deployer.pulumi_cli import PulumiCli
from spillway.twin.provider import Secret
from tests.program.engines import Engine
from tests.program.servers import Servers
from tests.stacks.files import PASSPHRASE, changed, deployer, example, project, secrets_for
from tests.support.packages import small_package

PREFIX = "spillway-test-"


@dataclass(frozen=True)
class Site:
    """A stack in a folder. ``config`` holds its secrets in clear."""

    folder: Path
    servers: Servers
    config: dict[str, Any]
    engine: Engine = EmbeddedDeployer

    @cached_property
    def deployer(self) -> EmbeddedDeployer:
        return deployer(project(self.folder, self.config), self.servers.stand_ins())

    def changed_to(self, changes: dict[str, Any]) -> EmbeddedDeployer | PulumiCli:
        """The engine on the same state, after the stack file was edited."""
        folder = project(self.folder, changed(self.config, changes))
        return self.engine(folder, "test", folder / "state", self.servers.stand_ins(), PASSPHRASE)

    @property
    def secrets(self) -> dict[str, str]:
        return {key: value for key, value in self.config.items() if key.startswith("spillway-secrets:")}


def site(
    folder: Path,
    stack: str,
    changes: dict[str, Any] | None = None,
    *,
    delegates: bool = False,
    rights_after_s: float = 0.0,
) -> Site:
    """With servers that run; the caller stops them. The last two: as in :class:`Servers`."""
    own = {"spillway:package.path": str(small_package(folder / "package")), **(changes or {})}
    config = changed(example(stack), own)
    config.update(secrets_for(config))
    project(folder, config)
    servers = Servers(folder / "servers", delegates=delegates, rights_after_s=rights_after_s)
    servers.start()
    return Site(folder, servers, config)


def stood_up(folder: Path, stack: str) -> Graph:
    """What stands after an ``up`` from nothing, as rules see it; the servers are ended again."""
    made = site(folder, stack)
    try:
        return Graph(plain_resources(made.deployer.rehearse().resources))
    finally:
        made.servers.stop()


class Found:
    """Resources to ask for."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.all = tuple(resources)
        self.custom = tuple(resource for resource in self.all if resource.custom)
        self.types = {resource.type for resource in self.custom}

    def of(self, type_: str) -> list[Resource]:
        return [resource for resource in self.custom if resource.type == type_]

    def inputs(self, type_: str, name: str = "") -> dict[str, Any]:
        """Plain inputs of the one resource of this type whose name, less the prefix, is ``name``."""
        found = [r for r in self.of(type_) if not name or r.name == PREFIX + name]
        assert len(found) == 1, f"{len(found)} of {type_} {name!r}, there are {[r.name for r in self.of(type_)]}"
        return plain(found[0].inputs)


def plain(value: Any) -> Any:
    """Without the wrapping of secrets."""
    if isinstance(value, Secret):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def secret_texts(value: Any, inside: bool = False) -> set[str]:
    """Every text inside a secret; JSON texts also by their own values."""
    if isinstance(value, Secret):
        return secret_texts(value.value, inside=True)
    if isinstance(value, dict):
        return {text for item in value.values() for text in secret_texts(item, inside)}
    if isinstance(value, list):
        return {text for item in value for text in secret_texts(item, inside)}
    if inside and isinstance(value, str):
        return {value, json.dumps(value)[1:-1]}
    return set()
