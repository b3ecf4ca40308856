"""Which kinds exist, and whether an object fits its published schema.

Built-in kinds come from the OpenAPI schemas in the ``kubernetes-validate`` package (strict: unknown fields are errors).
Custom kinds come from CustomResourceDefinition objects: those in ``crds/`` are always known to the stand-in, further
ones are added when a CRD is applied. Values never appear in messages: they could be secrets.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from spillway.contracts.cel import CelRule, broken, rules_of
from spillway.twin.provider import UNKNOWN

KUBERNETES_VERSION: Final = "1.34.0"
"""The API version that the stand-in speaks."""

_CLUSTER_SCOPED: Final = frozenset(
    [
        "APIService",
        "CSIDriver",
        "CSINode",
        "CertificateSigningRequest",
        "ClusterRole",
        "ClusterRoleBinding",
        "ClusterTrustBundle",
        "ComponentStatus",
        "CustomResourceDefinition",
        "DeviceClass",
        "DeviceTaintRule",
        "FlowSchema",
        "IPAddress",
        "IngressClass",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "ResourceSlice",
        "RuntimeClass",
        "ServiceCIDR",
        "StorageClass",
        "StorageVersion",
        "StorageVersionMigration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
        "VolumeAttributesClass",
    ]
)
_NOT_STORED: Final = frozenset(
    [
        "Binding",
        "ComponentStatus",
        "Eviction",
        "LocalSubjectAccessReview",
        "Scale",
        "SelfSubjectAccessReview",
        "SelfSubjectReview",
        "SelfSubjectRulesReview",
        "Status",
        "StorageVersion",
        "SubjectAccessReview",
        "TokenRequest",
        "TokenReview",
    ]
)
_SHORT_NAMES: Final = {
    "ConfigMap": "cm", "CronJob": "cj", "CustomResourceDefinition": "crd", "DaemonSet": "ds", "Deployment": "deploy",
    "HorizontalPodAutoscaler": "hpa", "Ingress": "ing", "LimitRange": "limits", "Namespace": "ns",
    "NetworkPolicy": "netpol", "Node": "no", "PersistentVolume": "pv", "PersistentVolumeClaim": "pvc", "Pod": "po",
    "PodDisruptionBudget": "pdb", "PriorityClass": "pc", "ReplicaSet": "rs", "ResourceQuota": "quota", "Service": "svc",
    "ServiceAccount": "sa", "StatefulSet": "sts", "StorageClass": "sc",
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One kind of object. ``group`` is empty for the core group. ``custom`` kinds come from a CRD."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    custom: bool = False
    short_names: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def token(self) -> str:
        """The Pulumi type token."""
        return f"kubernetes:{self.group or 'core'}/{self.version}:{self.kind}"


@dataclass(frozen=True)
class SchemaError:
    path: str
    reason: str


@cache
def definitions() -> dict[str, Any]:
    """The schemas of the built-in kinds and of what is in them."""
    # The package is not imported: it imports jsonschema, and that is dear.
    found = find_spec("kubernetes_validate")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("kubernetes_validate, which holds the schemas, is not installed")
    schemas = Path(found.origin).parent / "kubernetes-json-schema" / f"v{KUBERNETES_VERSION}-local-strict"
    return json.loads((schemas / "_definitions.json").read_text())


@cache
def _validating() -> type[Any]:
    """The validator's class. Its grammar of IRIs, which takes longer to compile than all the rest, is left out:
    nothing here checks formats."""
    new = "jsonschema" not in sys.modules
    if new:
        sys.modules["rfc3987_syntax"] = None  # pyright: ignore[reportArgumentType]
    try:
        from jsonschema import Draft202012Validator
    finally:
        if new:
            sys.modules.pop("rfc3987_syntax", None)
    return Draft202012Validator


def _plural(kind: str) -> str:
    word = kind.lower()
    if word.endswith("endpoints"):
        return word
    if word.endswith("s"):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


@cache
def _built_in() -> dict[tuple[str, str], tuple[Kind, str]]:
    """(apiVersion, kind) -> the kind and the name of its definition."""
    found = {}
    for name, definition in definitions()["$defs"].items():
        gvks = definition.get("x-kubernetes-group-version-kind", [])
        if len(gvks) != 1 or "metadata" not in definition.get("properties", {}) or name.endswith("List"):
            continue
        gvk = gvks[0]
        if gvk["kind"] in _NOT_STORED:
            continue
        short = _SHORT_NAMES.get(gvk["kind"])
        kind = Kind(
            gvk["group"],
            gvk["version"],
            gvk["kind"],
            _plural(gvk["kind"]),
            gvk["kind"] not in _CLUSTER_SCOPED,
            short_names=(short,) if short else (),
        )
        found[kind.api_version, kind.kind] = (kind, name)
    return found


@cache
def shipped_crds() -> tuple[dict[str, Any], ...]:
    """Definitions of the custom kinds that charts bring, as their projects publish them; ``source`` says where."""
    return tuple(json.loads(path.read_text()) for path in sorted((Path(__file__).parent / "crds").glob("*.json")))


@dataclass
class Catalogue:
    """The kinds that exist: built in, shipped as CRDs, or added by CRD objects."""

    _custom: dict[tuple[str, str], tuple[Kind, dict[str, Any]]] = field(default_factory=dict)
    _validators: dict[tuple[str, str], Any] = field(default_factory=dict)
    _rules: dict[tuple[str, str], tuple[CelRule, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for crd in shipped_crds():
            self.add_crd(crd)

    def add_crd(self, crd: dict[str, Any]) -> None:
        """Make the kinds of a CustomResourceDefinition known. Versions without a schema take any spec."""
        spec = crd["spec"]
        for version in spec["versions"]:
            if not version.get("served", True):
                continue
            kind = Kind(
                spec["group"],
                version["name"],
                spec["names"]["kind"],
                spec["names"]["plural"],
                spec["scope"] == "Namespaced",
                custom=True,
                short_names=tuple(spec["names"].get("shortNames", ())),
            )
            schema = version.get("schema", {}).get("openAPIV3Schema", {"x-kubernetes-preserve-unknown-fields": True})
            self._custom[kind.api_version, kind.kind] = (kind, schema)
            self._validators.pop((kind.api_version, kind.kind), None)
            self._rules.pop((kind.api_version, kind.kind), None)

    def kinds(self) -> list[Kind]:
        return [kind for kind, _ in _built_in().values()] + [kind for kind, _ in self._custom.values()]

    def find(self, api_version: str, kind: str) -> Kind | None:
        key = (api_version, kind)
        entry = _built_in().get(key) or self._custom.get(key)
        return entry[0] if entry else None

    def by_plural(self, group: str, version: str, plural: str) -> Kind | None:
        for kind in self.kinds():
            if (kind.group, kind.version, kind.plural) == (group, version, plural):
                return kind
        return None

    def by_token(self, token: str) -> Kind | None:
        """The kind of a Pulumi type token."""
        _, _, rest = token.partition(":")
        api_version, _, kind = rest.rpartition(":")
        return self.find(api_version.removeprefix("core/"), kind)

    def definition(self, kind: Kind) -> dict[str, Any]:
        """The object's schema."""
        key = (kind.api_version, kind.kind)
        if key in self._custom:
            return self._custom[key][1]
        return definitions()["$defs"][_built_in()[key][1]]

    def errors(self, kind: Kind, manifest: dict[str, Any]) -> list[SchemaError]:
        """What in ``manifest`` the schema refuses. :data:`UNKNOWN` values fit everything."""
        found = {}
        for error in self._validator(kind).iter_errors(manifest):
            for one in _plain_errors(error):
                found.setdefault((one.path, one.reason), one)
        if not found and kind.custom:
            found = {path: SchemaError(path, reason) for path, reason in broken(self._cel(kind), manifest, UNKNOWN)}
        return list(found.values())

    def _cel(self, kind: Kind) -> tuple[CelRule, ...]:
        key = (kind.api_version, kind.kind)
        if key not in self._rules:
            self._rules[key] = tuple(rules_of(self._custom[key][1]))
        return self._rules[key]

    def _validator(self, kind: Kind) -> Any:
        # Imported late: a preview that has no Kubernetes resource should not pay for it.
        import referencing
        import referencing.jsonschema

        validating = _validating()
        key = (kind.api_version, kind.kind)
        if key not in self._validators:
            if key in self._custom:
                self._validators[key] = validating(_from_openapi(self._custom[key][1], root=True))
            else:
                contents = definitions()
                resource = referencing.Resource.from_contents(contents)
                registry = referencing.Registry().with_resource(contents["$id"], resource)
                reference = {"$ref": f"{contents['$id']}#/$defs/{_built_in()[key][1]}"}
                self._validators[key] = validating(reference, registry=registry)
        return self._validators[key]


def _from_openapi(schema: dict[str, Any], root: bool = False) -> dict[str, Any]:
    """A CRD's structural schema as strict JSON schema."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    result = {key: value for key, value in schema.items() if key in _COPIED}
    if "type" in schema:
        result["type"] = [schema["type"], "null"] if schema.get("nullable") else schema["type"]
    if "items" in schema:
        result["items"] = _from_openapi(schema["items"])
    if "properties" in schema:
        result["properties"] = {name: _from_openapi(value) for name, value in schema["properties"].items()}
        if root:
            result["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = _from_openapi(schema["additionalProperties"])
    elif "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result["additionalProperties"] = False
    for word in ("allOf", "anyOf", "oneOf"):
        if word in schema:
            # Inside these, a structural schema only restricts: properties that are not listed stay allowed.
            result[word] = schema[word]
    if "not" in schema:
        result["not"] = schema["not"]
    return result


_COPIED: Final = frozenset(
    [
        "required",
        "enum",
        "pattern",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "multipleOf",
    ]
)
_UNHELPFUL: Final = frozenset({"anyOf", "oneOf", "allOf"})


def holds_unknown(value: Any) -> bool:
    """Whether a value is, or holds somewhere, :data:`UNKNOWN`."""
    if isinstance(value, dict):
        return any(holds_unknown(v) for v in value.values())
    if isinstance(value, list):
        return any(holds_unknown(v) for v in value)
    return value is UNKNOWN


def _plain_errors(error: Any) -> Iterator[SchemaError]:
    if error.instance is UNKNOWN:
        return
    path = dotted(error.absolute_path)
    if error.validator in _UNHELPFUL:
        if holds_unknown(error.instance):
            return
        types = sorted({t for s in error.validator_value for t in _types(s) if t != "null"})
        yield SchemaError(path, f"must be {' or '.join(types)}" if types else "fits none of the allowed forms")
    elif error.validator == "type":
        types = [t for t in _types({"type": error.validator_value}) if t != "null"]
        yield SchemaError(path, f"must be {' or '.join(types)}, is {_type_name(error.instance)}")
    elif error.validator == "additionalProperties":
        allowed = error.schema.get("properties", {})
        for name in error.instance:
            if name not in allowed:
                yield SchemaError(_join(path, name), "unknown field")
    elif error.validator == "required":
        for name in error.validator_value:
            if name not in error.instance:
                yield SchemaError(_join(path, name), "required")
    elif error.validator == "enum":
        yield SchemaError(path, f"must be one of {', '.join(map(str, error.validator_value))}")
    else:
        yield SchemaError(path, f"breaks {error.validator} {error.validator_value}")


def _types(schema: dict[str, Any]) -> list[str]:
    value = schema.get("type", [])
    return [value] if isinstance(value, str) else list(value)


def _type_name(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def dotted(path: Any) -> str:
    """``["spec", "ports", 0, "name"]`` -> ``spec.ports[0].name``."""
    text = ""
    for part in path:
        text = f"{text}[{part}]" if isinstance(part, int) else _join(text, str(part))
    return text
