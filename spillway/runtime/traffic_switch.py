"""Flips the private gateway's endpoint in Azure Traffic Manager, as the alarm on its heartbeat says.

A Lambda function, called by that alarm's notice and each minute besides, so that a missed notice or a refused change
is made good. What counts is the alarm's state when the function runs, never the call's content. Its configuration is
the JSON in the environment variable ``SPILLWAY_SWITCH`` (see :class:`Config`).
"""

from __future__ import annotations

import json
import logging
import os
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCOPE = "https://management.azure.com/.default"
TIMEOUT_S = 10
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
    login_url: str = "https://login.microsoftonline.com"

    @classmethod
    def from_environment(cls) -> Config:
        return cls(**json.loads(os.environ["SPILLWAY_SWITCH"]))


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Bring the endpoint to what the alarm says. Raises when either cannot be read, or the change is refused."""
    import boto3

    config = Config.from_environment()
    wanted = STATUS.get(alarm_state(boto3.client("cloudwatch"), config.alarm))
    if wanted is None:
        return {"changed": False, "status": None}
    secret = boto3.client("secretsmanager").get_secret_value(SecretId=config.secret)["SecretString"]
    changed = switch(config.endpoint_url, wanted, token(json.loads(secret), config.login_url))
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
    headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
    live = _json(urllib.request.Request(url, headers=headers))
    if live["properties"]["endpointStatus"] == wanted:
        return False
    body = json.dumps({"properties": {"endpointStatus": wanted}}).encode()
    _json(urllib.request.Request(url, data=body, headers=headers, method="PATCH"))
    return True


def token(credential: Mapping[str, str], login_url: str) -> str:
    """A Resource Manager token by client credentials."""
    form = urllib.parse.urlencode(
        {
            "grant_type": "client_credentials",
            "client_id": credential["client_id"],
            "client_secret": credential["client_secret"],
            "scope": SCOPE,
        }
    )
    url = f"{login_url}/{credential['tenant_id']}/oauth2/v2.0/token"
    return _json(urllib.request.Request(url, data=form.encode()))["access_token"]


def _json(request: urllib.request.Request) -> Any:
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        return json.load(answer)
