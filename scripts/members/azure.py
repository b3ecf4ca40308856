"""Make ``spillway/conformance/services/azure/members.json``: Resource Manager's bodies, by ``azure-mgmt-*``.

Which body a resource type sends is read from the twin's rows and its catalogue of those models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from scripts.members.form import Enums, Field, pruned, text
from spillway.conformance.services.members import loose
from spillway.twin.azure.row import Row
from spillway.twin.azure.services import ROWS
from spillway.twin.azure.wire import RENAMES, catalogue, locate, resource, shape_of

_LIMITS: Final = {
    "min_length": "shortest", "max_length": "longest", "min_items": "shortest", "max_items": "longest",
    "minimum": "least", "maximum": "most",
}  # fmt: skip
_OPEN: Final = frozenset({"portal.DashboardPartMetadata"})
"""Of these the published models name examples only."""


class _Bodies:
    def __init__(self) -> None:
        self.enums = Enums()
        self.found: dict[str, dict[str, Any]] = {}

    def of_row(self, row: Row) -> dict[str, Any]:
        shape = shape_of(row)
        fields, required = {}, []
        for name in resource(row)["inputs"]:
            if shape is None or name in row.path_inputs:
                continue
            found = locate(shape, loose(row.renames.get(name, name)))
            if found is not None:
                entry = _entry(shape, found[0])
                fields[name] = self.field(entry, f"{row.model} {'.'.join(found[0])}")
                # Without a location the provider takes the group's.
                if entry.get("required") and name != "location":
                    required.append(name)
        names = {name: {"says": f"the name of a {row.type}", **_name(row, name)} for name in row.path_inputs}
        return {"fields": {**names, **fields}, "required": required}

    def field(self, entry: Mapping[str, Any], says: str) -> Field:
        limits = {ours: entry[theirs] for theirs, ours in _LIMITS.items() if theirs in entry}
        if "pattern" in entry:
            limits["pattern"] = _whole(entry["pattern"])
        return {"says": says, **limits, **self._type(entry["type"], says)}

    def _type(self, type_: Any, says: str) -> Field:
        if not isinstance(type_, dict):
            return {}
        if "enum" in type_:
            return {"choice": self.enums.name(says, [str(value) for value in type_["enum"]])}
        if "list" in type_:
            return {"items": {"says": says, **self._type(type_["list"], says)}}
        if "map" in type_:
            return {"values": {"says": says, **self._type(type_["map"], says)}}
        if "ref" in type_:
            return {"shape": self._shape(type_["ref"])}
        return {"shape": self._inline(says, type_["inline"])}

    def _shape(self, name: str) -> str:
        if name not in self.found:
            self.found[name] = {"fields": {}}
            self.found[name] = self._body(name, catalogue()["shapes"][name])
        return name

    def _inline(self, name: str, shape: Mapping[str, Any]) -> str:
        self.found[name] = self._body(name, shape)
        return name

    def _body(self, name: str, shape: Mapping[str, Any]) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        inner = _inner(shape)
        for source in (inner["fields"] if inner else {}, shape["fields"]):
            entries |= {wire: entry for wire, entry in source.items() if not entry.get("readonly")}
        shown = {wire: shown for shown, wire in RENAMES.get(name, {}).items()}
        required = [w for w, entry in entries.items() if entry.get("required") and not _flattened(shape, w)]
        result: dict[str, Any] = {
            "loose": True,
            "fields": {
                loose(shown.get(wire, wire)): self.field(entry, f"{name} {wire}") for wire, entry in entries.items()
            },
            "required": [shown.get(wire, wire) for wire in required],
        }
        if "subtypes" in shape and name not in _OPEN:
            result["by"] = shape["discriminator"]
            result["kinds"] = {kind.lower(): self._shape(each) for kind, each in shape["subtypes"].items()}
        return result


def _inner(shape: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The object whose properties the provider shows as the outer one's."""
    entry = shape["fields"].get("properties")
    if entry is None or not entry.get("flatten"):
        return None
    type_ = entry["type"]
    return type_.get("inline") or catalogue()["shapes"][type_["ref"]]


def _flattened(shape: Mapping[str, Any], wire: str) -> bool:
    return wire == "properties" and bool(shape["fields"].get("properties", {}).get("flatten"))


def _entry(shape: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    entry: Mapping[str, Any] = {"type": {"inline": shape}}
    for step in path:
        type_ = entry["type"]
        entry = (type_.get("inline") or catalogue()["shapes"][type_["ref"]])["fields"][step]
    return entry


def _whole(pattern: str) -> str:
    """A pattern that is searched for, as one for the whole value."""
    start = "" if pattern.startswith("^") else ".*"
    end = "" if pattern.endswith("$") else ".*"
    return f"{start}(?:{pattern.removeprefix('^').removesuffix('$')}){end}"


def _name(row: Row, name: str) -> Field:
    """What the row demands of its own name, or the operations of its package of any name in the path."""
    if row.name_rule and name == row.name_input:
        return {"pattern": row.name_rule[0]}
    package, segment = (row.model or "").split(".")[0], row.path.split(f"/{{{name}}}")[0].rsplit("/", 1)[-1]
    found = _names(package).get((segment, name)) or _names(package).get((segment, ""))
    return {"pattern": found} if found else {}


_URL: Final = re.compile(r'"(/subscriptions/[^"]*(?:"\s*"[^"]*)*)".*?= \{(.*?)\n    \}', re.DOTALL)
_PART: Final = re.compile(r'"(\w+)": _SERIALIZER\.url\([^)]*?pattern=r?"([^"]+)"')


@cache
def _names(package: str) -> dict[tuple[str, str], str]:
    """(path segment before it, its own name or none) → pattern."""
    import azure.mgmt

    found: dict[tuple[str, str], str] = {}
    folders = [Path(path) / package / "operations" for path in azure.mgmt.__path__] if package else []
    for file in sorted(file for folder in folders if folder.is_dir() for file in folder.glob("_*operations.py")):
        source = file.read_text(encoding="utf-8")
        for url, arguments in _URL.findall(source):
            path = re.sub(r'"\s*"', "", url)
            for name, pattern in _PART.findall(arguments):
                segment = path.split(f"/{{{name}}}")[0].rsplit("/", 1)[-1]
                found.setdefault((segment, name), _whole(pattern))
                found.setdefault((segment, ""), _whole(pattern))
    return found


def document() -> str:
    """The file's text."""
    bodies = _Bodies()
    rows = {row.token: row for row in ROWS}
    for token, row in rows.items():
        bodies.found[token] = bodies.of_row(row)
    types, found = pruned({token: token for token in rows}, bodies.found)
    packages = sorted({row.model.split(".")[0] for row in ROWS if row.model})
    sources = {f"azure-mgmt-{name}": version(f"azure-mgmt-{name}") for name in packages}
    return text({"sources": sources, "types": types, "shapes": found, "enums": bodies.enums.found})
