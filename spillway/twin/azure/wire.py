"""Between Pulumi's flattened inputs and Resource Manager's JSON, by the shapes in ``catalogue.json``."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from spillway.twin.azure.row import Row
from spillway.twin.provider import UNKNOWN, Properties

_TYPES: Final = {"string": str, "boolean": bool, "integer": int, "number": (int, float)}


@dataclass(frozen=True)
class Problem:
    path: str
    reason: str


@cache
def catalogue() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "catalogue.json").read_text())


def resource(row: Row) -> dict[str, Any]:
    """What the SDK says about a row: ``apiVersion``, ``versions``, ``inputs`` (name -> required), ``outputs``."""
    return catalogue()["resources"][row.token]


def shape_of(row: Row) -> dict[str, Any] | None:
    return catalogue()["shapes"][row.model] if row.model else None


def _norm(name: str) -> str:
    """Names differ between Pulumi and the wire by case, ``_``, ``-`` and ``.`` only (``odataType``, ``odata.type``)."""
    return name.replace("_", "").replace(".", "").replace("-", "").lower()


RENAMES: Final[dict[str, dict[str, str]]] = {
    "containerregistry.IPRule": {"iPAddressOrRange": "value"},
    "keyvault.KeyAttributes": {"notBefore": "nbf", "expires": "exp"},
    "keyvault.SecretAttributes": {"notBefore": "nbf", "expires": "exp"},
    "storage.Encryption": {"encryptionIdentity": "identity"},
    "storage.EncryptionIdentity": {
        "encryptionUserAssignedIdentity": "userAssignedIdentity",
        "encryptionFederatedIdentityClientId": "federatedIdentityClientId",
    },
    "storage.IPRule": {"iPAddressOrRange": "value"},
}
"""Shape -> input -> wire name, where Azure's description gives clients another name (``x-ms-client-name``). Rows have
their own, for the members of a body."""


def _shape(type_: Any, value: Any) -> dict[str, Any] | None:
    """The shape of an object type, narrowed by the value's discriminator."""
    if not isinstance(type_, dict):
        return None
    shape = type_.get("inline") or (catalogue()["shapes"][type_["ref"]] if "ref" in type_ else None)
    if shape is None or "subtypes" not in shape or not isinstance(value, dict):
        return shape
    given = _given(value, shape["discriminator"])
    for name, subtype in shape["subtypes"].items():
        if isinstance(given, str) and name.lower() == given.lower():
            return catalogue()["shapes"][subtype]
    return shape


def _given(value: Properties, key: str) -> Any:
    return next((item for name, item in value.items() if _norm(name) == _norm(key)), None)


def locate(shape: dict[str, Any], name: str) -> tuple[tuple[str, ...], Any] | None:
    """Where an input belongs: its path, at most two deep, and its type. Writable fields first."""
    fields: dict[str, Any] = shape["fields"]
    candidates: list[tuple[tuple[str, ...], Any]] = [((key,), f) for key, f in fields.items() if _norm(key) == name]
    inner = _shape(fields["properties"]["type"], None) if "properties" in fields else None
    if inner is not None:
        candidates += [(("properties", key), f) for key, f in inner["fields"].items() if _norm(key) == name]
    candidates.sort(key=lambda c: bool(c[1].get("readonly")))
    return (candidates[0][0], candidates[0][1]["type"]) if candidates else None


def body(row: Row, inputs: Properties) -> Properties:
    """The JSON body of a PUT."""
    shape = shape_of(row)
    own = {key: value for key, value in inputs.items() if key not in row.path_inputs or key == "location"}
    if shape is None:
        return _unchecked(row, own)
    return _encode_object(shape, own, row.renames, whole=True)


_TOP_LEVEL: Final = frozenset(
    {"identity", "kind", "location", "sku", "tags", "zones", "extendedLocation", "eTag", "properties"}
)


def _unchecked(row: Row, inputs: Properties) -> Properties:
    """The usual envelope, for rows without a model."""
    top = {key: value for key, value in inputs.items() if key in _TOP_LEVEL}
    if isinstance(top.get("identity"), dict):
        top["identity"] = {key: _encode({"map": "any"}, value) for key, value in top["identity"].items()}
    rest = {key: value for key, value in inputs.items() if key not in _TOP_LEVEL}
    return {**top, "properties": rest} if rest else top


def _encode_object(
    shape: dict[str, Any], value: Properties, renames: Mapping[str, str], *, whole: bool = False
) -> Properties:
    """``whole``: the body itself, not a member of it."""
    result: Properties = {}
    for key, item in value.items():
        found = locate(shape, _norm(renames.get(key, key)))
        if found is None and whole and "properties" in shape["fields"] and key not in _TOP_LEVEL:
            # The SDK knows it and the model does not: the model is older. It is recorded.
            found = (("properties", key), "any")
        path, type_ = found or ((key,), "any")
        place = result
        for part in path[:-1]:
            place = place.setdefault(part, {})
        encoded = _encode(type_, item)
        if isinstance(encoded, dict) and isinstance(place.get(path[-1]), dict):
            place[path[-1]] |= encoded
        else:
            place[path[-1]] = encoded
    return result


def _encode(type_: Any, value: Any) -> Any:
    if value is UNKNOWN or not isinstance(type_, dict):
        return copy.deepcopy(value)
    if "map" in type_ and isinstance(value, list):
        # User-assigned identities: a list of ids for Pulumi, a map of empty objects on the wire.
        return UNKNOWN if UNKNOWN in value else {str(item): {} for item in value}
    if "map" in type_ and isinstance(value, dict):
        return {key: _encode(type_["map"], item) for key, item in value.items()}
    if "list" in type_ and isinstance(value, list):
        return [_encode(type_["list"], item) for item in value]
    shape = _shape(type_, value)
    if shape is None or not isinstance(value, dict):
        return copy.deepcopy(value)
    return _encode_object(shape, value, RENAMES.get(type_.get("ref", ""), {}))


def outputs(row: Row, live: Properties) -> Properties:
    """What Pulumi shows of a resource: the wire JSON with ``properties`` flattened as the SDK has it."""
    names = {_norm(name): name for name in resource(row)["outputs"]}
    back = {_norm(wire): name for name, wire in row.renames.items()}
    shape = shape_of(row)
    decoded = _decode_object(shape, live, top=True) if shape else dict(live)
    flat = {key: value for key, value in decoded.items() if key != "properties"}
    properties = decoded.get("properties")
    if "properties" in names:
        flat["properties"] = properties
    elif isinstance(properties, dict):
        flat = {**properties, **{k: v for k, v in flat.items() if k not in _SHADOWED or k not in properties}}
    return {back.get(_norm(key)) or names.get(_norm(key), key): value for key, value in flat.items()}


_SHADOWED: Final = frozenset({"type"})


def _decode_object(shape: dict[str, Any], value: Properties, *, top: bool = False) -> Properties:
    result: Properties = {}
    for key, item in value.items():
        field = shape["fields"].get(key)
        decoded = _decode(field["type"], item) if field else item
        if field and field.get("flatten") and not top and isinstance(decoded, dict):
            result |= decoded
        else:
            result[key] = decoded
    return result


def _decode(type_: Any, value: Any) -> Any:
    if not isinstance(type_, dict):
        return value
    if "map" in type_ and isinstance(value, dict):
        return {key: _decode(type_["map"], item) for key, item in value.items()}
    if "list" in type_ and isinstance(value, list):
        return [_decode(type_["list"], item) for item in value]
    shape = _shape(type_, value)
    return _decode_object(shape, value) if shape is not None and isinstance(value, dict) else value


_OPEN_KINDS = frozenset({"portal.DashboardPartMetadata"})
"""Kinds of which the published model names one example: each portal extension has its own, and ARM takes them all."""


def problems(row: Row, wire: Properties) -> list[Problem]:
    """What the model refuses in a body. :data:`UNKNOWN` values pass; read-only ones are ignored, as ARM does."""
    shape = shape_of(row)
    if shape is None:
        return []
    newer = {key for key in resource(row)["inputs"] if locate(shape, _norm(row.renames.get(key, key))) is None}
    return list(_object_problems(shape, wire, "", newer))


def _object_problems(shape: dict[str, Any], value: Properties, path: str, newer: set[str]) -> Iterator[Problem]:
    fields = shape["fields"]
    for key, item in value.items():
        field = fields.get(key)
        at = f"{path}.{key}" if path else key
        if field is None:
            if key not in newer:
                yield Problem(at, "could not find member: the API has no such property")
        elif not field.get("readonly") and item is not UNKNOWN and item is not None:
            yield from _problems(field["type"], item, at, newer if key == "properties" and not path else set())
            yield from _limits(field, item, at)
    if set(value) == {"id"}:
        return  # A reference to a resource, not its description.
    for key, field in fields.items():
        if field.get("required") and not field.get("readonly") and value.get(key) is None:
            yield Problem(f"{path}.{key}" if path else key, "required")


def _limits(field: dict[str, Any], value: Any, path: str) -> Iterator[Problem]:
    if isinstance(value, str | list):
        low, high, size = ("min_length", "max_length", "long") if isinstance(value, str) else _ITEMS
        if not field.get(low, 0) <= len(value) <= field.get(high, len(value)):
            yield Problem(path, f"must be {field.get(low, 0)} to {field.get(high, 'any number of')} {size}")
    elif isinstance(value, int | float) and not field.get("minimum", value) <= value <= field.get("maximum", value):
        yield Problem(path, f"must be {field.get('minimum', 'any')} to {field.get('maximum', 'any')}")
    if isinstance(value, str) and "pattern" in field and not re.search(field["pattern"], value):
        yield Problem(path, f"must match {field['pattern']}")


_ITEMS: Final = ("min_items", "max_items", "items")


def _problems(type_: Any, value: Any, path: str, newer: set[str]) -> Iterator[Problem]:
    if value is UNKNOWN or type_ == "any":
        return
    if isinstance(type_, str):
        wanted = _TYPES[type_]
        right = isinstance(value, wanted) and not (isinstance(value, bool) and type_ in ("integer", "number"))
        if not right and not (type_ == "integer" and isinstance(value, float) and value.is_integer()):
            yield Problem(path, f"must be a {type_}")
        return
    if "enum" in type_:
        if str(value).lower() not in {str(allowed).lower() for allowed in type_["enum"]}:
            yield Problem(path, f"{value!r} must be one of {', '.join(map(str, type_['enum']))}")
    elif "list" in type_:
        if not isinstance(value, list):
            yield Problem(path, "must be an array")
            return
        for index, item in enumerate(value):
            yield from _problems(type_["list"], item, f"{path}[{index}]", set())
    elif not isinstance(value, dict):
        yield Problem(path, "must be an object")
    elif "map" in type_:
        for key, item in value.items():
            yield from _problems(type_["map"], item, f"{path}.{key}", set())
    else:
        yield from _shape_problems(type_, value, path, newer)


def _shape_problems(type_: Any, value: Properties, path: str, newer: set[str]) -> Iterator[Problem]:
    base = _shape(type_, None)
    shape = _shape(type_, value)
    if base is None or shape is None:
        return
    key = base.get("discriminator")
    given = _given(value, key) if key else None
    if key and shape is base and given is not None and type_.get("ref") in _OPEN_KINDS:
        return
    if key and shape is base and given is not UNKNOWN and "subtypes" in base:
        reason = "required" if given is None else f"{given!r} must be one of {', '.join(base['subtypes'])}"
        yield Problem(f"{path}.{key}", reason)
        return
    yield from _object_problems(shape, value, path, newer)


def writable(row: Row, wire: Properties) -> Properties:
    """A body without what is read-only at the top and in ``properties``."""
    shape = shape_of(row)
    if shape is None:
        return wire
    kept = {k: v for k, v in wire.items() if not shape["fields"].get(k, {}).get("readonly")}
    inner = (
        _shape(shape["fields"]["properties"]["type"], kept.get("properties"))
        if "properties" in shape["fields"]
        else None
    )
    if inner is not None and isinstance(kept.get("properties"), dict):
        fields = inner["fields"]
        kept["properties"] = {k: v for k, v in kept["properties"].items() if not fields.get(k, {}).get("readonly")}
    return kept
