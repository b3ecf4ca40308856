"""Drives the Pulumi CLI onto stand-ins: file backend, stand-ins attached over the provider protocol.

The user's files are left alone: the CLI works on a copy of the stack file, in the state folder, with a salt added where
the original has none, and with the secrets that the caller brings.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from spillway.contracts.pulumi_yaml import dump, load
from spillway.contracts.resources import Policies
from spillway.twin.deployer.api import (
    ConfigError,
    DeployerError,
    Event,
    InterruptedUpError,
    OnEvent,
    Op,
    PreviewResult,
    Resource,
    Step,
    UpResult,
)
from spillway.twin.deployer.checkpoint import Checkpoint, Snapshot, exclusive, provider_urn
from spillway.twin.deployer.crypto import Crypter, new_salt
from spillway.twin.deployer.goal import PROVIDER_PREFIX, STACK_TYPE, property_changes
from spillway.twin.deployer.language_host import UNHANDLED, language_host
from spillway.twin.deployer.policy import refuse_violations
from spillway.twin.deployer.project import read_project, read_stack_config
from spillway.twin.deployer.providers import StandIns
from spillway.twin.provider import Properties, StandIn
from spillway.twin.provider_values import from_signed

_OPS: Final[dict[str, Op]] = {
    "create": "create",
    "import": "create",
    "update": "update",
    "replace": "replace",
    "delete": "delete",
    "same": "same",
    "read": "read",
    "refresh": "refresh",
    "discard": "forget",
}
# What is really done, and how the embedded deployer calls it.
_ACTIONS: Final[dict[str, str]] = {
    "create": "create",
    "update": "update",
    "delete": "delete",
    "create-replacement": "replace",
    "delete-replaced": "delete",
}
Result = TypeVar("Result", bound=PreviewResult)


class PulumiCli:
    """Same methods and results as the embedded deployer; needs ``pulumi`` on PATH."""

    kind: Literal["pulumi"] = "pulumi"

    def __init__(
        self,
        project_dir: Path,
        stack: str,
        state_dir: Path,
        stand_ins: Sequence[StandIn],
        passphrase: str,
        *,
        on_event: OnEvent | None = None,
        policies: Policies | None = None,
        parallel: int = 16,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        self.stack = stack
        self.state_dir = state_dir.resolve()
        self._project = read_project(project_dir)
        self._stand_ins = tuple(stand_ins)
        self._passphrase = passphrase
        self._on_event: OnEvent = on_event or (lambda event: None)
        self._policies = policies
        self._parallel = parallel
        self._secrets = dict(secrets or {})

    def preview(self) -> PreviewResult:
        result = self._deploy(PreviewResult, "preview")
        refuse_violations(self._policies, result.resources, self._on_event)
        return result

    def up(self, *, refresh: bool = False) -> UpResult:
        with self._exclusive():
            self.preview()
            asked = ["--refresh"] if refresh else []
            return self._deploy(UpResult, "up", "--yes", "--skip-preview", *asked)

    def refresh(self) -> UpResult:
        with self._exclusive():
            return self._deploy(UpResult, "refresh", "--yes", "--skip-preview", "--clear-pending-creates")

    def destroy(self, *, keep_protected: bool = False) -> UpResult:
        with self._exclusive():
            # The CLI would find out half-way.
            protected = [f"{r.type} {r.name!r} is protected" for r in self.resources() if r.protect]
            if protected and not keep_protected:
                raise DeployerError("Nothing was deleted: take the protection away first, or keep these.", protected)
            asked = ["--exclude-protected"] if keep_protected else []
            return self._deploy(UpResult, "destroy", "--yes", "--skip-preview", *asked)

    def outputs(self) -> Properties:
        return next((state.outputs for state in self._snapshot().resources if state.type == STACK_TYPE), {})

    def resources(self) -> tuple[Resource, ...]:
        from spillway.twin.deployer.deployment import as_resource

        return tuple(as_resource(state) for state in self._snapshot().resources if not state.delete)

    def export(self) -> dict[str, Any]:
        self._select()
        return json.loads(self._run("stack", "export", "--stack", self.stack))

    def import_(self, deployment: dict[str, Any]) -> None:
        with self._exclusive():
            self._select()
            self._run("stack", "import", "--stack", self.stack, stdin=json.dumps(deployment))

    # --- the CLI -------------------------------------------------------------------------------------------------

    def _deploy(self, kind: type[Result], command: str, *arguments: str) -> Result:
        begun = time.monotonic()
        read_stack_config(self._project, self.stack, self._passphrase, self._secrets)
        self._select()
        self._on_event(Event("phase", message="update" if command == "up" else command))
        told = _Told(self._on_event, silent=kind is PreviewResult)
        with self._attached() as environment:
            asked = ["--stack", self.stack, "--config-file", str(self._stack_file()), "--json"]
            code, stderr = self._stream(
                [command, *asked, "--parallel", str(self._parallel), *arguments], environment, told
            )
        if code != 0:
            said = told.errors or [stderr.strip() or f"pulumi {command} ended with exit code {code}"]
            kind_of_error = ConfigError if told.program_refused else DeployerError
            details = "\n".join(told.program_output)
            raise kind_of_error(f"The {command} of {self.stack!r} failed.", said, details)
        if kind is PreviewResult:
            return kind(tuple(told.steps.values()), told.planned(), told.outputs, time.monotonic() - begun)
        return kind(tuple(told.steps.values()), self.resources(), self.outputs(), time.monotonic() - begun)

    def _stream(self, command: list[str], environment: dict[str, str], told: _Told) -> tuple[int, str]:
        errors = self.state_dir / "pulumi.err"
        with errors.open("w+") as stderr:
            process = subprocess.Popen(
                self._command(*command), env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    if line.startswith("{"):
                        told.event(json.loads(line))
            except KeyboardInterrupt:
                # The CLI got the signal too, and saves what it has.
                process.wait()
                raise InterruptedUpError("Interrupted. What was running is finished and saved.") from None
            process.wait()
            stderr.seek(0)
            return process.returncode, stderr.read()

    def _run(self, *arguments: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            self._command(*arguments), env=self._environment(), input=stdin, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise DeployerError(
                f"pulumi {' '.join(arguments[:2])} failed: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout

    def _command(self, *arguments: str) -> list[str]:
        return ["pulumi", "--non-interactive", "--color", "never", "--cwd", str(self._project.root), *arguments]

    def _environment(self) -> dict[str, str]:
        self.state_dir.mkdir(parents=True, exist_ok=True)
        return {
            **os.environ,
            "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
            "PULUMI_BACKEND_URL": f"file://{self.state_dir}",
            "PULUMI_HOME": str(self.state_dir / "home"),
            "PULUMI_CONFIG_PASSPHRASE": self._passphrase,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "true",
        }

    @contextmanager
    def _attached(self) -> Iterator[dict[str, str]]:
        from spillway.twin.protocol import debug_providers, serve

        with serve(self._stand_ins, self._project.working_dir) as ports:
            environment = {**self._environment(), **StandIns(self._stand_ins).environment}
            with language_host(self._project.program, environment) as languages:
                yield {
                    **environment,
                    "PULUMI_DEBUG_PROVIDERS": debug_providers(ports),
                    "PULUMI_DEBUG_LANGUAGES": languages,
                }

    def _select(self) -> None:
        """Make the stack in the backend, once. The CLI would add a salt to the stack file: that is undone."""
        backend = self.state_dir / ".pulumi" / "stacks" / self._project.name / f"{self.stack}.json"
        if backend.exists():
            return
        path = self._project.stack_file(self.stack)
        before = path.read_bytes()
        try:
            self._run("stack", "init", self.stack, "--no-select", "--secrets-provider", "passphrase")
        finally:
            path.write_bytes(before)

    def _stack_file(self) -> Path:
        described = load(self._project.stack_file(self.stack).read_text(encoding="utf-8-sig")) or {}
        if "encryptionsalt" not in described:
            described["encryptionsalt"] = self._salt()
        crypter = Crypter(self._passphrase, described["encryptionsalt"])
        sealed = {key: {"secure": crypter.encrypt(value)} for key, value in self._secrets.items()}
        described["config"] = {**(described.get("config") or {}), **sealed}
        copied = self.state_dir / f"Pulumi.{self.stack}.yaml"
        copied.write_text(dump(described), encoding="utf-8")
        copied.chmod(0o600)
        return copied

    def _salt(self) -> str:
        kept = self.state_dir / f"{self.stack}.salt"
        if not kept.exists():
            kept.write_text(new_salt(self._passphrase))
        return kept.read_text()

    def _snapshot(self) -> Snapshot:
        checkpoint = Checkpoint(self.state_dir / "export.json", self._passphrase, None, self._project.working_dir)
        return checkpoint.parse(self.export())

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with exclusive(self.state_dir / f"{self.stack}.lock"):
            yield


class _Told:
    """What the CLI's event stream says."""

    def __init__(self, on_event: OnEvent, *, silent: bool) -> None:
        self._silent = silent
        self.steps: dict[str, Step] = {}
        self.errors: list[str] = []
        self.program_output: list[str] = []
        self._failed: list[str] = []
        self.outputs: Properties = {}
        self._planned: dict[str, Resource] = {}
        self._on_event = on_event

    @property
    def program_refused(self) -> bool:
        """Whether nothing failed but the program, and that on purpose (``pulumi.RunError``)."""
        own = all(f"::{STACK_TYPE}::" in urn for urn in self._failed if urn)
        return bool(self.errors) and own and not any(UNHANDLED in error for error in self.errors)

    def planned(self) -> tuple[Resource, ...]:
        return tuple(self._planned.values())

    def event(self, event: dict[str, Any]) -> None:
        if "diagnosticEvent" in event:
            self._diagnostic(event["diagnosticEvent"])
        elif "resourcePreEvent" in event:
            self._step(event["resourcePreEvent"]["metadata"], "started")
        elif "resOutputsEvent" in event:
            self._step(event["resOutputsEvent"]["metadata"], "done")
        elif "resOpFailedEvent" in event:
            self._step(event["resOpFailedEvent"]["metadata"], "failed")

    def _diagnostic(self, diagnostic: dict[str, Any]) -> None:
        severity, message = diagnostic["severity"], diagnostic["message"].strip()
        where = diagnostic.get("urn", "")
        if severity == "error":
            self._failed.append(where)
            name = "::".join(where.split("::")[2:]).replace("::", " ")
            self.errors.append(f"{name}: {message}" if name else message)
        if severity == "info#err":
            self.program_output.append(diagnostic["message"].rstrip())
        if severity in ("error", "warning", "info", "info#err") and message:
            self._on_event(Event("log", message=message, urn=where))

    def _step(self, said: dict[str, Any], kind: Literal["started", "done", "failed"]) -> None:
        urn, type_ = said["urn"], said["type"]
        name = urn.rsplit("::", 1)[1]
        old, new = said.get("old") or {}, said.get("new") or {}
        if new and said["op"] not in ("delete", "delete-replaced"):
            self._planned[urn] = _resource(new)
            if type_ == STACK_TYPE and kind == "done":
                self.outputs = self._planned[urn].outputs
        custom = bool((new or old).get("custom", False))
        if custom and not self._silent and said["op"] in _ACTIONS and not type_.startswith(PROVIDER_PREFIX):
            self._on_event(Event(kind, op=_ACTIONS[said["op"]], urn=urn, type=type_, name=name))
        if type_.startswith(PROVIDER_PREFIX) and name.startswith("default"):
            return
        op = _OPS.get(said["op"])
        if op is None:
            return
        changed = tuple(said.get("diffs") or ())
        replaces = tuple(said.get("keys") or ()) if op == "replace" else ()
        diff = property_changes(_values(old.get("inputs")), _values(new.get("inputs")), changed)
        self.steps[urn] = Step(urn, type_, name, op, changed, replaces, diff, custom)


def _resource(state: dict[str, Any]) -> Resource:
    return Resource(
        urn=state["urn"],
        type=state["type"],
        name=state["urn"].rsplit("::", 1)[1],
        custom=state.get("custom", False),
        id=state.get("id") or None,
        inputs=_values(state.get("inputs")),
        outputs=_values(state.get("outputs")),
        parent=state.get("parent", ""),
        provider=provider_urn(state.get("provider", "")),
        protect=state.get("protect", False),
    )


def _values(values: dict[str, Any] | None) -> Properties:
    """Decode an event's properties. Secrets are masked by the CLI."""
    return {key: from_signed(value, Path("/"), lambda sealed: sealed) for key, value in (values or {}).items()}
