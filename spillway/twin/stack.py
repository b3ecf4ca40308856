"""A stack as its twin sees it: the project's files, the passphrase, and what the twin keeps on disk for it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from spillway.contracts.names import SECRETS_NAMESPACE
from spillway.twin.deployer.crypto import given_passphrase
from spillway.twin.deployer.project import Project, StackConfig, read_stack_config
from spillway.twin.ports import known_ports
from spillway.twin.private_files import write_private

EXAMPLE_PASSPHRASE: Final = "spillway-example"
"""Opens the secrets of the example stacks, which protect nothing."""
_UNUSED_PORT: Final = 9


@dataclass(frozen=True)
class SecretNames:
    """Stack secrets that a twin makes for itself where the stack file leaves them out, by what they are.

    ``keys``: of the operator and of clients. ``kubeconfig``: ``None`` where the cluster is the stack's own, or a file.
    """

    kubeconfig: str | None
    keys: tuple[str, ...]


@dataclass(frozen=True)
class TwinStack:
    """``state_dir``: everything that this stack's twin keeps on disk."""

    name: str
    project: Project
    state_dir: Path

    @property
    def secrets_dir(self) -> Path:
        return self.state_dir / "secrets"

    @cached_property
    def passphrase(self) -> str:
        """From the environment; else the example's for a file with secrets, else one made for this twin."""
        given = self._given_passphrase()
        return _kept(self.state_dir / "passphrase", _token) if given is None else given

    @cached_property
    def config(self) -> StackConfig:
        """What the stack file says. Raises :class:`spillway.twin.deployer.api.ConfigError`."""
        # A file without secrets needs no passphrase, so that reading it makes none.
        return read_stack_config(self.project, self.name, self._given_passphrase() or "")

    def _given_passphrase(self) -> str | None:
        if (given := given_passphrase()) is not None:
            return given
        path = self.project.stack_file(self.name)
        has_secrets = path.is_file() and "encryptionsalt:" in path.read_text(encoding="utf-8")
        return EXAMPLE_PASSPHRASE if has_secrets else None

    def secret(self, name: str) -> str:
        """A stack secret's value, from the stack file or of the twin's own making. Empty when there is none."""
        path = self.secret_file(name)
        made = path.read_text(encoding="utf-8") if path else ""
        return self.config.values.get(_key(name), made)

    def secret_file(self, name: str) -> Path | None:
        """Where a secret of the twin's own making lies."""
        path = self.secrets_dir / name
        return path if path.is_file() else None

    def make_secrets(self, names: SecretNames, kubernetes: str) -> dict[str, str]:
        """What the stack file leaves out of ``names``, by config key. Made once, then kept. ``kubernetes``: the
        stand-in's base URL."""
        from spillway.twin.kubernetes.kubeconfig import kubeconfig

        made = {
            _key(name): _kept(self.secrets_dir / name, _token)
            for name in names.keys
            if _key(name) not in self.config.values
        }
        if names.kubeconfig is not None and _key(names.kubeconfig) not in self.config.values:
            made[_key(names.kubeconfig)] = kubeconfig(kubernetes)
        return made

    @property
    def checkpoint(self) -> Path | None:
        """The embedded deployer's, where it has deployed."""
        path = self.state_dir / f"{self.name}.json"
        return path if path.is_file() else None

    def known_endpoints(self) -> Mapping[str, str]:
        """Where the twin's emulated providers were last: for a preview, which only needs names."""
        ports = known_ports(self.state_dir)
        names = ("aws", "azure", "kubernetes")
        return {name: f"http://127.0.0.1:{ports.get(f'control/{name}', _UNUSED_PORT)}" for name in names}


def _key(name: str) -> str:
    return f"{SECRETS_NAMESPACE}:{name}"


def _token() -> str:
    return secrets.token_urlsafe(24)


def _kept(path: Path, make: Callable[[], str]) -> str:
    """The content of a file that only its owner can read, made at the first call."""
    if not path.is_file():
        write_private(path, make())
        path.parent.chmod(0o700)
    return path.read_text(encoding="utf-8")
