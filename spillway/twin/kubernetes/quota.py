"""Resource quotas. There is no controller that makes pods here, so a workload counts with all the pods it asks for."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from spillway.contracts.quantities import format_quantity, parse_quantity
from spillway.twin.kubernetes.rules import pod_templates
from spillway.twin.kubernetes.values import dig, items, mapping

_COMPUTE: Final = ("cpu", "memory", "ephemeral-storage")


def pods_of(workload: dict[str, Any]) -> list[tuple[dict[str, Any], int]]:
    """The pods that a workload asks for at once: template and how many. Daemon sets and cron jobs have none (no nodes,
    no runs)."""
    spec, templates = mapping(workload.get("spec")), list(pod_templates(workload).values())
    match workload["kind"]:
        case "Pod":
            return [(templates[0], 1)]
        case "Deployment" | "StatefulSet" | "ReplicaSet":
            return [(templates[0], int(spec.get("replicas", 1)))]
        case "Job":
            return [(templates[0], int(spec.get("parallelism", 1)))]
        case "LeaderWorkerSet":
            groups, size = int(spec.get("replicas", 1)), int(dig(spec, "leaderWorkerTemplate", "size") or 1)
            return [(templates[-1], groups), (templates[0], groups * (size - 1))]
        case _:
            return []


def _needs(pod: dict[str, Any], limit_ranges: list[dict[str, Any]]) -> dict[str, Decimal]:
    """Quota resource -> amount for one pod, with the defaults of the namespace's limit ranges."""
    defaults: dict[str, dict[str, Any]] = {"requests": {}, "limits": {}}
    for limit_range in limit_ranges:
        for limit in items(dig(limit_range, "spec", "limits")):
            if limit.get("type") == "Container":
                defaults["limits"] |= mapping(limit.get("default"))
                defaults["requests"] |= mapping(limit.get("default")) | mapping(limit.get("defaultRequest"))
    total: dict[str, Decimal] = {"pods": Decimal(1)}
    for container in items(dig(pod, "spec", "containers")):
        resources = mapping(container.get("resources"))
        limits = defaults["limits"] | mapping(resources.get("limits"))
        requests = defaults["requests"] | mapping(resources.get("limits")) | mapping(resources.get("requests"))
        for part, amounts in (("requests", requests), ("limits", limits)):
            for name, amount in amounts.items():
                key = f"{part}.{name}"
                total[key] = total.get(key, Decimal(0)) + parse_quantity(amount)
    for name in _COMPUTE:
        if f"requests.{name}" in total:
            total[name] = total[f"requests.{name}"]
    return total


def _in_scope(quota: dict[str, Any], template: dict[str, Any]) -> bool:
    pod = mapping(template.get("spec"))
    best_effort = not any(
        dig(c, "resources", "requests") or dig(c, "resources", "limits") for c in items(pod.get("containers"))
    )
    terminating = "activeDeadlineSeconds" in pod
    simple = {
        "BestEffort": best_effort,
        "NotBestEffort": not best_effort,
        "Terminating": terminating,
        "NotTerminating": not terminating,
    }
    spec = mapping(quota.get("spec"))
    if not all(simple.get(scope, True) for scope in spec.get("scopes") or []):
        return False
    for match in items(dig(spec, "scopeSelector", "matchExpressions")):
        scope, values, operator = match.get("scopeName", ""), match.get("values", []), str(match.get("operator"))
        if scope == "PriorityClass":
            name = pod.get("priorityClassName")
            found = {"In": name in values, "NotIn": name not in values, "Exists": bool(name), "DoesNotExist": not name}
            if not found.get(operator, False):
                return False
        elif simple.get(scope, True) != (operator == "Exists"):
            return False
    return True


def usage(quota: dict[str, Any], objects: list[dict[str, Any]]) -> dict[str, Decimal]:
    """What the objects of a namespace use of a quota's ``hard`` resources."""
    hard = mapping(dig(quota, "spec", "hard"))
    used = dict.fromkeys(hard, Decimal(0))
    limit_ranges = [o for o in objects if o["kind"] == "LimitRange"]
    for thing in objects:
        for key in hard:
            if key in (f"count/{thing['kind'].lower()}s", f"{thing['kind'].lower()}s") and thing["kind"] != "Pod":
                used[key] += 1
        for pod, count in pods_of(thing):
            if not _in_scope(quota, pod):
                continue
            for key, amount in _needs(pod, limit_ranges).items():
                if key in used:
                    used[key] += amount * count
    return used


def violations(
    quotas: list[dict[str, Any]], before: list[dict[str, Any]], after: list[dict[str, Any]], new: dict[str, Any]
) -> list[str]:
    """The quotas that ``new`` would break. ``before`` and ``after``: the namespace's objects without and with it."""
    found = []
    for quota in quotas:
        name, hard = quota["metadata"]["name"], mapping(dig(quota, "spec", "hard"))
        limit_ranges = [o for o in before if o["kind"] == "LimitRange"]
        counted = [_needs(pod, limit_ranges) for pod, count in pods_of(new) if count and _in_scope(quota, pod)]
        compute = [key for key in hard if key.split(".")[-1] in _COMPUTE]
        if missing := [key for key in compute if any(key not in needs for needs in counted)]:
            found.append(f"failed quota: {name}: must specify {','.join(missing)}")
            continue
        old_use, new_use = usage(quota, before), usage(quota, after)
        for key, limit in hard.items():
            asked = new_use[key] - old_use[key]
            if asked > 0 and new_use[key] > parse_quantity(limit):
                found.append(
                    f"exceeded quota: {name}, requested: {key}={format_quantity(asked)}, "
                    f"used: {key}={format_quantity(old_use[key])}, limited: {key}={limit}"
                )
    return found
