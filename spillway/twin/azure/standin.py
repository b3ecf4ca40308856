"""The ``azure-native`` provider's stand-in: Pulumi's Azure resources over a Resource Manager on loopback."""

from __future__ import annotations

import copy
import hashlib
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from spillway.contracts.resources import at
from spillway.twin.azure import blobs, courier, wire
from spillway.twin.azure.account import SUBSCRIPTION_ID, TENANT_ID
from spillway.twin.azure.client import ArmClient, ArmRefusalError
from spillway.twin.azure.manager import name_problem
from spillway.twin.azure.row import BLOB, Action, Row
from spillway.twin.azure.services import BY_TOKEN, ROWS
from spillway.twin.provider import (
    UNKNOWN,
    Checked,
    CheckFailure,
    Diff,
    Properties,
    ResourceState,
    Secret,
    UnknownTypeError,
)

CONTAINERS: Final = "azure-native:containerinstance:ContainerGroup"
_KEY_FUNCTIONS: Final = {f"azure-native:{action.function}": (row, action) for row in ROWS for action in row.actions}


class AzureStandIn:
    """``endpoint``: the address of ``spillway.twin.azure.server``; ``aws``: of the AWS from which packages are brought,
    where there is one; ``rights_after_s``: when role assignments are in force, as the server was told."""

    package = "azure-native"

    def __init__(self, endpoint: str, aws: str = "", rights_after_s: float = 0.0) -> None:
        self.environment: Mapping[str, str] = {"SPILLWAY_AZURE_RIGHTS_IN_FORCE_S": str(rights_after_s)}
        self._client = ArmClient(endpoint)
        self._aws = aws
        self._subscription = SUBSCRIPTION_ID
        self._location: str | None = None

    def types(self) -> frozenset[str]:
        return frozenset(BY_TOKEN) | {BLOB}

    def configure(self, config: Properties) -> None:
        """``subscriptionId`` and ``location``; credentials are not looked at."""
        self._subscription = config.get("subscriptionId") or SUBSCRIPTION_ID
        self._location = config.get("location")

    def check(
        self, urn: str, type_: str, old_inputs: Properties | None, new_inputs: Properties, seed: bytes
    ) -> Checked:
        inputs = {key: value for key, value in new_inputs.items() if value is not None}
        name = urn.rsplit("::", 1)[-1]
        if type_ == BLOB:
            inputs.setdefault("blobName", name)
            return Checked(
                inputs, tuple(_argument_failures(inputs, dict.fromkeys(blobs.ARGUMENTS, False), blobs.REQUIRED))
            )
        row = _row(type_)
        sdk = wire.resource(row)["inputs"]
        if row.name_input in sdk and row.name_input not in inputs and not sdk[row.name_input]:
            digest = hashlib.sha256(urn.encode() + seed)
            automatic = str(uuid.UUID(digest.hexdigest()[:32])) if row.named_by_uuid else name + digest.hexdigest()[:8]
            inputs[row.name_input] = (old_inputs or {}).get(row.name_input, automatic)
        if "location" in sdk and "location" not in inputs and self._location:
            inputs["location"] = self._location
        required = [key for key, needed in sdk.items() if needed]
        failures = _argument_failures(inputs, sdk, required)
        if not failures:
            body = wire.body(row, inputs)
            if "location" in sdk and "location" not in body:
                body["location"] = UNKNOWN  # Taken from the resource group when it is created.
            failures = [CheckFailure(problem.path, problem.reason) for problem in wire.problems(row, body)]
        own_name = inputs.get(row.name_input)
        if isinstance(own_name, str) and (wrong := name_problem(row, own_name)) is not None:
            failures.append(CheckFailure(row.name_input, wrong))
        return Checked(inputs, tuple(failures))

    def diff(self, type_: str, old: ResourceState, new_inputs: Properties, ignore_changes: tuple[str, ...]) -> Diff:
        if type_ == BLOB:
            return blobs.diff(old, new_inputs, ignore_changes)
        row = _row(type_)
        new = _ignoring(old.inputs, new_inputs, ignore_changes)
        changed = tuple(sorted(k for k in {*old.inputs, *new} if not _same(k, old.inputs.get(k), new.get(k))))
        forced = {*row.path_inputs, *row.create_only}
        deeper = {path.partition(".")[0] for path in forced if "." in path and at(old.inputs, path) != at(new, path)}
        replaces = tuple(key for key in changed if key in forced | deeper)
        same_place = not any(key in row.path_inputs for key in changed)
        return Diff(changed, replaces, delete_before_replace=bool(replaces) and same_place)

    def preview(self, type_: str, old: ResourceState | None, inputs: Properties) -> Properties:
        if type_ == BLOB:
            named = {"name": inputs["blobName"], "url": UNKNOWN, "contentMd5": UNKNOWN}
            return {**(old.outputs if old else {}), **{k: v for k, v in inputs.items() if k != "source"}, **named}
        row = _row(type_)
        sdk = wire.resource(row)
        # Bodies of rows without a model are the inputs' own parts, and what the service adds is written into them here.
        inputs = copy.deepcopy(inputs)
        shown = {k: v for k, v in wire.outputs(row, wire.body(row, inputs)).items() if k in sdk["outputs"]}
        if old is not None:
            before = wire.outputs(row, wire.body(row, old.inputs))
            return _overlay(old.outputs, shown, before)
        planned: Properties = dict.fromkeys(sdk["outputs"], UNKNOWN) | shown | {"azureApiVersion": sdk["apiVersion"]}
        planned["name"] = inputs.get(row.name_input, UNKNOWN)
        place = planned["properties"] if isinstance(planned.get("properties"), dict) else planned
        for key, made in {**row.computed, **dict.fromkeys(row.drawn, ""), "provisioningState": ""}.items():
            place[key] = _overlay(_all_unknown(made), place[key]) if isinstance(place.get(key), dict) else UNKNOWN
        if isinstance(planned.get("identity"), dict):
            planned["identity"] = _planned_identity(planned["identity"])
        return planned

    def create(self, urn: str, type_: str, inputs: Properties) -> ResourceState:
        if type_ == BLOB:
            return blobs.write(self._client, self._subscription, inputs)
        state = self._put(_row(type_), inputs)
        if type_ == CONTAINERS and self._aws:
            # Azure starts a group and answers; who wants to know how it ended asks again.
            self._put(_row(type_), {**inputs, "containers": courier.run(self._client, self._aws, inputs)})
        return state

    def update(self, urn: str, type_: str, old: ResourceState, inputs: Properties) -> ResourceState:
        return self.create(urn, type_, inputs)

    def read(self, type_: str, id_: str, state: ResourceState | None) -> ResourceState | None:
        if type_ == BLOB:
            return blobs.read(self._client, self._subscription, id_, state)
        row = _row(type_)
        live = self._client.get(id_, wire.resource(row)["apiVersion"])
        if live is None:
            return None
        outputs = _outputs(row, live)
        if state is not None:
            return ResourceState(id_, _project(state.inputs, {**state.inputs, **outputs}, row), outputs)
        sdk = wire.resource(row)["inputs"]
        return ResourceState(id_, {k: v for k, v in outputs.items() if k in sdk} | _path_values(row, id_), outputs)

    def delete(self, urn: str, type_: str, old: ResourceState) -> None:
        if type_ == BLOB:
            blobs.delete(self._client, old.inputs)
            return
        self._client.delete(old.id, wire.resource(_row(type_))["apiVersion"])

    def invoke(self, token: str, args: Properties) -> Properties:
        if token == "azure-native:authorization:getClientConfig":
            ids = {"clientId": str(uuid.UUID(int=2)), "objectId": str(uuid.UUID(int=3))}
            return {**ids, "subscriptionId": self._subscription, "tenantId": TENANT_ID}
        if token in _KEY_FUNCTIONS:
            row, action = _KEY_FUNCTIONS[token]
            answer = self._client.post(f"{self._path(row, args)}/{action.name}", wire.resource(row)["apiVersion"])
            return _sealed(action, answer)
        module, _, function = token.removeprefix("azure-native:").partition(":")
        row = BY_TOKEN.get(f"azure-native:{module}:{function.removeprefix('get')}")
        if row is None or not function.startswith("get"):
            raise UnknownTypeError(f"{token}: the Azure stand-in has no such function")
        live = self._client.get(self._path(row, args), wire.resource(row)["apiVersion"])
        if live is None:
            raise ArmRefusalError(404, "ResourceNotFound", f"The Resource '{self._path(row, args)}' was not found.")
        return {"id": live["id"], **_outputs(row, live)}

    def _put(self, row: Row, inputs: Properties) -> ResourceState:
        version = wire.resource(row)["apiVersion"]
        path, body = self._path(row, inputs), wire.body(row, inputs)
        if "location" in wire.resource(row)["inputs"] and "location" not in body:
            group = self._client.get(path[: path.lower().find("/providers/")], wire.resource(_GROUP_ROW)["apiVersion"])
            body["location"] = (group or {}).get("location", "")
        live = self._client.put(path, version, body)
        return ResourceState(live["id"], inputs, _outputs(row, live))

    def _path(self, row: Row, inputs: Properties) -> str:
        values = {"subscriptionId": self._subscription, **inputs}
        path = re.sub(r"{(\w+)}", lambda match: str(values[match.group(1)]).strip("/"), row.path)
        return path.replace("//", "/")


_GROUP_ROW: Final = BY_TOKEN["azure-native:resources:ResourceGroup"]


def _row(type_: str) -> Row:
    row = BY_TOKEN.get(type_)
    if row is None:
        raise UnknownTypeError(f"{type_}: the Azure stand-in has no row for this type")
    return row


def _argument_failures(inputs: Properties, known: dict[str, bool], required: Any) -> list[CheckFailure]:
    found = [CheckFailure(key, "is no argument of this resource") for key in inputs if key not in known]
    return found + [CheckFailure(key, "required") for key in required if key not in inputs]


def _outputs(row: Row, live: Properties) -> Properties:
    shown = {key: value for key, value in wire.outputs(row, live).items() if key != "id"}
    return {**shown, "azureApiVersion": wire.resource(row)["apiVersion"]}


def _path_values(row: Row, id_: str) -> Properties:
    pattern = re.sub(r"\\?{(\w+)\\?}", r"(?P<\1>[^/]+)", row.path)
    pattern = pattern.replace("(?P<scope>[^/]+)", "(?P<scope>.+)").replace(
        "(?P<resourceUri>[^/]+)", "(?P<resourceUri>.+)"
    )
    match = re.fullmatch(pattern, id_, re.IGNORECASE)
    return {k: v for k, v in match.groupdict().items() if k != "subscriptionId"} if match else {}


def _same(key: str, old: Any, new: Any) -> bool:
    if key == "location" and isinstance(old, str) and isinstance(new, str):
        return old.replace(" ", "").lower() == new.replace(" ", "").lower()
    return old == new


def _overlay(old: Any, new: Any, before: Any = None) -> Any:
    """New values over what the service showed. What was set ``before`` and is not wanted any more goes."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return copy.deepcopy(new)
    set_before = before if isinstance(before, dict) else {}
    kept = {key: value for key, value in old.items() if key in new or key not in set_before}
    return kept | {key: _overlay(old.get(key), value, set_before.get(key)) for key, value in new.items()}


def _all_unknown(value: Any) -> Any:
    return {key: _all_unknown(item) for key, item in value.items()} if isinstance(value, dict) else UNKNOWN


def _planned_identity(identity: Properties) -> Properties:
    """A managed identity with the ids that it will have."""
    planned = dict(identity)
    if "systemassigned" in str(identity.get("type", "")).lower():
        planned |= {"principalId": UNKNOWN, "tenantId": UNKNOWN}
    assigned = identity.get("userAssignedIdentities")
    if isinstance(assigned, dict):
        ids = {"principalId": UNKNOWN, "clientId": UNKNOWN}
        planned["userAssignedIdentities"] = {key: dict(ids) for key in assigned}
    return planned


def _project(inputs: Any, live: Any, row: Row | None = None) -> Any:
    """The live values of what the inputs set. What the service never shows is taken to be as it was set."""
    if isinstance(inputs, dict) and isinstance(live, dict):
        kept = row.path_inputs if row else ()
        return {k: v if k in kept or k not in live else _project(v, live[k]) for k, v in inputs.items()}
    if isinstance(inputs, list) and isinstance(live, dict):
        # User-assigned identities: a list for the program, a map in the answer.
        return inputs if {str(i).lower() for i in inputs} == {str(k).lower() for k in live} else sorted(live)
    if isinstance(inputs, list) and isinstance(live, list) and len(inputs) == len(live):
        return [_project(a, b) for a, b in zip(inputs, live, strict=True)]
    if isinstance(inputs, str) and isinstance(live, str) and inputs.lower() == live.lower():
        return inputs
    return copy.deepcopy(live)


def _ignoring(old: Properties, new: Properties, paths: tuple[str, ...]) -> Properties:
    """``new`` with the old values at the ignored paths (``properties.traffic``)."""
    result = copy.deepcopy(new)
    for path in paths:
        *way, last = path.split(".")
        before: Any = old
        after: Any = result
        for key in way:
            before = before.get(key, {}) if isinstance(before, dict) else {}
            after = after.get(key) if isinstance(after, dict) else None
        if not isinstance(after, dict):
            continue
        if isinstance(before, dict) and last in before:
            after[last] = copy.deepcopy(before[last])
        else:
            after.pop(last, None)
    return result


def _sealed(action: Action, answer: Properties) -> Properties:
    if not action.sealed:
        return {key: Secret(value) for key, value in answer.items()}
    shown = [{**entry, "value": Secret(entry["value"])} for entry in answer[action.sealed]]
    return {**answer, action.sealed: shown}
