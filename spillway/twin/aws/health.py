"""What Route 53's health checks say, from the alarms they follow."""

from __future__ import annotations

from typing import Any


def judge_health_checks(
    account: str, checks: dict[str, dict[str, Any]], last: dict[str, bool]
) -> dict[str, dict[str, Any]]:
    """Each check's ``healthy`` and ``reason``, by id. ``last`` remembers the last state known, for
    ``LastKnownStatus``, and is brought up to date."""
    found: dict[str, dict[str, Any]] = {}
    for id_, config in checks.items():
        if config["Type"] != "CALCULATED":
            found[id_] = _judge(account, id_, config, last)
    for id_, config in checks.items():
        if config["Type"] == "CALCULATED":
            found[id_] = _calculated(config, found)
    return found


def _judge(account: str, id_: str, config: dict[str, Any], last: dict[str, bool]) -> dict[str, Any]:
    result: dict[str, Any] = {"type": config["Type"]}
    if config["Type"] != "CLOUDWATCH_METRIC":
        return {**result, "healthy": not config.get("Inverted"), "reason": "endpoint checks probe nothing on the twin"}
    if config.get("Disabled"):
        return {**result, "healthy": not config.get("Inverted"), "reason": "disabled"}
    healthy, reason, state = _follow(account, id_, config, last)
    healthy = healthy != bool(config.get("Inverted"))
    return {**result, "healthy": healthy, "reason": reason, "alarm": config["AlarmIdentifier"]["Name"], "state": state}


def _follow(account: str, id_: str, config: dict[str, Any], last: dict[str, bool]) -> tuple[bool, str, str]:
    from moto.cloudwatch.models import cloudwatch_backends

    identifier = config["AlarmIdentifier"]
    alarm = cloudwatch_backends[account][identifier["Region"]].alarms.get(identifier["Name"])
    state = alarm.state_value if alarm else "INSUFFICIENT_DATA"
    if state != "INSUFFICIENT_DATA":
        last[id_] = state == "OK"
        return last[id_], f"the alarm {identifier['Name']} is {state}", state
    wanted = config.get("InsufficientDataHealthStatus", "LastKnownStatus")
    healthy = last.get(id_, True) if wanted == "LastKnownStatus" else wanted == "Healthy"
    return healthy, f"the alarm {identifier['Name']} has insufficient data: {wanted}", state


def _calculated(config: dict[str, Any], found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    children = config.get("ChildHealthChecks") or []
    healthy = sum(1 for child in children if found.get(child, {}).get("healthy"))
    threshold = config.get("HealthThreshold", len(children))
    return {
        "type": "CALCULATED",
        "healthy": (healthy >= threshold) != bool(config.get("Inverted")),
        "reason": f"{healthy} of {len(children)} healthy, {threshold} needed",
    }
