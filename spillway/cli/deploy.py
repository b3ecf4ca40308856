"""``preview``, ``up``, ``status`` and ``down``: the program, an engine and the twin put together."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from spillway.cli.console import DeploymentProgress, Reporter
from spillway.cli.stack import Stack
from spillway.engine.api import Deployer, PreviewResult, UpResult
from spillway.engine.choose import EngineKind, choose_engine, owner_of
from spillway.twin.handle import TwinHandle, find_twin, start_twin, stop_twin
from spillway.twin.private_files import write_private
from spillway.twin.standin import StandIn
from spillway.twin.status import TwinStatus

_READY_TIMEOUT_S: Final = 120.0
_BOOT_IDS: Final = "boot-ids.json"


@dataclass(frozen=True)
class Up:
    """What an ``up`` came to. ``status``: ``None`` where only resources were deployed."""

    result: UpResult
    engine: EngineKind
    status: TwinStatus | None
    refreshed: bool
    seconds: float

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that keeps it from being whole: what cannot run here, and sites that are not ready."""
        if self.status is None:
            return ()
        told = self.status.problems
        waiting = [f"{s.name}: {s.state} {s.detail}".rstrip() for s in self.status.sites if _is_late(s.state, s.ready)]
        nothing = [] if any(site.ready for site in self.status.sites) else ["no site is ready"]
        return (*told, *waiting, *nothing)


@dataclass(frozen=True)
class Down:
    """``stopped``: whether a twin ran. ``forced``: processes that had to be ended one by one."""

    stopped: bool
    forced: tuple[str, ...]
    destroyed: UpResult | None
    purged: bool


def preview(stack: Stack, engine: EngineKind | None, reporter: Reporter) -> tuple[PreviewResult, EngineKind]:
    """Plan against what the stack's twin holds. Leaves no state behind where there was none."""
    with preview_stack(stack) as used, reporter.phase(f"preview of {stack.name}"):
        running = find_twin(stack.state_dir)
        endpoints = running.endpoints if running else used.known_endpoints()
        progress = DeploymentProgress(reporter)
        deployer = _deployer(used, endpoints, engine, progress)
        return deployer.preview(), deployer.kind


def plan_afresh(stack: Stack, reporter: Reporter, progress: DeploymentProgress) -> PreviewResult:
    """What the program would make from nothing, whatever stands. Needs no twin and runs no policies."""
    from spillway.engine.engine import Engine

    endpoints = stack.known_endpoints()
    secrets = stack.twin_secrets(endpoints["kubernetes"])
    with tempfile.TemporaryDirectory(prefix="spillway-check-") as folder, reporter.phase(f"plan of {stack.name}"):
        engine = Engine(
            stack.project.root,
            stack.name,
            Path(folder),
            _stand_ins(endpoints),
            stack.passphrase,
            on_event=progress,
            secrets=secrets,
        )
        return engine.preview()


def up(
    stack: Stack, engine: EngineKind | None, reporter: Reporter, *, refresh: bool = False, resources_only: bool = False
) -> Up:
    """Deploy on the twin and, where it can run them, start the processes and wait until they serve."""
    begun = time.monotonic()
    deployed_before = _deployed_before(stack)
    with_processes = stack.has_processes and not resources_only
    if with_processes:
        _need_tools()
    with _twin(stack, reporter) as twin:
        with reporter.phase(f"deployment of {stack.name}"):
            progress = DeploymentProgress(reporter)
            deployer = _deployer(stack, twin.endpoints, engine, progress)
            boots = _boot_ids(twin)
            forgotten = deployed_before and boots != _remembered(stack)
            result = deployer.up(refresh=refresh or forgotten)
            write_private(stack.state_dir / _BOOT_IDS, json.dumps(boots))
            progress.close()
        status = None
        if with_processes:
            with reporter.phase("model servers, gateways, cache and DNS"):
                status = twin.reconcile(_READY_TIMEOUT_S)
    return Up(result, deployer.kind, status, refresh or forgotten, time.monotonic() - begun)


def status(stack: Stack) -> TwinStatus | None:
    """How the twin stands, ``None`` when none runs."""
    twin = find_twin(stack.state_dir)
    return twin.status() if twin else None


def down(stack: Stack, reporter: Reporter, *, destroy: bool = False, purge: bool = False) -> Down:
    """Stop every process of the twin; ``destroy`` its resources first, ``purge`` what it keeps on disk."""
    destroyed = _destroy(stack, reporter) if destroy and _deployed_before(stack) else None
    running = find_twin(stack.state_dir) is not None
    forced = stop_twin(stack.state_dir) if stack.state_dir.is_dir() else []
    if purge:
        shutil.rmtree(stack.state_dir, ignore_errors=True)
    return Down(running or destroyed is not None, tuple(forced), destroyed, purge)


def _destroy(stack: Stack, reporter: Reporter) -> UpResult:
    with _twin(stack, reporter) as twin, reporter.phase(f"removal of {stack.name}"):
        progress = DeploymentProgress(reporter)
        deployer = _deployer(stack, twin.endpoints, None, progress)
        boots = _boot_ids(twin)
        if boots != _remembered(stack):
            deployer.refresh()
            write_private(stack.state_dir / _BOOT_IDS, json.dumps(boots))
        destroyed = deployer.destroy(keep_protected=True)
        progress.close()
        return destroyed


def _deployer(
    stack: Stack, endpoints: Mapping[str, str], engine: EngineKind | None, progress: DeploymentProgress
) -> Deployer:
    from spillway.cli.check import policies_of

    secrets = stack.twin_secrets(endpoints["kubernetes"])
    return choose_engine(
        stack.project.root,
        stack.name,
        stack.state_dir,
        _stand_ins(endpoints),
        stack.passphrase,
        kind=engine,
        on_event=progress,
        policies=policies_of(stack, secrets),
        secrets=secrets,
    )


def _stand_ins(endpoints: Mapping[str, str]) -> tuple[StandIn, ...]:
    from spillway.twin.aws.standin import AwsStandIn
    from spillway.twin.azure.standin import AzureStandIn
    from spillway.twin.kubernetes.standin import KubernetesStandIn

    return (
        AwsStandIn(endpoints["aws"]),
        AzureStandIn(endpoints["azure"]),
        KubernetesStandIn(endpoints["kubernetes"]),
    )


@contextmanager
def preview_stack(stack: Stack) -> Iterator[Stack]:
    """The stack to plan with: where it has no twin, one whose state goes away again."""
    if owner_of(stack.state_dir) is not None:
        yield stack
        return
    with tempfile.TemporaryDirectory(prefix="spillway-preview-") as folder:
        yield replace(stack, state_dir=Path(folder))


@contextmanager
def _twin(stack: Stack, reporter: Reporter) -> Iterator[TwinHandle]:
    """The stack's twin. One that had to be started is stopped again when the block fails."""
    running = find_twin(stack.state_dir)
    if running:
        yield running
        return
    with reporter.phase("emulated AWS, Azure and Kubernetes"):
        started = start_twin(stack.state_dir)
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


def _deployed_before(stack: Stack) -> bool:
    return owner_of(stack.state_dir) is not None


def _boot_ids(twin: TwinHandle) -> dict[str, str]:
    """A provider that was started anew has another one, and may have forgotten what it held."""
    found = {}
    for name, endpoint in twin.endpoints.items():
        with urllib.request.urlopen(f"{endpoint}/_spillway/health", timeout=10) as answer:
            found[name] = str(json.load(answer).get("boot_id", ""))
    return found


def _remembered(stack: Stack) -> dict[str, Any]:
    try:
        return json.loads((stack.state_dir / _BOOT_IDS).read_text())
    except (OSError, ValueError):
        return {}


def _is_late(state: str, ready: bool) -> bool:
    return not ready and state != "absent"
