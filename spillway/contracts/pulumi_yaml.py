"""YAML as the Pulumi CLI reads it, which is neither YAML 1.1 nor 1.2.

``no`` and ``12:30`` are texts, ``1e3`` and ``08`` are floats, ``0042`` is 34, and a key that stands twice is an error.
Source: gopkg.in/yaml.v3 v3.0.1 (resolve.go, decode.go), which Pulumi 3.274.1 uses, and its own
sdk/go/common/resource/config/object.go.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import yaml

_TAG: Final = "tag:yaml.org,2002:"
_CONSTANTS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_NO_NUMBERS: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_INTEGER: Final = re.compile(r"([-+]?)0([xXbBoO]?)([0-9a-fA-F]+)|([-+]?[1-9][0-9]*|[-+]?0)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DATE: Final = re.compile(
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
    r"([Tt][0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})"
    r"| [0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]+)?)?"
)
_DEEPEST: Final = 200
_BASES: Final = {"x": 16, "b": 2, "o": 8, "": 8}


class PulumiYamlError(ValueError):
    """Text that the CLI refuses, or takes for something that nobody means. The message names the line."""


def load(text: str) -> Any:
    """The text's value. Raises :class:`PulumiYamlError`."""
    node = compose(text)
    try:
        return None if node is None else _Loader("").construct_document(node)
    except yaml.YAMLError as error:
        raise PulumiYamlError(_told(error)) from None


def dump(value: Any) -> str:
    """Text that the CLI reads as ``value``: quoted wherever it would take a text for something else."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def dump_line(value: Any) -> str:
    """The same in flow style, on one line."""
    made = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6, default_flow_style=True)
    return made.removesuffix("...\n").strip()


def lines_of(text: str) -> dict[str, int]:
    """The line of each key and list item, from 1: ``config.spillway:burst.order[0]`` → 12.

    Raises :class:`PulumiYamlError`.
    """
    return dict(_lines(compose(text), ""))


def stack_file_lines(text: str) -> dict[str, int]:
    """The line of each config key of a stack file, by its full name, e.g. ``spillway:aws.region``.

    Raises :class:`PulumiYamlError`.
    """
    start = "config."
    found = lines_of(text)
    return {key.removeprefix(start): line for key, line in found.items() if key.startswith(start)}


def compose(text: str) -> yaml.Node | None:
    """The text's nodes, with their places. Raises :class:`PulumiYamlError`."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is not None:
            _need_an_end(node, {}, _DEEPEST)
    except yaml.YAMLError as error:
        raise PulumiYamlError(_told(error)) from None
    except RecursionError:
        raise PulumiYamlError(f"it is nested deeper than {_DEEPEST} times") from None
    return node


def _need_an_end(node: yaml.Node, ended: dict[int, bool], left: int) -> None:
    """``ended``: of each node whether all below it was looked at; one that is met again before holds itself."""
    if not left:
        raise yaml.MarkedYAMLError(None, None, f"nested deeper than {_DEEPEST} times", node.start_mark)
    if ended.get(id(node)) is False:
        raise yaml.MarkedYAMLError(None, None, "an anchor's value contains itself", node.start_mark)
    if id(node) in ended or not isinstance(node, yaml.CollectionNode):
        return
    ended[id(node)] = False
    for child in node.value:
        for part in child if isinstance(child, tuple) else (child,):
            _need_an_end(part, ended, left - 1)
    ended[id(node)] = True


def config_text(value: Any) -> str:
    """A config value as programs get it: texts as they are, everything else as Go's JSON."""
    return value if isinstance(value, str) else "" if value is None else _json(value)


def _lines(node: yaml.Node | None, path: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = f"{path}.{key.value}" if path else str(key.value)
            yield inner, key.start_mark.line + 1
            yield from _lines(value, inner)
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield f"{path}[{index}]", value.start_mark.line + 1
            yield from _lines(value, f"{path}[{index}]")


def _json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(str(key))}:{_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    return _go_float(value) if isinstance(value, float) else json.dumps(value)


def _go_float(value: float) -> str:
    """As encoding/json writes it: without an exponent from 1e-6 up to 1e21."""
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        digits = format(Decimal(repr(value)), "f")
        return digits.rstrip("0").rstrip(".") if "." in digits else digits
    return re.sub(r"e([-+])0", r"e\1", repr(value).replace(".0e", "e"))


def _scalar(text: str) -> Any:
    """What a plain scalar means; a date for whatever Go takes for a date."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _NO_NUMBERS.fullmatch(text):
        return float(text.replace(".", "", 1).lower())
    if _DATE.fullmatch(text):
        return _go_date(text)
    plain = text.replace("_", "") if text[0] in "+-0123456789" else text
    if (found := _INTEGER.fullmatch(plain)) and (whole := _integer(plain, found)) is not None:
        return whole
    number = float(plain) if _FLOAT.fullmatch(plain) else math.inf
    return number if math.isfinite(number) else text


def _integer(plain: str, found: re.Match[str]) -> int | float | None:
    if found[4] is not None:
        whole = int(plain)
    else:
        try:
            whole = int(f"{found[1]}{found[3]}", _BASES[found[2].lower()])
        except ValueError:
            return None
    return whole if -(2**63) <= whole < 2**64 else float(whole) if found[4] is not None else None


def _go_date(text: str) -> date | str:
    day = "-".join(part.zfill(2) for part in re.split(r"[Tt ]", text)[0].split("-"))
    try:
        return date.fromisoformat(day)
    except ValueError:
        return text


class _Scalars:
    """Resolves plain scalars by what they mean to Go."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is not yaml.ScalarNode or not implicit[0]:
            return super().resolve(kind, value, implicit)  # type: ignore[misc]
        if value == "<<":
            return f"{_TAG}merge"
        match _scalar(value):
            case None:
                return f"{_TAG}null"
            case bool():
                return f"{_TAG}bool"
            case int():
                return f"{_TAG}int"
            case float():
                return f"{_TAG}float"
            case date():
                return f"{_TAG}timestamp"
            case _:
                return f"{_TAG}str"


if TYPE_CHECKING:
    _Base = yaml.SafeLoader
else:
    _Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Scalars, _Base):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            # A mapping as a key is left to the parent class, which refuses it.
            name = key.value if isinstance(key, yaml.ScalarNode) else id(key)
            if name in lines and key.tag != f"{_TAG}merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name!r} stands on line {lines[name]} too", key.start_mark
                )
            lines[name] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)

    def plain(self, node: yaml.ScalarNode) -> Any:
        value = _scalar(node.value)
        if isinstance(value, float) and not math.isfinite(value):
            raise yaml.constructor.ConstructorError(
                None, None, f"{node.value} is no number for Pulumi", node.start_mark
            )
        if isinstance(value, date):
            said = f"{node.value} without quotes is a point of time, which Pulumi hands on in another form; quote it"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
        return value


for _name in ("null", "bool", "int", "float", "timestamp"):
    _Loader.add_constructor(f"{_TAG}{_name}", _Loader.plain)


class _Dumper(_Scalars, yaml.SafeDumper):
    pass


def _told(error: yaml.YAMLError) -> str:
    """The error on one line, with its place."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else " ".join(problem.split())
