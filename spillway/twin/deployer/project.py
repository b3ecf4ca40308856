"""The project on disk: ``Pulumi.yaml`` and the stack's config file, read as the Pulumi CLI reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spillway.contracts.names import SECRETS_NAMESPACE
from spillway.contracts.pulumi_yaml import PulumiYamlError, config_text, load
from spillway.twin.deployer.api import ConfigError, DeployerError
from spillway.twin.deployer.crypto import Crypter


@dataclass(frozen=True)
class Project:
    """``root``: where ``Pulumi.yaml`` is. ``program``: the folder (or file) that is run."""

    name: str
    root: Path
    program: Path
    config_dir: Path

    @property
    def working_dir(self) -> Path:
        """The program's working directory."""
        return self.program if self.program.is_dir() else self.program.parent

    def stack_file(self, stack: str) -> Path:
        return self.config_dir / f"Pulumi.{stack}.yaml"

    def stacks(self) -> list[str]:
        """Those that have a file."""
        return sorted(path.name.split(".")[1] for path in self.config_dir.glob("Pulumi.*.yaml"))


@dataclass(frozen=True)
class StackConfig:
    """A stack's config as a program gets it: strings (JSON for lists and maps) by full key, and which are secret."""

    values: dict[str, str]
    secret_keys: frozenset[str]
    salt: str | None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that must not show: what the file seals, and what stands among the stack's secrets in clear."""
        own = f"{SECRETS_NAMESPACE}:"
        return tuple(value for key, value in self.values.items() if key in self.secret_keys or key.startswith(own))

    def provider(self, package: str) -> dict[str, str]:
        """Settings of a default provider: the keys of its namespace."""
        start = f"{package}:"
        return {key[len(start) :]: value for key, value in self.values.items() if key.startswith(start)}

    def provider_secrets(self, package: str) -> frozenset[str]:
        start = f"{package}:"
        return frozenset(key[len(start) :] for key in self.secret_keys if key.startswith(start))


def read_project(root: Path) -> Project:
    """Read ``Pulumi.yaml``. Raises :class:`ConfigError` naming what is missing."""
    root = root.resolve()
    path = root / "Pulumi.yaml"
    if not path.is_file():
        raise ConfigError(f"{path}: there is no Pulumi.yaml in the project folder")
    described = _load(path)
    program = (root / described.get("main", ".")).resolve()
    entry = program / "__main__.py" if program.is_dir() else program
    if not entry.is_file():
        raise ConfigError(f"{path}: main: there is no program at {entry}")
    return Project(
        name=described["name"],
        root=root,
        program=program,
        config_dir=(root / described.get("stackConfigDir", ".")).resolve(),
    )


def need_stack_file(project: Project, stack: str) -> Path:
    """The stack's file. Raises :class:`ConfigError` where there is none."""
    path = project.stack_file(stack)
    if not path.is_file():
        there = ", ".join(project.stacks()) or "none"
        raise ConfigError(f"stack {stack!r} has no config file {path}. Stacks that have one: {there}.")
    return path


def read_stack_config(
    project: Project, stack: str, passphrase: str, secrets: Mapping[str, str] | None = None
) -> StackConfig:
    """Read and decrypt ``Pulumi.<stack>.yaml``; ``secrets`` (by full key) are laid over it.

    Raises :class:`ConfigError`: no such stack, or a wrong passphrase.
    """
    path = need_stack_file(project, stack)
    described = _load(path)
    salt = described.get("encryptionsalt")
    crypter = Crypter(passphrase, salt) if salt else None
    values: dict[str, str] = {}
    secret_keys: set[str] = set()
    for key, raw in (described.get("config") or {}).items():
        full = key if ":" in key else f"{project.name}:{key}"
        plain, secret = _decrypted(raw, crypter, f"{path.name}: {full}")
        values[full] = config_text(plain)
        if secret:
            secret_keys.add(full)
    given = secrets or {}
    return StackConfig({**values, **given}, frozenset({*secret_keys, *given}), salt)


def _load(path: Path) -> dict[str, Any]:
    try:
        loaded = load(path.read_text(encoding="utf-8-sig")) or {}
    except (PulumiYamlError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: must hold a mapping, holds a {type(loaded).__name__}")
    return loaded


def _decrypted(value: Any, crypter: Crypter | None, where: str) -> tuple[Any, bool]:
    if isinstance(value, dict) and set(value) == {"secure"} and isinstance(value["secure"], str):
        if crypter is None:
            raise ConfigError(f"{where}: a secure value needs the file's encryptionsalt, which is missing")
        try:
            return crypter.decrypt(value["secure"]), True
        except DeployerError as error:
            raise ConfigError(f"{where}: {error}") from None
    if isinstance(value, dict):
        found = {key: _decrypted(item, crypter, f"{where}.{key}") for key, item in value.items()}
        return {key: item for key, (item, _) in found.items()}, any(secret for _, secret in found.values())
    if isinstance(value, list):
        listed = [_decrypted(item, crypter, f"{where}[{index}]") for index, item in enumerate(value)]
        return [item for item, _ in listed], any(secret for _, secret in listed)
    return value, False
