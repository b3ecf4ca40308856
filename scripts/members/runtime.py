"""Make ``spillway/conformance/services/aws/runtime_calls.json``: the AWS calls that ``spillway/runtime`` makes.

Read from its source: which botocore methods each entry function reaches, through functions and modules. Each is named
as the IAM action that allows it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import botocore
import botocore.session
from botocore import xform_name

from scripts.members.form import text

_ROOT: Final = Path(__file__).resolve().parents[2]
_ENTRIES: Final = ("handler", "read", "hold", "hand_on", "main")
"""Functions that others call: of a Lambda function, of a site's modules, of a process."""
_PREFIXES: Final = {"sagemaker-runtime": "sagemaker"}
"""What IAM calls a service of another name."""
_ALLOWED_BY: Final = {"s3:HeadObject": "s3:GetObject"}
"""Operations that no action is named for (https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html)."""
Node = tuple[str, str]
"""Module and function or class."""


class _Code:
    """The definitions of the runtime, and what each mentions."""

    def __init__(self) -> None:
        self.trees = {_module(path): ast.parse(path.read_text(encoding="utf-8")) for path in _sources()}
        self.methods = _methods(self.trees.values())
        self.defined = {
            (module, node.name): node
            for module, tree in self.trees.items()
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        }

    def reached(self, start: Node) -> set[str]:
        """The IAM actions of the calls that ``start`` makes, itself or through others."""
        seen, left, actions = {start}, [start], set[str]()
        while left:
            module, name = left.pop()
            for used in ast.walk(self.defined[module, name]):
                if isinstance(used, ast.Attribute) and used.attr in self.methods:
                    actions.add(self.methods[used.attr])
                if isinstance(used, ast.Name) and (found := self._meant(module, used.id)) and found not in seen:
                    seen.add(found)
                    left.append(found)
        return actions

    def _meant(self, module: str, name: str) -> Node | None:
        if (module, name) in self.defined:
            return module, name
        for node in ast.walk(self.trees[module]):
            if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
                return (node.module or "", name) if (node.module, name) in self.defined else None
        return None


def _sources() -> list[Path]:
    return sorted((_ROOT / "spillway" / "runtime").rglob("*.py"))


def _module(path: Path) -> str:
    return ".".join(path.relative_to(_ROOT).with_suffix("").parts)


def _methods(trees: Any) -> dict[str, str]:
    """Method of a client → IAM action, of every service that a client is made for."""
    session = botocore.session.Session()
    found = {}
    for service in sorted({name for tree in trees for name in _services(tree)}):
        operations: list[str] = list(session.get_service_model(service).operation_names)  # pyright: ignore[reportArgumentType]
        for operation in operations:
            action = f"{_PREFIXES.get(service, service)}:{operation}"
            found[xform_name(operation)] = _ALLOWED_BY.get(action, action)
    return found


def _services(tree: ast.Module) -> Iterator[str]:
    """The services that ``client(...)`` is called for."""
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="client"), args=[ast.Constant(value=str(service)), *_]):
                yield service
            case ast.Call(func=ast.Name(id="client"), args=[ast.Name(id=name), *_]) if name in constants:
                yield str(constants[name])
            case ast.Call(func=ast.Name(id="client"), args=[other, *_]):
                raise ValueError(f"client({ast.unparse(other)}): name the service, or a constant of the module")


def document() -> str:
    """The file's text. ``calls``: module → entry function → IAM actions."""
    code = _Code()
    calls: dict[str, dict[str, list[str]]] = {}
    for module, name in sorted(code.defined):
        if name in _ENTRIES and (actions := code.reached((module, name))):
            calls.setdefault(module, {})[name] = sorted(actions)
    return text({"sources": {"botocore": botocore.__version__}, "calls": calls})
