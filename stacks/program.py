"""From Pulumi's config to a composed site. Everything is checked before the first resource is registered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime import config as runtime_config

from components.burst.site import BurstSite
from components.private_cluster.settings import ExistingSettings
from components.sdk_speed import leave_alias_urns_to_the_engine
from spillway.contracts.manifest import Manifest, PackageError, verify_package
from spillway.contracts.names import SECRETS_NAMESPACE
from spillway.contracts.problems import Problem, key_of
from spillway.contracts.pulumi_yaml import load, stack_file_lines
from stacks.cluster import kubeconfig_file
from stacks.engines import chosen_engines
from stacks.errors import StackConfigError
from stacks.package import Package
from stacks.pricing import stale_prices
from stacks.rules import problems_with_canary, problems_with_package
from stacks.settings import StackSettings
from stacks.sites import burst_sites
from stacks.stack_file import read_settings


def deploy() -> dict[str, Any]:
    """Register the stack's resources and return its outputs.

    Raises ``pulumi.RunError`` with one line for each thing that is wrong with the stack file.
    """
    root = Path(pulumi.get_root_directory())
    config = {**runtime_config.get_config_env(), **runtime_config.CONFIG.get()}
    prefix = f"{SECRETS_NAMESPACE}:"
    names = frozenset(key.removeprefix(prefix) for key in config if key.startswith(prefix))
    try:
        hidden = frozenset(key for key in config if runtime_config.is_config_secret(key))
        settings = read_settings(config, names, hidden, pulumi.get_stack())
        sites = burst_sites(settings)
        _need_kubeconfig(settings, root)
        package = _package(settings, sites, root)
    except StackConfigError as error:
        raise pulumi.RunError(_about_the_file(error, root)) from None
    for price in stale_prices(settings, sites, date.today()):
        name, read = " ".join(price.key), f"is of {price.as_of or price.read_on}"
        pulumi.log.warn(f"the price of {name} {read}: `spillway prices refresh --write` reads it anew")
    # Provider SDKs are imported only now, so that a faulty stack file is refused at once.
    from stacks.hybrid import compose

    leave_alias_urns_to_the_engine()
    secrets = {name: pulumi.Config(SECRETS_NAMESPACE).require_secret(name) for name in names}
    return compose(settings, pulumi.get_stack(), package, secrets, root, sites)


def _about_the_file(error: StackConfigError, root: Path) -> str:
    """With the lines of keys, where the project's own file is what was read."""
    described = load((root / "Pulumi.yaml").read_text(encoding="utf-8-sig"))
    file = root / described.get("stackConfigDir", ".") / f"Pulumi.{pulumi.get_stack()}.yaml"
    return error.about(file.name, stack_file_lines(file.read_text(encoding="utf-8-sig")) if file.is_file() else None)


def _need_kubeconfig(settings: StackSettings, root: Path) -> None:
    cluster = settings.private_cluster
    if not isinstance(cluster, ExistingSettings) or cluster.kubeconfig_path is None:
        return
    if not kubeconfig_file(root, cluster.kubeconfig_path).is_file():
        advice = f"there is no such file; give a path relative to {root}, or use kubeconfig_secret"
        raise StackConfigError(
            [Problem(key_of("private_cluster.kubeconfig_path"), repr(cluster.kubeconfig_path), advice)]
        )


def _package(settings: StackSettings, sites: Sequence[BurstSite], root: Path) -> Package:
    path, manifest = _verified("package.path", root, settings.package.path)
    if problems := problems_with_package(settings, sites, manifest):
        raise StackConfigError(problems)
    engines = chosen_engines(settings, sites, manifest, path)
    return Package(manifest, path, engines, _canary(settings, manifest, root))


def _canary(settings: StackSettings, serving: Manifest, root: Path) -> Package | None:
    chosen = settings.model_server.canary
    if chosen is None:
        return None
    path, manifest = _verified("model_server.canary.package", root, chosen.package)
    if problems := problems_with_canary(settings, serving, manifest):
        raise StackConfigError(problems)
    return Package(manifest, path)


def _verified(key: str, root: Path, given: str) -> tuple[Path, Manifest]:
    try:
        return root / given, verify_package(root / given)
    except PackageError as error:
        raise StackConfigError([Problem(key_of(key), repr(given), f"{error} Run `spillway package`.")]) from None
