"""The code of a scheduled function: its module and every module of this repository that it imports, and no more."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pulumi


def function_code(modules: Iterable[str]) -> pulumi.AssetArchive:
    """An archive in which ``modules`` (dotted names) can be imported. Libraries are Lambda's own: boto3, the standard
    library."""
    found: dict[str, Path] = {}
    waiting = list(modules)
    # Who is imported decides what belongs to this repository: its package, and those of the modules themselves.
    own = {"spillway", *(module.split(".")[0] for module in waiting)}
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        path = _path(module)
        if path is None:
            continue
        found[module] = path
        waiting += [name for name in _imported(path) if name.split(".")[0] in own]
        if "." in module:
            waiting.append(module.rpartition(".")[0])
    return pulumi.AssetArchive(
        {_place(module, path): pulumi.FileAsset(str(path)) for module, path in sorted(found.items())}
    )


def _path(module: str) -> Path | None:
    """The module's file; ``None`` for what is no module (``from package import name``) or has no file."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _place(module: str, path: Path) -> str:
    folder = module.replace(".", "/")
    return f"{folder}/__init__.py" if path.name == "__init__.py" else f"{folder}.py"


def _imported(path: Path) -> Iterator[str]:
    """Every dotted name that the file imports, wherever it does, and what it takes out of packages."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
