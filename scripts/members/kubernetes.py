"""Make ``spillway/conformance/services/kubernetes/members.json``: Kubernetes' OpenAPI, and the twin's custom kinds.

Ranges of ports and forms of names stand only in the descriptions; those that are understood are taken from there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from scripts.members.form import Enums, Field, text
from spillway.twin.kubernetes.schema import KUBERNETES_VERSION, Catalogue, Kind, definitions

_GROUPS: Final = frozenset(
    [
        "",
        "apps",
        "batch",
        "autoscaling",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    ]
)
_LIMITS: Final = {
    "minLength": "shortest", "maxLength": "longest", "minItems": "shortest", "maxItems": "longest",
    "minimum": "least", "maximum": "most",
}  # fmt: skip
_LABEL: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN: Final = r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LABEL_KEY: Final = rf"({_SUBDOMAIN.replace('$', '/')}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?"
_LABEL_VALUE: Final = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
_DESCRIBED: Final = (
    (re.compile(r"valid port number|in the range 1 to 65535"), {"least": 1, "most": 65535}),
    (re.compile(r"[Mm]ust be a DNS_LABEL|specified as a DNS_LABEL"), {"pattern": _LABEL}),
    (re.compile(r"in the range 1-100"), {"least": 1, "most": 100}),
    (re.compile(r"must be non-negative integer|[Mm]ust be greater than or equal to zero"), {"least": 0}),
)
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_RBAC: Final = "rbac.authorization.k8s.io"
"""Names of its kinds are path segments."""


class _Objects:
    def __init__(self) -> None:
        self.enums = Enums()
        self.found: dict[str, dict[str, Any]] = {}

    def of_kind(self, kind: Kind, schema: Mapping[str, Any]) -> str:
        name = f"{kind.api_version} {kind.kind}"
        self.found[name] = self._shape(schema, name)
        fields = self.found[name]["fields"]
        fields |= {"apiVersion": {}, "kind": {}, "status": {}, "metadata": {"shape": self._metadata(kind)}}
        return name

    def _metadata(self, kind: Kind) -> str:
        self._named(_META)
        fields = dict(self.found[_META]["fields"])
        one_label = kind.kind in ("Namespace", "Service")
        if kind.group != _RBAC:
            fields["name"] = {"says": "ObjectMeta.name", "pattern": _LABEL if one_label else _SUBDOMAIN}
        name = f"{_META} of {'a label' if one_label else 'a path' if kind.group == _RBAC else 'a subdomain'}"
        self.found[name] = {**self.found[_META], "fields": fields}
        return name

    def _named(self, name: str) -> str:
        if name not in self.found:
            self.found[name] = {}
            self.found[name] = self._shape(definitions()["$defs"][name], name)
        return name

    def _shape(self, schema: Mapping[str, Any], name: str) -> dict[str, Any]:
        properties = schema.get("properties", {})
        fields = {key: self.field(node, name, key) for key, node in properties.items()}
        strict = bool(properties) and not schema.get("x-kubernetes-preserve-unknown-fields")
        return {"fields": fields, "required": sorted(schema.get("required", ())), "strict": strict}

    def field(self, node: Mapping[str, Any], owner: str, key: str) -> Field:
        says = f"{owner.rsplit('.', 1)[-1]}.{key}"
        field: Field = {"says": says, **{ours: node[theirs] for theirs, ours in _LIMITS.items() if theirs in node}}
        if "$ref" in node:
            name = node["$ref"].rsplit("/", 1)[-1]
            return field | ({"shape": self._named(name)} if "properties" in definitions()["$defs"][name] else {})
        kinds = [node.get("type")] if isinstance(node.get("type"), str) else node.get("type") or []
        kind = next((each for each in kinds if each != "null"), "")
        if kind and not node.get("x-kubernetes-int-or-string"):
            field["type"] = kind
        if "enum" in node:
            field["enum"] = self.enums.name(says, [str(value) for value in node["enum"] if value is not None])
        if "pattern" in node:
            field["pattern"] = rf"(?:.|\n)*(?:{node['pattern']})(?:.|\n)*"
        if kind in ("string", "integer"):
            field |= self._described(node.get("description", ""), kind)
        if "items" in node:
            field["items"] = self.field(node["items"], owner, key)
        if isinstance(node.get("additionalProperties"), dict):
            field["values"] = self.field(node["additionalProperties"], owner, key)
        if key in ("labels", "matchLabels", "nodeSelector") and kind == "object":
            field["keys"] = {"says": says, "pattern": _LABEL_KEY}
            field["values"] = {"says": says, "pattern": _LABEL_VALUE}
        if node.get("properties"):
            name = f"{owner}.{key}"
            self.found[name] = self._shape(node, name)
            field["shape"] = name
        return field

    @staticmethod
    def _described(description: str, kind: str) -> Field:
        wanted = "least" if kind == "integer" else "pattern"
        fits = (limits for said, limits in _DESCRIBED if said.search(description) and wanted in limits)
        return next(fits, {})


def document() -> str:
    """The file's text."""
    catalogue, objects, types = Catalogue(), _Objects(), {}
    for kind in catalogue.kinds():
        if kind.custom or (kind.group in _GROUPS and re.fullmatch(r"v\d", kind.version)):
            types[kind.token] = objects.of_kind(kind, catalogue.definition(kind))
    sources = {"Kubernetes": KUBERNETES_VERSION, "kubernetes-validate": version("kubernetes-validate")}
    return text({"sources": sources, "types": types, "shapes": objects.found, "enums": objects.enums.found})
