"""What pydantic says of a file's settings, in terms of the file's keys, so that it can be mended."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from spillway.contracts.problems import Problem, nearest

_HIDDEN = "a value that is not shown"
_TYPES = {
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "string_type": "a text, in quotes where it looks like a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
}


@dataclass(frozen=True)
class Names:
    """How a kind of file names its keys. ``prefix``: of each; ``whole``: the file itself; ``former``: what became of
    keys that it had once."""

    prefix: str = ""
    whole: str = "the file"
    former: Mapping[str, str] = field(default_factory=dict)
    unsaid: tuple[str, ...] = ()
    """Fields that are no keys of the file."""

    def key(self, path: list[Any]) -> str:
        text = ""
        for part in path:
            text += f"[{part}]" if isinstance(part, int) else f".{part}"
        return f"{self.prefix}{text.removeprefix('.')}" if text else self.whole


def place(key: str, lines: Mapping[str, int]) -> str:
    """The line of the key, or of the nearest one around it that the file has; nothing where there is none."""
    while key and key not in lines:
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return f" (line {lines[key]})" if key else ""


def problems_of(
    error: ValidationError, model: type[BaseModel], names: Names, hidden: frozenset[str] = frozenset()
) -> list[Problem]:
    """Each fault of a file that ``model`` refused. ``hidden``: top-level keys with a secret."""
    details = error.errors(include_url=False)
    places = [detail["loc"] for detail in details]
    # A list with a bad item is also called too short: the item is the cause.
    causes = [d for d in details if not any(len(p) > len(d["loc"]) and p[: len(d["loc"])] == d["loc"] for p in places)]
    return [_problem(detail, model, names, hidden) for detail in causes]


def _problem(detail: Any, model: type[BaseModel], names: Names, hidden: frozenset[str]) -> Problem:
    path, field, parent = _walk(model, detail["loc"])
    key, given = names.key(path), _given(detail["input"], path, hidden)
    match detail["type"]:
        case "extra_forbidden" if advice := names.former.get(_dotted(path)):
            return Problem(key, "a former key", advice)
        case "extra_forbidden":
            return Problem(key, "an unknown key", _known_keys(str(path[-1]), parent, names))
        case "missing":
            return Problem(key, "nothing", f"a value is required here: {_meaning(field) or 'add the key'}")
        case "union_tag_not_found":
            tag = detail["ctx"]["discriminator"].strip("'")
            return Problem(names.key([*path, tag]), "nothing", f"allowed: {', '.join(_tags_of(field))}")
        case "union_tag_invalid":
            tag = detail["ctx"]["discriminator"].strip("'")
            allowed = ", ".join(_tags_of(field))
            return Problem(names.key([*path, tag]), repr(detail["ctx"]["tag"]), f"allowed: {allowed}")
        case "value_error":
            return Problem(key, given, str(detail["ctx"]["error"]))
        case kind if kind in _TYPES:
            return Problem(key, given, _with_meaning(f"allowed: {_TYPES[kind]}", field))
        case "string_pattern_mismatch":
            return Problem(key, given, _with_meaning(f"allowed: a text that fits {detail['ctx']['pattern']}", field))
        case _:
            return Problem(key, given, _with_meaning(_allowed(detail["msg"]), field))


def _walk(
    model: type[BaseModel], location: tuple[Any, ...]
) -> tuple[list[Any], FieldInfo | None, type[BaseModel] | None]:
    """The path of keys, the field at its end, and the model that the last key stands in.

    Pydantic puts the chosen tag of a discriminated union into the location; it is no key of the file.
    """
    path: list[Any] = []
    field: FieldInfo | None = None
    parent: type[BaseModel] | None = None
    current: type[BaseModel] | None = model
    for part in location:
        choices = _models(field) if field is not None and current is None else []
        tagged = [choice for choice in choices if part in _own_tags(choice, field)]
        if tagged:
            current = tagged[0]
            continue
        if part == "[key]":
            continue
        path.append(part)
        parent = current
        if isinstance(part, int) or current is None:
            continue
        field = current.model_fields.get(part)
        inside = _models(field)
        current = inside[0] if len(inside) == 1 else None
    return path, field, parent


def _models(field: FieldInfo | None) -> list[type[BaseModel]]:
    """The settings models that may stand at a field."""
    if field is None:
        return []
    return [o for o in _options(field.annotation) if isinstance(o, type) and issubclass(o, BaseModel)]


def _own_tags(model: type[BaseModel], field: FieldInfo | None) -> tuple[str, ...]:
    discriminator = field.discriminator if field is not None else None
    if not isinstance(discriminator, str) or discriminator not in model.model_fields:
        return ()
    return get_args(model.model_fields[discriminator].annotation)


def _tags_of(field: FieldInfo | None) -> list[str]:
    return [tag for model in _models(field) for tag in _own_tags(model, field)]


def _options(annotation: Any) -> list[Any]:
    """The types behind ``X | None``, ``Annotated``, tuples and dictionaries."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _options(get_args(annotation)[0])
    if origin in (Union, types.UnionType, tuple, list, dict):
        return [option for arg in get_args(annotation) for option in _options(arg)]
    return [annotation]


def _dotted(path: list[Any]) -> str:
    """The path without positions in lists."""
    return ".".join(part for part in path if isinstance(part, str))


def _allowed(message: str) -> str:
    return message.replace("Input should be", "allowed:").replace("String should", "allowed: a text that should")


def _with_meaning(advice: str, field: FieldInfo | None) -> str:
    meaning = _meaning(field)
    return f"{advice} ({meaning})" if meaning else advice


def _meaning(field: FieldInfo | None) -> str:
    """The field's own docstring on one line, without the full stop."""
    if field is None or not field.description:
        return ""
    return " ".join(field.description.split()).rstrip(".").replace("``", "")


def _given(value: Any, path: list[Any], hidden: frozenset[str]) -> str:
    """The value as given, cut short. What may be a secret is not shown, and of a mapping only its keys."""
    last = next((part for part in reversed(path) if isinstance(part, str)), "")
    if last.endswith("_secret") or (path and path[0] in hidden):
        return _HIDDEN
    if isinstance(value, dict):
        return "a mapping of " + (", ".join(sorted(map(str, value))) or "nothing")
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, BaseModel):
        return "what the other keys say"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _known_keys(given: str, model: type[BaseModel] | None, names: Names) -> str:
    if model is None:
        return "remove it"
    known = sorted(model.model_fields.keys() - set(names.unsaid))
    return f"{nearest(given, known)}allowed keys: {', '.join(known)}"
