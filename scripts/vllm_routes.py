"""Write down the routes that a version of vLLM registers: ``python scripts/vllm_routes.py vllm-0.30.0-….whl``.

vLLM needs a GPU's libraries to be imported, so the routes are read from its wheel (``pip download --no-deps vllm==…``).
With ``--check`` nothing is written: the command fails where the list in ``tests/contracts`` is not that wheel's.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from zipfile import ZipFile

ROUTES: Final = Path(__file__).resolve().parent.parent / "tests" / "contracts" / "vllm_routes.txt"
ENTRY_POINTS: Final = "vllm/entrypoints/"
DEMONSTRATION: Final = "vllm/entrypoints/api_server.py"
"""A server of its own, which ``vllm serve`` does not start."""
METHODS: Final = ("get", "post", "put", "delete", "patch", "head", "options", "websocket")
FASTAPI: Final = ("GET /docs", "GET /docs/oauth2-redirect", "GET /openapi.json", "GET /redoc")
"""What FastAPI adds by itself."""


def routes(wheel: Path) -> list[str]:
    """``METHOD path`` of every route, sorted."""
    found = set(FASTAPI)
    with ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(ENTRY_POINTS) and name.endswith(".py") and name != DEMONSTRATION:
                found |= set(_registered(ast.parse(archive.read(name))))
    return sorted(found)


def _registered(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        first = node.args[0]
        if not isinstance(first, ast.Constant) or not isinstance(first.value, str) or not first.value.startswith("/"):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "Mount":
            yield f"GET {first.value}"
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            yield f"{node.func.attr.upper()} {first.value}"


def text(wheel: Path) -> str:
    """The list as it is kept, under the version's name."""
    return "\n".join((f"# vllm {wheel.name.split('-')[1]}", *routes(wheel))) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    fresh = text(args.wheel)
    if args.check:
        same = ROUTES.is_file() and ROUTES.read_text(encoding="utf-8") == fresh
        print("as kept" if same else f"{ROUTES} is not that of {args.wheel.name}; run without --check")
        return 0 if same else 1
    ROUTES.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
