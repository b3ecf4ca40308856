"""Make ``spillway/conformance/services/aws/members.json``: botocore's models of the calls that the provider makes.

Which call makes a resource, and which member a property becomes, is read from the twin's rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any, Final

import botocore

from scripts.members.form import Enums, Field, pruned, text
from scripts.members.prose import demands
from spillway.twin.aws.client import input_shape
from spillway.twin.aws.row import Row
from spillway.twin.aws.schema import ObjectSchema, object_schema, type_schema
from spillway.twin.aws.services import ROWS
from spillway.twin.aws.shapes import ALSO_KNOWN, KEY_NAMES, VALUE_NAMES, find_member

_RULE: Final = {
    "description": ("ec2", "AuthorizeSecurityGroupIngress", "IpPermissions.IpRanges.Description"),
    "cidrBlocks": ("ec2", "AuthorizeSecurityGroupIngress", "IpPermissions.IpRanges.CidrIp"),
    "fromPort": ("ec2", "AuthorizeSecurityGroupIngress", "IpPermissions.FromPort"),
    "toPort": ("ec2", "AuthorizeSecurityGroupIngress", "IpPermissions.ToPort"),
}
_PLACED: Final[dict[str, dict[str, tuple[str, str, str]]]] = {
    "aws:ec2/securityGroup:SecurityGroup": {f"{way}.{k}": v for way in ("ingress", "egress") for k, v in _RULE.items()},
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": {"description": _RULE["description"]},
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": {"description": _RULE["description"]},
    "aws:route53/record:Record": {
        "type": ("route53", "ChangeResourceRecordSets", "ChangeBatch.Changes.ResourceRecordSet.Type"),
        "setIdentifier": ("route53", "ChangeResourceRecordSets", "ChangeBatch.Changes.ResourceRecordSet.SetIdentifier"),
        "ttl": ("route53", "ChangeResourceRecordSets", "ChangeBatch.Changes.ResourceRecordSet.TTL"),
        "records": (
            "route53",
            "ChangeResourceRecordSets",
            "ChangeBatch.Changes.ResourceRecordSet.ResourceRecords.Value",
        ),
    },
    "aws:iam/role:Role": {
        "inlinePolicies.name": ("iam", "PutRolePolicy", "PolicyName"),
        "inlinePolicies.policy": ("iam", "PutRolePolicy", "PolicyDocument"),
        "managedPolicyArns": ("iam", "AttachRolePolicy", "PolicyArn"),
    },
    "aws:kms/key:Key": {"rotationPeriodInDays": ("kms", "EnableKeyRotation", "RotationPeriodInDays")},
}
"""Members of calls that a row builds by itself: type → property's path → (service, operation, path of members)."""


class _Shapes:
    """The shapes that were reached, by the provider's object and the service's structure together."""

    def __init__(self) -> None:
        self.enums = Enums()
        self.found: dict[str, dict[str, Any]] = {}

    def of_row(self, row: Row) -> dict[str, Any]:
        """The fields of a type: of its create call, then of the calls that set the rest."""
        schema = type_schema(row.token).inputs
        placed = _PLACED.get(row.token, {})
        fields: dict[str, Field] = {}
        required: list[str] = []
        for operation, rename, takes in _calls(row):
            shape = input_shape(row.service, operation)
            if shape is None:
                continue
            own = ObjectSchema({name: kind for name, kind in schema.types.items() if takes(name)}, ())
            call = _Call(self, row.service, {**rename, **dict.fromkeys(placed, "")})
            for name, field in call.fields(own, shape, noun=row.noun or row.type_name).items():
                fields.setdefault(name, field)
            if operation == row.create:
                required = call.required(own, shape, row.noun or row.type_name)
        for path, (service, operation, members) in placed.items():
            self._place(fields, row, schema, path.split("."), _Call(self, service, {}), operation, members)
        given = {row.name, *row.defaults, *row.fixed}
        return {"fields": fields, "required": sorted(set(required) - given)}

    def _place(
        self,
        fields: dict[str, Field],
        row: Row,
        schema: ObjectSchema,
        steps: list[str],
        call: _Call,
        operation: str,
        members: str,
    ) -> None:
        says, shape = "", input_shape(call.service, operation)
        for member in members.split("."):
            while shape.type_name == "list":
                shape = shape.member
            says, shape = f"{call.service} {shape.name}.{member}", shape.members[member]
        types = schema.types
        for step in steps[:-1]:
            name = f"{row.token} {step}"
            fields[step] = {"items": {"shape": name}}
            fields = self.found.setdefault(name, {"fields": {}})["fields"]
            types = object_schema(types[step].strip("[]#")).types
        fields[steps[-1]] = call.field(types[steps[-1]], shape, says, "")


def _calls(row: Row) -> Iterator[tuple[str, Mapping[str, str], Callable[[str], bool]]]:
    """(operation, renames, which properties it takes) of each call that makes a resource."""
    elsewhere = {name for part in row.parts if not part.update_only for name in part.takes}
    skip = elsewhere | set(row.local) | {"region", f"{row.name}Prefix"}
    yield row.create, row.rename, lambda name: name not in skip or bool(row.rename.get(name))
    for part in row.parts:
        if not part.update_only and part.build is None:
            yield part.operation, {**row.rename, **part.rename}, partial(_among, part.takes or tuple(row.rename))


def _among(names: tuple[str, ...], name: str) -> bool:
    return name in names


class _Call:
    """One call's members, from the provider's properties."""

    def __init__(self, shapes: _Shapes, service: str, rename: Mapping[str, str]) -> None:
        self.shapes = shapes
        self.service = service
        self.rename = rename

    def fields(self, schema: ObjectSchema, shape: Any, path: str = "", noun: str = "") -> dict[str, Field]:
        found: dict[str, Field] = {}
        for name, kind in schema.types.items():
            here = f"{path}.{name}" if path else name
            target = self.rename.get(here)
            if target == "":
                continue
            if target == "*":
                found[name] = self._object(kind, shape, here)
                continue
            says, member = self._member(shape, target or find_member(shape, name, noun))
            if member is not None:
                found[name] = self.field(kind, member, says, here)
        return found

    def required(self, schema: ObjectSchema, shape: Any, noun: str = "", path: str = "") -> list[str]:
        """The properties that become members which the call needs.

        Not where several become the same one, nor lists: of one that is left out the provider sends an empty one.
        """
        becomes: dict[str, list[str]] = {}
        for name, kind in schema.types.items():
            if kind.startswith("["):
                continue
            here = f"{path}.{name}" if path else name
            member = self.rename.get(here, find_member(shape, name, noun))
            if member is not None and member in shape.required_members:
                becomes.setdefault(member, []).append(name)
        return [names[0] for names in becomes.values() if len(names) == 1]

    def _member(self, shape: Any, path: str | None) -> tuple[str, Any]:
        says = ""
        for step in (path or "").split("."):
            name = step.removesuffix("[]")
            while shape is not None and shape.type_name == "list":
                shape = shape.member
            if shape is None or shape.type_name != "structure" or name not in shape.members:
                return "", None
            says, shape = f"{self.service} {shape.name}.{name}", shape.members[name]
        return says, shape

    def field(self, kind: str, shape: Any, says: str, path: str) -> Field:
        """What ``shape`` demands of a property of this kind."""
        if kind.startswith("["):
            inner, size = (shape.member, _bounds(shape)) if shape.type_name == "list" else (shape, {})
            return {"says": says, **size, "items": self.field(kind[1:-1], inner, says, path)}
        if kind.startswith("{"):
            keys, values = _pair(shape)
            if keys is None:
                return {"says": says}
            return {
                "says": says,
                "keys": self.field("str", keys, says, path),
                "values": self.field(kind[1:-1], values, says, path),
            }
        while shape.type_name == "list":
            shape = shape.member
        if kind.startswith("#"):
            return self._object(kind, shape, path) if shape.type_name == "structure" else {"says": says}
        return {"says": says, **self._scalar(shape)}

    def _object(self, kind: str, shape: Any, path: str) -> Field:
        if kind.startswith("["):
            return {"items": self._object(kind[1:-1], shape, path)}
        below = {key: value for key, value in self.rename.items() if key.startswith(f"{path}.")}
        name = f"{kind.removeprefix('#')} as {self.service} {shape.name}" + (f" in {path}" if below else "")
        if name not in self.shapes.found:
            self.shapes.found[name] = {"fields": {}}
            schema = object_schema(kind.removeprefix("#"))
            self.shapes.found[name] = {
                "fields": self.fields(schema, shape, path if below else ""),
                "required": self.required(schema, shape, path=path if below else ""),
            }
        return {"shape": name}

    def _scalar(self, shape: Any) -> Field:
        if shape.type_name not in ("string", "integer", "long", "float", "double"):
            return {}
        demanded = {**demands(shape.documentation or "", shape.type_name), **_bounds(shape)}
        if shape.type_name == "string":
            demanded |= {"pattern": shape.metadata["pattern"]} if _compiles(shape.metadata.get("pattern")) else {}
            if shape.enum:
                values = [*shape.enum, *ALSO_KNOWN.get(shape.name, ())]
                return {"enum": self.shapes.enums.name(f"{self.service} {shape.name}", values)}
        return demanded


def _bounds(shape: Any) -> Field:
    low, high = ("least", "most") if shape.type_name in ("integer", "long", "float", "double") else _SIZE
    found = {low: shape.metadata.get("min"), high: shape.metadata.get("max")}
    return {key: value for key, value in found.items() if value is not None and not (key == "shortest" and not value)}


_SIZE: Final = ("shortest", "longest")


def _pair(shape: Any) -> tuple[Any, Any]:
    """The shapes of a map's keys and values: of a map, or of a list of pairs."""
    if shape.type_name == "map":
        return shape.key, shape.value
    if shape.type_name == "list" and shape.member.type_name == "structure":
        members = shape.member.members
        key = next((members[name] for name in KEY_NAMES if name in members), None)
        value = next((members[name] for name in VALUE_NAMES if name in members), None)
        if key is not None and value is not None:
            return key, value
    return None, None


def _compiles(pattern: str | None) -> bool:
    try:
        re.compile(pattern or "")
    except re.error:
        return False  # written for another dialect
    return pattern not in (None, "", ".*", "(.|\\s)*")


def shapes_of_calls() -> dict[str, dict[str, Any]]:
    """The shapes of every type, by its token, and of what is in them."""
    return _all().found


@cache
def _all() -> _Shapes:
    shapes = _Shapes()
    for token, row in sorted(ROWS.items()):
        shapes.found[token] = shapes.of_row(row)
    return shapes


def document() -> str:
    """The file's text."""
    types, found = pruned({token: token for token in ROWS}, _all().found)
    sources = {"botocore": botocore.__version__}
    return text({"sources": sources, "types": types, "shapes": found, "enums": _all().enums.found})
