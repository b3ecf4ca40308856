"""What a provider stand-in is: the seam between the deployers and the three emulated clouds.

Both deployers drive the same stand-ins. The embedded deployer calls these methods in process; the Pulumi CLI reaches
them through ``spillway.twin.protocol``, which serves them over Pulumi's provider protocol.

Values are plain Python as JSON has them (``None``, ``bool``, ``int | float``, ``str``, ``list``, ``dict``), plus
:data:`UNKNOWN` for what is not known during a preview, :class:`Secret` around what must never be shown, and Pulumi's
own asset and archive objects. Keys are the camelCase names of the provider's schema, as they are on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

Properties = dict[str, Any]


class _Unknown:
    """The value of an output that does not exist yet (singleton, so that ``is`` works)."""

    _instance: _Unknown | None = None

    def __new__(cls) -> _Unknown:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return "<unknown>"

    def __deepcopy__(self, memo: object) -> _Unknown:
        return self

    def __reduce__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()


@dataclass(frozen=True)
class Secret:
    """A value that is encrypted in the checkpoint and never printed. ``repr`` hides it."""

    value: Any

    def __repr__(self) -> str:
        return "Secret(***)"


@dataclass(frozen=True)
class CheckFailure:
    """One input that the cloud would refuse. ``path``: the property path, e.g. ``productionVariants[0].modelName``."""

    path: str
    reason: str


@dataclass(frozen=True)
class Checked:
    """Inputs with the provider's defaults and automatic names filled in, or what is wrong with them."""

    inputs: Properties
    failures: tuple[CheckFailure, ...] = ()


@dataclass(frozen=True)
class Diff:
    """Which top-level input properties differ, and which of those force a new resource."""

    changed: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    delete_before_replace: bool = False

    def __bool__(self) -> bool:
        return bool(self.changed)


@dataclass(frozen=True)
class ResourceState:
    """A resource as it stands in the emulated cloud."""

    id: str
    inputs: Properties = field(default_factory=dict)
    outputs: Properties = field(default_factory=dict)


class StandInError(Exception):
    """The emulated cloud refused an operation, said the way the cloud says it. Never holds a secret's value."""


class UnknownTypeError(StandInError):
    """The stand-in has no row for this resource type or function: an error, never a silent pass."""


class StandIn(Protocol):
    """One provider package (``aws``, ``azure-native``, ``kubernetes``). Methods are called from worker threads.

    Inputs arrive with secrets unwrapped: the deployer remembers which were secret and marks the outputs of the same
    name. An output that is secret by nature (a key the cloud made up) is returned inside :class:`Secret`.
    """

    package: str
    environment: Mapping[str, str]
    """What a program's own calls of this cloud's SDK need, so that they reach the stand-in and no real account."""

    def types(self) -> frozenset[str]:
        """Every resource type token that has a row."""
        ...

    def configure(self, config: Properties) -> None:
        """The provider's own settings (``region``, ``kubeconfig``, …), from an explicit or default provider."""
        ...

    def check(
        self, urn: str, type_: str, old_inputs: Properties | None, new_inputs: Properties, seed: bytes
    ) -> Checked:
        """Validate, fill defaults, and name. Unknown values pass.

        An automatic name is derived from the URN's name and ``seed``, and kept from ``old_inputs`` when there are some.
        """
        ...

    def diff(self, type_: str, old: ResourceState, new_inputs: Properties, ignore_changes: tuple[str, ...]) -> Diff:
        """Compare the old inputs with new, checked ones."""
        ...

    def preview(self, type_: str, old: ResourceState | None, inputs: Properties) -> Properties:
        """The outputs that a create (``old is None``) or update would give, :data:`UNKNOWN` for those not known yet."""
        ...

    def create(self, urn: str, type_: str, inputs: Properties) -> ResourceState:
        """Create. Idempotent per URN and inputs: what an earlier, interrupted call already made is returned."""
        ...

    def read(self, type_: str, id_: str, state: ResourceState | None) -> ResourceState | None:
        """The live state, or ``None`` when it is gone."""
        ...

    def update(self, urn: str, type_: str, old: ResourceState, inputs: Properties) -> ResourceState: ...

    def delete(self, urn: str, type_: str, old: ResourceState) -> None:
        """Delete; a resource that is already gone is no error."""
        ...

    def invoke(self, token: str, args: Properties) -> Properties:
        """A provider function (data source), e.g. ``aws:index/getCallerIdentity:getCallerIdentity``."""
        ...
