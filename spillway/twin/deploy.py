"""Plan, deploy and take down a stack on its twin: the program, a deployer and the emulated clouds put together."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from spillway.contracts.resources import Policies, Resource
from spillway.twin.deployer.api import Deployer, Event, PreviewResult, UpResult
from spillway.twin.deployer.checkpoint import exclusive
from spillway.twin.deployer.choose import DeployerKind, choose_deployer, owner_of
from spillway.twin.handle import KubernetesKind, TwinError, TwinHandle, find_twin, start_twin, stop_twin
from spillway.twin.ports import GATEWAY, choose_gateway_port, known_ports
from spillway.twin.private_files import write_private
from spillway.twin.provider import StandIn
from spillway.twin.stack import SecretNames, TwinStack
from spillway.twin.status import TwinStatus

_READY_TIMEOUT_S: Final = 120.0
_LOOK_AGAIN_S: Final = 0.5
_BOOT_IDS: Final = "boot-ids.json"
_CLUSTERS: Final[dict[KubernetesKind, str]] = {
    "stand-in": "emulated Kubernetes",
    "real": "a real Kubernetes control plane",
}


class Progress(Protocol):
    """Is told how far it is, by a deployer's events, too."""

    def __call__(self, event: Event) -> None: ...

    def phase(self, text: str) -> AbstractContextManager[None]:
        """``text`` goes on while the block runs."""
        ...

    def close(self) -> None:
        """The deployer is done."""
        ...


@dataclass(frozen=True)
class Brief:
    """What a twin is told of a stack by a caller who has read its file.

    ``has_processes``: whether the twin can run what is deployed. ``secrets``: what the file may leave to the twin;
    ``None`` where the stack makes its own cluster, or names a kubeconfig's path. ``policies``: the pack, made with the
    values of the stack's secrets.
    """

    has_processes: bool
    secrets: SecretNames | None
    policies: Callable[[Iterable[str]], Policies]


@dataclass(frozen=True)
class Rehearsed:
    """What would stand, as policies see it. ``secrets``: values of the stack's secrets."""

    resources: list[Resource]
    secrets: tuple[str, ...]


@dataclass(frozen=True)
class Up:
    """What an ``up`` came to. ``status``: ``None`` where only resources were deployed."""

    result: UpResult
    deployer: DeployerKind
    status: TwinStatus | None
    refreshed: bool
    seconds: float

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that keeps it from being whole: what cannot run here, and sites that are not ready."""
        if self.status is None:
            return ()
        told = self.status.problems
        waiting = [f"{s.name}: {s.state} {s.detail}".rstrip() for s in self.status.sites if s.late]
        nothing = [] if any(site.ready for site in self.status.sites) else ["no site is ready"]
        return (*told, *waiting, *nothing)


@dataclass(frozen=True)
class Down:
    """``stopped``: whether a twin ran. ``forced``: processes that had to be ended one by one."""

    stopped: bool
    forced: tuple[str, ...]
    destroyed: UpResult | None
    purged: bool


def preview(
    stack: TwinStack, brief: Brief, kind: DeployerKind | None, progress: Progress
) -> tuple[PreviewResult, DeployerKind]:
    """Plan against what the stack's twin holds. Leaves no state behind where there was none."""
    with _preview_stack(stack) as used, progress.phase(f"preview of {stack.name}"):
        running = find_twin(stack.state_dir)
        endpoints = running.endpoints if running else used.known_endpoints()
        deployer = _deployer(used, endpoints, kind, progress, brief)
        return deployer.preview(), deployer.kind


def rehearse(stack: TwinStack, brief: Brief, progress: Progress) -> Rehearsed:
    """Deploy the stack from nothing onto emulated clouds that are thrown away, whatever stands.

    So every value is known that a plan cannot know. What others may do meanwhile counts as done (delegate to a zone,
    make a Secret): rules name it. Runs no policies, and nothing of what is deployed. Raises ``DeployerError`` where a
    stand-in refuses something.
    """
    from spillway.twin.deployer.embedded import EmbeddedDeployer
    from spillway.twin.deployer.policy import plain_resources

    with tempfile.TemporaryDirectory(prefix="spillway-check-") as folder:
        used = replace(stack, state_dir=Path(folder))
        with _twin(used, progress) as twin, progress.phase(f"rehearsal of {stack.name}"):
            try:
                secrets = _made_secrets(used, twin.endpoints, brief)
                deployer = EmbeddedDeployer(
                    used.project.root,
                    used.name,
                    used.state_dir,
                    _stand_ins(twin.endpoints, others_help=True),
                    used.passphrase,
                    on_event=progress,
                    secrets=secrets,
                )
                made = deployer.rehearse()
                progress.close()
                return Rehearsed(plain_resources(made.resources), (*used.config.secrets, *secrets.values()))
            finally:
                twin.stop()


def up(
    stack: TwinStack,
    brief: Brief,
    kind: DeployerKind | None,
    progress: Progress,
    *,
    refresh: bool = False,
    resources_only: bool = False,
    port: int | None = None,
    kubernetes: KubernetesKind | None = None,
) -> Up:
    """Deploy on the twin and, where it can run them, start the processes and wait until they serve.

    ``port``: of the gateways. ``kubernetes``: by default as the twin runs, if one does, else the stand-in.
    """
    begun = time.monotonic()
    if port is not None:
        choose_gateway_port(stack.state_dir, port, find_twin(stack.state_dir) is not None)
    before = known_ports(stack.state_dir).get(GATEWAY)
    deployed_before = _deployed_before(stack)
    with_processes = brief.has_processes and not resources_only
    if with_processes:
        _need_tools()
    with _twin(stack, progress, kubernetes) as twin:
        with progress.phase(f"deployment of {stack.name}"):
            deployer = _deployer(stack, twin.endpoints, kind, progress, brief)
            boots = _boot_ids(twin)
            forgotten = deployed_before and boots != _remembered(stack)
            result = deployer.up(refresh=refresh or forgotten)
            write_private(stack.state_dir / _BOOT_IDS, json.dumps(boots))
            progress.close()
        status = None
        if with_processes:
            with progress.phase("model servers, gateways, cache and DNS"):
                status = twin.reconcile(_READY_TIMEOUT_S)
            after = known_ports(stack.state_dir).get(GATEWAY)
            if before not in (None, after):
                progress(Event("log", message=f"Port {before} was taken: the gateways are at {after} now."))
    return Up(result, deployer.kind, status, refresh or forgotten, time.monotonic() - begun)


def status(stack: TwinStack) -> TwinStatus | None:
    """How the twin stands, ``None`` when none runs."""
    twin = find_twin(stack.state_dir)
    return twin.status() if twin else None


def awaited_status(stack: TwinStack, within_s: float) -> TwinStatus | None:
    """The same, after everything serves or the seconds are over."""
    end = time.monotonic() + within_s
    while True:
        found = status(stack)
        if (found and found.whole) or time.monotonic() >= end:
            return found
        time.sleep(_LOOK_AGAIN_S)


def down(stack: TwinStack, progress: Progress, *, destroy: bool = False, purge: bool = False) -> Down:
    """Stop every process of the twin; ``destroy`` its resources first, ``purge`` what it keeps on disk."""
    destroyed = _destroy(stack, progress) if destroy and _deployed_before(stack) else None
    running = find_twin(stack.state_dir) is not None
    forced: list[str] = []
    if stack.state_dir.is_dir():
        with exclusive(stack.state_dir / f"{stack.name}.lock"):
            forced = stop_twin(stack.state_dir)
    if purge:
        shutil.rmtree(stack.state_dir, ignore_errors=True)
    return Down(running or destroyed is not None, tuple(forced), destroyed, purge)


def _destroy(stack: TwinStack, progress: Progress) -> UpResult:
    with _twin(stack, progress) as twin, progress.phase(f"removal of {stack.name}"):
        # What stands is in the checkpoint: neither the program nor its policies and secrets are asked.
        deployer = _deployer(stack, twin.endpoints, None, progress)
        boots = _boot_ids(twin)
        if boots != _remembered(stack):
            deployer.refresh()
            write_private(stack.state_dir / _BOOT_IDS, json.dumps(boots))
        destroyed = deployer.destroy(keep_protected=True)
        progress.close()
        return destroyed


def _deployer(
    stack: TwinStack,
    endpoints: Mapping[str, str],
    kind: DeployerKind | None,
    progress: Progress,
    brief: Brief | None = None,
) -> Deployer:
    secrets = _made_secrets(stack, endpoints, brief) if brief else {}
    return choose_deployer(
        stack.project.root,
        stack.name,
        stack.state_dir,
        _stand_ins(endpoints),
        stack.passphrase,
        kind=kind,
        on_event=progress,
        policies=brief.policies((*stack.config.secrets, *secrets.values())) if brief else None,
        secrets=secrets,
    )


def _made_secrets(stack: TwinStack, endpoints: Mapping[str, str], brief: Brief) -> dict[str, str]:
    return stack.make_secrets(brief.secrets, endpoints["kubernetes"]) if brief.secrets else {}


def _stand_ins(endpoints: Mapping[str, str], *, others_help: bool = False) -> tuple[StandIn, ...]:
    from spillway.twin.aws.standin import AwsStandIn
    from spillway.twin.azure.standin import AzureStandIn
    from spillway.twin.kubernetes.standin import PATIENCE_S, KubernetesStandIn

    return (
        AwsStandIn(endpoints["aws"], delegates=others_help),
        AzureStandIn(endpoints["azure"], endpoints["aws"]),
        KubernetesStandIn(endpoints["kubernetes"], patience_s=None if others_help else PATIENCE_S),
    )


@contextmanager
def _preview_stack(stack: TwinStack) -> Iterator[TwinStack]:
    """The stack to plan with: where it has no twin, one whose state goes away again."""
    if owner_of(stack.state_dir) is not None:
        yield stack
        return
    with tempfile.TemporaryDirectory(prefix="spillway-preview-") as folder:
        yield replace(stack, state_dir=Path(folder))


@contextmanager
def _twin(stack: TwinStack, progress: Progress, kubernetes: KubernetesKind | None = None) -> Iterator[TwinHandle]:
    """The stack's twin. One that had to be started is stopped again when the block fails."""
    running = find_twin(stack.state_dir)
    if running and kubernetes not in (None, running.kubernetes):
        raise TwinError(
            f"the twin of {stack.name} runs with {_CLUSTERS[running.kubernetes]}: end it first, with `spillway down`"
        )
    if running:
        yield running
        return
    chosen: KubernetesKind = kubernetes or "stand-in"
    if chosen == "real":
        from spillway.twin.kubernetes.real.programs import need_programs

        need_programs()
    with progress.phase(f"emulated AWS and Azure, and {_CLUSTERS[chosen]}"):
        started = start_twin(stack.state_dir, kubernetes=chosen)
    try:
        yield started
    except BaseException:
        started.stop()
        raise


def _need_tools() -> None:
    from spillway.twin.tools import ToolMissingError, missing_tools

    missing = missing_tools()
    if missing:
        raise ToolMissingError("\n".join(missing))


def _deployed_before(stack: TwinStack) -> bool:
    return owner_of(stack.state_dir) is not None


def _boot_ids(twin: TwinHandle) -> dict[str, str]:
    """A provider that was started anew has another one, and may have forgotten what it held."""
    found = {}
    for name, endpoint in twin.endpoints.items():
        with urllib.request.urlopen(f"{endpoint}/_spillway/health", timeout=10) as answer:
            found[name] = str(json.load(answer).get("boot_id", ""))
    return found


def _remembered(stack: TwinStack) -> dict[str, Any]:
    try:
        return json.loads((stack.state_dir / _BOOT_IDS).read_text())
    except (OSError, ValueError):
        return {}
