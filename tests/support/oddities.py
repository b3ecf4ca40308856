"""YAML files with oddities that are drawn: one value, one key or one stretch of text of a good file is another."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any, Final

import yaml
from hypothesis import strategies as st

VALUES: Final[list[Any]] = [
    None, "", " ", "no", "~", 0, -1, 10**30, 1e308, float("nan"), float("inf"), True, [], {}, [None], [[]], {"": ""},
    {"a": {"b": []}}, "é💥", "a" * 300, "../..", "a:b", "${x}", "\x00", "0x10", "12:30", "2026-01-01", "null",
    [1, "a", None],
]  # fmt: skip
NOISE: Final = (
    "\t", "\x00", "config:\n", "- a\n", "&a [*a]\n", "'", "%YAML 9.9\n---\n", "\ufeff", "é: [", "...\n", "<<: 1\n",
)  # fmt: skip
Place = tuple[Any, ...]


def paths(value: Any, above: Place = ()) -> list[Place]:
    """Of everything in a structure, itself included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above, *(path for key, one in inner for path in paths(one, (*above, key)))]


def changed(document: dict[str, Any], path: Place, how: str, odd: Any) -> dict[str, Any]:
    document = copy.deepcopy(document)
    around: Any = document
    for key in path[:-1]:
        around = around[key]
    if how == "gone":
        around.pop(path[-1])
    elif how == "renamed" and isinstance(around, dict):
        around[f"{path[-1]}x"] = around.pop(path[-1])
    elif how == "twice" and isinstance(around, list):
        around.append(around[path[-1]])
    else:
        around[path[-1]] = odd
    return document


def _text(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, allow_unicode=True)


def odd_values(document: dict[str, Any], below: Place = ()) -> st.SearchStrategy[str]:
    """The file with one thing below a key changed, taken away, renamed or there twice."""
    places = [path for path in paths(document) if path[: len(below)] == below and len(path) > len(below)]
    how = st.sampled_from(["value", "value", "value", "gone", "renamed", "twice"])
    odd = st.one_of(st.sampled_from(VALUES), st.text(max_size=8), st.integers(), st.floats())
    return st.builds(lambda *given: _text(changed(document, *given)), st.sampled_from(places), how, odd)


def odd_texts(document: dict[str, Any]) -> st.SearchStrategy[str]:
    """The file with something between its letters, or without a stretch of them."""
    text = _text(document)
    cut = lambda at, noise, length: text[:at] + noise + text[at + length :]  # noqa: E731
    return st.builds(cut, st.integers(0, len(text)), st.sampled_from(NOISE), st.integers(0, 400))


def is_told(said: str, file: Path) -> bool:
    """Whether a refusal names the file, what was given and what to write; or why the file is no YAML at all."""
    return str(file) in said and bool(re.search(r"given .+; .|cannot be read as YAML: .|expected keys", said))
