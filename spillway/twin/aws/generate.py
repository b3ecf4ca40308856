"""Makes ``schema.json`` from the source of ``pulumi_aws``; ``make docs`` does."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from spillway.twin.aws.schema import Kind
from spillway.twin.aws.services import ROWS


class _Sdk:
    """Reads the generated classes of ``pulumi_aws`` without importing them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects: dict[str, Any] = {}
        self.inputs_of: dict[str, dict[str, ast.ClassDef]] = {}

    def read_type(self, token: str) -> dict[str, Any]:
        module, file = token.split(":")[1].split("/")
        class_name = token.split(":")[2]
        classes = self._classes(self._file(module, file, token))
        module = {"index": ""}.get(module, module)
        # The SDK calls it InitArgs where the plain name is taken by a nested object.
        args = self._properties(classes.get(f"{class_name}InitArgs") or classes[f"{class_name}Args"], module)
        resource = classes[class_name]
        outputs = _output_kinds(resource)
        secrets = re.findall(r'"(\w+)"', " ".join(_secret_outputs(resource)))
        return {**args, "outputs": outputs, "secrets": secrets}

    def _file(self, module: str, file: str, token: str) -> Path:
        folder = self.root / (module if module != "lambda" else "lambda_")
        for path in sorted(folder.glob("*.py")):
            if f"'{token}'" in path.read_text():
                return path
        raise LookupError(f"no module of pulumi_aws/{module} registers {token} ({file})")

    @staticmethod
    def _classes(path: Path) -> dict[str, ast.ClassDef]:
        return {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)}

    def _properties(self, node: ast.ClassDef, module: str) -> dict[str, Any]:
        init = next(n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
        wire = {python: name for name, python in _getters(node)}
        types: dict[str, str] = {}
        required: list[str] = []
        for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
            name = wire[argument.arg]
            types[name] = self._type(ast.unparse(argument.annotation) if argument.annotation else "Any", module)
            if default is None:
                required.append(name)
        return {"inputs": types, "required": required}

    def _type(self, annotation: str, module: str) -> str:
        text = annotation.replace("pulumi.", "").replace("_builtins.", "")
        while True:
            shorter = re.sub(r"^(?:Input|InputType|Optional)\[(.*)\]$", r"\1", text)
            if shorter == text:
                break
            text = shorter
        if text.startswith("Union["):
            # An enumeration or its value: `Union[str, 'InstanceType']`.
            text = text[len("Union[") : -1].split(",")[0].strip()
        if match := re.match(r"^Sequence\[(.*)\]$", text):
            return f"[{self._type(match[1], module)}]"
        if match := re.match(r"^Mapping\[str, (.*)\]$", text):
            return f"{{{self._type(match[1], module)}}}"
        if match := re.match(r"^'(?:_\w+\.)?(\w+)Args'$", text):
            return self._object(match[1], module)
        if text in {"str", "int", "float", "bool"}:
            return text
        return "asset" if "Asset" in text or "Archive" in text else "any" if "Any" in text else "str"

    def _object(self, name: str, module: str) -> str:
        key = f"{module}.{name}"
        if key not in self.objects:
            self.objects[key] = None
            if module not in self.inputs_of:
                folder = self.root / (module if module != "lambda" else "lambda_")
                self.inputs_of[module] = self._classes(folder / "_inputs.py")
            self.objects[key] = self._properties(self.inputs_of[module][f"{name}Args"], module)
        return f"#{key}"


def _output_kinds(node: ast.ClassDef) -> dict[str, Kind]:
    """The kind of each output: a list, a map or object, or a plain value."""
    annotations = {f.name: ast.unparse(f.returns) for f in node.body if isinstance(f, ast.FunctionDef) and f.returns}
    return {wire: _kind(annotations.get(python, "")) for wire, python in _getters(node)}


def _kind(annotation: str) -> Kind:
    text = annotation.replace("pulumi.", "").replace("_builtins.", "").removeprefix("Output[").removeprefix("Optional[")
    if text.startswith("Sequence["):
        return "objects" if "outputs." in text else "list"
    return "map" if text.startswith(("Mapping[", "'outputs.")) else "scalar"


def _getters(node: ast.ClassDef) -> list[tuple[str, str]]:
    """(name on the wire, Python name) of each property."""
    found: dict[str, str] = {}
    for function in node.body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for decorator in function.decorator_list:
            text = ast.unparse(decorator)
            if text.startswith("pulumi.getter"):
                match = re.search(r"name='(\w+)'", text)
                found[match[1] if match else function.name] = function.name
    return list(found.items())


def _secret_outputs(node: ast.ClassDef) -> list[str]:
    return re.findall(r"additional_secret_outputs=\[([^\]]*)\]", ast.unparse(node).replace("'", '"'))


def text() -> str:
    """What ``schema.json`` has to hold: the types that have a row."""
    spec = importlib.util.find_spec("pulumi_aws")
    if spec is None or spec.origin is None:
        raise LookupError("pulumi_aws is not installed")
    sdk = _Sdk(Path(spec.origin).parent)
    types = {token: sdk.read_type(token) for token in sorted(ROWS)}
    lines = [f" {json.dumps(token)}: {json.dumps(value)}" for token, value in types.items()]
    objects = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in sorted(sdk.objects.items())]
    return '{"types": {\n' + ",\n".join(lines) + '\n},\n"objects": {\n' + ",\n".join(objects) + "\n}}\n"
