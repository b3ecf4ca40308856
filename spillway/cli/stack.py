"""A stack as the command line sees it: its files, its passphrase, and the secrets that a twin makes for itself."""

from __future__ import annotations

import json
import os
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from spillway.cli.errors import WRONG_CONFIG, CommandError
from spillway.engine.project import Project, StackConfig, read_project, read_stack_config
from spillway.twin.private_files import write_private

SECRETS_NAMESPACE: Final = "spillway-secrets"
EXAMPLE_PASSPHRASE: Final = "spillway-example"
"""Opens the secrets of the example stacks, which protect nothing."""
_UNUSED_PORT: Final = 9


@dataclass(frozen=True)
class Stack:
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
        if "PULUMI_CONFIG_PASSPHRASE" in os.environ:
            return os.environ["PULUMI_CONFIG_PASSPHRASE"]
        path = self.project.stack_file(self.name)
        if path.is_file() and "encryptionsalt:" in path.read_text(encoding="utf-8"):
            return EXAMPLE_PASSPHRASE
        return _kept(self.state_dir / "passphrase", lambda: secrets.token_urlsafe(24))

    @cached_property
    def config(self) -> StackConfig:
        """What the stack file says. Raises :class:`spillway.engine.api.ConfigError`."""
        return read_stack_config(self.project, self.name, self.passphrase)

    def setting(self, *path: str) -> Any:
        """A value of the stack file, e.g. ``setting("private_cluster", "kind")``; ``None`` where there is none."""
        text = self.config.values.get(f"{self.project.name}:{path[0]}")
        try:
            value = json.loads(text) if text is not None else None
        except ValueError:
            value = text
        for key in path[1:]:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    @property
    def has_processes(self) -> bool:
        """Whether the twin can run what this stack deploys: its private site is a cluster that is already there.

        On a cluster that the stack itself makes, twelve model servers would share this machine: resources only.
        """
        return self.setting("private_cluster", "kind") == "existing"

    @property
    def package_path(self) -> Path | None:
        given = self.setting("package", "path")
        return self.project.root / given if isinstance(given, str) else None

    def secret(self, name: str) -> str:
        """A stack secret's value, from the stack file or of the twin's own making. Empty when there is none."""
        return self.twin_secrets("").get(_key(name)) or self.config.values.get(_key(name), "")

    def secret_file(self, name: str) -> Path | None:
        """Where a secret of the twin's own making lies."""
        path = self.secrets_dir / name
        return path if path.is_file() else None

    def twin_secrets(self, kubernetes: str) -> dict[str, str]:
        """Secrets for a stack that leaves them to the twin, by config key. Made once, then kept.

        Such a stack names a kubeconfig secret that its file does not hold. ``kubernetes``: the stand-in's base URL.
        """
        kubeconfig_name = self.setting("private_cluster", "kubeconfig_secret")
        if not self.has_processes or not isinstance(kubeconfig_name, str):
            return {}
        if _key(kubeconfig_name) in self.config.values:
            return {}
        from spillway.twin.kubernetes.kubeconfig import kubeconfig

        made = {_key(name): _kept(self.secrets_dir / name, make) for name, make in self._generated().items()}
        made = {key: value for key, value in made.items() if key not in self.config.values}
        return {**made, _key(kubeconfig_name): kubeconfig(kubernetes)}

    def _generated(self) -> dict[str, Callable[[], str]]:
        """The keys that the stack names, and how each is made."""
        clients = self.setting("gateway", "clients")
        keys = [client.get("key_secret") for client in clients or () if isinstance(client, dict)]
        names = [name for name in [self.operator_key_name, *keys] if isinstance(name, str) and name]
        made: dict[str, Callable[[], str]] = dict.fromkeys(names, lambda: secrets.token_urlsafe(24))
        reader = self.setting("cost_guard", "azure_reader_secret") or "azure_reader"
        made[str(reader)] = self._azure_reader
        return made

    @property
    def operator_key_name(self) -> str:
        return str(self.setting("gateway", "operator_key_secret") or "gateway_operator_key")

    def _azure_reader(self) -> str:
        reader = {"client_id": str(uuid.uuid4()), "client_secret": secrets.token_urlsafe(24)}
        return json.dumps({"tenant_id": str(self.setting("azure", "tenant_id") or uuid.UUID(int=0)), **reader})

    def client_key(self, request_class: str) -> str:
        """The key of a client that may send ``request_class``, empty when there is none."""
        clients = self.setting("gateway", "clients")
        for client in clients if isinstance(clients, list) else ():
            if isinstance(client, dict) and client.get("max_class") == request_class:
                return self.secret(str(client.get("key_secret")))
        return ""

    def known_endpoints(self) -> Mapping[str, str]:
        """Where the twin's emulated providers were last: for a preview, which only needs names."""
        try:
            ports = json.loads((self.state_dir / "ports.json").read_text())
        except (OSError, ValueError):
            ports = {}
        names = ("aws", "azure", "kubernetes")
        return {name: f"http://127.0.0.1:{ports.get(f'control/{name}', _UNUSED_PORT)}" for name in names}


def find_stack(name: str) -> Stack:
    """The stack of the project that encloses the working directory, else of the one this code lies in."""
    root = project_root()
    if not name or not all(letter.isalnum() or letter in "-_." for letter in name) or name.startswith("."):
        raise CommandError(f"--stack: {name!r}: allowed are letters, digits, '-', '_' and '.'", WRONG_CONFIG)
    if name == "packages":
        raise CommandError("--stack: 'packages' is the name of the package store; choose another", WRONG_CONFIG)
    return Stack(name, read_project(root), root / ".spillway" / name)


def project_root() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "Pulumi.yaml").is_file():
            return folder
    return Path(__file__).resolve().parents[2]


def _key(name: str) -> str:
    return f"{SECRETS_NAMESPACE}:{name}"


def _kept(path: Path, make: Callable[[], str]) -> str:
    """The content of a file that only its owner can read, made at the first call."""
    if not path.is_file():
        write_private(path, make())
        path.parent.chmod(0o700)
    return path.read_text(encoding="utf-8")
