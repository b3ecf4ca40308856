"""The stack that a command works on: its twin on disk, and what its file says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spillway.cli.errors import WRONG_CONFIG, CommandError
from spillway.contracts.pulumi_yaml import stack_file_lines
from spillway.twin.deployer.project import need_stack_file, read_project
from spillway.twin.stack import SecretNames, TwinStack

if TYPE_CHECKING:
    from components.burst.site import BurstSite
    from policies.plan import StackPolicies
    from spillway.contracts.classes import RequestClass
    from spillway.contracts.manifest import Manifest
    from spillway.planner.showback import Whose
    from spillway.twin.deploy import Brief
    from stacks.preconditions import Unmet
    from stacks.settings import StackSettings


class Stack(TwinStack):
    """Neither the twin knows what a stack file says, nor the stacks what a twin is: here they come together."""

    @cached_property
    def settings(self) -> StackSettings:
        """What the file says; whether its parts fit together is left to the program, which knows every secret.

        Raises :class:`CommandError` with each key at fault.
        """
        from stacks.stack_file import parse_settings

        with self._told_of_the_file():
            return parse_settings(self.config.values, self.config.secret_keys)

    @cached_property
    def checked_settings(self) -> StackSettings:
        """Settings whose parts fit together, for commands that run no program; secrets are not asked for.

        Raises :class:`CommandError` with each problem.
        """
        from stacks.stack_file import read_settings

        with self._told_of_the_file():
            return read_settings(self.config.values, hidden=self.config.secret_keys, stack=self.name)

    @cached_property
    def sites(self) -> tuple[BurstSite, ...]:
        """The burst sites that the stack has, in spill order."""
        from stacks.sites import burst_sites

        return burst_sites(self.settings)

    @property
    def host(self) -> str:
        """The name that clients use; empty where the file cannot be read, which keeps nobody from looking at a twin."""
        from spillway.twin.deployer.api import ConfigError

        try:
            return self.settings.dns.host
        except (CommandError, ConfigError):
            return ""

    def about(self) -> dict[str, str]:
        """What a report on the stack is about; a plan or a showback needs no package."""
        from spillway.contracts.manifest import PackageError
        from spillway.version import version

        try:
            manifest = self.manifest()
            package = f"{manifest.name} {manifest.version}"
        except PackageError:
            package = f"none at {self.settings.package.path} yet"
        return {"stack": f"{self.settings.name}-{self.name}", "package": package, "Spillway": version()}

    def aws_client(self, service: str, endpoint_url: str | None = None) -> Any:
        """By boto3. ``endpoint_url``: by default the running twin's, else AWS's own."""
        from spillway.planner.history import aws_client
        from spillway.twin.handle import find_twin

        twin = None if endpoint_url else find_twin(self.state_dir)
        return aws_client(service, self.checked_settings.aws.region, twin.endpoints["aws"] if twin else endpoint_url)

    def callers(self) -> Iterator[Whose]:
        """Whom the gateways know, of each class and from each place that answers."""
        from spillway.contracts.answer_cache import CACHED_SITE
        from spillway.contracts.classes import RequestClass, Site
        from spillway.contracts.manifest import PackageError
        from spillway.contracts.routing import ANONYMOUS, OPERATOR
        from spillway.planner.showback import Whose

        try:
            model = self.manifest().entry_model
        except PackageError:
            return
        gateway = self.settings.gateway
        cached = [CACHED_SITE] if gateway.cache else []
        for client in [*(one.name for one in gateway.clients), ANONYMOUS, OPERATOR]:
            for request_class in RequestClass:
                for site in [Site.PRIVATE, *(one.name for one in self.sites), *cached]:
                    yield Whose(client, str(request_class), model, str(site))

    def cost(self) -> dict[str, float]:
        """US dollars an hour of the GPU machines: by site at rest, their ``total``, and ``at_peak``."""
        from stacks.pricing import price_at_peak, price_per_hour

        at_peak = price_at_peak(self.settings, self.sites)
        return {**price_per_hour(self.settings, self.sites), "at_peak": at_peak}

    @property
    def azure_subscription(self) -> str:
        """Its ID, empty where the stack has nothing in Azure."""
        return self.settings.azure.subscription_id if self.settings.azure else ""

    @contextmanager
    def _told_of_the_file(self) -> Iterator[None]:
        from stacks.errors import StackConfigError

        try:
            yield
        except StackConfigError as error:
            lines = stack_file_lines(self.project.stack_file(self.name).read_text(encoding="utf-8-sig"))
            raise CommandError(error.about(str(self.file), lines), WRONG_CONFIG) from None

    def unmet(self) -> list[Unmet]:
        """What a cluster of somebody else's lacks for the stack; nothing is asked where the stack makes its own.

        Raises ``ClusterAccessError``.
        """
        from stacks.cluster_access import opened
        from stacks.preconditions import findings

        chosen = self.settings.private_cluster
        if chosen.kind != "existing":
            return []
        if chosen.kubeconfig_path:
            path = self.project.root / Path(chosen.kubeconfig_path).expanduser()
            text, folder = path.read_text(encoding="utf-8"), path.parent
        else:
            text, folder = self.secret(str(chosen.kubeconfig_secret)), None
        with opened(text, chosen.context, folder) as cluster:
            return findings(self.settings, f"{self.settings.name}-{self.name}", cluster)

    def taken(self) -> list[Unmet]:
        """What the stack would make in its AWS account, and which is there already. Asked with your own credentials."""
        from stacks.issuers import findings_in_account

        return findings_in_account(self.settings, f"{self.settings.name}-{self.name}")

    @property
    def file(self) -> Path:
        """The stack file, from the project's folder."""
        return Path(os.path.relpath(self.project.stack_file(self.name), self.project.root))

    def need_file(self) -> None:
        """Raises ``ConfigError`` naming the stacks that there are."""
        need_stack_file(self.project, self.name)

    def no_twin(self) -> CommandError:
        """To be raised where a twin is asked for. Raises ``ConfigError`` where ``up`` could start none either."""
        self.need_file()
        return CommandError(f"no twin of {self.name!r} runs; `spillway up -s {self.name}` starts one", WRONG_CONFIG)

    def policies(self, secrets: Iterable[str]) -> StackPolicies:
        """The policy pack as the stack configures it. ``secrets``: values of the stack's secrets."""
        from policies.plan import StackPolicies
        from stacks.stack_file import policy_context

        context = policy_context(self.settings, self.project.root)
        return StackPolicies(self.settings.policies, context).with_secrets(secrets)

    def brief(self, *, serve: bool = False) -> Brief:
        """What the twin is told. It runs what is deployed where the private site is a cluster that is there, and where
        it is to ``serve``: one model server a site, whatever a cluster of the stack's own would have.
        """
        from spillway.twin.deploy import Brief

        existing = self.settings.private_cluster.kind == "existing"
        return Brief(existing or serve, self._secrets_of_the_twin(), self.policies)

    def _secrets_of_the_twin(self) -> SecretNames:
        from stacks.rules.secrets import caller_keys

        cluster = self.settings.private_cluster
        kubeconfig = cluster.kubeconfig_secret if cluster.kind == "existing" else None
        return SecretNames(kubeconfig, tuple(caller_keys(self.settings)))

    def client_key(self, request_class: RequestClass) -> str:
        """The key of a client that may send ``request_class``, empty when there is none."""
        named = (client.key_secret for client in self.settings.gateway.clients if client.max_class == request_class)
        return next((self.secret(name) for name in named if name), "")

    def manifest(self) -> Manifest:
        """Of the package that the file names. Raises ``PackageError`` where there is none."""
        from spillway.contracts.manifest import read_manifest

        return read_manifest(self.project.root / self.settings.package.path)


def find_stack(name: str) -> Stack:
    """Of the project that encloses the working directory, else of the one this code lies in."""
    check_name(name)
    root = project_root()
    return Stack(name, read_project(root), root / ".spillway" / name)


def check_name(name: str, given_as: str = "--stack") -> None:
    """Raises :class:`CommandError` for what can be no stack: it becomes part of paths."""
    if not name or not all(letter.isalnum() or letter in "-_." for letter in name) or name.startswith("."):
        raise CommandError(f"{given_as}: {name!r}: allowed are letters, digits, '-', '_' and '.'", WRONG_CONFIG)
    if name == "packages":
        raise CommandError(f"{given_as}: 'packages' is the name of the package store; choose another", WRONG_CONFIG)


def project_root() -> Path:
    """The enclosing project, else the one this code lies in. Raises :class:`CommandError` where it lies in none, as
    what is installed does."""
    own = Path(__file__).resolve().parents[2]
    found = enclosing_project() or (own if (own / "Pulumi.yaml").is_file() else None)
    if found is None:
        lacks = f"neither {Path.cwd()} nor a folder above it has a Pulumi.yaml"
        raise CommandError(f"{lacks}. Begin a project here with `spillway init NAME`, or go to one.", WRONG_CONFIG)
    return found


def enclosing_project() -> Path | None:
    """The nearest folder with a ``Pulumi.yaml``, from the working directory upwards."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "Pulumi.yaml").is_file()), None)
