"""The checkpoint: Pulumi's deployment format 3 on disk, written whole and atomically, and the lock that guards it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final, Literal

from spillway.twin.deployer.api import DeployerError
from spillway.twin.deployer.crypto import Crypter
from spillway.twin.provider import Properties, ResourceState
from spillway.twin.provider_values import from_signed, to_signed, unwrap

ENGINE_VERSION: Final = "v3.272.0"
_FORMAT: Final = 3
Pending = Literal["creating", "updating", "deleting"]


@dataclass(frozen=True, eq=False)
class State:
    """One resource in the checkpoint; never changed, compared by identity.

    ``delete``: replaced, still to be deleted. ``pending_replacement``: deleted, its replacement is still to be created.
    """

    urn: str
    type: str
    custom: bool
    id: str | None = None
    inputs: Properties = field(default_factory=dict)
    outputs: Properties = field(default_factory=dict)
    parent: str = ""
    provider: str = ""
    dependencies: tuple[str, ...] = ()
    property_dependencies: dict[str, tuple[str, ...]] = field(default_factory=dict)
    protect: bool = False
    external: bool = False
    retain_on_delete: bool = False
    deleted_with: str = ""
    additional_secret_outputs: tuple[str, ...] = ()
    ignore_changes: tuple[str, ...] = ()
    delete: bool = False
    pending_replacement: bool = False
    created: str = ""
    modified: str = ""

    @property
    def name(self) -> str:
        return self.urn.rsplit("::", 1)[1]

    def for_stand_in(self) -> ResourceState:
        """What a stand-in is told of it. Secrets are in clear there."""
        return ResourceState(self.id or "", unwrap(self.inputs), unwrap(self.outputs))

    def needs(self) -> set[str]:
        """URNs that have to exist before this one, and be deleted after it."""
        urns = {*self.dependencies, *(urn for urns in self.property_dependencies.values() for urn in urns)}
        urns.update(urn for urn in (self.parent, self.deleted_with, provider_urn(self.provider)) if urn)
        return urns

    def without(self, gone: set[str]) -> State:
        """The same, with no reference to the URNs that are gone."""
        if not self.needs() & gone:
            return self
        return replace(
            self,
            parent="" if self.parent in gone else self.parent,
            deleted_with="" if self.deleted_with in gone else self.deleted_with,
            dependencies=tuple(urn for urn in self.dependencies if urn not in gone),
            property_dependencies={
                key: tuple(urn for urn in urns if urn not in gone) for key, urns in self.property_dependencies.items()
            },
        )

    def renamed(self, old_urn: str, new_urn: str) -> State:
        """The same, with one URN replaced wherever it is named."""
        if self.urn != old_urn and old_urn not in self.needs():
            return self

        def swap(urn: str) -> str:
            return new_urn if urn == old_urn else urn

        reference, _, provider_id = self.provider.rpartition("::")
        return replace(
            self,
            urn=swap(self.urn),
            parent=swap(self.parent),
            deleted_with=swap(self.deleted_with),
            provider=f"{swap(reference)}::{provider_id}" if self.provider else "",
            dependencies=tuple(swap(urn) for urn in self.dependencies),
            property_dependencies={k: tuple(swap(u) for u in urns) for k, urns in self.property_dependencies.items()},
        )


def ordered(states: Iterable[State]) -> list[State]:
    """Dependencies before dependents, otherwise as given; references to what is not there are dropped."""
    listed = list(states)
    there = {state.urn for state in listed}
    listed = [state.without(state.needs() - there) for state in listed]
    by_urn: dict[str, list[State]] = {}
    for state in listed:
        by_urn.setdefault(state.urn, []).append(state)
    graph = {state: [other for urn in sorted(state.needs() - {state.urn}) for other in by_urn[urn]] for state in listed}
    return list(TopologicalSorter(graph).static_order())


def provider_urn(reference: str) -> str:
    """The URN in a provider reference (``<urn>::<id>``)."""
    return reference.rsplit("::", 1)[0] if reference else ""


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds: resources in dependency order, and the operations that were going on."""

    resources: tuple[State, ...] = ()
    pending: tuple[tuple[Pending, State], ...] = ()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Codec:
    """States to and from JSON, with secrets sealed."""

    def __init__(self, crypter: Crypter, base: Path) -> None:
        self.crypter = crypter
        self._base = base

    def dump(self, state: State) -> dict[str, Any]:
        listed: dict[str, Any] = {
            "urn": state.urn,
            "custom": state.custom,
            "delete": state.delete,
            "id": state.id,
            "type": state.type,
            "inputs": to_signed(state.inputs, seal=self._seal),
            "outputs": to_signed(state.outputs, seal=self._seal),
            "parent": state.parent,
            "protect": state.protect,
            "external": state.external,
            "dependencies": list(state.dependencies),
            "provider": state.provider,
            "propertyDependencies": {key: list(urns) for key, urns in state.property_dependencies.items()},
            "pendingReplacement": state.pending_replacement,
            "additionalSecretOutputs": list(state.additional_secret_outputs),
            "retainOnDelete": state.retain_on_delete,
            "deletedWith": state.deleted_with,
            "ignoreChanges": list(state.ignore_changes),
            "created": state.created,
            "modified": state.modified,
        }
        return {key: value for key, value in listed.items() if value or key in {"urn", "custom", "type"}}

    def load(self, raw: dict[str, Any]) -> State:
        return State(
            urn=raw["urn"],
            type=raw["type"],
            custom=raw["custom"],
            id=raw.get("id"),
            inputs=self._open_all(raw.get("inputs")),
            outputs=self._open_all(raw.get("outputs")),
            parent=raw.get("parent", ""),
            provider=raw.get("provider", ""),
            dependencies=tuple(raw.get("dependencies") or ()),
            property_dependencies={k: tuple(v or ()) for k, v in (raw.get("propertyDependencies") or {}).items()},
            protect=raw.get("protect", False),
            external=raw.get("external", False),
            retain_on_delete=raw.get("retainOnDelete", False),
            deleted_with=raw.get("deletedWith", ""),
            additional_secret_outputs=tuple(raw.get("additionalSecretOutputs") or ()),
            ignore_changes=tuple(raw.get("ignoreChanges") or ()),
            delete=raw.get("delete", False),
            pending_replacement=raw.get("pendingReplacement", False),
            created=raw.get("created", ""),
            modified=raw.get("modified", ""),
        )

    def _open_all(self, values: dict[str, Any] | None) -> Properties:
        return {key: from_signed(value, self._base, self._open) for key, value in (values or {}).items()}

    def _seal(self, value: Any) -> str:
        return self.crypter.encrypt(json.dumps(value))

    def _open(self, ciphertext: str) -> Any:
        return json.loads(self.crypter.decrypt(ciphertext))


class Checkpoint:
    """The file. ``config_salt`` is used for a new one, so that stack file and checkpoint share a key."""

    def __init__(self, path: Path, passphrase: str, config_salt: str | None, base: Path) -> None:
        self.path = path
        self._passphrase = passphrase
        self._config_salt = config_salt
        self._base = base
        self._codec: Codec | None = None

    @property
    def codec(self) -> Codec:
        if self._codec is None:
            salt = self._config_salt
            crypter = Crypter(self._passphrase, salt) if salt else Crypter.new(self._passphrase)
            self._codec = Codec(crypter, self._base)
        return self._codec

    def read(self) -> Snapshot:
        """The last whole checkpoint; an empty one when there is none."""
        raw = self.read_raw()
        if raw is None:
            return Snapshot()
        return self.parse(raw)

    def read_raw(self) -> dict[str, Any] | None:
        try:
            return json.loads(self.path.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            raise DeployerError(f"{self.path}: the checkpoint is not valid JSON; restore it or remove it") from None

    def parse(self, raw: dict[str, Any]) -> Snapshot:
        """Decode a deployment, and keep its salt for what is written next."""
        if raw.get("version") != _FORMAT:
            raise DeployerError(
                f"{self.path}: deployment format {raw.get('version')!r} is not known, allowed is {_FORMAT}"
            )
        deployment = raw["deployment"]
        secrets = deployment.get("secrets_providers") or {}
        if secrets and secrets.get("type") != "passphrase":
            raise DeployerError(f"{self.path}: secrets are kept by {secrets.get('type')!r}, allowed is passphrase")
        if secrets:
            self._codec = Codec(Crypter(self._passphrase, secrets["state"]["salt"]), self._base)
        resources = tuple(self.codec.load(item) for item in deployment.get("resources") or ())
        pending = tuple(
            (item["type"], self.codec.load(item["resource"])) for item in deployment.get("pending_operations") or ()
        )
        return Snapshot(resources, pending)

    def render(self, resources: Iterable[str], pending: Iterable[tuple[str, str]]) -> str:
        """The file's text, from dumped resources."""
        head = {
            "manifest": {
                "time": now(),
                "magic": hashlib.sha256(ENGINE_VERSION.encode()).hexdigest(),
                "version": ENGINE_VERSION,
            },
            "secrets_providers": {"type": "passphrase", "state": {"salt": self.codec.crypter.salt_state}},
        }
        going_on = ",\n".join(f'{{"resource":{text},"type":"{kind}"}}' for kind, text in pending)
        listed = ",\n".join(resources)
        return (
            f'{{"version":{_FORMAT},"deployment":{json.dumps(head)[:-1]},\n'
            f'"resources":[{listed}],\n"pending_operations":[{going_on}],"metadata":{{}}}}}}\n'
        )

    def write(self, text: str) -> None:
        """Replace the file as one step: a crash leaves the old one or the new one, never a part."""
        temporary = self.path.with_suffix(".tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(temporary, self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Journal:
    """The resources of a running deployment, saved after each step.

    ``current`` holds what this run has settled, in the order it was settled; ``base`` what was there before and is not
    settled yet. Threads that save at the same time share one write.
    """

    def __init__(self, checkpoint: Checkpoint, snapshot: Snapshot) -> None:
        self._checkpoint = checkpoint
        self._mutex = threading.Lock()
        self._writing = threading.Lock()
        self._version = 0
        self._written = -1
        self._base: dict[State, None] = dict.fromkeys(snapshot.resources)
        self._current: dict[str, State] = {}
        self._pending: dict[State, Pending] = {state: kind for kind, state in snapshot.pending}
        self._dumped: dict[State, str] = {}

    def states(self) -> list[State]:
        """Everything, in the order of the file: dependencies first."""
        with self._mutex:
            return [*self._current.values(), *self._base]

    def begin(self, kind: Pending, state: State) -> None:
        """Say, durably, that an operation starts."""
        with self._mutex:
            self._pending[state] = kind
            self._version += 1
        self.save()

    def end(self, started: State) -> None:
        """The operation that began with this state is over, well or not; the caller saves."""
        with self._mutex:
            self._pending.pop(started, None)
            self._version += 1

    def settle(self, state: State, supersedes: State | None = None) -> None:
        """``state`` is how the resource stands now, in place of an older one."""
        with self._mutex:
            if supersedes is not None:
                self._base.pop(supersedes, None)
            self._current[state.urn] = state
            self._version += 1

    def swap(self, old: State, new: State | None) -> None:
        """Change or (``None``) drop an entry where it stands."""
        with self._mutex:
            self._base = {
                kept: None
                for entry in self._base
                for kept in ((new,) if entry is old else (entry,))
                if kept is not None
            }
            if self._current.get(old.urn) is old:
                if new is None:
                    del self._current[old.urn]
                else:
                    self._current[old.urn] = new
            self._version += 1

    def rename(self, old_urn: str, new_urn: str) -> None:
        """An alias was used: what still names the old URN names the new one."""
        with self._mutex:
            self._base = {state.renamed(old_urn, new_urn): None for state in self._base}
            self._version += 1

    def save(self) -> None:
        """Write, unless another thread already wrote what the caller changed."""
        with self._mutex:
            wanted = self._version
        with self._writing:
            if self._written >= wanted:
                return
            with self._mutex:
                version = self._version
                states = [*self._current.values(), *self._base]
                pending = list(self._pending.items())
            self._dumped = {state: self._dump(state) for state in [*states, *(state for state, _ in pending)]}
            text = self._checkpoint.render(
                (self._dumped[state] for state in states), ((kind, self._dumped[state]) for state, kind in pending)
            )
            self._checkpoint.write(text)
            self._written = version

    def _dump(self, state: State) -> str:
        known = self._dumped.get(state)
        return known if known is not None else json.dumps(self._checkpoint.codec.dump(state))


class UnwrittenJournal(Journal):
    """In memory alone: nothing goes on from a run whose clouds are thrown away."""

    def save(self) -> None:
        pass


@contextmanager
def exclusive(path: Path, who: str = "deployer") -> Iterator[None]:
    """Hold a lock of the twin's, which the kernel releases when the process dies. Raises :class:`DeployerError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            opened.seek(0)
            holder = opened.read().strip() or "unknown"
            raise DeployerError(
                f"Another {who} is at work on this twin (process {holder}). Wait for it to end, or stop it."
            ) from None
        opened.seek(0)
        opened.truncate()
        opened.write(str(os.getpid()))
        opened.flush()
        yield
