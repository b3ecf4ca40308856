"""What an API server checks beyond the schema, for one object on its own.

Every function takes manifests that may hold :data:`UNKNOWN` values; those pass. Rules follow ``pkg/apis/*/validation``
in Kubernetes. Two are stricter, because the object would be accepted and then never work: an HPA ``Resource`` metric
other than cpu and memory (the resource metrics API serves no other), and ``minReplicas: 0``.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from spillway.contracts.quantities import parse_quantity
from spillway.twin.kubernetes.podspec import pod_errors
from spillway.twin.kubernetes.schema import SchemaError, holds_unknown
from spillway.twin.kubernetes.values import dig, items, known, mapping, one_of, positive, text
from spillway.twin.provider import UNKNOWN

Errors = Iterator[SchemaError]

LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SERVICE_NAME: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_PATH_SEGMENT: Final = re.compile(r"(?!\.{1,2}$)[^/%]{1,253}")
_LABEL_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DATA_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_RBAC: Final = frozenset({"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"})
_BODY_LIMIT: Final = 1024 * 1024

_TEMPLATE: Final = (("spec", "template"),)
_GROUP: Final = ("spec", "leaderWorkerTemplate")
POD_TEMPLATES: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "Pod": ((),),
    "Deployment": _TEMPLATE,
    "StatefulSet": _TEMPLATE,
    "DaemonSet": _TEMPLATE,
    "ReplicaSet": _TEMPLATE,
    "ReplicationController": _TEMPLATE,
    "Job": _TEMPLATE,
    "CronJob": (("spec", "jobTemplate", "spec", "template"),),
    # Its workers' comes first: a set without one for leaders makes them by that.
    "LeaderWorkerSet": ((*_GROUP, "workerTemplate"), (*_GROUP, "leaderTemplate")),
}
"""Kind -> where its pod templates are."""


def pod_templates(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pod, or the pod templates, of a workload by where they stand: those that are there, and known already."""
    found = {path: dig(manifest, *path) for path in POD_TEMPLATES.get(manifest.get("kind", ""), ())}
    return {".".join(path): template for path, template in found.items() if isinstance(template, dict)}


def errors(manifest: dict[str, Any]) -> list[SchemaError]:
    """What an API server would refuse in an object that fits its schema."""
    found = list(_metadata(manifest))
    for path, template in pod_templates(manifest).items():
        restarts = _RESTART_POLICIES.get(manifest["kind"], _ANY_RESTART)
        found += pod_errors(mapping(template.get("spec")), f"{path}.spec".removeprefix("."), restarts)
        labels = mapping(mapping(template.get("metadata")).get("labels"))
        found += _labels(labels, f"{path}.metadata.labels".removeprefix("."))
    if (rule := _RULES.get(manifest.get("kind", ""))) is not None:
        found += rule(manifest)
    return found


_ANY_RESTART: Final = ("Always", "OnFailure", "Never")
_RESTART_POLICIES: Final = {
    "Deployment": ("Always",),
    "StatefulSet": ("Always",),
    "DaemonSet": ("Always",),
    "ReplicaSet": ("Always",),
    "LeaderWorkerSet": ("Always",),
    "Job": ("OnFailure", "Never"),
    "CronJob": ("OnFailure", "Never"),
}


def _metadata(manifest: dict[str, Any]) -> Errors:
    if manifest.get("metadata") is UNKNOWN:
        return
    metadata = mapping(manifest.get("metadata"))
    name = metadata.get("name", metadata.get("generateName"))
    if name is None:
        yield SchemaError("metadata.name", "name or generateName is required")
    elif known(name):
        yield from _name(manifest["kind"], str(name))
    namespace = metadata.get("namespace")
    if known(namespace) and not LABEL.fullmatch(str(namespace)):
        yield SchemaError("metadata.namespace", f"{namespace!r} must be a DNS-1123 label: a-z, 0-9 and '-', at most 63")
    yield from _labels(mapping(metadata.get("labels")), "metadata.labels")
    for key in mapping(metadata.get("annotations")):
        yield from _key(key, "metadata.annotations")


def _name(kind: str, name: str) -> Errors:
    if kind in _RBAC:
        pattern, rule = _PATH_SEGMENT, "must not hold '/' or '%'"
    elif kind == "Namespace":
        pattern, rule = LABEL, "must be a DNS-1123 label: a-z, 0-9 and '-', at most 63 characters"
    elif kind in ("Service", "LeaderWorkerSet"):
        # A set's name is that of the Service by which its workers find their leader.
        pattern, rule = (
            _SERVICE_NAME,
            "must be a DNS-1035 label: a-z, 0-9 and '-', a letter first, at most 63 characters",
        )
    else:
        pattern, rule = _SUBDOMAIN, "must be a DNS-1123 subdomain: a-z, 0-9, '-' and '.', at most 253 characters"
    if not pattern.fullmatch(name):
        yield SchemaError("metadata.name", f"{name!r} {rule}")
    if kind == "CronJob" and len(name) > 52:
        yield SchemaError("metadata.name", f"{name!r} must be at most 52 characters: jobs append to it")


def _key(key: str, path: str) -> Errors:
    prefix, _, name = key.rpartition("/")
    if not _LABEL_NAME.fullmatch(name) or (prefix and not _SUBDOMAIN.fullmatch(prefix)):
        yield SchemaError(path, f"key {key!r} must be [dns.prefix/]name, name at most 63 of A-Z a-z 0-9 - _ .")


def _labels(labels: dict[str, Any], path: str) -> Errors:
    for key, value in labels.items():
        yield from _key(key, path)
        if isinstance(value, str) and value and not _LABEL_NAME.fullmatch(value):
            yield SchemaError(
                f"{path}.{key}", f"{value!r} must be at most 63 of A-Z a-z 0-9 - _ ., alphanumeric at both ends"
            )


def selects(selector: dict[str, Any], labels: dict[str, Any]) -> bool:
    """Whether a label selector (``matchLabels``, ``matchExpressions``) picks these labels."""
    if any(labels.get(key) != value for key, value in mapping(selector.get("matchLabels")).items()):
        return False
    for expression in items(selector.get("matchExpressions")):
        value = labels.get(expression.get("key", ""))
        values = expression.get("values", [])
        passes = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not passes.get(expression.get("operator", ""), False):
            return False
    return True


def _selector(selector: Any, path: str) -> Errors:
    for index, expression in enumerate(items(mapping(selector).get("matchExpressions"))):
        at = f"{path}.matchExpressions[{index}]"
        yield from one_of(expression, "operator", ("In", "NotIn", "Exists", "DoesNotExist"), at)
        if expression.get("operator") in ("In", "NotIn") and not expression.get("values"):
            yield SchemaError(f"{at}.values", "required with In and NotIn")
        if expression.get("operator") in ("Exists", "DoesNotExist") and expression.get("values"):
            yield SchemaError(f"{at}.values", "must be empty with Exists and DoesNotExist")
    yield from _labels(mapping(mapping(selector).get("matchLabels")), f"{path}.matchLabels")


def _workload(manifest: dict[str, Any]) -> Errors:
    spec = mapping(manifest.get("spec"))
    selector, template = spec.get("selector"), mapping(spec.get("template"))
    labels = mapping(template.get("metadata")).get("labels")
    if not known(spec.get("template")) or holds_unknown(selector) or holds_unknown(labels):
        return
    yield from _selector(selector, "spec.selector")
    if not mapping(selector).get("matchLabels") and not mapping(selector).get("matchExpressions"):
        yield SchemaError("spec.selector", "must not be empty")
    elif not selects(mapping(selector), mapping(labels)):
        yield SchemaError("spec.template.metadata.labels", "`selector` does not match template `labels`")
    yield from positive(spec, "replicas", "spec", minimum=0)


def _deployment(manifest: dict[str, Any]) -> Errors:
    yield from _workload(manifest)
    strategy = mapping(dig(manifest, "spec", "strategy"))
    yield from one_of(strategy, "type", ("RollingUpdate", "Recreate"), "spec.strategy")
    rolling = mapping(strategy.get("rollingUpdate"))
    if strategy.get("type") == "Recreate" and rolling:
        yield SchemaError("spec.strategy.rollingUpdate", "must not be set when strategy type is Recreate")
    if rolling.get("maxSurge") in (0, "0%") and rolling.get("maxUnavailable") in (0, "0%"):
        yield SchemaError("spec.strategy.rollingUpdate", "maxSurge and maxUnavailable must not both be 0")
    for name in ("maxSurge", "maxUnavailable"):
        yield from _int_or_percent(rolling, name, "spec.strategy.rollingUpdate")


def _int_or_percent(spec: dict[str, Any], name: str, path: str) -> Errors:
    value = spec.get(name)
    if isinstance(value, str) and not re.fullmatch(r"\d+%", value):
        yield SchemaError(f"{path}.{name}", f"{value!r} must be a whole number or a percentage such as 25%")
    if isinstance(value, int) and value < 0:
        yield SchemaError(f"{path}.{name}", "must not be negative")


def _cron_job(manifest: dict[str, Any]) -> Errors:
    spec = mapping(manifest.get("spec"))
    yield from one_of(spec, "concurrencyPolicy", ("Allow", "Forbid", "Replace"), "spec")
    schedule = text(spec.get("schedule"))
    macros = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
    field = r"[\d*/,\-A-Za-z?]+"
    if schedule is not None and schedule not in macros and not re.fullmatch(rf"{field}(\s+{field}){{4}}", schedule):
        yield SchemaError("spec.schedule", f"{schedule!r} must be five cron fields, or one of {', '.join(macros)}")
    yield from _job({"spec": mapping(dig(manifest, "spec", "jobTemplate", "spec"))}, "spec.jobTemplate.spec")


def _job(manifest: dict[str, Any], path: str = "spec") -> Errors:
    spec = mapping(manifest.get("spec"))
    for name in ("parallelism", "completions", "backoffLimit", "ttlSecondsAfterFinished"):
        yield from positive(spec, name, path, minimum=0)
    yield from one_of(spec, "completionMode", ("NonIndexed", "Indexed"), path)


def _service(manifest: dict[str, Any]) -> Errors:
    spec = mapping(manifest.get("spec"))
    type_ = spec.get("type", "ClusterIP")
    yield from one_of(spec, "type", ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"), "spec")
    yield from one_of(spec, "externalTrafficPolicy", ("Cluster", "Local"), "spec")
    yield from one_of(spec, "internalTrafficPolicy", ("Cluster", "Local"), "spec")
    yield from one_of(spec, "sessionAffinity", ("None", "ClientIP"), "spec")
    if type_ == "ExternalName" and not spec.get("externalName"):
        yield SchemaError("spec.externalName", "required for type ExternalName")
    if known(type_) and type_ not in ("LoadBalancer", "NodePort") and spec.get("externalTrafficPolicy"):
        yield SchemaError("spec.externalTrafficPolicy", "only for types LoadBalancer and NodePort")
    for name in ("loadBalancerClass", "loadBalancerSourceRanges", "allocateLoadBalancerNodePorts"):
        if known(type_) and type_ != "LoadBalancer" and name in spec:
            yield SchemaError(f"spec.{name}", "only for type LoadBalancer")
    if not spec.get("ports") and type_ != "ExternalName" and spec.get("clusterIP") != "None":
        yield SchemaError("spec.ports", "required")
    yield from _labels(mapping(spec.get("selector")), "spec.selector")
    ports = items(spec.get("ports"))
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        yield from _port(port.get("port"), f"{at}.port")
        yield from _port(port.get("targetPort"), f"{at}.targetPort")
        yield from one_of(port, "protocol", ("TCP", "UDP", "SCTP"), at)
        if len(ports) > 1 and not port.get("name"):
            yield SchemaError(f"{at}.name", "required when there are several ports")
        node_port = port.get("nodePort")
        if isinstance(node_port, int) and node_port and not 30000 <= node_port <= 32767:
            yield SchemaError(f"{at}.nodePort", "must be in 30000-32767")
    names = [p["name"] for p in ports if isinstance(p.get("name"), str)]
    if len(names) != len(set(names)):
        yield SchemaError("spec.ports", "port names must be unique")


def _port(value: Any, path: str) -> Errors:
    if isinstance(value, int) and not 1 <= value <= 65535:
        yield SchemaError(path, "must be in 1-65535")


def _disruption_budget(manifest: dict[str, Any]) -> Errors:
    spec = mapping(manifest.get("spec"))
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield SchemaError("spec", "minAvailable and maxUnavailable cannot both be set")
    for name in ("minAvailable", "maxUnavailable"):
        yield from _int_or_percent(spec, name, "spec")
    yield from _selector(spec.get("selector"), "spec.selector")


_METRICS: Final = {
    "Resource": "resource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
    "ContainerResource": "containerResource",
}


def _autoscaler(manifest: dict[str, Any]) -> Errors:
    spec = mapping(manifest.get("spec"))
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas")
    yield from positive(spec, "minReplicas", "spec", minimum=1)
    yield from positive(spec, "maxReplicas", "spec", minimum=1)
    if isinstance(least, int) and isinstance(most, int) and least > most:
        yield SchemaError("spec.maxReplicas", "must be greater than or equal to minReplicas")
    for index, metric in enumerate(items(spec.get("metrics"))):
        yield from _metric(metric, f"spec.metrics[{index}]")
    for direction in ("scaleUp", "scaleDown"):
        rules = mapping(dig(spec, "behavior", direction))
        at = f"spec.behavior.{direction}"
        yield from one_of(rules, "selectPolicy", ("Max", "Min", "Disabled"), at)
        window = rules.get("stabilizationWindowSeconds")
        if isinstance(window, int) and not 0 <= window <= 3600:
            yield SchemaError(f"{at}.stabilizationWindowSeconds", "must be in 0-3600")
        for index, policy in enumerate(items(rules.get("policies"))):
            yield from one_of(policy, "type", ("Pods", "Percent"), f"{at}.policies[{index}]")
            yield from positive(policy, "value", f"{at}.policies[{index}]")
            period = policy.get("periodSeconds")
            if isinstance(period, int) and not 1 <= period <= 1800:
                yield SchemaError(f"{at}.policies[{index}].periodSeconds", "must be in 1-1800")


def _metric(metric: dict[str, Any], path: str) -> Errors:
    type_ = metric.get("type")
    yield from one_of(metric, "type", tuple(_METRICS), path)
    if not isinstance(type_, str) or type_ not in _METRICS:
        return
    key = _METRICS[type_]
    if key not in metric:
        yield SchemaError(f"{path}.{key}", f"required for a metric of type {type_}")
        return
    for other in set(_METRICS.values()) - {key}:
        if other in metric:
            yield SchemaError(f"{path}.{other}", f"must not be set for a metric of type {type_}")
    source = mapping(metric[key])
    if type_ in ("Resource", "ContainerResource") and known(source.get("name")):
        name = source.get("name")
        if name not in ("cpu", "memory"):
            yield SchemaError(
                f"{path}.{key}.name",
                f"{name!r}: the resource metrics API serves only cpu and memory; use a Pods or External metric",
            )
    elif type_ in ("Pods", "Object", "External") and not dig(source, "metric", "name"):
        yield SchemaError(f"{path}.{key}.metric.name", "required")
    target = mapping(source.get("target"))
    yield from one_of(target, "type", ("Utilization", "Value", "AverageValue"), f"{path}.{key}.target")
    fields = {"Utilization": "averageUtilization", "Value": "value", "AverageValue": "averageValue"}
    wanted = fields.get(target.get("type", "")) if isinstance(target.get("type"), str) else None
    if wanted is not None and wanted not in target:
        yield SchemaError(f"{path}.{key}.target.{wanted}", f"required for target type {target['type']}")
    if type_ == "Pods" and "averageValue" not in target:
        yield SchemaError(f"{path}.pods.target.averageValue", "must specify a positive target averageValue")
    for name in ("value", "averageValue"):
        yield from _quantity(target.get(name), f"{path}.{key}.target.{name}")


def _quantity(value: Any, path: str) -> Errors:
    if not known(value):
        return
    try:
        parse_quantity(value)
    except ValueError as error:
        yield SchemaError(path, str(error))


def _network_policy(manifest: dict[str, Any]) -> Errors:
    spec = mapping(manifest.get("spec"))
    for index, type_ in enumerate(spec.get("policyTypes") or []):
        if known(type_) and type_ not in ("Ingress", "Egress"):
            yield SchemaError(f"spec.policyTypes[{index}]", f"{type_!r} must be Ingress or Egress")
    yield from _selector(spec.get("podSelector"), "spec.podSelector")
    for direction, side in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(items(spec.get(direction))):
            at = f"spec.{direction}[{index}]"
            for number, peer in enumerate(items(rule.get(side))):
                yield from _peer(peer, f"{at}.{side}[{number}]")
            for number, port in enumerate(items(rule.get("ports"))):
                yield from one_of(port, "protocol", ("TCP", "UDP", "SCTP"), f"{at}.ports[{number}]")
                yield from _port(port.get("port"), f"{at}.ports[{number}].port")


def _peer(peer: dict[str, Any], path: str) -> Errors:
    if not peer:
        yield SchemaError(path, "must specify ipBlock, podSelector or namespaceSelector")
    if "ipBlock" in peer and len(peer) > 1:
        yield SchemaError(path, "ipBlock must not be set together with podSelector or namespaceSelector")
    block = mapping(peer.get("ipBlock"))
    cidr = text(block.get("cidr"))
    network = None
    if cidr is not None:
        try:
            network = ipaddress.ip_network(cidr)
        except ValueError:
            yield SchemaError(f"{path}.ipBlock.cidr", f"{cidr!r} must be a CIDR such as 10.0.0.0/16")
    for index, value in enumerate(block.get("except") or []):
        if network is None or not isinstance(value, str):
            continue
        try:
            inside = ipaddress.ip_network(value).subnet_of(network)  # type: ignore[arg-type]
        except (ValueError, TypeError):
            inside = False
        if not inside:
            yield SchemaError(f"{path}.ipBlock.except[{index}]", f"{value!r} must be a CIDR inside {cidr}")


def _quantities_at(*paths: tuple[str, ...]) -> Callable[[dict[str, Any]], Errors]:
    def check(manifest: dict[str, Any]) -> Errors:
        for path in paths:
            for name, value in mapping(dig(manifest, *path)).items():
                yield from _quantity(value, f"{'.'.join(path)}.{name}")

    return check


def _limit_range(manifest: dict[str, Any]) -> Errors:
    for index, limit in enumerate(items(dig(manifest, "spec", "limits"))):
        for part in ("default", "defaultRequest", "max", "min", "maxLimitRequestRatio"):
            for name, value in mapping(limit.get(part)).items():
                yield from _quantity(value, f"spec.limits[{index}].{part}.{name}")


def _priority_class(manifest: dict[str, Any]) -> Errors:
    name, value = text(dig(manifest, "metadata", "name")) or "", manifest.get("value")
    if name.startswith("system-"):
        yield SchemaError("metadata.name", "priority class names with prefix 'system-' are reserved")
    if isinstance(value, int) and value > 1_000_000_000:
        yield SchemaError("value", "must not be above 1000000000: higher ones are for system classes")
    yield from one_of(manifest, "preemptionPolicy", ("PreemptLowerPriority", "Never"), "")


def _data(manifest: dict[str, Any]) -> Errors:
    size = 0
    for part in ("data", "binaryData", "stringData"):
        for key, value in mapping(manifest.get(part)).items():
            if not _DATA_KEY.fullmatch(key):
                yield SchemaError(part, f"key {key!r} must be at most 253 of A-Z a-z 0-9 - _ .")
            if not isinstance(value, str):
                continue
            size += len(value)
            if part == "binaryData" or (part == "data" and manifest["kind"] == "Secret"):
                try:
                    base64.b64decode(value, validate=True)
                except (binascii.Error, ValueError):
                    yield SchemaError(f"{part}.{key}", "must be base64 (use stringData for plain text)")
    if size > _BODY_LIMIT:
        yield SchemaError("data", "must be at most 1 MiB in all")


def _role(manifest: dict[str, Any]) -> Errors:
    for index, rule in enumerate(items(manifest.get("rules"))):
        if not rule.get("verbs"):
            yield SchemaError(f"rules[{index}].verbs", "required")
        if not rule.get("resources") and not rule.get("nonResourceURLs"):
            yield SchemaError(f"rules[{index}].resources", "required")
        elif rule.get("resources") and "apiGroups" not in rule:
            yield SchemaError(f"rules[{index}].apiGroups", "required with resources ('' is the core group)")


def _role_binding(manifest: dict[str, Any]) -> Errors:
    kinds = ("ClusterRole",) if manifest["kind"] == "ClusterRoleBinding" else ("Role", "ClusterRole")
    yield from one_of(mapping(manifest.get("roleRef")), "kind", kinds, "roleRef")
    for index, subject in enumerate(items(manifest.get("subjects"))):
        yield from one_of(subject, "kind", ("User", "Group", "ServiceAccount"), f"subjects[{index}]")
        if subject.get("kind") == "ServiceAccount" and not subject.get("namespace"):
            yield SchemaError(f"subjects[{index}].namespace", "required for a ServiceAccount")


def _volume_claim(manifest: dict[str, Any]) -> Errors:
    spec = mapping(manifest.get("spec"))
    modes = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
    if not spec.get("accessModes"):
        yield SchemaError("spec.accessModes", "required")
    for index, mode in enumerate(spec.get("accessModes") or []):
        if known(mode) and mode not in modes:
            yield SchemaError(f"spec.accessModes[{index}]", f"{mode!r} must be one of {', '.join(modes)}")
    storage = dig(spec, "resources", "requests", "storage")
    if storage is None and not holds_unknown(spec):
        yield SchemaError("spec.resources.requests.storage", "required")
    yield from _quantity(storage, "spec.resources.requests.storage")


def _ingress(manifest: dict[str, Any]) -> Errors:
    spec = mapping(manifest.get("spec"))
    if not spec.get("rules") and not spec.get("defaultBackend"):
        yield SchemaError("spec", "either defaultBackend or rules must be specified")
    for index, rule in enumerate(items(spec.get("rules"))):
        for number, path in enumerate(items(dig(rule, "http", "paths"))):
            at = f"spec.rules[{index}].http.paths[{number}]"
            yield from one_of(path, "pathType", ("Exact", "Prefix", "ImplementationSpecific"), at)
            where = text(path.get("path"))
            if where is not None and not where.startswith("/"):
                yield SchemaError(f"{at}.path", "must be an absolute path")


def _namespace(manifest: dict[str, Any]) -> Errors:
    labels = mapping(dig(manifest, "metadata", "labels"))
    for mode in ("enforce", "audit", "warn"):
        key = f"pod-security.kubernetes.io/{mode}"
        level = labels.get(key)
        if known(level) and level not in ("privileged", "baseline", "restricted"):
            yield SchemaError(f"metadata.labels.{key}", f"{level!r} must be privileged, baseline or restricted")


def _crd(manifest: dict[str, Any]) -> Errors:
    spec = mapping(manifest.get("spec"))
    expected = f"{dig(spec, 'names', 'plural')}.{spec.get('group')}"
    name = text(dig(manifest, "metadata", "name"))
    if name is not None and name != expected and not holds_unknown(spec):
        yield SchemaError("metadata.name", f"{name!r} must be spec.names.plural + '.' + spec.group: {expected}")
    yield from one_of(spec, "scope", ("Cluster", "Namespaced"), "spec")
    versions = items(spec.get("versions"))
    if sum(bool(v.get("storage")) for v in versions) != 1:
        yield SchemaError("spec.versions", "must have exactly one version marked as storage version")
    for index, version in enumerate(versions):
        if not dig(version, "schema", "openAPIV3Schema"):
            yield SchemaError(f"spec.versions[{index}].schema.openAPIV3Schema", "required")


_RULES: Final[dict[str, Callable[[dict[str, Any]], Errors]]] = {
    "Deployment": _deployment,
    "StatefulSet": _workload,
    "DaemonSet": _workload,
    "ReplicaSet": _workload,
    "Job": _job,
    "CronJob": _cron_job,
    "Service": _service,
    "PodDisruptionBudget": _disruption_budget,
    "HorizontalPodAutoscaler": _autoscaler,
    "NetworkPolicy": _network_policy,
    "ResourceQuota": _quantities_at(("spec", "hard")),
    "PersistentVolume": _quantities_at(("spec", "capacity")),
    "LimitRange": _limit_range,
    "PriorityClass": _priority_class,
    "ConfigMap": _data,
    "Secret": _data,
    "Role": _role,
    "ClusterRole": _role,
    "RoleBinding": _role_binding,
    "ClusterRoleBinding": _role_binding,
    "PersistentVolumeClaim": _volume_claim,
    "Ingress": _ingress,
    "Namespace": _namespace,
    "CustomResourceDefinition": _crd,
}

IMMUTABLE: Final[dict[str, tuple[str, ...]]] = {
    "Deployment": ("spec.selector",),
    "DaemonSet": ("spec.selector",),
    "ReplicaSet": ("spec.selector",),
    "StatefulSet": ("spec.selector", "spec.serviceName", "spec.podManagementPolicy", "spec.volumeClaimTemplates"),
    "Job": ("spec.selector", "spec.template", "spec.completions", "spec.completionMode"),
    "Service": ("spec.clusterIP",),
    "Secret": ("type",),
    "PersistentVolumeClaim": ("spec.accessModes", "spec.storageClassName", "spec.volumeName", "spec.selector"),
    "RoleBinding": ("roleRef",),
    "ClusterRoleBinding": ("roleRef",),
    "StorageClass": ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"),
    "PriorityClass": ("value", "preemptionPolicy"),
    "RuntimeClass": ("handler",),
    "IngressClass": ("spec.controller",),
    "CSIDriver": ("spec.attachRequired",),
    "CustomResourceDefinition": ("spec.group", "spec.scope", "spec.names.kind", "spec.names.plural"),
}
"""Kind -> fields that never change after creation (a Service's address may be left out, not changed)."""


def checked_kinds() -> frozenset[str]:
    """Kinds with rules of their own, besides those for metadata and pods."""
    return frozenset(_RULES)


_SET_BY_SERVER: Final = frozenset({("Service", "spec.clusterIP"), ("Secret", "type"), ("Job", "spec.selector")})


def changed_immutable(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The immutable fields that differ. Unknown new values count as changed only when the old one was set."""
    kind = new.get("kind", "")
    paths = list(IMMUTABLE.get(kind, ()))
    if kind in ("ConfigMap", "Secret") and old.get("immutable"):
        paths += ["data", "binaryData", "stringData", "immutable"]
    changed = []
    for path in paths:
        before, after = dig(old, *path.split(".")), dig(new, *path.split("."))
        if after is None and (kind, path) in _SET_BY_SERVER:
            continue
        if before in (None, "") and kind == "Service":
            continue
        if before != after:
            changed.append(path)
    return changed
