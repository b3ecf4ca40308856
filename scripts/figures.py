"""The figures of the house: how long, how tangled and how ambiguous the code is.

`python scripts/figures.py [--json] [--check] [--lower]` prints each figure beside the most that
`docs/contributing/figures.md` allows, and what is counted in it. `--check` fails where one is above; `--lower` writes
today's figures into the page where they are lower. Tests are not counted.
"""

from __future__ import annotations

import argparse
import ast
import graphlib
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from scripts import glossary  # noqa: E402 - found only from the root

PAGE = ROOT / "docs" / "contributing" / "figures.md"
PACKAGES = ("components", "model_packaging", "policies", "spillway", "stacks")
ROOMS = (*PACKAGES, "benchmarks", "scripts", "tools")
LONG_FUNCTION = 50
LONG_MODULE = 600
EVERYWHERE = ("__init__.py", "__main__.py", "settings.py")
"""File names that say what a file is in its folder, and so are in many."""

A_SITE = re.compile(r"azure[-_ ]?ml|sage[-_ ]?maker", re.IGNORECASE)
OF_A_SITE = re.compile(r"(^|[/_])(azure_ml|azureml|sagemaker)([/_.])")
"""A path inside a site's own folder, or a file that is named for a site."""

_CEILING = re.compile(r"^\| (?P<name>[^|`]+) \| +(?P<most>\d+) \|$")
_SAME_NAMES = re.compile(r"^\| (?P<alike>`[^|]+`) \| (?P<why>[^|]+) \|$")


@dataclass(frozen=True)
class Figure:
    """``found``: each thing that is counted. ``most``: the ceiling."""

    name: str
    found: tuple[str, ...]
    most: int

    @property
    def exceeded(self) -> bool:
        return len(self.found) > self.most


@cache
def sources() -> dict[str, str]:
    """Path -> text of every module that is no test."""
    return _read(ROOMS, "*.py")


@cache
def product() -> dict[str, str]:
    """Path -> text of every module of the packages, in Python or Lua."""
    return _read(PACKAGES, "*.py") | _read(PACKAGES, "*.lua")


def _read(rooms: Iterable[str], pattern: str) -> dict[str, str]:
    paths = sorted(path for room in rooms for path in (ROOT / room).rglob(pattern))
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def long_functions(files: Mapping[str, str]) -> Iterator[str]:
    for path, text in files.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LONG_FUNCTION:
                    yield f"{path}:{node.lineno} {node.name}: {lines} lines"


def long_modules(files: Mapping[str, str]) -> Iterator[str]:
    for path, text in files.items():
        if (lines := len(text.splitlines())) > LONG_MODULE:
            yield f"{path}: {lines} lines"


def circles(imports: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Circles of imports: module -> what it imports, for typing and inside functions, too."""
    left = {module: set(imported) for module, imported in imports.items()}
    while True:
        try:
            graphlib.TopologicalSorter(left).prepare()
        except graphlib.CycleError as error:
            circle = error.args[1]
            yield " <- ".join(circle)
            left[circle[1]].discard(circle[0])
        else:
            return


@cache
def imports() -> dict[str, set[str]]:
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def repeated_names(files: Iterable[str], alike: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """File names in three places or more. ``alike``: names that are the same on purpose, and groups of folders whose
    names are, which count as one place."""
    on_purpose = {*EVERYWHERE, *(name for group in alike for name in group)}
    places: dict[str, dict[str, str]] = defaultdict(dict)
    for path in files:
        folder, _, name = path.rpartition("/")
        if name not in on_purpose:
            places[name][_counted_as(folder, alike)] = folder
    for name, found in sorted(places.items()):
        if len(found) >= 3:
            yield f"{name}: {', '.join(sorted(found.values()))}"


def _counted_as(folder: str, alike: Sequence[tuple[str, ...]]) -> str:
    return next((group[0] for group in alike if any(fnmatchcase(folder, one) for one in group)), folder)


def names_a_site(files: Mapping[str, str]) -> Iterator[str]:
    """Files that name a site, in code or in words. One that is named for a site is that site's own, like its folder:
    another site adds such files and edits none. What a cloud says of its services names these, whoever uses them."""
    for path, text in files.items():
        if A_SITE.search(text) and not OF_A_SITE.search(path) and not path.startswith("spillway/conformance/"):
            yield path


def double_meanings(files: Mapping[str, str], rules: Iterable[glossary.Rule]) -> Iterator[str]:
    rules = tuple(rules)
    for path, text in files.items():
        found = glossary.facts(text)
        for rule in rules:
            yield from rule.breaches(path, found)


def same_names(page: str) -> list[tuple[str, ...]]:
    """Groups of folders with the same file names, and file names, that are the same on purpose."""
    return [tuple(re.findall(r"`([^`]+)`", row["alike"])) for row in map(_SAME_NAMES.match, page.splitlines()) if row]


def ceilings(page: str) -> dict[str, int]:
    return {row["name"]: int(row["most"]) for row in map(_CEILING.match, page.splitlines()) if row}


FIGURES: dict[str, Callable[[], Iterable[str]]] = {
    f"functions over {LONG_FUNCTION} lines": lambda: long_functions(sources()),
    f"modules over {LONG_MODULE} lines": lambda: long_modules(sources()),
    "circles of imports": lambda: circles(imports()),
    "file names used three times or more": lambda: repeated_names(sources(), same_names(PAGE.read_text("utf-8"))),
    "second meanings of a word": lambda: double_meanings(
        sources(), glossary.read_rules(glossary.PAGE.read_text("utf-8"))
    ),
    "files outside a site's own that name a burst site": lambda: names_a_site(product()),
}


def figures() -> list[Figure]:
    """Today's figures. Raises ``KeyError`` for one that the page does not name."""
    most = ceilings(PAGE.read_text(encoding="utf-8"))
    return [Figure(name, tuple(count()), most[name]) for name, count in FIGURES.items()]


def lowered(page: str, found: Iterable[Figure]) -> str:
    """The page with today's figures where they are lower; a ceiling never rises."""
    today = {figure.name: min(len(figure.found), figure.most) for figure in found}
    lines = []
    for line in page.splitlines():
        row = _CEILING.match(line)
        lines.append(f"| {row['name']} | {today[row['name']]} |" if row and row["name"] in today else line)
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a figure is above its ceiling")
    parser.add_argument("--lower", action="store_true", help="write today's figures into the page where they are lower")
    asked = parser.parse_args()
    found = figures()
    if asked.json:
        print(json.dumps([{"name": f.name, "count": len(f.found), "most": f.most, "found": f.found} for f in found]))
    else:
        for figure in found:
            print(f"{len(figure.found):4} (at most {figure.most:3})  {figure.name}")
            for line in figure.found:
                print(f"                     {line}")
    if asked.lower:
        PAGE.write_text(lowered(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    return int(asked.check and any(figure.exceeded for figure in found))


if __name__ == "__main__":
    sys.exit(main())
