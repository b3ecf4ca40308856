"""One pass over a program's resources: decides each step and, unless it is a preview, takes it."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Any

from spillway.contracts.resources import Policies
from spillway.twin.deployer import goal as names
from spillway.twin.deployer.api import DeployerError, Event, OnEvent, Op, Resource, Step
from spillway.twin.deployer.checkpoint import Journal, Pending, State, now, provider_urn
from spillway.twin.deployer.goal import PROVIDER_PREFIX, STACK_TYPE, Goal
from spillway.twin.deployer.policy import refuse_resource
from spillway.twin.deployer.project import StackConfig
from spillway.twin.deployer.providers import StandIns
from spillway.twin.provider import UNKNOWN, Properties, ResourceState, Secret, StandIn, StandInError
from spillway.twin.provider_values import UNKNOWN_STRING, flatten_secrets, mark_secrets, unwrap


class StoppedError(Exception):
    """This pass is over: a resource failed, or it was cancelled."""


@dataclass(frozen=True)
class Registered:
    """The answer to a registration. ``failed``: go on, with every output unknown (previews only)."""

    urn: str
    id: str = ""
    outputs: Properties | None = None
    failed: bool = False


class Deployment:
    """A preview or an update in progress. ``register`` and the others are called from many threads."""

    def __init__(
        self,
        *,
        project: str,
        stack: str,
        config: StackConfig,
        stand_ins: StandIns,
        journal: Journal,
        preview: bool,
        on_event: OnEvent,
        parallel: int,
        policies: Policies | None = None,
        redo: frozenset[str] = frozenset(),
    ) -> None:
        self.stack_outputs: Properties = {}
        self.failures: list[str] = []
        self.cancelled = threading.Event()
        self._project = project
        self._stack = stack
        self._config = config
        self._stand_ins = stand_ins
        self._journal = journal
        self._preview = preview
        self._on_event = on_event
        self._parallel = parallel
        self._policies = policies
        self._redo = redo
        self._lock = threading.RLock()
        self._old = {state.urn: state for state in journal.states() if not state.delete}
        self._now: dict[str, State] = {}
        self._seen: set[str] = set()
        self._earlier: dict[str, str] = {}
        self._replaced_first: set[str] = set()
        self._steps: dict[tuple[str, str], Step] = {}

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(self._steps.values())

    def planned(self) -> tuple[Resource, ...]:
        """The resources as they stand (or would stand) after this pass."""
        return tuple(as_resource(state) for state in self._now.values())

    # --- what the program asks for -------------------------------------------------------------------------------

    def register(self, goal: Goal) -> Registered:
        """Settle one resource. Raises :class:`StoppedError` when the pass cannot go on."""
        self._go_on()
        urn = names.make_urn(self._stack, self._project, goal.parent, goal.type, goal.name)
        with self._lock:
            if urn in self._seen:
                raise self._fail(f"{_label(goal)}: two resources have this type, name and parent ({urn})")
            self._seen.add(urn)
            old = self._find_old(urn, goal)
        try:
            if not goal.custom:
                return self._component(urn, goal, old)
            if goal.type.startswith(PROVIDER_PREFIX):
                return self._provider(urn, goal, old)
            return self._resource(urn, goal, old)
        except (StandInError, DeployerError) as error:
            return self._failed(urn, goal, str(error))

    def register_outputs(self, urn: str, outputs: Properties) -> None:
        with self._lock:
            state = self._now[urn]
            settled = replace(state, outputs=outputs)
            self._now[urn] = settled
            if state.type == STACK_TYPE:
                self.stack_outputs = outputs
        if not self._preview:
            self._journal.settle(settled)

    def read(self, goal: Goal, id_: Any) -> Registered:
        """A resource that exists already and is not ours (``Type.get``)."""
        self._go_on()
        urn = names.make_urn(self._stack, self._project, goal.parent, goal.type, goal.name)
        with self._lock:
            self._seen.add(urn)
            old = self._old.get(urn)
        provider = self._provider_of(goal)
        if id_ is UNKNOWN:
            self._now[urn] = goal.state(urn, goal.inputs, provider)
            return Registered(urn, "", {})
        try:
            live = self._stand_ins.for_type(goal.type, provider).read(goal.type, str(id_), None)
        except StandInError as error:
            return self._failed(urn, goal, str(error))
        if live is None:
            return self._failed(urn, goal, f"there is nothing to read with the ID {id_!r}")
        state = replace(
            goal.state(urn, live.inputs, provider),
            id=live.id,
            external=True,
            outputs=secret_outputs(live.outputs, goal.inputs, goal.additional_secret_outputs),
        )
        self._settle(state, supersedes=old)
        self._record(state, "read")
        return Registered(urn, live.id, state.outputs)

    def invoke(self, token: str, package: str, args: Properties) -> Properties:
        """A provider function. Raises :class:`StandInError` as the stand-in does."""
        self._go_on()
        if package not in self._configured_packages():
            self._default_provider(package, "")
        return self._stand_ins.of(package).invoke(token, unwrap(args))

    # --- one resource --------------------------------------------------------------------------------------------

    def _component(self, urn: str, goal: Goal, old: State | None) -> Registered:
        state = replace(goal.state(urn, goal.inputs, ""), created=old.created if old else now())
        if old is not None:
            state = replace(state, outputs=old.outputs)
        same = old is not None and unwrap(old.inputs) == unwrap(goal.inputs)
        self._settle(state, supersedes=old)
        self._record(state, "same" if same else "update" if old else "create")
        return Registered(urn, "", {})

    def _provider(self, urn: str, goal: Goal, old: State | None) -> Registered:
        inputs = {**goal.inputs, "version": goal.version} if goal.version else goal.inputs
        self._stand_ins.configure(urn, goal.package, inputs)
        settled = self._settle_provider(goal.state(urn, inputs, ""), old)
        changed = _changed_keys(old.inputs, inputs) if old else ()
        op: Op = "create" if old is None else "update" if changed else "same"
        self._record(settled, op, old=old, changed=changed)
        return Registered(urn, settled.id or "", {**inputs})

    def _settle_provider(self, state: State, old: State | None) -> State:
        new_id = None if self._preview else str(uuid.uuid4())
        settled = replace(
            state,
            id=old.id if old else new_id,
            outputs=state.inputs,
            created=old.created if old else now(),
            modified=old.modified if old else now(),
        )
        self._settle(settled, supersedes=old)
        return settled

    def _resource(self, urn: str, goal: Goal, old: State | None) -> Registered:
        provider = self._provider_of(goal)
        stand_in = self._stand_ins.for_type(goal.type, provider)
        live = old if old is not None and not old.pending_replacement and not old.external else None
        wanted = names.keep_ignored(goal.inputs, live.inputs, goal.ignore_changes) if live else goal.inputs
        checked = self._check(urn, goal, stand_in, wanted, live, seed_from=old.id if old and not live else None)
        if isinstance(checked, Registered):
            return checked
        state = goal.state(urn, checked, provider)
        if not self._preview:
            # The plan was judged as a whole; what it could not know is known now.
            refuse_resource(self._policies, as_resource(state))
        if live is None:
            return self._create(stand_in, state, goal, old)

        previous = live.for_stand_in()
        diff = stand_in.diff(goal.type, previous, unwrap(checked), goal.ignore_changes)
        replaces = self._replaces(urn, goal, live, checked, diff.changed, diff.replaces)
        if replaces or urn in self._replaced_first:
            fresh = self._check(urn, goal, stand_in, wanted, None, seed_from=live.id)
            if isinstance(fresh, Registered):
                return fresh
            first = goal.delete_before_replace
            first = diff.delete_before_replace if first is None else first
            state = goal.state(urn, fresh, provider)
            changed = diff.changed or replaces
            return self._replace(stand_in, state, goal, live, changed, replaces, delete_first=first)
        if diff.changed or urn in self._redo:
            return self._update(stand_in, state, goal, live, diff.changed)
        return self._same(state, goal, live)

    def _check(
        self, urn: str, goal: Goal, stand_in: StandIn, wanted: Properties, live: State | None, seed_from: str | None
    ) -> Properties | Registered:
        """Checked inputs with their secret marks, or the answer to a registration that was refused."""
        known = unwrap(live.inputs) if live else None
        checked = stand_in.check(urn, goal.type, known, unwrap(wanted), _seed(urn, seed_from))
        if not checked.failures:
            return mark_secrets(checked.inputs, wanted)
        for failure in checked.failures:
            self._note(
                f"{_label(goal)}: {failure.path}: {failure.reason}"
                if failure.path
                else f"{_label(goal)}: {failure.reason}"
            )
        return self._answer_failure(urn, goal)

    def _replaces(
        self,
        urn: str,
        goal: Goal,
        live: State,
        checked: Properties,
        changed: tuple[str, ...],
        replaces: tuple[str, ...],
    ) -> tuple[str, ...]:
        """The stand-in's reasons to replace, and those of the program's ``replace_on_changes``."""
        if not goal.replace_on_changes or not changed:
            return replaces
        patterns = [names.parse_path(text) for text in goal.replace_on_changes]
        differences = names.property_changes(live.inputs, checked, changed)
        asked = {
            str(path[0])
            for path in (names.parse_path(difference.path) for difference in differences)
            if any(names.matches(pattern, path) for pattern in patterns)
        }
        return tuple(dict.fromkeys([*replaces, *sorted(asked)]))

    def _create(self, stand_in: StandIn, state: State, goal: Goal, old: State | None) -> Registered:
        op: Op = "replace" if old is not None and old.pending_replacement else "create"
        self._record(state, op)
        if self._preview:
            return self._foreseen(state, stand_in.preview(goal.type, None, unwrap(state.inputs)))
        made = self._create_in_cloud(stand_in, state, op)
        settled = self._made(state, made, created=now())
        self._finish_step("creating", state, settled, supersedes=old)
        return Registered(state.urn, made.id, settled.outputs)

    def _update(self, stand_in: StandIn, state: State, goal: Goal, live: State, changed: tuple[str, ...]) -> Registered:
        self._record(state, "update", old=live, changed=changed)
        previous = live.for_stand_in()
        if self._preview:
            outputs = stand_in.preview(goal.type, previous, unwrap(state.inputs))
            return self._foreseen(replace(state, id=live.id), outputs)
        started = replace(state, id=live.id, created=live.created)
        made = self._attempt(
            "updating",
            started,
            "update",
            lambda: stand_in.update(state.urn, state.type, previous, unwrap(state.inputs)),
        )
        settled = self._made(state, made, created=live.created)
        self._finish_step("updating", started, settled, supersedes=live)
        return Registered(state.urn, made.id, settled.outputs)

    def _same(self, state: State, goal: Goal, live: State) -> Registered:
        settled = replace(
            state,
            id=live.id,
            outputs=secret_outputs(live.outputs, state.inputs, goal.additional_secret_outputs),
            created=live.created,
            modified=live.modified,
        )
        self._settle(settled, supersedes=live)
        self._record(settled, "same")
        return Registered(state.urn, live.id or "", settled.outputs)

    def _replace(
        self,
        stand_in: StandIn,
        state: State,
        goal: Goal,
        live: State,
        changed: tuple[str, ...],
        replaces: tuple[str, ...],
        *,
        delete_first: bool,
    ) -> Registered:
        if live.protect:
            raise DeployerError("it is protected, and this change would replace it. Take the protection away first.")
        self._record(state, "replace", old=live, changed=changed, replaces=replaces)
        first = [*self._dependents_to_replace(live), live] if delete_first else []
        if self._preview:
            self._replaced_first.update(state.urn for state in first)
            return self._foreseen(state, stand_in.preview(goal.type, None, unwrap(state.inputs)))
        for doomed in first:
            pending = replace(doomed, pending_replacement=True)
            self._delete(doomed, instead=pending)
            with self._lock:
                self._old[doomed.urn] = pending
        made = self._create_in_cloud(stand_in, state, "replace")
        settled = self._made(state, made, created=now())
        if delete_first:
            self._finish_step("creating", state, settled, supersedes=self._old[state.urn])
        else:
            self._journal.swap(live, replace(live, delete=True))
            self._finish_step("creating", state, settled)
        return Registered(state.urn, made.id, settled.outputs)

    def _dependents_to_replace(self, root: State) -> list[State]:
        """What has to go before ``root`` can: those that would be replaced if what they take from it were unknown.

        The last dependent comes first.
        """
        doomed = {root.urn}
        found: list[State] = []
        for state in self._journal.states():
            if state.delete or state.pending_replacement or not state.custom or state.urn in self._seen:
                continue
            lost = {key for key, urns in state.property_dependencies.items() if doomed & set(urns)}
            if not lost:
                continue
            inputs = {key: UNKNOWN if key in lost else value for key, value in unwrap(state.inputs).items()}
            stand_in = self._stand_ins.for_type(state.type, state.provider)
            if stand_in.diff(state.type, state.for_stand_in(), inputs, state.ignore_changes).replaces:
                if state.protect:
                    raise DeployerError(f"{_label(state)} has to be replaced with it, and is protected")
                doomed.add(state.urn)
                found.append(state)
        return found[::-1]

    # --- what is no longer wanted --------------------------------------------------------------------------------

    def delete_unwanted(self) -> None:
        """Delete what the program did not register, and what was replaced. Call when the program has ended well."""
        self.delete([state for state in self._journal.states() if self._is_unwanted(state)])

    def _is_unwanted(self, state: State) -> bool:
        if state.delete:
            return True
        return state.urn not in self._now

    def delete(self, states: list[State]) -> None:
        """Delete these, dependents first, independent ones side by side. Protected ones refuse before anything goes."""
        protected = [state for state in states if state.protect and not state.delete and not state.pending_replacement]
        for state in protected:
            self._note(
                f"{_label(state)} is protected and cannot be deleted. Take the protection away first, or keep it."
            )
        if protected:
            return
        for state in states:
            if not (state.delete or state.pending_replacement or _is_default_provider(state)):
                self._record(state, "forget" if state.retain_on_delete or state.external else "delete")
        if self._preview:
            return
        going = {state.urn for state in states}
        self._in_order(states, lambda state: self._delete(state, going=going))
        self._journal.save()

    def _in_order(self, states: list[State], act: Callable[[State], None]) -> None:
        by_urn: dict[str, list[State]] = {}
        for state in states:
            by_urn.setdefault(state.urn, []).append(state)
        graph: TopologicalSorter[State] = TopologicalSorter(dict.fromkeys(states, ()))
        for state in states:
            for needed in state.needs() - {state.urn}:
                for target in by_urn.get(needed, ()):
                    graph.add(target, state)
        graph.prepare()
        running: dict[Future[None], State] = {}
        with ThreadPoolExecutor(max_workers=self._parallel, thread_name_prefix="delete") as pool:
            while graph.is_active():
                if not self.failures and not self.cancelled.is_set():
                    running.update({pool.submit(act, state): state for state in graph.get_ready()})
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    state = running.pop(future)
                    error = future.exception()
                    if error is None:
                        graph.done(state)
                    elif not isinstance(error, StoppedError):
                        self._note(f"{_label(state)}: {error}")

    def _delete(self, state: State, *, going: set[str] | None = None, instead: State | None = None) -> None:
        """Delete in the cloud, if it is there to delete, and take the state out (or put ``instead`` in its place)."""
        in_cloud = state.custom and not state.type.startswith(PROVIDER_PREFIX)
        spared = state.retain_on_delete or state.external or state.pending_replacement
        with_another = bool(going and state.deleted_with in going)
        if in_cloud and not spared and not with_another:
            stand_in = self._stand_ins.for_type(state.type, state.provider)
            started = replace(state)
            self._attempt(
                "deleting", started, "delete", lambda: stand_in.delete(state.urn, state.type, state.for_stand_in())
            )
            self._journal.swap(state, instead)
            self._journal.end(started)
            self._journal.save()
            return
        self._journal.swap(state, instead)

    # --- helpers -------------------------------------------------------------------------------------------------

    def _find_old(self, urn: str, goal: Goal) -> State | None:
        """The resource's state from before, found by its URN or an alias."""
        if urn in self._old:
            return self._old[urn]
        earlier_parent = self._earlier.get(goal.parent)
        for alias in names.earlier_urns(goal, self._stack, self._project, earlier_parent):
            found = self._old.pop(alias, None)
            if found is None:
                continue
            self._earlier[urn] = alias
            self._journal.rename(alias, urn)
            self._old = {state.urn: state for state in self._journal.states() if not state.delete} | self._old
            return self._old[urn]
        return None

    def _provider_of(self, goal: Goal) -> str:
        """The reference of the resource's provider: the one that the program named, else the default one."""
        return goal.provider or self._default_provider(goal.package, goal.version)

    def _default_provider(self, package: str, version: str) -> str:
        type_ = f"{PROVIDER_PREFIX}{package}"
        name = f"default_{version}".replace(".", "_").replace("-", "_").replace("+", "_") if version else "default"
        urn = names.make_urn(self._stack, self._project, "", type_, name)
        with self._lock:
            state = self._now.get(urn)
            if state is None:
                secret = self._config.provider_secrets(package)
                config = self._config.provider(package)
                inputs: Properties = {key: Secret(v) if key in secret else v for key, v in config.items()}
                if version:
                    inputs["version"] = version
                self._stand_ins.configure(urn, package, inputs)
                self._seen.add(urn)
                goal = Goal(type=type_, name=name, custom=True, inputs=inputs)
                state = self._settle_provider(goal.state(urn, inputs, ""), self._old.get(urn))
        return f"{urn}::{state.id or UNKNOWN_STRING}"

    def _configured_packages(self) -> set[str]:
        with self._lock:
            types = [state.type for state in self._now.values()]
        return {type_.removeprefix(PROVIDER_PREFIX) for type_ in types if type_.startswith(PROVIDER_PREFIX)}

    def _create_in_cloud(self, stand_in: StandIn, state: State, op: Op) -> ResourceState:
        return self._attempt(
            "creating", state, op, lambda: stand_in.create(state.urn, state.type, unwrap(state.inputs))
        )

    def _attempt(self, kind: Pending, started: State, op: str, act: Callable[[], Any]) -> Any:
        """Say that it starts, do it, and say how it went. What the cloud refused is not pending any longer."""
        self._go_on()
        self._journal.begin(kind, started)
        self._tell("started", started, op)
        begun = time.monotonic()
        try:
            result = act()
        except StandInError:
            self._journal.end(started)
            self._journal.save()
            self._tell("failed", started, op, time.monotonic() - begun)
            raise
        except Exception as error:
            self._tell("failed", started, op, time.monotonic() - begun)
            raise DeployerError(f"{type(error).__name__}: {error}") from error
        self._tell("done", started, op, time.monotonic() - begun)
        return result

    def _made(self, state: State, made: ResourceState, created: str) -> State:
        return replace(
            state,
            id=made.id,
            outputs=secret_outputs(made.outputs, state.inputs, state.additional_secret_outputs),
            created=created,
            modified=now(),
        )

    def _foreseen(self, state: State, outputs: Properties) -> Registered:
        settled = replace(state, outputs=secret_outputs(outputs, state.inputs, state.additional_secret_outputs))
        with self._lock:
            self._now[state.urn] = settled
        return Registered(state.urn, state.id or "", settled.outputs)

    def _settle(self, state: State, supersedes: State | None) -> None:
        with self._lock:
            self._now[state.urn] = state
        if not self._preview:
            self._journal.settle(state, supersedes)

    def _finish_step(self, kind: Pending, started: State, settled: State, supersedes: State | None = None) -> None:
        self._settle(settled, supersedes)
        self._journal.end(started)
        self._journal.save()

    def _record(
        self,
        state: State,
        op: Op,
        *,
        old: State | None = None,
        changed: tuple[str, ...] = (),
        replaces: tuple[str, ...] = (),
    ) -> None:
        diff = names.property_changes(old.inputs, state.inputs, changed) if old else ()
        with self._lock:
            self._steps[state.urn, "delete" if op in ("delete", "forget") else "set"] = Step(
                state.urn, state.type, state.name, op, changed, replaces, diff, state.custom
            )

    def _tell(self, kind: Any, state: State, op: str, seconds: float = 0.0) -> None:
        self._on_event(Event(kind, op=op, urn=state.urn, type=state.type, name=state.name, seconds=seconds))

    def _go_on(self) -> None:
        if self.cancelled.is_set() or (self.failures and not self._preview):
            raise StoppedError("stopped: another resource failed, or the run was cancelled")

    def _note(self, failure: str) -> None:
        with self._lock:
            self.failures.append(failure)

    def _fail(self, failure: str) -> StoppedError:
        self._note(failure)
        return StoppedError(failure)

    def _failed(self, urn: str, goal: Goal, reason: str) -> Registered:
        self._note(f"{_label(goal)}: {reason}")
        return self._answer_failure(urn, goal)

    def _answer_failure(self, urn: str, goal: Goal) -> Registered:
        if not self._preview:
            raise StoppedError("a resource failed")
        with self._lock:
            self._now[urn] = goal.state(urn, goal.inputs, goal.provider)
        return Registered(urn, failed=True)


def as_resource(state: State) -> Resource:
    return Resource(
        urn=state.urn,
        type=state.type,
        name=state.name,
        custom=state.custom,
        id=state.id,
        inputs=state.inputs,
        outputs=state.outputs,
        parent=state.parent,
        provider=provider_urn(state.provider),
        dependencies=state.dependencies,
        protect=state.protect,
        deleted_with=state.deleted_with,
        retain_on_delete=state.retain_on_delete,
        ignore_changes=state.ignore_changes,
    )


def _label(resource: Goal | State) -> str:
    return f"{resource.type} {resource.name!r}"


def _is_default_provider(state: State) -> bool:
    return state.type.startswith(PROVIDER_PREFIX) and state.name.startswith("default")


def _seed(urn: str, replaced_id: str | None) -> bytes:
    """The same after a crash, another for each replacement: an automatic name made from it can be made again."""
    return hashlib.sha256(f"{urn}\0{replaced_id or ''}".encode()).digest()


def secret_outputs(outputs: Properties, inputs: Properties, also_secret: tuple[str, ...]) -> Properties:
    """Outputs with their secret marks: the stand-in's own, those of secret inputs, those that the program asked for."""
    marked = {key: flatten_secrets(mark_secrets(value, inputs.get(key))) for key, value in outputs.items()}
    return {key: Secret(unwrap(value)) if key in also_secret else value for key, value in marked.items()}


def _changed_keys(old: Properties, new: Properties) -> tuple[str, ...]:
    left, right = unwrap(old), unwrap(new)
    return tuple(key for key in dict.fromkeys([*left, *right]) if left.get(key) != right.get(key))
