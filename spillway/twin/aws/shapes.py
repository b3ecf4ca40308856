"""From the provider's camelCase inputs to the parameters of an AWS call, checked against AWS's own API model.

botocore checks that required members are there and that types and ranges fit. It knows enumerations and patterns, but
does not check them; the cloud does, and so does :class:`Converter`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spillway.twin.aws.archives import archive_bytes, is_asset
from spillway.twin.aws.schema import ObjectSchema, object_schema
from spillway.twin.provider import UNKNOWN, CheckFailure

ALSO_KNOWN = {"BucketCannedACL": ("log-delivery-write",)}
"""Values that the cloud takes and its published model leaves out."""

KEY_NAMES = ("Key", "Name", "key", "name", "TagKey")
VALUE_NAMES = ("Value", "value", "TagValue")


def normalise(name: str) -> str:
    """A name without case and separators: ``KMSKeyId`` and ``kmsKeyId`` are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def camel(name: str) -> str:
    """``EndpointName`` as the provider spells it: ``endpointName``."""
    head = re.match(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]+$|[A-Z]", name)
    return name[: head.end()].lower() + name[head.end() :] if head else name


@functools.cache
def _members(shape: Any) -> dict[str, str]:
    return {normalise(member): member for member in shape.members}


def find_member(shape: Any, name: str, noun: str = "") -> str | None:
    """The member an input means: its own name, with ``noun`` before it (``EndpointName``), singular or plural."""
    members = _members(shape)
    plain = normalise(name)
    candidates = [plain, normalise(noun) + plain] if noun else [plain]
    candidates += [plain + "s", plain + "es", plain + "list", plain.removesuffix("s"), plain.removesuffix("es")]
    if plain.endswith("ies"):
        candidates.append(plain.removesuffix("ies") + "y")
    if plain.endswith("y"):
        candidates.append(plain.removesuffix("y") + "ies")
    return next((members[candidate] for candidate in candidates if candidate in members), None)


def join(path: str, key: str | int) -> str:
    """One step further down a property path."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def has_unknown(value: Any) -> bool:
    """Whether some part of a value is not known yet."""
    if isinstance(value, dict):
        return any(has_unknown(v) for v in value.values())
    if isinstance(value, list):
        return any(has_unknown(v) for v in value)
    return value is UNKNOWN


@functools.cache
def _pattern(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text, re.DOTALL)
    except re.error:
        return None  # written for another dialect of regular expressions


@dataclass
class Converter:
    """Turns inputs into API parameters and collects what is wrong with them.

    ``rename`` maps a property path without indices (``productionVariants.modelName``) to the member it becomes, a
    dotted path of members from the enclosing structure. One renamed to ``""`` is dropped; with ``"*"`` its
    content moves up. ``Certificates[].CertificateArn`` makes a list of one.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    failures: list[CheckFailure] = field(default_factory=list)

    def structure(
        self, inputs: Mapping[str, Any], shape: Any, path: str = "", schema_path: str = "", noun: str = ""
    ) -> dict[str, Any]:
        """The members of ``shape`` that ``inputs`` give. Required members are checked by :meth:`require`."""
        result: dict[str, Any] = {}
        for key, value in inputs.items():
            if value is None:
                continue
            here, inner = join(path, key), join(schema_path, key)
            if inner in self.rename:
                target = self.rename[inner]
                if target == "*":
                    result |= self.structure(value, shape, here, inner)
                elif target:
                    self._place(result, shape, target.split("."), value, here, inner)
                continue
            member = find_member(shape, key, noun)
            if member is None:
                self._fail(here, f"{shape.name} has no such member; it has {', '.join(shape.members)}")
                continue
            result[member] = self.value(value, shape.members[member], here, inner)
        return result

    def require(self, params: Mapping[str, Any], shape: Any, path: str = "") -> None:
        """Required members, all the way down."""
        for member in shape.required_members:
            if member not in params:
                self._fail(join(path, camel(member)), f"is required ({shape.name}.{member})")

    def _place(
        self, result: dict[str, Any], shape: Any, steps: list[str], value: Any, path: str, schema_path: str
    ) -> None:
        for step in steps[:-1]:
            if step.endswith("[]"):
                shape = shape.members[step[:-2]].member
                result = result.setdefault(step[:-2], [{}])[0]
            else:
                shape = shape.members[step]
                result = result.setdefault(step, {})
        result[steps[-1]] = self.value(value, shape.members[steps[-1]], path, schema_path)

    def value(self, value: Any, shape: Any, path: str, schema_path: str) -> Any:
        """One value as the API wants it."""
        if value is UNKNOWN:
            return UNKNOWN
        handler = getattr(self, f"_{shape.type_name}", None)
        return handler(value, shape, path, schema_path) if handler else value

    def _structure(self, value: Any, shape: Any, path: str, schema_path: str) -> Any:
        if isinstance(value, list) and len(value) == 1:
            value, path = value[0], join(path, 0)
        if value is UNKNOWN:
            return UNKNOWN
        if not isinstance(value, dict):
            self._fail(path, f"must be an object ({shape.name})")
            return {}
        if getattr(shape, "is_document_type", False):
            return value
        result = self.structure(value, shape, path, schema_path)
        self.require(result, shape, path)
        return result

    def _list(self, value: Any, shape: Any, path: str, schema_path: str) -> Any:
        if isinstance(value, dict):
            value = self._pairs(value, shape.member)
        items = value if isinstance(value, list) else [value]
        self._bounds(len(items), shape, path, "holds {} items")
        single = not isinstance(value, list)
        return [
            self.value(item, shape.member, path if single else join(path, index), schema_path)
            for index, item in enumerate(items)
            if item is not None
        ]

    @staticmethod
    def _pairs(value: dict[str, Any], member: Any) -> list[Any]:
        """A map as a list of key and value pairs, where the API wants that (tags, dimensions, environments)."""
        names = list(member.members) if member.type_name == "structure" else []
        key = next((n for n in KEY_NAMES if n in names), None)
        of = next((n for n in VALUE_NAMES if n in names), None)
        looks_like_member = all(normalise(k) in {normalise(n) for n in names} for k in value)
        if key and of and not (looks_like_member and value):
            return [{camel(key): k, camel(of): v} for k, v in sorted(value.items())]
        return [value]

    def _map(self, value: Any, shape: Any, path: str, schema_path: str) -> Any:
        if not isinstance(value, dict):
            self._fail(path, "must be a map")
            return {}
        for key in value:
            self._string(key, shape.key, join(path, key), schema_path)
        return {k: self.value(v, shape.value, join(path, k), schema_path) for k, v in value.items()}

    def _string(self, value: Any, shape: Any, path: str, _: str) -> Any:
        if isinstance(value, bool):
            value = "true" if value else "false"
        if isinstance(value, int | float):
            value = str(int(value)) if float(value).is_integer() else str(value)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            value = ",".join(value)
        if isinstance(value, dict | list):
            value = json.dumps(value)
        if not isinstance(value, str):
            self._fail(path, "must be a string")
            return value
        sensitive = bool(shape.metadata.get("sensitive"))
        shown = "the value" if sensitive else repr(value if len(value) <= 120 else value[:117] + "...")
        if shape.enum and value not in shape.enum and value not in ALSO_KNOWN.get(shape.name, ()):
            self._fail(path, f"{shown} is not one of {', '.join(shape.enum)}")
            return value
        self._bounds(len(value), shape, path, "is {} characters long")
        expected = shape.metadata.get("pattern")
        compiled = _pattern(expected) if expected else None
        if compiled is not None and not _matches(compiled, value):
            self._fail(path, f"{shown} does not match {expected}")
        return value

    def _integer(self, value: Any, shape: Any, path: str, _: str) -> Any:
        if isinstance(value, bool) or not _is_number(value) or not float(value).is_integer():
            self._fail(path, f"must be a whole number, not {value!r}")
            return value
        self._bounds(int(float(value)), shape, path, "is {}")
        return int(float(value))

    _long = _integer

    def _float(self, value: Any, shape: Any, path: str, _: str) -> Any:
        if isinstance(value, bool) or not _is_number(value):
            self._fail(path, f"must be a number, not {value!r}")
            return value
        self._bounds(float(value), shape, path, "is {}")
        return float(value)

    _double = _float

    def _boolean(self, value: Any, _shape: Any, path: str, _: str) -> Any:
        if value in ("true", "false"):
            return value == "true"
        if not isinstance(value, bool):
            self._fail(path, f"must be true or false, not {value!r}")
        return value

    def _blob(self, value: Any, _shape: Any, _path: str, _: str) -> Any:
        if is_asset(value):
            return archive_bytes(value)
        return value.encode() if isinstance(value, str) else value

    def _bounds(self, size: float, shape: Any, path: str, says: str) -> None:
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        if low is not None and size < low:
            self._fail(path, f"{says.format(size)}; the least is {low}")
        if high is not None and size > high:
            self._fail(path, f"{says.format(size)}; the most is {high}")

    def _fail(self, path: str, reason: str) -> None:
        self.failures.append(CheckFailure(path, reason))


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _matches(pattern: re.Pattern[str], value: str) -> bool:
    """AWS writes some patterns for the whole value and some, anchored by hand or not, for a part of it."""
    return bool(pattern.fullmatch(value))


_TYPES: dict[str, tuple[type, ...]] = {"str": (str, int, float, bool), "int": (int, float), "float": (int, float)}


def check_properties(inputs: Mapping[str, Any], schema: ObjectSchema, path: str = "") -> list[CheckFailure]:
    """What the provider's own schema says about inputs: unknown keys, missing ones, wrong types."""
    failures: list[CheckFailure] = []
    for name in schema.required:
        if inputs.get(name) is None:
            failures.append(CheckFailure(join(path, name), "is required"))
    for name, value in inputs.items():
        here = join(path, name)
        if name == "__defaults" or value is None:
            continue
        if name not in schema.types:
            failures.append(CheckFailure(here, f"is not known; known are {', '.join(sorted(schema.types))}"))
            continue
        failures.extend(_check_value(value, schema.types[name], here))
    return failures


def _check_value(value: Any, type_: str, path: str) -> list[CheckFailure]:
    if value is UNKNOWN or value is None or type_ in {"any", "asset"}:
        return []
    if type_.startswith("["):
        if not isinstance(value, list):
            return [CheckFailure(path, "must be a list")]
        return [f for i, item in enumerate(value) for f in _check_value(item, type_[1:-1], join(path, i))]
    if type_.startswith("{"):
        if not isinstance(value, dict):
            return [CheckFailure(path, "must be a map")]
        return [f for key, item in value.items() for f in _check_value(item, type_[1:-1], join(path, key))]
    if type_.startswith("#"):
        if not isinstance(value, dict):
            return [CheckFailure(path, "must be an object")]
        return check_properties(value, object_schema(type_[1:]), path)
    if type_ == "bool":
        good = isinstance(value, bool) or value in ("true", "false")
    elif type_ in {"int", "float"} and isinstance(value, str):
        good = _is_number(value)
    else:
        good = isinstance(value, _TYPES[type_])
    return [] if good else [CheckFailure(path, f"must be of type {type_}, not {type(value).__name__}")]
