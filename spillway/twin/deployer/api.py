"""What a caller of either deployer sees: steps, results, progress events, errors. No Pulumi import here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from spillway.twin.provider import Properties

Op = Literal["create", "update", "replace", "delete", "same", "read", "refresh", "forget"]
QUIET_OPS: frozenset[str] = frozenset({"same", "read"})


class DeployerError(Exception):
    """A deployment that cannot go on. ``str()`` is one clear message; ``details`` may hold a traceback of the program.

    ``failures`` are the single causes (one per resource), when there are several. None holds a secret's value.
    """

    def __init__(self, message: str, failures: Sequence[str] = (), details: str = "") -> None:
        self.failures = tuple(failures)
        self.details = details
        super().__init__("\n".join([message, *(f"  - {failure}" for failure in self.failures)]))


class ConfigError(DeployerError):
    """The project, the stack file, the passphrase or the choice of deployer is wrong. Nothing was begun."""


class InterruptedUpError(DeployerError):
    """Ctrl-C: the running steps were finished and saved, the others were not begun."""


@dataclass(frozen=True)
class PropertyChange:
    """One property that differs. Values are JSON-like; a secret reads ``[secret]``, an unknown one ``[unknown]``."""

    path: str
    kind: Literal["add", "delete", "update"]
    old: Any = None
    new: Any = None


@dataclass(frozen=True)
class Step:
    """What is (or was) done to one resource. ``changed`` and ``replaces`` are top-level input names."""

    urn: str
    type: str
    name: str
    op: Op
    changed: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    diff: tuple[PropertyChange, ...] = ()
    custom: bool = True


@dataclass(frozen=True)
class Resource:
    """A resource as planned or deployed. Secrets stay inside ``Secret``, what is not known yet is ``UNKNOWN``."""

    urn: str
    type: str
    name: str
    custom: bool
    id: str | None
    inputs: Properties
    outputs: Properties
    parent: str = ""
    provider: str = ""
    dependencies: tuple[str, ...] = ()
    protect: bool = False
    deleted_with: str = ""
    retain_on_delete: bool = False
    ignore_changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PreviewResult:
    """A plan. ``resources`` are those that stand after it (providers included); ``outputs`` are the stack's."""

    steps: tuple[Step, ...]
    resources: tuple[Resource, ...]
    outputs: Properties
    seconds: float = 0.0

    @property
    def changes(self) -> dict[str, int]:
        """How many steps of each kind, ``same`` included."""
        return dict(Counter(step.op for step in self.steps))

    @property
    def changed(self) -> bool:
        """Whether anything would be done."""
        return any(step.op not in QUIET_OPS for step in self.steps)


class UpResult(PreviewResult):
    """What an ``up``, ``refresh`` or ``destroy`` did, and what stands now."""


@dataclass(frozen=True)
class Event:
    """Progress. ``kind``: ``phase`` (message names it), ``started``, ``done``, ``failed``, or ``log``."""

    kind: Literal["phase", "started", "done", "failed", "log"]
    message: str = ""
    op: str = ""
    urn: str = ""
    type: str = ""
    name: str = ""
    seconds: float = 0.0


OnEvent = Callable[[Event], None]


class Deployer(Protocol):
    """What both deployers offer."""

    @property
    def kind(self) -> Literal["embedded", "pulumi"]: ...

    def preview(self) -> PreviewResult:
        """Plan; changes nothing. Raises :class:`DeployerError` with every input that a stand-in refuses."""
        ...

    def up(self, *, refresh: bool = False) -> UpResult:
        """Preview, then bring the twin to what the program says. ``refresh`` reads the live state first."""
        ...

    def refresh(self) -> UpResult:
        """Take the live state into the checkpoint: vanished resources are dropped, drift is adopted."""
        ...

    def destroy(self, *, keep_protected: bool = False) -> UpResult:
        """Delete all. Protected resources refuse, unless they (and what they need) are to be left standing."""
        ...

    def outputs(self) -> Properties:
        """The stack's outputs as of the last ``up``; secrets inside ``Secret``."""
        ...

    def resources(self) -> tuple[Resource, ...]:
        """What the checkpoint holds."""
        ...

    def export(self) -> dict[str, Any]:
        """The deployment, format 3, secrets encrypted."""
        ...

    def import_(self, deployment: dict[str, Any]) -> None:
        """Replace the checkpoint by an exported deployment."""
        ...
