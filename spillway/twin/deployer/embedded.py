"""The embedded deployer: deploys a Pulumi program onto stand-ins, without the Pulumi CLI."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from spillway.contracts.resources import Policies
from spillway.twin.deployer.api import (
    ConfigError,
    DeployerError,
    Event,
    InterruptedUpError,
    OnEvent,
    PreviewResult,
    Resource,
    Step,
    UpResult,
)
from spillway.twin.deployer.checkpoint import (
    Checkpoint,
    Journal,
    Snapshot,
    State,
    UnwrittenJournal,
    exclusive,
    now,
    ordered,
)
from spillway.twin.deployer.goal import PROVIDER_PREFIX, STACK_TYPE, property_changes
from spillway.twin.deployer.policy import refuse_violations
from spillway.twin.deployer.project import StackConfig, read_project, read_stack_config
from spillway.twin.deployer.providers import StandIns
from spillway.twin.provider import Properties, StandIn, StandInError
from spillway.twin.provider_values import mark_secrets, unwrap

Result = TypeVar("Result", bound=PreviewResult)


class EmbeddedDeployer:
    """Drives one stack of a project. See :class:`spillway.twin.deployer.api.Deployer` for the methods.

    ``state_dir`` holds ``<stack>.json`` (the checkpoint, mode 0600) and its lock. ``policies`` see the plan before
    anything is created. ``parallel``: resources that are handled at once. ``secrets``: secret config by full key, laid
    over the stack file.
    """

    kind: Literal["embedded"] = "embedded"

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
        self._stand_ins = StandIns(stand_ins)
        self._passphrase = passphrase
        self._on_event: OnEvent = on_event or (lambda event: None)
        self._policies = policies
        self._parallel = parallel
        self._secrets = dict(secrets or {})

    def preview(self) -> PreviewResult:
        config = self._config()
        return self._preview(config, self._checkpoint(config).read())

    def up(self, *, refresh: bool = False) -> UpResult:
        config = self._config()
        with self._exclusive():
            checkpoint = self._checkpoint(config)
            snapshot = checkpoint.read()
            if refresh:
                snapshot = self._refreshed(checkpoint, self._recovered(checkpoint, snapshot)[0])[0]
            self._preview(config, snapshot)
            snapshot, redo = self._recovered(checkpoint, snapshot)
            return self._pass(config, Journal(checkpoint, snapshot), UpResult, redo=redo)

    def rehearse(self) -> UpResult:
        """``up`` from nothing, onto clouds that are thrown away: in one pass, and without a checkpoint.

        Policies are not asked. Where something is refused, a preview looks for what else would be.
        """
        config = self._config()
        try:
            return self._pass(config, UnwrittenJournal(self._checkpoint(config), Snapshot()), UpResult)
        except ConfigError:
            raise
        except DeployerError:
            self._pass(config, Journal(self._checkpoint(config), Snapshot()), PreviewResult)
            raise

    def refresh(self) -> UpResult:
        config = self._config()
        begun = time.monotonic()
        with self._exclusive():
            checkpoint = self._checkpoint(config)
            snapshot, steps = self._refreshed(checkpoint, self._recovered(checkpoint, checkpoint.read())[0])
        return _result(snapshot, steps, begun)

    def destroy(self, *, keep_protected: bool = False) -> UpResult:
        config = self._config()
        begun = time.monotonic()
        with self._exclusive():
            checkpoint = self._checkpoint(config)
            snapshot, _ = self._recovered(checkpoint, checkpoint.read())
            self._stand_ins.configure_from(snapshot.resources)
            journal = Journal(checkpoint, snapshot)
            deployment = self._deployment(config, journal, preview=False)
            kept = _kept(snapshot.resources) if keep_protected else set()
            self._phase("destroy")
            states = [state for state in snapshot.resources if state.delete or state.urn not in kept]
            self._watch(deployment, lambda: deployment.delete(states))
            journal.save()
            if deployment.failures:
                raise DeployerError(f"The destroy of {self.stack!r} did not finish.", deployment.failures)
            return _result(Snapshot(tuple(journal.states())), deployment.steps, begun)

    def outputs(self) -> Properties:
        for state in self._checkpoint(self._config()).read().resources:
            if state.type == STACK_TYPE:
                return state.outputs
        return {}

    def resources(self) -> tuple[Resource, ...]:
        from spillway.twin.deployer.deployment import as_resource

        states = self._checkpoint(self._config()).read().resources
        return tuple(as_resource(state) for state in states if not state.delete)

    def export(self) -> dict[str, Any]:
        raw = self._checkpoint(self._config()).read_raw()
        if raw is None:
            raise DeployerError(f"stack {self.stack!r} has not been deployed: there is nothing to export")
        return raw

    def import_(self, deployment: dict[str, Any]) -> None:
        with self._exclusive():
            checkpoint = self._checkpoint(self._config())
            Journal(checkpoint, checkpoint.parse(deployment)).save()

    # --- passes over the program ---------------------------------------------------------------------------------

    def _preview(self, config: StackConfig, snapshot: Snapshot) -> PreviewResult:
        """Plan, and let the policies see it. The journal is never written."""
        result = self._pass(config, Journal(self._checkpoint(config), snapshot), PreviewResult)
        refuse_violations(self._policies, result.resources, self._on_event)
        return result

    def _pass(
        self, config: StackConfig, journal: Journal, kind: type[Result], redo: frozenset[str] = frozenset()
    ) -> Result:
        from spillway.twin.deployer.monitor import EngineService, Monitor
        from spillway.twin.deployer.program import run_program

        begun = time.monotonic()
        preview = kind is PreviewResult
        self._phase("preview" if preview else "update")
        deployment = self._deployment(config, journal, preview=preview, redo=redo)
        service = EngineService(self._on_event)
        monitor = Monitor(deployment, self._project.working_dir)

        def run() -> None:
            with self._stand_ins.reached_by_the_program():
                run_program(
                    self._project, self.stack, config, monitor, service, preview=preview, parallel=self._parallel
                )
            if not deployment.failures and not service.errors and not deployment.cancelled.is_set():
                deployment.delete_unwanted()

        program_error: DeployerError | None = None
        try:
            self._watch(deployment, run)
        except InterruptedUpError:
            raise
        except DeployerError as error:
            program_error = error
        finally:
            if not preview:
                journal.save()
        failures = [*deployment.failures, *service.errors]
        if program_error is not None and not deployment.failures:
            raise program_error
        if failures:
            said = "nothing was created" if preview else "what was done is saved; the next up goes on from there"
            raise DeployerError(f"The {'preview' if preview else 'update'} of {self.stack!r} failed: {said}.", failures)
        return kind(deployment.steps, deployment.planned(), deployment.stack_outputs, time.monotonic() - begun)

    def _watch(self, deployment: Any, act: Any) -> None:
        """Run ``act`` in a thread, so that Ctrl-C can let the running steps finish and stop the rest."""
        raised: list[BaseException] = []
        ended = threading.Event()

        def guarded() -> None:
            try:
                act()
            except BaseException as error:
                raised.append(error)
            finally:
                ended.set()

        threading.Thread(target=guarded, name="deployment", daemon=True).start()
        try:
            # Not Thread.join: an interrupted join takes a living thread for ended (Python before 3.13).
            while not ended.wait(0.5):
                pass
        except KeyboardInterrupt:
            deployment.cancelled.set()
            self._phase("interrupted: finishing what is running")
            ended.wait()
            raise InterruptedUpError("Interrupted. What was running is finished and saved.") from None
        if raised:
            raise raised[0]

    def _deployment(
        self, config: StackConfig, journal: Journal, *, preview: bool, redo: frozenset[str] = frozenset()
    ) -> Any:
        from spillway.twin.deployer.deployment import Deployment

        return Deployment(
            project=self._project.name,
            stack=self.stack,
            config=config,
            stand_ins=self._stand_ins,
            journal=journal,
            preview=preview,
            on_event=self._on_event,
            parallel=self._parallel,
            policies=self._policies,
            redo=redo,
        )

    # --- after a crash -------------------------------------------------------------------------------------------

    def _recovered(self, checkpoint: Checkpoint, snapshot: Snapshot) -> tuple[Snapshot, frozenset[str]]:
        """Settle the operations that a killed run left, and say which resources have to be updated once more.

        A create is issued again with the very same inputs, which finds or makes the same resource; a delete is looked
        up; an update is repeated by the next pass.
        """
        if not snapshot.pending:
            return snapshot, frozenset()
        self._phase("recovery")
        self._stand_ins.configure_from(snapshot.resources)
        resources = list(snapshot.resources)
        for kind, started in snapshot.pending:
            if kind == "creating":
                resources = self._created_again(resources, started)
            elif kind == "deleting":
                resources = [state for state in resources if not self._was_deleted(state, started)]
        recovered = Snapshot(tuple(ordered(resources)))
        Journal(checkpoint, recovered).save()
        return recovered, frozenset(state.urn for kind, state in snapshot.pending if kind == "updating")

    def _created_again(self, resources: list[State], started: State) -> list[State]:
        try:
            stand_in = self._stand_ins.for_type(started.type, started.provider)
            made = stand_in.create(started.urn, started.type, unwrap(started.inputs))
        except StandInError:
            # The next pass asks for it anew, and says what is wrong if the cloud still refuses.
            return resources
        outputs = {key: mark_secrets(value, started.inputs.get(key)) for key, value in made.outputs.items()}
        adopted = replace(started, id=made.id, outputs=outputs, created=now(), modified=now())
        older = [
            replace(state, delete=True) if state.urn == started.urn and not state.delete else state
            for state in resources
            if not (state.urn == started.urn and state.pending_replacement)
        ]
        return [*older, adopted]

    def _was_deleted(self, state: State, started: State) -> bool:
        if (state.urn, state.id, state.delete) != (started.urn, started.id, started.delete):
            return False
        try:
            live = self._stand_ins.for_type(state.type, state.provider).read(
                state.type, state.id or "", state.for_stand_in()
            )
        except StandInError:
            return False
        return live is None

    # --- refresh -------------------------------------------------------------------------------------------------

    def _refreshed(self, checkpoint: Checkpoint, snapshot: Snapshot) -> tuple[Snapshot, tuple[Step, ...]]:
        self._phase("refresh")
        self._stand_ins.configure_from(snapshot.resources)
        with ThreadPoolExecutor(max_workers=self._parallel, thread_name_prefix="refresh") as pool:
            live = list(pool.map(self._live, snapshot.resources))
        steps = [_refresh_step(old, new) for old, new in zip(snapshot.resources, live, strict=True) if not old.delete]
        standing = [state for state in live if state is not None]
        refreshed = Snapshot(tuple(ordered(standing)))
        Journal(checkpoint, refreshed).save()
        return refreshed, tuple(steps)

    def _live(self, state: State) -> State | None:
        if not state.custom or state.type.startswith(PROVIDER_PREFIX) or state.pending_replacement:
            return state
        try:
            found = self._stand_ins.for_type(state.type, state.provider).read(
                state.type, state.id or "", state.for_stand_in()
            )
        except StandInError as error:
            raise DeployerError(f"{state.type} {state.name!r} cannot be read: {error}") from error
        if found is None:
            return None
        inputs = mark_secrets(found.inputs or unwrap(state.inputs), state.inputs)
        also_secret = {*state.additional_secret_outputs}
        from spillway.twin.deployer.deployment import secret_outputs

        outputs = secret_outputs(found.outputs, {**inputs, **state.outputs}, tuple(also_secret))
        if (unwrap(inputs), unwrap(outputs)) == (unwrap(state.inputs), unwrap(state.outputs)):
            return state
        return replace(state, id=found.id, inputs=inputs, outputs=outputs, modified=now())

    # --- helpers -------------------------------------------------------------------------------------------------

    def _config(self) -> StackConfig:
        return read_stack_config(self._project, self.stack, self._passphrase, self._secrets)

    def _checkpoint(self, config: StackConfig) -> Checkpoint:
        path = self.state_dir / f"{self.stack}.json"
        return Checkpoint(path, self._passphrase, config.salt, self._project.working_dir)

    def _phase(self, name: str) -> None:
        self._on_event(Event("phase", message=name))

    @contextmanager
    def _exclusive(self) -> Any:
        with exclusive(self.state_dir / f"{self.stack}.lock"):
            yield


def _result(snapshot: Snapshot, steps: tuple[Step, ...], begun: float) -> UpResult:
    from spillway.twin.deployer.deployment import as_resource

    standing = [state for state in snapshot.resources if not state.delete]
    outputs = next((state.outputs for state in standing if state.type == STACK_TYPE), {})
    return UpResult(steps, tuple(as_resource(state) for state in standing), outputs, time.monotonic() - begun)


def _refresh_step(old: State, new: State | None) -> Step:
    if new is None:
        return Step(old.urn, old.type, old.name, "delete", custom=old.custom)
    if new is old:
        return Step(old.urn, old.type, old.name, "same", custom=old.custom)
    keys = tuple(
        key
        for key in dict.fromkeys([*old.outputs, *new.outputs])
        if unwrap(old.outputs.get(key)) != unwrap(new.outputs.get(key))
    )
    diff = property_changes(old.outputs, new.outputs, keys)
    return Step(old.urn, old.type, old.name, "refresh", keys, (), diff, old.custom)


def _kept(states: Sequence[State]) -> set[str]:
    """URNs of what is protected, and of all that needs, as `pulumi destroy --exclude-protected` keeps them."""
    by_urn = {state.urn: state for state in states if not state.delete}
    waiting = [urn for urn, state in by_urn.items() if state.protect]
    kept: set[str] = set()
    while waiting:
        urn = waiting.pop()
        if urn not in kept and urn in by_urn:
            kept.add(urn)
            waiting.extend(by_urn[urn].needs())
    return kept
