"""Label and field selectors of list and watch requests."""

from __future__ import annotations

import re
from typing import Any

from spillway.twin.kubernetes.values import dig, mapping


def matches(thing: dict[str, Any], labels: str, fields: str) -> bool:
    """Whether an object fits ``labelSelector`` and ``fieldSelector``."""
    have = mapping(thing["metadata"].get("labels"))
    return all(_label(have, term) for term in _terms(labels)) and all(_field(thing, term) for term in _terms(fields))


def _terms(selector: str) -> list[str]:
    return [term.strip() for term in re.split(r",(?![^()]*\))", selector) if term.strip()]


def _label(have: dict[str, Any], term: str) -> bool:
    if (found := re.fullmatch(r"(\S+)\s+(in|notin)\s*\(([^)]*)\)", term)) is not None:
        values = {value.strip() for value in found.group(3).split(",")}
        return (have.get(found.group(1)) in values) == (found.group(2) == "in")
    if "!=" in term:
        key, value = term.split("!=", 1)
        return have.get(key.strip()) != value.strip()
    if "=" in term:
        key, value = term.replace("==", "=").split("=", 1)
        return have.get(key.strip()) == value.strip()
    return term[1:].strip() not in have if term.startswith("!") else term in have


def _field(thing: dict[str, Any], term: str) -> bool:
    differs = "!=" in term
    path, _, value = term.partition("!=") if differs else term.replace("==", "=").partition("=")
    found = dig(thing, *path.strip().split("."))
    return (str(found if found is not None else "") == value.strip()) != differs
