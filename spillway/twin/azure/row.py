"""What one Azure resource type is: where it lives in Resource Manager, and which model its body must fit.

The rows are in ``services/``. API versions and argument names come from ``catalogue.json``, which ``generate.py`` makes
from the installed SDKs.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from spillway.twin.azure.sample import Sample

GROUP_PATH: Final = "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}"
LOCATION: Final = frozenset({"location"})
BLOB: Final = "azure-native:storage:Blob"
"""Has no row: it is no resource of Resource Manager, its bytes go to the data plane."""

Keys = list[str]
"""The two keys of a resource."""


def two_keys(_: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    return {"primaryKey": keys[0], "secondaryKey": keys[1]}


def encoded(text: str) -> str:
    """A key as most services show it."""
    return base64.b64encode(text.encode()).decode()


@dataclass(frozen=True)
class Action:
    """A ``POST`` that shows a resource's keys. ``function``: Pulumi's, ``module:name``. ``answer``: from the resource
    and its keys. ``sealed``: the list in the answer whose values are secret; every value, when there is none.
    """

    name: str
    function: str
    answer: Callable[[Mapping[str, Any], Keys], dict[str, Any]] = two_keys
    sealed: str = ""


@dataclass(frozen=True)
class Inline:
    """Children that a resource brings in its own body: their property there, their path segment, their type."""

    property: str
    segment: str
    type: str


@dataclass(frozen=True)
class Row:
    """One resource type.

    ``type``: Pulumi's ``module:Type``. ``path``: with the names of inputs in braces. ``model``: ``package.Class`` of an
    ``azure-mgmt-*`` package; ``None`` means that the body is not checked. ``renames``: input -> wire name, where they
    differ by more than case. ``create_only``: inputs, dotted where they lie deeper, that force a new resource, besides
    those in the path. ``computed``: what the service adds to ``properties``; ``{name}``-style parts are filled in.
    ``drawn``: UUIDs that the service adds, other ones for each resource. ``identity``: whether it may have a managed
    identity. ``write_only``: properties that the service never gives back. ``note``: for the docs.
    """

    type: str
    path: str
    model: str | None = None
    renames: Mapping[str, str] = field(default_factory=dict)
    create_only: frozenset[str] = frozenset()
    computed: Mapping[str, Any] = field(default_factory=dict)
    drawn: frozenset[str] = frozenset()
    identity: bool = False
    write_only: frozenset[str] = frozenset()
    note: str = ""
    name_rule: tuple[str, str] | None = None
    """What a name must match, and the same in words."""
    long_running: bool = False
    """Whether a PATCH is answered by 202 without a body, and another change by 409 until it is made."""
    named_by_uuid: bool = False
    """Whether an automatic name is a UUID."""
    inline: Inline | None = None
    actions: tuple[Action, ...] = ()
    kept_while_used: bool = False
    """Whether it cannot be deleted while another resource names it."""
    settings_of_parent: bool = False
    """Whether deleting it puts defaults back, and what lies under its path stays."""
    sample: Sample = field(kw_only=True)

    @property
    def token(self) -> str:
        return f"azure-native:{self.type}"

    @property
    def path_inputs(self) -> tuple[str, ...]:
        """The inputs that are part of the path."""
        return tuple(name for name in re.findall(r"{(\w+)}", self.path) if name != "subscriptionId")

    @property
    def name_input(self) -> str:
        """The input that holds the resource's own name."""
        return self.path.rsplit("/", 1)[1].strip("{}")


def in_group(type_: str, path: str, model: str | None = None, **more: Any) -> Row:
    """The row of a type that lives in a resource group."""
    return Row(type_, f"{GROUP_PATH}/providers/{path}", model, **more)
