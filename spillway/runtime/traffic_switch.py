"""Flips the private gateway's endpoint in Azure Traffic Manager, as the alarm on its heartbeat says.

A Lambda function, called by that alarm's notice and each minute besides, so that a missed notice or a refused change
is made good. What counts is the alarm's state when the function runs, never the call's content. Its configuration is
the JSON in the environment variable ``SPILLWAY_SWITCH`` (see :class:`Config`).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spillway.runtime import azure_api
from spillway.runtime.aws_api import client, secret

STATUS = {"OK": "Enabled", "ALARM": "Disabled"}
"""Endpoint status by alarm state. ``INSUFFICIENT_DATA`` is a new alarm that has judged nothing yet."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Config:
    """``endpoint_url``: the endpoint's Resource Manager address with its API version; ``secret``: Secrets Manager ARN
    of ``{tenant_id, client_id, client_secret}``."""

    alarm: str
    endpoint_url: str
    secret: str

    @classmethod
    def from_environment(cls) -> Config:
        return cls(**json.loads(os.environ["SPILLWAY_SWITCH"]))


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Bring the endpoint to what the alarm says. Raises when either cannot be read, or the change is refused."""
    config = Config.from_environment()
    wanted = STATUS.get(alarm_state(client("cloudwatch"), config.alarm))
    if wanted is None:
        return {"changed": False, "status": None}
    changed = switch(config.endpoint_url, wanted, azure_api.token(secret(config.secret)))
    if changed:
        log.warning("private endpoint %s", wanted)
    return {"changed": changed, "status": wanted}


def alarm_state(cloudwatch: Any, name: str) -> str:
    """``OK``, ``ALARM`` or ``INSUFFICIENT_DATA``. Raises ``LookupError`` when there is no such alarm."""
    found = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    if not found:
        raise LookupError(f"there is no alarm {name}")
    return found[0]["StateValue"]


def switch(url: str, wanted: str, bearer: str) -> bool:
    """Set ``endpointStatus`` where it differs; whether it did."""
    if azure_api.call(url, bearer)["properties"]["endpointStatus"] == wanted:
        return False
    azure_api.call(url, bearer, {"properties": {"endpointStatus": wanted}})
    return True
