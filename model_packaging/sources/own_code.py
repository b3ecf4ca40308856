"""What an entry of one's own consists of: the modules that it imports, and the files that it reads."""

from __future__ import annotations

import ast
import contextlib
import functools
import os
import site
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, Final

_INSTALLED: Final = tuple(
    Path(place).resolve()
    for place in {
        *(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(sys.prefix, sys.base_prefix, *site.getsitepackages(), site.getusersitepackages()),
        *("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/lib64"),
    }
)
"""What the machine and installed packages bring along; the versions of the tools are in a package's key."""
_CACHES: Final = (tempfile.gettempdir(), os.path.expanduser("~/.cache"), os.path.expanduser("~/.config"))
_SCRATCH: Final = tuple(Path(place).resolve() for place in _CACHES)
"""Where libraries keep what they can make again."""

_readers: list[set[Path]] = []


def own_modules(module: str, spec: ModuleSpec, folder: Path) -> dict[str, Path]:
    """Name → file of ``module`` and of all that it imports, at any remove, as far as it is in ``folder`` or of the
    same package. Told from the text: no module is imported."""
    assert spec.origin is not None
    own = Path(spec.origin)
    parts = module.split(".")
    levels = len(parts) if own.name == "__init__.py" else len(parts) - 1
    root = own.parents[levels]
    found: dict[str, Path] = {module: own}
    pending = list(_imported(own, module))
    while pending:
        name = pending.pop()
        file = _file(name, folder) or (_file(name, root) if name.split(".")[0] == parts[0] else None)
        if file is not None and name not in found:
            found[name] = file
            pending += _imported(file, name)
    return found


@contextlib.contextmanager
def files_read(folder: Path) -> Iterator[set[Path]]:
    """Modules of ``folder`` that are imported, and files that Python opens for reading meanwhile, there or elsewhere,
    what is installed and caches aside. What native code opens by itself (safetensors) is not among them."""
    _hook()
    opened: set[Path] = set()
    found: set[Path] = set()
    before = set(sys.modules)
    _readers.append(opened)
    try:
        yield found
    finally:
        _readers.remove(opened)
        imported = [getattr(sys.modules[name], "__file__", None) for name in sys.modules.keys() - before]
        modules = {Path(file).resolve() for file in imported if file}
        # Text of modules that were there before is read for tracebacks and by compilers.
        files = {path.resolve() for path in opened if path.suffix not in (".py", ".pyc")}
        found |= {path for path in modules if path.is_relative_to(folder) and _is_own(path, folder)}
        found |= {path for path in files if _is_own(path, folder)}


def _is_own(place: Path, folder: Path) -> bool:
    # Metadata of distributions, which libraries look through for plugins; those of editable ones lie beside the code.
    if any(parent.suffix in (".egg-info", ".dist-info") for parent in place.parents):
        return False
    others = _INSTALLED if place.is_relative_to(folder) else (*_INSTALLED, *_SCRATCH)
    return place.is_file() and not any(place.is_relative_to(other) for other in others)


@functools.cache
def _hook() -> None:
    """Once: a hook cannot be taken away again."""
    sys.addaudithook(_on_event)


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _readers and isinstance(arguments[0], str | bytes):
        path, mode, flags = arguments
        if "w" not in (mode or "") and not flags & (os.O_WRONLY | os.O_RDWR):
            for reader in _readers:
                reader.add(Path(os.fsdecode(path)))


def _imported(file: Path, module: str) -> Iterator[str]:
    """Every module that the file's text may import, with those around it."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    around = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = around.split(".") if node.level else []
            above = parts[: len(parts) - node.level + 1]
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" if base else alias.name for alias in node.names)]
        else:
            continue
        for name in names:
            pieces = name.split(".")
            yield from (".".join(pieces[:count]) for count in range(1, len(pieces) + 1) if pieces[0])


def _file(name: str, folder: Path) -> Path | None:
    place = folder.joinpath(*name.split("."))
    for candidate in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if candidate.is_file():
            return candidate
    return None
