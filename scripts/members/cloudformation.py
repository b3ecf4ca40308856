"""Make ``spillway/conformance/services/aws/cloudformation.json``: the CloudFormation schemas that cfn-lint carries.

Only what botocore's models leave open is taken: a pattern, a length, a range, a choice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

from scripts.members.aws import shapes_of_calls
from scripts.members.form import Enums, Field, pruned, text
from spillway.twin.aws.row import Row
from spillway.twin.aws.schema import ObjectSchema, object_schema, type_schema
from spillway.twin.aws.services import ROWS
from spillway.twin.aws.shapes import normalise

_SERVICES: Final = {
    "acm": "CertificateManager", "appautoscaling": "ApplicationAutoScaling", "costexplorer": "CE", "vpc": "EC2",
    "lb": "ElasticLoadBalancingV2",
}  # fmt: skip
"""Where CloudFormation's service is not the provider's module with other capitals."""
_TYPES: Final = {
    "aws:cloudwatch/logGroup:LogGroup": "AWS::Logs::LogGroup",
    "aws:cloudwatch/metricAlarm:MetricAlarm": "AWS::CloudWatch::Alarm",
    "aws:cloudwatch/eventRule:EventRule": "AWS::Events::Rule",
    "aws:route53/record:Record": "AWS::Route53::RecordSet",
    "aws:route53/zone:Zone": "AWS::Route53::HostedZone",
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": "AWS::IAM::OIDCProvider",
    "aws:appautoscaling/policy:Policy": "AWS::ApplicationAutoScaling::ScalingPolicy",
    "aws:appautoscaling/target:Target": "AWS::ApplicationAutoScaling::ScalableTarget",
    "aws:autoscaling/group:Group": "AWS::AutoScaling::AutoScalingGroup",
    "aws:cloudwatch/logMetricFilter:LogMetricFilter": "AWS::Logs::MetricFilter",
    "aws:route53/resolverEndpoint:ResolverEndpoint": "AWS::Route53Resolver::ResolverEndpoint",
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": "AWS::SageMaker::EndpointConfig",
    "aws:sns/topicSubscription:TopicSubscription": "AWS::SNS::Subscription",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": "AWS::EC2::SecurityGroupEgress",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": "AWS::EC2::SecurityGroupIngress",
}
_KEPT: Final = {
    "pattern": "pattern", "minLength": "shortest", "maxLength": "longest", "minItems": "shortest",
    "maxItems": "longest", "minimum": "least", "maximum": "most",
}  # fmt: skip
_ALSO_KNOWN: Final = {"AWS::Logs::LogGroup RetentionInDays": ("0",)}
"""Values by which the provider means that nothing is sent."""
_REGION: Final = "us-east-1"


@cache
def _schemas() -> dict[str, str]:
    """Normalised name → name of each resource type."""
    return {normalise(name): name for name in json.loads(_read(f"providers/{_REGION}.json"))}


def _read(path: str) -> str:
    return files("cfnlint.data.schemas").joinpath(path).read_text(encoding="utf-8")


def counterpart(token: str) -> str | None:
    """CloudFormation's name of a resource type, where it has one."""
    _, module, name = token.split(":")
    service = module.split("/")[0]
    wanted = _TYPES.get(token) or f"AWS::{_SERVICES.get(service, service)}::{name}"
    return _schemas().get(normalise(wanted))


class _Schema:
    """One resource type's schema, walked beside the provider's."""

    def __init__(
        self, name: str, row: Row, enums: Enums, shapes: dict[str, dict[str, Any]], calls: Mapping[str, dict[str, Any]]
    ) -> None:
        index = json.loads(_read(f"providers/{_REGION}.json"))
        self.name = name
        self.row = row
        self.enums = enums
        self.shapes = shapes
        self.calls = calls
        self.root: dict[str, Any] = json.loads(_read(f"resources/{index[name]}.json"))

    def fields(self, schema: ObjectSchema, node: Mapping[str, Any], known: Field, path: str = "") -> dict[str, Field]:
        """``known``: the shape that the model of the call has for the same object."""
        found = {}
        for name, kind in schema.types.items():
            here = f"{path}.{name}" if path else name
            member = self._member(node, name, here)
            if member:
                says, there = f"{self.name} {member}", known.get("fields", {}).get(name, {})
                found[name] = self.field(kind, node["properties"][member], says, here, there)
        return found

    def _member(self, node: Mapping[str, Any], name: str, path: str) -> str | None:
        properties = {normalise(key): key for key in node.get("properties", {})}
        renamed = self.row.rename.get(path, "").split(".")[-1].removesuffix("[]")
        plain = normalise(name)
        noun = "" if "." in path else normalise(self.row.noun or self.row.type_name)
        wanted = (normalise(renamed), plain, noun + plain, f"{plain}s", plain.removesuffix("s"))
        return next((properties[each] for each in wanted if each and each in properties), None)

    def field(self, kind: str, node: Mapping[str, Any], says: str, path: str, known: Field) -> Field:
        node = self._resolved(node)
        if kind.startswith("["):
            size = _gaps(_demands(node, "array"), known)
            inner = self.field(kind[1:-1], node.get("items", node), says, path, known.get("items", {}))
            return {"says": says, **size, "items": inner}
        if kind.startswith("{"):
            return {"says": says}
        if "items" in node:
            node = self._resolved(node["items"])
        if kind.startswith("#"):
            return self._object(kind[1:], node, path, self.calls.get(known.get("shape", ""), {}))
        return {"says": says, **_gaps(self._scalar(node, says), known)}

    def _object(self, kind: str, node: Mapping[str, Any], path: str, known: Field) -> Field:
        name = f"{kind} as {self.name} {path}"
        if path.count(".") > _DEEP or "properties" not in node:
            return {}
        self.shapes[name] = {"fields": self.fields(object_schema(kind), node, known, path)}
        return {"shape": name}

    def _scalar(self, node: Mapping[str, Any], says: str) -> Field:
        demanded = {key: value for each in _alternatives(node) for key, value in _demands(each, "scalar").items()}
        if "enum" in node:
            demanded["enum"] = self.enums.name(says, [*map(str, node["enum"]), *_ALSO_KNOWN.get(says, ())])
        return demanded if len(list(_alternatives(node))) == 1 else {}

    def _resolved(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in node:
            step: Any = self.root
            for part in node["$ref"].removeprefix("#/").split("/"):
                step = step[part]
            node = step
        return node


_DEEP: Final = 5


def _alternatives(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from node.get("anyOf") or node.get("oneOf") or (node,)


def _demands(node: Mapping[str, Any], of: str) -> Field:
    sized = "Items" if of == "array" else "Length"
    found = {
        ours: node[theirs]
        for theirs, ours in _KEPT.items()
        if theirs in node and (sized in theirs or not theirs.endswith(("Items", "Length")))
    }
    # The provider leaves an empty text out of the call.
    kept = {key: value for key, value in found.items() if key != "shortest" or value > 1}
    return {key: value for key, value in kept.items() if key != "pattern" or _anchored(value)}


def _anchored(pattern: str) -> bool:
    """Whether a pattern is for the whole value; CloudFormation searches, and a part that fits says little."""
    try:
        re.compile(pattern)
    except re.error:
        return False
    return pattern.startswith("^") and pattern.endswith("$") and "|" not in pattern


def _gaps(demanded: Field, known: Field) -> Field:
    """What is demanded where the model of the call leaves it open."""
    exact = known.keys() & {"enum", "pattern", "characters"}
    return {key: value for key, value in demanded.items() if key not in known and not (exact and key not in _SIZES)}


_SIZES: Final = frozenset({"shortest", "longest", "least", "most"})


def document() -> str:
    """The file's text."""
    enums, shapes, types = Enums(), dict[str, Any](), {}
    calls = shapes_of_calls()
    for token, row in sorted(ROWS.items()):
        name = counterpart(token)
        if name is None:
            continue
        schema = _Schema(name, row, enums, shapes, calls)
        shapes[token] = {"fields": schema.fields(type_schema(token).inputs, schema.root, calls.get(token, {}))}
        types[token] = token
    types, shapes = pruned(types, shapes)
    date = json.loads(_read("version.json"))["schema_date"][:10]
    return text(
        {
            "sources": {"cfn-lint": f"{version('cfn-lint')} ({date})"},
            "types": types,
            "shapes": shapes,
            "enums": enums.found,
        }
    )
