"""Make ``catalogue.json`` from the installed SDKs; ``make docs`` does.

From ``pulumi_azure_native``: each row's default API version, the others that it knows, and its arguments. From the
``azure-mgmt-*`` packages: the wire shape of each row's body, with what is required, read-only, or one of a few values.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import typing
from enum import Enum
from typing import Any, Final

from spillway.twin.azure.row import BLOB, Row
from spillway.twin.azure.services import ROWS

LIMITS: Final = ("pattern", "min_length", "max_length", "min_items", "max_items", "minimum", "maximum")
"""What a model demands of a value besides its type, as msrest calls it."""

NOT_DEMANDED: Final = {("machinelearningservices.Route", "path"): ("pattern",)}
"""What a model demands and the service does not. Microsoft's own example gives ``/`` as a scoring route, in which the
model wants a letter (the repository of examples at 04d31980,
``cli/endpoints/online/custom-container/triton/single-model/triton-cc-deployment.yml``)."""

_MSREST: Final = {
    "str": "string", "bool": "boolean", "int": "integer", "long": "integer", "float": "number", "decimal": "number",
    "object": "any", "iso-8601": "string", "rfc-1123": "string", "date": "string", "time": "string",
    "duration": "string", "bytearray": "string", "base64": "string", "unix-time": "integer",
}  # fmt: skip
_PLAIN: Final = {str: "string", bool: "boolean", int: "integer", float: "number", bytes: "string"}


class Shapes:
    """The shapes reached so far, by ``package.Class``."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def add(self, name: str) -> str:
        if name in self.found:
            return name
        package, _, class_name = name.rpartition(".")
        models = importlib.import_module(f"azure.mgmt.{package}.models")
        model = getattr(models, class_name)
        shape: dict[str, Any] = {"fields": {}}
        self.found[name] = shape
        if hasattr(model, "_attribute_map"):
            self._msrest(package, models, model, shape)
        else:
            self._rest_fields(package, models, model, shape)
        return name

    def _msrest(self, package: str, models: Any, model: Any, shape: dict[str, Any]) -> None:
        hints = inspect.get_annotations(model.__init__)
        for name, attribute in model._attribute_map.items():
            rules = model._validation.get(name, {})
            type_ = self._msrest_type(package, models, attribute["type"], _enum(models, hints.get(name)))
            entry = {"type": type_}
            entry |= {flag: True for flag in ("required", "readonly") if rules.get(flag)}
            entry |= {limit: rules[limit] for limit in LIMITS if limit in rules}
            for limit in NOT_DEMANDED.get((f"{package}.{model.__name__}", name), ()):
                entry.pop(limit, None)
            path = [part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", attribute["key"])]
            place = shape
            for part in path[:-1]:
                inner = place["fields"].setdefault(part, {"type": {"inline": {"fields": {}}}, "flatten": True})
                if entry.get("required"):
                    inner["required"] = True
                place = inner["type"]["inline"]
            place["fields"][path[-1]] = entry
        for wire, values in (vars(model).get("_subtype_map") or {}).items():
            key = next(a["key"] for a in model._attribute_map.values() if wire in (a["key"], _python_name(model, a)))
            self._subtypes(package, shape, key, values)

    def _subtypes(self, package: str, shape: dict[str, Any], key: str, values: dict[str, str]) -> None:
        shape["discriminator"] = key.replace("\\.", ".")
        shape["subtypes"] = {str(value): self.add(f"{package}.{class_}") for value, class_ in sorted(values.items())}

    def _msrest_type(self, package: str, models: Any, text: str, values: list[str] | None) -> Any:
        if text.startswith("["):
            return {"list": self._msrest_type(package, models, text[1:-1], values)}
        if text.startswith("{"):
            return {"map": self._msrest_type(package, models, text[1:-1], values)}
        if text in _MSREST:
            return {"enum": values} if values and text == "str" else _MSREST[text]
        found = getattr(models, text)
        if issubclass(found, Enum):
            return {"enum": [str(member.value) for member in found]}
        return {"ref": self.add(f"{package}.{text}")}

    def _rest_fields(self, package: str, models: Any, model: Any, shape: dict[str, Any]) -> None:
        flattened = any("__flattened_items" in key for key in vars(model))
        for class_ in reversed(model.__mro__):
            for name, hint in vars(class_).get("__annotations__", {}).items():
                rest = vars(class_).get(name)
                if rest is None or not hasattr(rest, "_rest_name_input"):
                    continue
                wire = rest._rest_name_input or name
                entry: dict[str, Any] = {"type": self._hint(package, models, hint)}
                if rest._visibility == ["read"]:
                    entry["readonly"] = True
                elif not _optional(hint) and rest._default.__class__ is object:
                    entry["required"] = True
                if flattened and wire == "properties":
                    entry["flatten"] = True
                shape["fields"][wire] = entry
        mapping = vars(model).get("__mapping__") or {}
        if mapping:
            key = next(
                (r._rest_name_input or n)
                for class_ in model.__mro__
                for n, r in vars(class_).items()
                if getattr(r, "_is_discriminator", False)
            )
            self._subtypes(package, shape, key, {str(getattr(k, "value", k)): v.__name__ for k, v in mapping.items()})

    def _hint(self, package: str, models: Any, hint: Any) -> Any:
        if hint in _PLAIN:
            return _PLAIN[hint]
        if isinstance(hint, str | typing.ForwardRef):
            name = (hint if isinstance(hint, str) else hint.__forward_arg__).rsplit(".", 1)[-1]
            found = getattr(models, name, None)
            if inspect.isclass(found) and issubclass(found, Enum):
                return {"enum": [str(member.value) for member in found]}
            return {"ref": self.add(f"{package}.{name}")} if inspect.isclass(found) else "any"
        origin, arguments = typing.get_origin(hint), [a for a in typing.get_args(hint) if a is not type(None)]
        if origin is list:
            return {"list": self._hint(package, models, arguments[0])}
        if origin is dict:
            return {"map": self._hint(package, models, arguments[1])}
        if origin is typing.Literal:
            return {"enum": [str(getattr(a, "value", a)) for a in arguments]}
        if len(arguments) == 1:
            return self._hint(package, models, arguments[0])
        found = [self._hint(package, models, a) for a in arguments]
        enums = [f for f in found if isinstance(f, dict) and "enum" in f]
        return enums[0] if enums else "any"


def _python_name(model: Any, attribute: dict[str, str]) -> str:
    return next(name for name, value in model._attribute_map.items() if value is attribute)


def _enum(models: Any, hint: Any) -> list[str] | None:
    """The values of the first enumeration that a type hint mentions."""
    for name in re.findall(r"_models\.(\w+)", str(hint)):
        found = getattr(models, name, None)
        if inspect.isclass(found) and issubclass(found, Enum):
            return [str(member.value) for member in found]
    return None


def _optional(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def _sdk(token: str) -> dict[str, Any]:
    """What Pulumi's SDK says about a resource type."""
    from pulumi._types import input_type_py_to_pulumi_names

    _, module, name = token.split(":")
    class_ = getattr(importlib.import_module(f"pulumi_azure_native.{module}"), name)
    # A nested type of the same name shadows the arguments in the package, so they are taken from the class's own file.
    home = importlib.import_module(class_.__module__)
    arguments = getattr(home, f"{name}InitArgs", None) or getattr(home, f"{name}Args")
    signature = inspect.signature(arguments.__init__).parameters
    names = input_type_py_to_pulumi_names(arguments)
    inputs = {names[p]: v.default is inspect.Parameter.empty for p, v in signature.items() if p in names}
    source = inspect.getsource(home)
    aliases = re.findall(rf"azure-native:{module}/v(\d{{4}})(\d\d)(\d\d)(preview)?:", source)
    version = re.search(r"Azure REST API version (\d{4}-\d\d-\d\d(?:-preview)?)", source)
    getters = (member for _, member in inspect.getmembers(class_) if isinstance(member, property))
    default = version.group(1) if version else ""
    versions = {f"{y}-{m}-{d}{'-' + p if p else ''}" for y, m, d, p in aliases}
    return {
        "apiVersion": default,
        "versions": sorted((versions | {default}) - {""}),
        "inputs": dict(sorted(inputs.items())),
        "outputs": sorted(name for g in getters if (name := vars(g.fget).get("_pulumi_name"))),
    }


def build(rows: tuple[Row, ...] = ROWS) -> dict[str, Any]:
    shapes = Shapes()
    for row in rows:
        if row.model is not None:
            shapes.add(row.model)
    return {
        "resources": {token: _sdk(token) for token in sorted([*(row.token for row in rows), BLOB])},
        "shapes": dict(sorted(shapes.found.items())),
    }


def text() -> str:
    """The file's text: one line for each resource and shape, so that changes can be read."""
    parts = []
    for part, entries in build().items():
        lines = [f"{json.dumps(name)}:{json.dumps(entry, separators=(',', ':'))}" for name, entry in entries.items()]
        parts.append(f'"{part}":{{\n' + ",\n".join(lines) + "\n}")
    return "{" + ",\n".join(parts) + "}\n"
