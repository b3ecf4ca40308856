"""Make ``spillway/conformance/services/aws/combinations.json``: cfn-lint's rules over several properties of a resource.

These are JSON schemas of its own over CloudFormation's properties. Names are kept without case and separators, which
is how the provider's differ. Schemas that need more of a template than one resource are left out.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import version
from pkgutil import walk_packages
from typing import Any, Final

from scripts.members.cloudformation import counterpart
from scripts.members.form import text
from spillway.conformance.services.fits import KEYWORDS
from spillway.twin.aws.services import ROWS
from spillway.twin.aws.shapes import normalise

_NAMES: Final = {
    "aws:ec2/securityGroup:SecurityGroup": {
        "ingress": "securitygroupingress",
        "egress": "securitygroupegress",
        "protocol": "ipprotocol",
    },
    "aws:route53/record:Record": {"aliases": "aliastarget", "records": "resourcerecords"},
}
"""Properties of calls that a row builds by itself."""
_NAMED: Final = frozenset({"properties", "dependentRequired"})
"""Keywords that hold properties' names."""


def _rules() -> Iterator[Any]:
    """cfn-lint's own rules that are schemas, errors only."""
    import cfnlint.rules.resources as resources
    from cfnlint.rules.jsonschema.CfnLintJsonSchema import CfnLintJsonSchema

    for module in walk_packages(resources.__path__, f"{resources.__name__}."):
        for _, found in inspect.getmembers(import_module(module.name), inspect.isclass):
            if issubclass(found, CfnLintJsonSchema) and found.__module__ == module.name and "id" in vars(found):
                rule: Any = found()
                if rule.id.startswith("E") and isinstance(rule.schema, dict) and _plain(rule.schema):
                    yield rule


def _plain(schema: Any) -> bool:
    """Whether every keyword is one that the check knows."""
    if not isinstance(schema, Mapping):
        return True
    inner = [value for name in _NAMED for value in schema.get(name, {}).values()]
    for key, value in schema.items():
        if key not in KEYWORDS:
            return False
        if key not in _NAMED:
            inner += value if isinstance(value, list) else [value]
    return bool(schema) and all(_plain(each) for each in inner)


def _renamed(schema: Any) -> Any:
    """With names of properties as :func:`normalise` writes them."""
    if isinstance(schema, list):
        return [_renamed(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            result[key] = {normalise(name): _renamed(inner) for name, inner in value.items()}
        elif key == "required":
            result[key] = [normalise(name) for name in value]
        elif key == "dependentRequired":
            result[key] = {normalise(name): [normalise(each) for each in needed] for name, needed in value.items()}
        elif key == "pattern":
            # Python wants a flag in the middle to say how far it goes.
            result[key] = re.sub(r"(?<=.)\(\?i\)(.*)$", r"(?i:\1)", value)
        else:
            result[key] = value if key in ("enum", "const", "type") else _renamed(value)
    return result


def _placed(schema: Any, steps: list[str]) -> Any:
    """A schema of something inside, as one of the whole resource."""
    for step in reversed(steps):
        schema = {"items": schema} if step == "*" else {"properties": {step: schema}}
    return schema


def document() -> str:
    """The file's text. ``types``: token → rule → sentence and schema; ``names``: token → property → its other name."""
    tokens = {counterpart(token): token for token in ROWS if counterpart(token)}
    types: dict[str, dict[str, Any]] = {}
    for rule in _rules():
        for keyword in rule.keywords:
            _, name, _, *steps = keyword.split("/")
            if name in tokens:
                schema = _renamed(_placed(rule.schema, steps))
                found = types.setdefault(tokens[name], {}).setdefault(
                    rule.id, {"says": rule.shortdesc, "schema": schema}
                )
                if found["schema"] != schema:  # the same at two places
                    found["schema"] = {"allOf": [found["schema"], schema]}
    names = {token: _other_names(token) for token in types}
    return text({"sources": {"cfn-lint": version("cfn-lint")}, "types": types, "names": names})


def _other_names(token: str) -> dict[str, str]:
    """The properties that the row renames."""
    named = {name: member for name, member in ROWS[token].rename.items() if "." not in name}
    # A list of one is named by itself, anything else by what it is in the end.
    last = {name: normalise(member.split(".")[0 if "[]" in member else -1]) for name, member in named.items()}
    return {name: member for name, member in last.items() if member not in ("", normalise(name))} | _NAMES.get(
        token, {}
    )
