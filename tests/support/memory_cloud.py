"""A small cloud for the deployers' tests: package ``demo``, kept in one file so that it outlives a killed deployer.

Types: ``Thing`` (``zone`` replaces; a name is made up), ``Stubborn`` (as Thing, deleted before it is replaced) and
``Key`` (has a secret output). ``log`` holds every change, in order, as ``create thing-1a2b``.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spillway.twin.provider import (
    UNKNOWN,
    Checked,
    CheckFailure,
    Diff,
    Properties,
    ResourceState,
    Secret,
    StandInError,
    UnknownTypeError,
)

THING, STUBBORN, KEY = (f"demo:index:{name}" for name in ("Thing", "Stubborn", "Key"))


class MemoryCloud:
    """The file: ``{"resources": {id: {...}}, "log": [...]}``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def edit(self) -> Iterator[dict[str, Any]]:
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            data = json.loads(self.path.read_text()) if self.path.exists() else {"resources": {}, "log": []}
            yield data
            temporary = self.path.with_suffix(".new")
            temporary.write_text(json.dumps(data))
            os.replace(temporary, self.path)

    @property
    def resources(self) -> dict[str, Any]:
        with self.edit() as data:
            return data["resources"]

    @property
    def log(self) -> list[str]:
        with self.edit() as data:
            return data["log"]

    def names(self) -> list[str]:
        return sorted(item["urn"].rsplit("::", 1)[1] for item in self.resources.values())

    def clear_log(self) -> None:
        with self.edit() as data:
            data["log"] = []

    def lose(self, name: str) -> None:
        """Make a resource vanish, by its logical name."""
        with self.edit() as data:
            data["resources"] = {k: v for k, v in data["resources"].items() if not v["urn"].endswith(f"::{name}")}

    def drift(self, name: str, **values: Any) -> None:
        with self.edit() as data:
            for item in data["resources"].values():
                if item["urn"].endswith(f"::{name}"):
                    item["inputs"].update(values)


class DemoStandIn:
    """The stand-in. ``DEMO_KILL`` kills this process at a point, e.g. ``before:create:3`` or ``after:delete:1``."""

    package = "demo"
    environment: Mapping[str, str] = {"DEMO_ENDPOINT_URL": "file:///demo"}

    def __init__(self, cloud: MemoryCloud) -> None:
        self._cloud = cloud
        self._counts: dict[str, int] = {}
        self.config: Properties = {}

    def types(self) -> frozenset[str]:
        return frozenset({THING, STUBBORN, KEY})

    def configure(self, config: Properties) -> None:
        self.config = config

    def check(
        self, urn: str, type_: str, old_inputs: Properties | None, new_inputs: Properties, seed: bytes
    ) -> Checked:
        if type_ not in self.types():
            raise UnknownTypeError(f"no row for {type_}")
        size = new_inputs.get("size", 1)
        failures = (
            [CheckFailure("size", f"must be at least 1, is {size}")] if isinstance(size, int) and size < 1 else []
        )
        if new_inputs.get("zone") == "mars":
            failures.append(CheckFailure("zone", "there is no zone 'mars'"))
        made_up = f"{urn.rsplit('::', 1)[1]}-{seed.hex()[:6]}"
        name = new_inputs.get("name") or (old_inputs or {}).get("name") or made_up
        return Checked({**new_inputs, "size": size, "name": name}, tuple(failures))

    def diff(self, type_: str, old: ResourceState, new_inputs: Properties, ignore_changes: tuple[str, ...]) -> Diff:
        keys = {*old.inputs, *new_inputs} - set(ignore_changes)
        changed = tuple(sorted(key for key in keys if old.inputs.get(key) != new_inputs.get(key)))
        replaces = tuple(key for key in changed if key in ("zone", "name"))
        return Diff(changed, replaces, delete_before_replace=type_ == STUBBORN)

    def preview(self, type_: str, old: ResourceState | None, inputs: Properties) -> Properties:
        kept = {"arn": old.outputs["arn"]} if old else {"arn": UNKNOWN}
        return {**inputs, **kept, **({"token": UNKNOWN} if type_ == KEY else {})}

    def create(self, urn: str, type_: str, inputs: Properties) -> ResourceState:
        self._maybe_die("before", "create")
        if inputs.get("zone") == "full":
            raise StandInError("zone 'full' has no capacity left")
        id_ = inputs["name"]
        with self._cloud.edit() as data:
            there = data["resources"].get(id_)
            if there is not None and (there["urn"], there["inputs"]) != (urn, _jsonable(inputs)):
                raise StandInError(f"{id_} exists already")
            if there is None:
                data["resources"][id_] = {"urn": urn, "type": type_, "inputs": _jsonable(inputs)}
                data["log"].append(f"create {id_}")
        self._maybe_die("after", "create")
        return ResourceState(id_, inputs, _outputs(type_, id_, inputs))

    def read(self, type_: str, id_: str, state: ResourceState | None) -> ResourceState | None:
        found = self._cloud.resources.get(id_)
        if found is None:
            return None
        inputs = found["inputs"]
        if state is not None:
            inputs = {k: state.inputs[k] if v == "<asset>" and k in state.inputs else v for k, v in inputs.items()}
        return ResourceState(id_, inputs, _outputs(type_, id_, inputs))

    def update(self, urn: str, type_: str, old: ResourceState, inputs: Properties) -> ResourceState:
        self._maybe_die("before", "update")
        with self._cloud.edit() as data:
            if old.id not in data["resources"]:
                raise StandInError(f"{old.id} does not exist")
            data["resources"][old.id]["inputs"] = _jsonable(inputs)
            data["log"].append(f"update {old.id}")
        self._maybe_die("after", "update")
        return ResourceState(old.id, inputs, _outputs(type_, old.id, inputs))

    def delete(self, urn: str, type_: str, old: ResourceState) -> None:
        self._maybe_die("before", "delete")
        with self._cloud.edit() as data:
            if data["resources"].pop(old.id, None) is not None:
                data["log"].append(f"delete {old.id}")
        self._maybe_die("after", "delete")

    def invoke(self, token: str, args: Properties) -> Properties:
        if token != "demo:index:getZone":
            raise UnknownTypeError(f"no function {token}")
        return {"zone": f"{args['prefix']}-{self.config.get('region', 'nowhere')}", "pin": Secret("4711")}

    def _maybe_die(self, when: str, operation: str) -> None:
        point = f"{when}:{operation}"
        self._counts[point] = self._counts.get(point, 0) + 1
        if os.environ.get("DEMO_KILL") == f"{point}:{self._counts[point]}":
            os.kill(os.getpid(), signal.SIGKILL)


def _outputs(type_: str, id_: str, inputs: Properties) -> Properties:
    secret = {"token": Secret(f"token-of-{id_}")} if type_ == KEY else {}
    return {**inputs, "arn": f"arn:demo:{id_}", **secret}


def _jsonable(inputs: Properties) -> Properties:
    return {key: value if not hasattr(value, "content_hash") else "<asset>" for key, value in inputs.items()}
