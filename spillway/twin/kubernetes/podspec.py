"""What an API server checks in a pod spec beyond the schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from spillway.contracts.quantities import parse_quantity
from spillway.twin.kubernetes.schema import SchemaError
from spillway.twin.kubernetes.values import items, known, mapping, one_of, positive, text

Errors = Iterator[SchemaError]

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PORT_NAME: Final = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_ENV_NAME: Final = re.compile(r"[ -<>-~]+")
_FIELD_IN_ENV: Final = re.compile(
    r"metadata\.(name|namespace|uid|(annotations|labels)\['.+'\])"
    r"|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?)"
)
"""https://kubernetes.io/docs/concepts/workloads/pods/downward-api/#downwardapi-fieldRef"""
_PROBE_HANDLERS: Final = ("exec", "grpc", "httpGet", "tcpSocket")


def pod_errors(spec: dict[str, Any], path: str, restart_policies: tuple[str, ...]) -> Errors:
    """``path`` is where ``spec`` lies in its object. ``restart_policies``: those that the owner allows."""
    default = "Always"
    policy = spec.get("restartPolicy", default)
    if known(policy) and policy not in restart_policies:
        yield SchemaError(f"{path}.restartPolicy", f"{policy!r} must be one of {', '.join(restart_policies)}")
    yield from one_of(spec, "dnsPolicy", ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"), path)
    yield from one_of(spec, "preemptionPolicy", ("PreemptLowerPriority", "Never"), path)
    yield from positive(spec, "terminationGracePeriodSeconds", path, minimum=0)
    yield from positive(spec, "activeDeadlineSeconds", path)
    if not spec.get("containers"):
        yield SchemaError(f"{path}.containers", "required")
    volumes = items(spec.get("volumes"))
    yield from _volumes(volumes, path)
    open_volumes = any("name" in v and not isinstance(v["name"], str) for v in volumes) or not isinstance(
        spec.get("volumes", []), list
    )
    mountable = None if open_volumes else {v.get("name") for v in volumes}
    names: set[str] = set()
    for part in ("initContainers", "containers"):
        for index, container in enumerate(items(spec.get(part))):
            at = f"{path}.{part}[{index}]"
            name = text(container.get("name"))
            if name is not None and name in names:
                yield SchemaError(f"{at}.name", f"{name!r} is used twice")
            names.add(name or "")
            yield from _container(container, at, mountable, init=part == "initContainers")
    yield from _scheduling(spec, path)


def _volumes(volumes: list[dict[str, Any]], path: str) -> Errors:
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        at, name = f"{path}.volumes[{index}]", text(volume.get("name"))
        if name is not None and not _LABEL.fullmatch(name):
            yield SchemaError(f"{at}.name", f"{name!r} must be a DNS-1123 label")
        if name is not None and name in seen:
            yield SchemaError(f"{at}.name", f"{name!r} is used twice")
        seen.add(name or "")
        sources = [key for key in volume if key != "name"]
        if volume and len(sources) != 1:
            yield SchemaError(at, f"must have exactly one source, has {len(sources)}")


def _container(container: dict[str, Any], path: str, mountable: set[Any] | None, init: bool) -> Errors:
    name = text(container.get("name"))
    if name is not None and not _LABEL.fullmatch(name):
        yield SchemaError(f"{path}.name", f"{name!r} must be a DNS-1123 label")
    if container and not container.get("image"):
        yield SchemaError(f"{path}.image", "required")
    yield from one_of(container, "imagePullPolicy", ("Always", "IfNotPresent", "Never"), path)
    yield from one_of(container, "terminationMessagePolicy", ("File", "FallbackToLogsOnError"), path)
    yield from _ports(items(container.get("ports")), path)
    for index, variable in enumerate(items(container.get("env"))):
        key = text(variable.get("name"))
        if key is not None and not _ENV_NAME.fullmatch(key):
            yield SchemaError(f"{path}.env[{index}].name", f"{key!r} must be printable ASCII without '='")
        if variable.get("value") and variable.get("valueFrom"):
            yield SchemaError(f"{path}.env[{index}].valueFrom", "may not be specified when value is not empty")
        field = text(mapping(mapping(variable.get("valueFrom")).get("fieldRef")).get("fieldPath"))
        if field is not None and not _FIELD_IN_ENV.fullmatch(field):
            at = f"{path}.env[{index}].valueFrom.fieldRef.fieldPath"
            yield SchemaError(at, f"{field!r} is no field of a pod that a variable can have")
    mounts: set[str] = set()
    for index, mount in enumerate(items(container.get("volumeMounts"))):
        at, where = f"{path}.volumeMounts[{index}]", text(mount.get("mountPath"))
        if mountable is not None and known(mount.get("name")) and mount["name"] not in mountable:
            yield SchemaError(f"{at}.name", f"{mount['name']!r} names no volume of the pod")
        if where is not None and where in mounts:
            yield SchemaError(f"{at}.mountPath", f"{where!r} is mounted twice")
        mounts.add(where or "")
    yield from _resources(mapping(container.get("resources")), f"{path}.resources")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            if init and container.get("restartPolicy") != "Always":
                yield SchemaError(f"{path}.{probe}", "must not be set for init containers without restartPolicy Always")
            yield from _probe(mapping(container[probe]), f"{path}.{probe}", probe)
    for hook, handler in mapping(container.get("lifecycle")).items():
        handlers = [key for key in mapping(handler) if key in ("exec", "httpGet", "sleep", "tcpSocket")]
        if hook in ("postStart", "preStop") and isinstance(handler, dict) and len(handlers) != 1:
            yield SchemaError(f"{path}.lifecycle.{hook}", "must specify exactly one handler")


def _ports(ports: list[dict[str, Any]], path: str) -> Errors:
    names: set[str] = set()
    for index, port in enumerate(ports):
        at, number, name = f"{path}.ports[{index}]", port.get("containerPort"), text(port.get("name"))
        yield from one_of(port, "protocol", ("TCP", "UDP", "SCTP"), at)
        if isinstance(number, int) and not 1 <= number <= 65535:
            yield SchemaError(f"{at}.containerPort", "must be in 1-65535")
        if name is not None and not _PORT_NAME.fullmatch(name):
            yield SchemaError(f"{at}.name", f"{name!r} must be at most 15 of a-z, 0-9 and '-', with a letter")
        if name is not None and name in names:
            yield SchemaError(f"{at}.name", f"{name!r} is used twice")
        names.add(name or "")


def _resources(resources: dict[str, Any], path: str) -> Errors:
    parsed: dict[str, dict[str, Any]] = {"limits": {}, "requests": {}}
    for part, found in parsed.items():
        for name, value in mapping(resources.get(part)).items():
            if not known(value):
                found[name] = None
                continue
            try:
                found[name] = parse_quantity(value)
            except ValueError as error:
                yield SchemaError(f"{path}.{part}.{name}", str(error))
                found[name] = None
                continue
            if found[name] < 0:
                yield SchemaError(f"{path}.{part}.{name}", "must not be negative")
            if "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
                yield SchemaError(f"{path}.{part}.{name}", "must be a standard resource or be fully qualified")
            if _extended(name) and found[name] != found[name].to_integral_value():
                yield SchemaError(f"{path}.{part}.{name}", "must be an integer")
    for name, request in parsed["requests"].items():
        limit = parsed["limits"].get(name)
        if _extended(name) and name not in parsed["limits"]:
            yield SchemaError(f"{path}.limits.{name}", "required: limit must be set for non overcommitable resources")
        if request is None or limit is None:
            continue
        if _extended(name) and request != limit:
            yield SchemaError(f"{path}.requests.{name}", f"must be equal to the {name} limit")
        elif request > limit:
            yield SchemaError(f"{path}.requests.{name}", f"must be less than or equal to the {name} limit")


_STANDARD: Final = frozenset({"cpu", "memory", "ephemeral-storage"})


def _extended(name: str) -> bool:
    return "/" in name and not name.startswith("kubernetes.io/")


def _probe(probe: dict[str, Any], path: str, kind: str) -> Errors:
    handlers = [key for key in _PROBE_HANDLERS if key in probe]
    if probe and len(handlers) != 1:
        yield SchemaError(path, "must specify exactly one handler: exec, grpc, httpGet or tcpSocket")
    for name in ("timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        yield from positive(probe, name, path)
    yield from positive(probe, "initialDelaySeconds", path, minimum=0)
    if kind != "readinessProbe" and isinstance(probe.get("successThreshold"), int) and probe["successThreshold"] > 1:
        yield SchemaError(f"{path}.successThreshold", "must be 1")


def _scheduling(spec: dict[str, Any], path: str) -> Errors:
    for index, toleration in enumerate(items(spec.get("tolerations"))):
        at = f"{path}.tolerations[{index}]"
        yield from one_of(toleration, "operator", ("Exists", "Equal"), at)
        yield from one_of(toleration, "effect", ("NoSchedule", "PreferNoSchedule", "NoExecute"), at)
        if toleration.get("operator") == "Exists" and toleration.get("value"):
            yield SchemaError(f"{at}.value", "must be empty when operator is Exists")
    for index, spread in enumerate(items(spec.get("topologySpreadConstraints"))):
        at = f"{path}.topologySpreadConstraints[{index}]"
        yield from one_of(spread, "whenUnsatisfiable", ("DoNotSchedule", "ScheduleAnyway"), at)
        yield from positive(spread, "maxSkew", at)
