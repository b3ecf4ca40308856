"""The AWS server of the twin: moto, and in front of it what moto lacks.

``python -m spillway.twin.aws.server --port N --state-dir D``. Its own routes:

- ``GET /_spillway/health`` -> ``{"boot_id": "..."}``, new at each start: all memory is lost with the process
- ``GET /_spillway/route53/health`` -> each health check's ``healthy``, ``type`` and ``reason``, by id
- ``GET /_spillway/invocations?after=N&wait=S`` -> ``{"invocations": [...]}``: Lambda calls to be made, numbered from 1;
  answers after ``S`` seconds at the latest, or as soon as there is one
- ``GET /_spillway/code/REGION/NAME`` -> a Lambda function's archive, which moto gives nobody
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from werkzeug.datastructures import Headers
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.wrappers import Response

from spillway.twin.aws.alarms import Evaluator, patch_alarms
from spillway.twin.aws.client import FORGET_HEADER, FRESH_HEADER, KEY_HEADER, REPLAYED_HEADER, URN_HEADER
from spillway.twin.aws.filled import Filled
from spillway.twin.aws.health import judge_health_checks
from spillway.twin.aws.moto_patches import patch_certificates, patch_policies
from spillway.twin.aws.recorder import Call, RefusedError

ACCOUNT = "123456789012"
_SERVICES = {"monitoring": "cloudwatch", "elasticloadbalancing": "elbv2"}
_GLOBAL = {"route53", "budgets", "ce"}


class Invocations:
    """Lambda calls that wait for the twin's function runner."""

    def __init__(self) -> None:
        self._items: list[dict[str, Any]] = []
        self._changed = threading.Condition()

    def add(self, function: str, payload: Any, source: str) -> None:
        """``function``: name or ARN. ``source``: ``sns``, ``alarm``, ``sqs`` or ``invoke``."""
        with self._changed:
            self._items.append(
                {
                    "number": len(self._items) + 1,
                    "function": function.split(":function:")[-1].split(":")[0],
                    "payload": payload,
                    "source": source,
                    "time": datetime.now(UTC).isoformat(),
                }
            )
            self._changed.notify_all()

    def after(self, number: int, wait_s: float = 0.0) -> list[dict[str, Any]]:
        """Those with a number above ``number``; waits for the first one."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) > number, timeout=wait_s)
            return self._items[number:]


class Memory:
    """What was answered to which create call, so that one that is repeated makes no second thing."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], tuple[int, list[tuple[str, str]], bytes]] = {}
        self._busy: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    def busy(self, key: tuple[str, str]) -> threading.Lock:
        """Held while a call is under way: its repetition, after a killed client, waits for it."""
        with self._lock:
            return self._busy.setdefault(key, threading.Lock())

    def get(self, key: tuple[str, str]) -> tuple[int, list[tuple[str, str]], bytes] | None:
        return self._answers.get(key)

    def put(self, key: tuple[str, str], answer: tuple[int, list[tuple[str, str]], bytes]) -> None:
        self._answers[key] = answer

    def forget(self, urn: str) -> None:
        with self._lock:
            for key in [key for key in self._answers if key[0] == urn]:
                del self._answers[key]


class Application:
    """The WSGI application."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self.boot_id = str(uuid.uuid4())
        self.invocations = Invocations()
        self.filled = Filled()
        self.memory = Memory()
        self._known_health: dict[str, bool] = {}
        self._moto = DomainDispatcherApplication(create_backend_app)
        _patch_lambda(self.invocations)
        _patch_sagemaker()
        _patch_queues()
        _patch_scheduler()
        patch_alarms(ACCOUNT, self.invocations.add)
        patch_policies()
        patch_certificates()
        self.evaluator = Evaluator(ACCOUNT, self.invocations.add)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith("/_spillway/"):
            return self._own(environ)(environ, start_response)
        urn, key = environ.get("HTTP_X_SPILLWAY_URN"), environ.get("HTTP_X_SPILLWAY_KEY")
        if urn and key:
            return self._once((urn, key), environ)(environ, start_response)
        response = self._answer(environ)
        if environ.get("HTTP_X_SPILLWAY_FORGET") and response.status_code < 300:
            self.memory.forget(environ["HTTP_X_SPILLWAY_FORGET"])
        return response(environ, start_response)

    def _own(self, environ: dict[str, Any]) -> Response:
        route = environ["PATH_INFO"].removeprefix("/_spillway/")
        if route == "health":
            return _json({"boot_id": self.boot_id})
        if route == "route53/health":
            return _json(judge_health_checks(ACCOUNT, self.filled.health_checks(), self._known_health))
        if route == "invocations":
            query = dict(pair.partition("=")[::2] for pair in environ.get("QUERY_STRING", "").split("&"))
            after, wait = query.get("after", "0"), query.get("wait", "0")
            for name, given in (("after", after), ("wait", wait)):
                if not given.isdigit():
                    return _json({"error": f"{name} must be a number, not {given!r}"}, 400)
            return _json({"invocations": self.invocations.after(int(after), min(int(wait), 20))})
        if route.startswith("code/"):
            return _function_code(route)
        return _json({"error": f"no such route: {route}"}, 404)

    def _once(self, key: tuple[str, str], environ: dict[str, Any]) -> Response:
        with self.memory.busy(key):
            known = None if environ.get("HTTP_X_SPILLWAY_FRESH") else self.memory.get(key)
            if known:
                status, headers, body = known
                return Response(body, status, Headers([*headers, (REPLAYED_HEADER, "1")]))
            response = self._answer(environ)
            if response.status_code < 300:
                headers = [(k, v) for k, v in response.headers if k.lower() != "content-length"]
                self.memory.put(key, (response.status_code, headers, response.get_data()))
            return response

    def _answer(self, environ: dict[str, Any]) -> Response:
        filled = self._fill(environ)
        return filled or Response.from_app(self._moto, environ, buffered=True)

    def _fill(self, environ: dict[str, Any]) -> Response | None:
        """Answer here when moto cannot. ``None``: moto's turn."""
        from moto.core.parse import PROTOCOL_PARSERS
        from moto.core.request import determine_request_protocol
        from moto.core.routing import get_service_router
        from moto.core.utils import get_service_model
        from moto.moto_server.werkzeug_app import BackendRequest
        from werkzeug.exceptions import NotFound

        scope = _credential_scope(environ)
        if scope is None:
            return None
        region, service = scope
        if service not in {name for name, _ in self.filled.handlers}:
            return None
        request = BackendRequest(environ)
        # Reading the form or the body once keeps both for moto: werkzeug caches them in the request, not in the stream.
        body = request.get_data(cache=True, parse_form_data=False)
        _rewind(environ, body)
        request = BackendRequest(environ)
        model = get_service_model(service)
        uri: dict[str, Any] = {}
        name = request.headers.get("X-Amz-Target", "").rpartition(".")[2] or request.values.get("Action", "")
        if not name:
            try:
                operation, uri = get_service_router(service).match(request)
                name = str(operation.name)
            except (NotFound, NotImplementedError):
                name = ""
        handler = self.filled.handlers.get((service, name))
        _rewind(environ, body)
        if handler is None:
            return None
        request = BackendRequest(environ)
        operation = model.operation_model(name)
        protocol = determine_request_protocol(model, request.content_type)
        params = PROTOCOL_PARSERS[protocol](operation, map_type=dict).parse(
            {
                "method": request.method,
                "values": request.values,
                "headers": request.headers,
                "body": body,
                "url_path": request.path,
                "url_params": uri,
            }
        )
        call = Call(service, "global" if service in _GLOBAL else region, ACCOUNT, operation, dict(params))
        return _serialise(handler, call, protocol)


def _serialise(handler: Callable[[Call], dict[str, Any]], call: Call, protocol: str) -> Response:
    from moto.core.serialize import XFormedAttributePicker, get_serializer_class

    result: Any
    try:
        result = handler(call)
    except RefusedError as error:
        result = error
    operation: Any = call.operation
    serialiser = get_serializer_class(call.service, protocol)(
        operation_model=operation,
        pretty_print=False,
        value_picker=XFormedAttributePicker(response_transformers=None),
    )
    answer = serialiser.serialize(result)
    return Response(answer["body"], answer["status_code"], Headers(list(answer["headers"].items())))


def _rewind(environ: dict[str, Any], body: bytes) -> None:
    import io

    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ.pop("wsgi.input_terminated", None)
    environ.pop("werkzeug.request", None)


def _credential_scope(environ: dict[str, Any]) -> tuple[str, str] | None:
    """Region and service of a signed request."""
    try:
        scope: str = environ["HTTP_AUTHORIZATION"].split(",")[0].split()[1]
        _, _, region, service, _ = scope.split("/")
    except (KeyError, IndexError, ValueError):
        return None
    return region, _SERVICES.get(service, service)


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, content_type="application/json")


def _function_code(route: str) -> Response:
    from moto.awslambda.models import lambda_backends

    _, region, name = route.split("/", 2)
    function = lambda_backends[ACCOUNT][region].get_function(name)
    return Response(function.code_bytes, content_type="application/zip")


def _patch_lambda(invocations: Invocations) -> None:
    """Calls of functions are queued: the twin runs them, no container does."""
    from moto.awslambda.models import LambdaBackend, LambdaFunction

    def invoke(function: Any, body: Any, request_headers: Any, response_headers: Any) -> str | bytes:
        payload = json.loads(body) if body else {}
        invocations.add(function.function_arn, payload, "invoke")
        return b"{}"

    def send_sns_message(
        _: Any, function_name: str, message: str, subject: str | None = None, qualifier: str | None = None
    ) -> None:
        sns = {
            "Type": "Notification",
            "Message": message,
            "Subject": subject,
            "Timestamp": datetime.now(UTC).isoformat(),
        }
        record = {"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": sns}
        invocations.add(function_name, {"Records": [record]}, "sns")

    def send_sqs_batch(_: Any, function_arn: str, messages: Any, queue_arn: str) -> bool:
        records = [
            {"messageId": m.id, "body": m.body, "eventSourceARN": queue_arn, "eventSource": "aws:sqs"} for m in messages
        ]
        invocations.add(function_arn, {"Records": records}, "sqs")
        return True

    functions: Any = LambdaFunction
    backends: Any = LambdaBackend
    functions.invoke = invoke
    backends.send_sns_message = send_sns_message
    backends.send_sqs_batch = send_sqs_batch


def _patch_sagemaker() -> None:
    """Moto's list of instance types is years old: take AWS's own."""
    from moto.core.utils import get_service_model
    from moto.sagemaker.exceptions import ValidationError
    from moto.sagemaker.models import FakeEndpointConfig

    shape: Any = get_service_model("sagemaker").shape_for("ProductionVariantInstanceType")
    known: frozenset[Any] = frozenset(shape.enum)

    def validate_instance_type(_: Any, instance_type: str) -> None:
        if instance_type not in known:
            raise ValidationError(message=f"Value '{instance_type}' at 'instanceType' is no SageMaker instance type")

    configurations: Any = FakeEndpointConfig
    configurations.validate_instance_type = validate_instance_type


def _patch_queues() -> None:
    """Moto drops a queue's policy whenever another attribute is set."""
    from moto.sqs.models import Queue

    set_attributes = Queue._set_attributes

    def keep_policy(queue: Any, attributes: dict[str, Any], now: float | None = None) -> None:
        held = getattr(queue, "_policy_json", None)
        set_attributes(queue, attributes, now)
        if "Policy" not in attributes and held is not None:
            queue._policy_json = held

    queues: Any = Queue
    queues._set_attributes = keep_policy


def _patch_scheduler() -> None:
    """Moto fails on deleting a schedule group that is not there."""
    from moto.scheduler.exceptions import ScheduleGroupNotFound
    from moto.scheduler.models import EventBridgeSchedulerBackend

    delete = EventBridgeSchedulerBackend.delete_schedule_group

    def delete_schedule_group(backend: Any, name: str | None) -> None:
        if (name or "default") not in backend.schedule_groups:
            raise ScheduleGroupNotFound(name or "default")
        delete(backend, name)

    backends: Any = EventBridgeSchedulerBackend
    backends.delete_schedule_group = delete_schedule_group


def make(port: int) -> tuple[Application, BaseWSGIServer]:
    """The application and a server for it, not yet serving. Port 0 takes a free one."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler

    class Handler(MotoRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            level = logging.ERROR if type == "error" else logging.DEBUG
            logging.getLogger("spillway.aws").log(level, message, *args)

    application = Application()
    return application, make_server("127.0.0.1", port, application, threaded=True, request_handler=Handler)


def main() -> None:
    parser = argparse.ArgumentParser(description="The AWS server of the local twin.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.state_dir.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=arguments.state_dir / "aws-server.log", level=logging.WARNING)
    os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "AKIASPILLWAYTWIN0000")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "twin")
    application, server = make(arguments.port)
    application.evaluator.start()
    server.serve_forever()


if __name__ == "__main__":
    main()


__all__ = ["FORGET_HEADER", "FRESH_HEADER", "KEY_HEADER", "URN_HEADER", "Application", "main", "make"]
