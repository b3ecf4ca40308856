"""Stack files for tests: the examples, parsed, with secrets filled in and keys changed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from spillway.contracts.pulumi_yaml import config_text
from spillway.twin.deployer.api import OnEvent
from spillway.twin.deployer.embedded import EmbeddedDeployer
from stacks.rules.secrets import required_secrets
from stacks.stack_file import read_settings
from tests.support.paths import ROOT
from tests.support.salts import shared_salt

CONFIG_DIR = ROOT / "stacks" / "config"
PASSPHRASE = "spillway-example"
REMOVE = object()
"""As a new value: take the key away."""

KUBECONFIG = yaml.safe_dump(
    {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "test", "user": {}}],
    }
)


def example(stack: str) -> dict[str, Any]:
    """The ``config`` part of an example stack, without its secrets."""
    described = yaml.safe_load((CONFIG_DIR / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"))
    return {key: value for key, value in described["config"].items() if not key.startswith("spillway-secrets:")}


def secrets_for(config: dict[str, Any]) -> dict[str, str]:
    """A value for every secret that these settings name."""
    values = {
        "kubeconfig": KUBECONFIG,
        "mirror_login": '{"auths": {"registry.example.com": {"auth": "dXNlcjpwYXNzd29yZA=="}}}',
        "vpn_pre_shared_key": "shared_key_of_the_tests",
    }
    names = required_secrets(read_settings(flat(config)))
    return {f"spillway-secrets:{name}": values.get(name, f"the-{name}-of-the-tests") for name in names}


def flat(config: dict[str, Any]) -> dict[str, str]:
    """As Pulumi hands it to a program: structures as JSON text."""
    return {key: config_text(value) for key, value in config.items()}


def changed(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``config`` with new values at dotted keys, e.g. ``spillway:aws.region``; a number steps into a list."""
    config = copy.deepcopy(config)
    for key, value in changes.items():
        *parents, last = key.split(".")
        at: Any = config
        for part in parents:
            at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
        if value is REMOVE:
            del at[last]
        else:
            at[int(last) if isinstance(at, list) else last] = value
    return config


def project(folder: Path, config: dict[str, Any], stack: str = "test") -> Path:
    """A project folder that runs the real program on this config."""
    (folder / "config").mkdir(parents=True, exist_ok=True)
    described = {"name": "spillway", "main": str(ROOT / "stacks"), "stackConfigDir": "config", "runtime": "python"}
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(described))
    (folder / "config" / f"Pulumi.{stack}.yaml").write_text(
        yaml.safe_dump({"encryptionsalt": shared_salt(PASSPHRASE), "config": config})
    )
    return folder


def deployer(
    folder: Path, stand_ins: Sequence[Any], on_event: OnEvent | None = None, stack: str = "test"
) -> EmbeddedDeployer:
    """The embedded deployer on a folder that :func:`project` made."""
    return EmbeddedDeployer(folder, stack, folder / "state", stand_ins, PASSPHRASE, on_event=on_event)
