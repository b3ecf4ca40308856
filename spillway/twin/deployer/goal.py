"""What a program asks for when it registers a resource, and the rules of names: URNs, aliases, property paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from spillway.twin.deployer.api import PropertyChange
from spillway.twin.deployer.checkpoint import State
from spillway.twin.protocol_assets import Hashed
from spillway.twin.provider import UNKNOWN, Properties, Secret
from spillway.twin.provider_values import ResourceRef

STACK_TYPE: Final = "pulumi:pulumi:Stack"
PROVIDER_PREFIX: Final = "pulumi:providers:"
_MISSING: Final = object()
_PATH_PART = re.compile(r'\["((?:[^"\\]|\\.)*)"\]|\[(\d+|\*)\]|\.?([^.\[\]]+)')
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Alias:
    """An earlier name of a resource: a URN, or what differs from the present one (``None``: the same)."""

    urn: str = ""
    name: str = ""
    type: str = ""
    parent: str | None = None
    stack: str = ""
    project: str = ""


@dataclass(frozen=True)
class Goal:
    """A resource as the program wants it. Inputs may hold ``UNKNOWN`` and ``Secret``."""

    type: str
    name: str
    custom: bool
    inputs: Properties
    parent: str = ""
    provider: str = ""
    version: str = ""
    dependencies: tuple[str, ...] = ()
    property_dependencies: dict[str, tuple[str, ...]] | None = None
    protect: bool = False
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    additional_secret_outputs: tuple[str, ...] = ()
    delete_before_replace: bool | None = None
    retain_on_delete: bool = False
    deleted_with: str = ""
    aliases: tuple[Alias, ...] = ()

    @property
    def package(self) -> str:
        if self.type.startswith(PROVIDER_PREFIX):
            return self.type[len(PROVIDER_PREFIX) :]
        return self.type.split(":", 1)[0]

    def state(self, urn: str, inputs: Properties, provider: str) -> State:
        """The state that this goal asks for, before there is an ID or an output."""
        return State(
            urn=urn,
            type=self.type,
            custom=self.custom,
            inputs=inputs,
            parent=self.parent,
            provider=provider,
            dependencies=tuple(sorted(self.dependencies)),
            property_dependencies={k: tuple(sorted(v)) for k, v in (self.property_dependencies or {}).items() if v},
            protect=self.protect,
            retain_on_delete=self.retain_on_delete,
            deleted_with=self.deleted_with,
            additional_secret_outputs=self.additional_secret_outputs,
            ignore_changes=self.ignore_changes,
        )


def make_urn(stack: str, project: str, parent: str, type_: str, name: str) -> str:
    parent_type = parent.split("::")[2] if parent else ""
    qualified = f"{parent_type}${type_}" if parent_type and parent_type != STACK_TYPE else type_
    return f"urn:pulumi:{stack}::{project}::{qualified}::{name}"


def earlier_urns(goal: Goal, stack: str, project: str, earlier_parent: str | None) -> list[str]:
    """URNs that the resource may have had. ``earlier_parent``: the parent's own earlier URN, when an alias found it."""
    found = [
        alias.urn
        or make_urn(
            alias.stack or stack,
            alias.project or project,
            goal.parent if alias.parent is None else alias.parent,
            alias.type or goal.type,
            alias.name or goal.name,
        )
        for alias in goal.aliases
    ]
    if earlier_parent:
        old_name, new_name = earlier_parent.rsplit("::", 1)[1], goal.parent.rsplit("::", 1)[1]
        names = [goal.name]
        if goal.name.startswith(new_name):
            names.append(old_name + goal.name[len(new_name) :])
        found += [make_urn(stack, project, earlier_parent, goal.type, name) for name in names]
    return found


def parse_path(text: str) -> Path:
    """``a.b[0]["c.d"]`` as a tuple; ``*`` stands for any key or index."""
    parts: list[str | int] = []
    for quoted, index, name in _PATH_PART.findall(text):
        if index:
            parts.append(index if index == "*" else int(index))
        else:
            parts.append(quoted or name)
    return tuple(parts)


def show_path(path: Path) -> str:
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        elif re.fullmatch(r"[\w$-]+", part):
            shown += f".{part}" if shown else part
        else:
            shown += f'["{part}"]'
    return shown


def matches(pattern: Path, path: Path) -> bool:
    """Whether a change at ``path`` concerns ``pattern`` (one lies within the other)."""
    return all(p in ("*", q) for p, q in zip(pattern, path, strict=False))


def keep_ignored(new: Properties, old: Properties, ignore: tuple[str, ...]) -> Properties:
    """``new`` with the ignored paths as they are in ``old``."""
    if not ignore:
        return new
    kept: Any = new
    for text in ignore:
        kept = _take(kept, old, parse_path(text))
    return kept


def _take(new: Any, old: Any, path: Path) -> Any:
    """``new`` with what is at ``path`` taken from ``old``; absent there means absent here."""
    if not path:
        return old
    head, rest = path[0], path[1:]
    if isinstance(new, Secret) and isinstance(old, Secret):
        return Secret(_take(new.value, old.value, path))
    if isinstance(new, dict) and isinstance(old, dict):
        keys = [*dict.fromkeys([*new, *old])] if head == "*" else [str(head)]
        taken = dict(new)
        for key in keys:
            if key not in old and not rest:
                taken.pop(key, None)
            elif key in old and (key in new or not rest):
                taken[key] = _take(new.get(key), old[key], rest)
        return taken
    if isinstance(new, list) and isinstance(old, list):
        indices = range(min(len(new), len(old))) if head == "*" else [head]
        listed = list(new)
        for index in indices:
            if isinstance(index, int) and index < min(len(new), len(old)):
                listed[index] = _take(new[index], old[index], rest)
        return listed
    return new


def property_changes(old: Properties, new: Properties, keys: tuple[str, ...]) -> tuple[PropertyChange, ...]:
    """The leaves that differ below the named top-level properties, secrets masked."""
    changes: list[PropertyChange] = []
    for key in keys:
        _compare((key,), old.get(key, _MISSING), new.get(key, _MISSING), changes)
    return tuple(changes)


def _compare(path: Path, old: Any, new: Any, into: list[PropertyChange]) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            _compare((*path, key), old.get(key, _MISSING), new.get(key, _MISSING), into)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            left = old[index] if index < len(old) else _MISSING
            right = new[index] if index < len(new) else _MISSING
            _compare((*path, index), left, right, into)
    elif old is _MISSING or new is _MISSING or _clear(old) != _clear(new):
        if old is new:
            return
        kind = "add" if old is _MISSING else "delete" if new is _MISSING else "update"
        into.append(PropertyChange(show_path(path), kind, masked(old), masked(new)))


def _clear(value: Any) -> Any:
    return value.value if isinstance(value, Secret) else value


def masked(value: Any) -> Any:
    """A value that may be shown: JSON-like, ``[secret]`` and ``[unknown]`` in the place of what is not."""
    if value is _MISSING:
        return None
    if isinstance(value, Secret):
        return "[secret]"
    if value is UNKNOWN:
        return "[unknown]"
    if isinstance(value, ResourceRef):
        return value.urn
    if isinstance(value, Hashed):
        return repr(value)
    if isinstance(value, dict):
        return {key: masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item) for item in value]
    return value
