"""Flips the private gateway's endpoint in Azure Traffic Manager, as the alarm on its heartbeat says.

A Lambda function, called by that alarm's notice and each minute besides, so that a missed notice or a refused change
is made good. What counts is the alarm's state when the function runs, never the call's content. Configuration:
:class:`~spillway.contracts.function_config.SwitchConfig`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from spillway.contracts.function_config import SwitchConfig
from spillway.runtime.functions import azure
from spillway.runtime.functions.aws import client

STATUS = {"OK": "Enabled", "ALARM": "Disabled"}
"""Endpoint status by alarm state. ``INSUFFICIENT_DATA`` is a new alarm that has judged nothing yet."""

log = logging.getLogger(__name__)


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Bring the endpoint to what the alarm says. Raises when either cannot be read, or the change is refused."""
    config = SwitchConfig.from_environment()
    changed, wanted = False, STATUS.get(alarm_state(client("cloudwatch"), config.alarm))
    bearer = azure.token(config.identity) if wanted else ""
    while wanted:
        if switch(config.endpoint_url, wanted, bearer):
            changed = True
            log.warning("private endpoint %s", wanted)
        # Another call may have read the alarm later and set the endpoint sooner.
        now = STATUS.get(alarm_state(client("cloudwatch"), config.alarm))
        if now == wanted:
            break
        wanted = now
    return {"changed": changed, "status": wanted}


def alarm_state(cloudwatch: Any, name: str) -> str:
    """``OK``, ``ALARM`` or ``INSUFFICIENT_DATA``. Raises ``LookupError`` when there is no such alarm."""
    found = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    if not found:
        raise LookupError(f"there is no alarm {name}")
    return found[0]["StateValue"]


def switch(url: str, wanted: str, bearer: str) -> bool:
    """Set ``endpointStatus`` where it differs; whether it did."""
    if azure.call(url, bearer)["properties"]["endpointStatus"] == wanted:
        return False
    azure.call(url, bearer, {"properties": {"endpointStatus": wanted}})
    return True
