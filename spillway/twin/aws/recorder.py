"""A memory for what moto does not know: things are created, described, changed, listed and deleted, no more.

One :class:`Kind` per noun. Requests and answers follow botocore's model of each operation, so plain boto3 reads them.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.model import OperationModel

Handler = Callable[["Call"], dict[str, Any]]


class RefusedError(Exception):
    """An answer that is an error, with AWS's own code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Call:
    """One request as it reached the server. ``access_key``: of who signed it."""

    service: str
    region: str
    account: str
    operation: OperationModel
    params: dict[str, Any]
    recorder: Recorder
    access_key: str = ""


@dataclass(frozen=True)
class Kind:
    """One noun. ``key``: the members that name it, in each request. ``within``: the member of the create and update
    request that holds it (``AnomalyMonitor``). ``made``: what the service makes up, as templates over the members,
    ``account``, ``region`` and ``uuid``. ``many``: the member of the list answer. ``missing``: the error's code."""

    service: str
    key: tuple[str, ...]
    create: str
    describe: str = ""
    update: str = ""
    delete: str = ""
    list: str = ""
    many: str = ""
    by: str = ""
    """The list request's member that holds the wanted keys."""
    within: str = ""
    made: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    missing: str = "ResourceNotFoundException"
    exists: str = "ResourceInUseException"
    overwrite: bool = False


class Recorder:
    """The memory. Safe to use from many threads."""

    def __init__(self, kinds: tuple[Kind, ...]) -> None:
        self._things: dict[tuple[str, str], dict[tuple[str, ...], dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self.handlers: dict[tuple[str, str], Handler] = {}
        for kind in kinds:
            self._register(kind)

    def _register(self, kind: Kind) -> None:
        for operation, handler in (
            (kind.create, self.create),
            (kind.describe, self._describe),
            (kind.update, self._update),
            (kind.delete, self._delete),
            (kind.list, self._list),
        ):
            if operation:
                self.handlers[kind.service, operation] = _bind(handler, kind)

    def all(self, kind: Kind, region: str) -> dict[tuple[str, ...], dict[str, Any]]:
        """Everything of one kind in one region, a copy."""
        with self._lock:
            return dict(self._store(kind, region))

    def _store(self, kind: Kind, region: str) -> dict[tuple[str, ...], dict[str, Any]]:
        return self._things.setdefault((f"{kind.service}.{kind.create}", region), {})

    def create(self, kind: Kind, call: Call) -> dict[str, Any]:
        """Answer a create call."""
        params = dict(call.params)
        thing = {**params, **params.pop(kind.within)} if kind.within else params
        names = {**thing, "account": call.account, "region": call.region, "uuid": str(uuid.uuid4())}
        for member, template in kind.made.items():
            thing[member] = names[member] = template.format(**names)
        now = datetime.now(UTC)
        thing |= {"createdAt": now, "modifiedAt": now, **kind.fixed}
        key = tuple(str(thing[name]) for name in kind.key)
        with self._lock:
            store = self._store(kind, call.region)
            if key in store and not kind.overwrite:
                raise RefusedError(kind.exists, f"{' '.join(key)} already exists")
            store[key] = thing
        return fill(call.operation.output_shape, thing)

    def _find(self, kind: Kind, call: Call) -> tuple[tuple[str, ...], dict[str, Any]]:
        key = tuple(str(call.params.get(name)) for name in kind.key)
        with self._lock:
            thing = self._store(kind, call.region).get(key)
        if thing is None:
            raise RefusedError(kind.missing, f"{' '.join(key)} not found")
        return key, thing

    def _describe(self, kind: Kind, call: Call) -> dict[str, Any]:
        return fill(call.operation.output_shape, self._find(kind, call)[1])

    def _update(self, kind: Kind, call: Call) -> dict[str, Any]:
        key, thing = self._find(kind, call)
        changed = {**thing, **call.params, "modifiedAt": datetime.now(UTC)}
        with self._lock:
            self._store(kind, call.region)[key] = changed
        return fill(call.operation.output_shape, changed)

    def _delete(self, kind: Kind, call: Call) -> dict[str, Any]:
        key, thing = self._find(kind, call)
        with self._lock:
            self._store(kind, call.region).pop(key, None)
        return fill(call.operation.output_shape, thing)

    def _list(self, kind: Kind, call: Call) -> dict[str, Any]:
        wanted = call.params.get(kind.by) if kind.by else None
        if isinstance(wanted, str):
            wanted = [wanted]
        given = {name: str(call.params[name]) for name in kind.key if name in call.params and name != kind.by}
        found = [
            thing
            for key, thing in self.all(kind, call.region).items()
            if (not wanted or key[-1] in wanted) and all(str(thing.get(k)) == v for k, v in given.items())
        ]
        if wanted and not found and kind.by:
            raise RefusedError(kind.missing, f"{', '.join(wanted)} not found")
        shape: Any = call.operation.output_shape
        element = shape.members[kind.many].member
        items = [fill(element, t) if element.type_name == "structure" else str(t[kind.key[-1]]) for t in found]
        return {**{k: v for k, v in call.params.items() if k in shape.members}, kind.many: items}


def nothing(_: Call) -> dict[str, Any]:
    """The answer to a call that changes nothing here, such as a tag on a thing that holds no tags."""
    return {}


def _bind(handler: Callable[[Kind, Call], dict[str, Any]], kind: Kind) -> Handler:
    return lambda call: handler(kind, call)


def fill(shape: Any, thing: Mapping[str, Any]) -> dict[str, Any]:
    """The members of ``shape`` that ``thing`` has; a structure that is no member of it holds the thing itself."""
    if shape is None:
        return {}
    result = _members(shape, thing)
    for member, inner in shape.members.items():
        if member not in result and inner.type_name == "structure" and set(inner.members) & set(thing):
            result[member] = _members(inner, thing)
    return result


def _members(shape: Any, thing: Mapping[str, Any]) -> dict[str, Any]:
    by_name = {name.lower(): value for name, value in thing.items()}
    found = {member: thing.get(member, by_name.get(member.lower())) for member in shape.members}
    fits = {m: v for m, v in found.items() if shape.members[m].type_name != "structure" or isinstance(v, dict)}
    return {member: value for member, value in fits.items() if value is not None}
