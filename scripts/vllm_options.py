"""Make ``spillway/contracts/vllm_options.json`` from a vLLM wheel: what ``vllm serve`` of that version takes.

``python scripts/vllm_options.py vllm-<version>-….whl``. Read from the source, not by running it: vLLM is several
gigabytes installed, and its options are written down as literals and dataclass fields.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

TARGET: Final = Path(__file__).resolve().parents[1] / "spillway" / "contracts" / "vllm_options.json"
_ENGINE: Final = "vllm/engine/arg_utils.py"
_FRONT: Final = tuple(f"vllm/entrypoints/{folder}/cli_args.py" for folder in ("common", "launchers", "openai"))
"""Where versions keep the HTTP server's options; the newest first."""
_PLAIN: Final = ("bool", "int", "float", "str")


def read_wheel(wheel: Path) -> dict[str, Any]:
    """The table as it is stored."""
    version = wheel.name.split("-")[1]
    with ZipFile(wheel) as archive:

        def tree(name: str) -> ast.Module:
            return ast.parse(archive.read(name).decode())

        configs = [tree(name) for name in sorted(archive.namelist()) if name.startswith("vllm/config/")]
        server = next(name for name in _FRONT if name in archive.namelist())
        engine, front = tree(_ENGINE), tree(server)
        literals = dict(pair for module in [*configs, engine, front] for pair in _literals(module))
        fields = dict(pair for module in [*configs, front, engine] for pair in _fields(module))
        of_server = {*_flags(front)} | {
            name.replace("_", "-")
            for node in front.body
            if isinstance(node, ast.ClassDef) and node.name.endswith("Args")
            for name, _ in _fields(node)
        }
        options = {
            name: _kind(fields.get(name.replace("-", "_")), literals) | ({"front": True} if name in of_server else {})
            for name in sorted({*_flags(engine), *of_server})
        }
        registry = tree("vllm/model_executor/models/registry.py")
        return {
            "version": version,
            "source": f"vllm {version}, {_ENGINE} and {server}",
            "licence": "Apache-2.0",
            "options": options,
            "tool_parsers": _keys(tree("vllm/tool_parsers/__init__.py"), "_TOOL_PARSERS_TO_REGISTER"),
            "reasoning_parsers": _keys(tree("vllm/reasoning/__init__.py"), "_REASONING_PARSERS_TO_REGISTER"),
            "kv_cache_dtypes": _choices(ast.Name("CacheDType"), literals),
            "speculative_methods": sorted(_choices(ast.Name("SpeculativeMethod"), literals)),
            "architectures": [
                name for table in ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS") for name in _keys(registry, table)
            ],
        }


def text(found: dict[str, Any]) -> str:
    """As JSON with one line an option, so that a new version is read as what it changes."""
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(kind)}" for name, kind in found["options"].items())
    others = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in found.items() if key != "options")
    return f'{{\n{others},\n "options": {{\n{rows}\n }}\n}}\n'


def _flags(module: ast.Module) -> Iterator[str]:
    """Options that ``add_argument`` names."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            for given in node.args:
                if isinstance(given, ast.Constant) and str(given.value).startswith("--"):
                    yield str(given.value).removeprefix("--")


def _fields(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Name → annotation of every dataclass field."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for entry in node.body:
                if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name):
                    yield entry.target.id, entry.annotation


def _literals(module: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names that stand for types."""
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def _choices(annotation: ast.expr, literals: dict[str, ast.expr]) -> list[str]:
    """What a Literal allows, those that it is made of included; empty where anything is."""
    match annotation:
        case ast.Name(id=name) if name in literals:
            return _choices(literals[name], literals)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inside):
            parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
            return [
                word
                for part in parts
                for word in ([str(part.value)] if isinstance(part, ast.Constant) else _choices(part, literals))
            ]
    return []


def _kind(annotation: ast.expr | None, literals: dict[str, ast.expr]) -> dict[str, Any]:
    """``type``: bool, int, float, str, or ``any`` for what is JSON or a list; ``choices`` where they are closed.
    ``front`` is added to what only the HTTP server takes."""
    if annotation is None:
        return {"type": "any"}
    parts = [part for part in _union(annotation) if ast.unparse(part) != "None"]
    if len(parts) == 1:
        if choices := _choices(parts[0], literals):
            return {"type": "str", "choices": choices}
        if ast.unparse(parts[0]) in _PLAIN:
            return {"type": ast.unparse(parts[0])}
    return {"type": "any"}


def _union(annotation: ast.expr) -> list[ast.expr]:
    if isinstance(annotation, ast.BinOp):
        return [*_union(annotation.left), *_union(annotation.right)]
    return [annotation]


def _keys(module: ast.Module, name: str) -> list[str]:
    for node in module.body:
        names = [ast.unparse(target) for target in getattr(node, "targets", [getattr(node, "target", node)])]
        if isinstance(node, ast.Assign | ast.AnnAssign) and names == [name] and isinstance(node.value, ast.Dict):
            return sorted(str(key.value) for key in node.value.keys if isinstance(key, ast.Constant))
    raise ValueError(f"{name}: not in this version of vLLM; look where it went")


if __name__ == "__main__":
    TARGET.write_text(text(read_wheel(Path(sys.argv[1]))), encoding="utf-8")
