"""The switch of the private endpoint: CloudWatch on moto, Azure's log-in and ARM on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs

import boto3
import pytest
from moto import mock_aws

from spillway.contracts.function_config import AzureIdentity, SwitchConfig
from spillway.runtime.functions import aws as aws_api
from spillway.runtime.functions import azure as azure_api
from spillway.runtime.functions import traffic_switch

ALARM = "spillway-test-gateway-heartbeat"
IDENTITY = AzureIdentity("tenant", "client")
ASSERTION = "what-aws-signed"
ENDPOINT = "/subscriptions/s/trafficmanagerprofiles/p/ExternalEndpoints/private"


@dataclass
class Azure:
    """What a small Resource Manager with one endpoint has and saw."""

    url: str = ""
    status: str = "Enabled"
    refuse: bool = False
    changes: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def azure() -> Iterator[Azure]:
    state = Azure()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, code: int, body: dict[str, Any]) -> None:
            raw = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def _body(self) -> str:
            return self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()

        def do_POST(self) -> None:
            form = {key: values[0] for key, values in parse_qs(self._body()).items()}
            known = form["client_assertion"] == ASSERTION and form["client_id"] == "client"
            if self.path != "/tenant/oauth2/v2.0/token" or not known:
                return self._answer(401, {"error": "invalid_client"})
            return self._answer(200, {"access_token": "bearer-1"})

        def _endpoint(self) -> bool:
            right = self.headers["Authorization"] == "Bearer bearer-1" and self.path == f"{ENDPOINT}?api-version=1"
            if not right:
                self._answer(403, {})
            return right

        def do_GET(self) -> None:
            if self._endpoint():
                self._answer(200, {"properties": {"endpointStatus": state.status, "target": "gw"}})

        def do_PATCH(self) -> None:
            change = json.loads(self._body())
            if state.refuse:
                return self._answer(409, {"error": {"code": "Conflict"}})
            if self._endpoint():
                state.changes.append(change)
                state.status = change["properties"]["endpointStatus"]
                self._answer(200, change)
            return None

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def cloudwatch(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with mock_aws():
        client = boto3.client("cloudwatch")
        client.put_metric_alarm(
            AlarmName=ALARM,
            Namespace="Spillway",
            MetricName="GatewayHeartbeat",
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="LessThanThreshold",
        )
        config = SwitchConfig(ALARM, f"{azure.url}{ENDPOINT}?api-version=1", IDENTITY)
        # moto signs no such token; tests/twin/test_federation.py has the whole way.
        monkeypatch.setattr(azure_api, "web_identity_token", lambda *_: ASSERTION)
        monkeypatch.setenv("SPILLWAY_AZURE_LOGIN_URL", azure.url)
        aws_api.client.cache_clear()
        for name, value in config.to_environment().items():
            monkeypatch.setenv(name, value)
        yield client
    aws_api.client.cache_clear()


def say(cloudwatch: Any, state: str) -> None:
    cloudwatch.set_alarm_state(AlarmName=ALARM, StateValue=state, StateReason="test")


def test_silent_gateway_is_disabled_and_enabled_again(cloudwatch: Any, azure: Azure) -> None:
    say(cloudwatch, "ALARM")
    assert traffic_switch.handler({}, None) == {"changed": True, "status": "Disabled"}
    assert azure.status == "Disabled"
    say(cloudwatch, "OK")
    assert traffic_switch.handler({}, None) == {"changed": True, "status": "Enabled"}
    assert azure.status == "Enabled"
    # Nothing but the status is touched: the target belongs to the deployment.
    assert azure.changes == [{"properties": {"endpointStatus": s}} for s in ("Disabled", "Enabled")]


def test_a_call_that_read_the_alarm_too_early_makes_it_good(
    cloudwatch: Any, azure: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two calls may run at once: the heart stops after this one has looked."""
    said = iter(["OK", "ALARM", "ALARM"])
    monkeypatch.setattr(traffic_switch, "alarm_state", lambda *_: next(said))
    azure.status = "Disabled"
    assert traffic_switch.handler({}, None) == {"changed": True, "status": "Disabled"}
    assert azure.changes == [{"properties": {"endpointStatus": s}} for s in ("Enabled", "Disabled")]


def test_nothing_is_written_when_it_is_as_it_should_be(cloudwatch: Any, azure: Azure) -> None:
    say(cloudwatch, "OK")
    assert traffic_switch.handler({}, None)["changed"] is False
    assert azure.changes == []


def test_an_old_notice_does_not_count_only_the_alarm_does(cloudwatch: Any, azure: Azure) -> None:
    say(cloudwatch, "OK")
    notice = {"Records": [{"Sns": {"Message": json.dumps({"AlarmName": ALARM, "NewStateValue": "ALARM"})}}]}
    traffic_switch.handler(notice, None)
    assert azure.status == "Enabled"


def test_an_alarm_that_judged_nothing_changes_nothing(cloudwatch: Any, azure: Azure) -> None:
    azure.status = "Disabled"
    say(cloudwatch, "INSUFFICIENT_DATA")
    assert traffic_switch.handler({}, None) == {"changed": False, "status": None}
    assert azure.status == "Disabled"


def test_a_refused_change_fails_and_the_next_call_makes_it_good(cloudwatch: Any, azure: Azure) -> None:
    say(cloudwatch, "ALARM")
    azure.refuse = True
    with pytest.raises(HTTPError):
        traffic_switch.handler({}, None)
    azure.refuse = False
    assert traffic_switch.handler({}, None)["changed"] is True


def test_a_missing_alarm_is_named(cloudwatch: Any) -> None:
    cloudwatch.delete_alarms(AlarmNames=[ALARM])
    with pytest.raises(LookupError, match=ALARM):
        traffic_switch.handler({}, None)


def test_a_refused_log_in_does_not_show_the_token(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPILLWAY_AZURE_LOGIN_URL", azure.url)
    monkeypatch.setattr(azure_api, "web_identity_token", lambda *_: "wrong-one")
    with pytest.raises(HTTPError) as refused:
        azure_api.token(IDENTITY)
    assert "wrong-one" not in str(refused.value)
