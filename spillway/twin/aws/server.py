"""The AWS server of the twin: moto, and in front of it what moto lacks.

``python -m spillway.twin.aws.server --port N --state-dir D``. Its own routes:

- ``GET /_spillway/health`` -> ``{"boot_id": "..."}``, new at each start: all memory is lost with the process
- ``GET /_spillway/route53/health`` -> each health check's ``healthy``, ``type`` and ``reason``, by id
- ``GET /_spillway/invocations?after=N&wait=S`` -> ``{"invocations": [...]}``: Lambda calls to be made, numbered from 1;
  answers after ``S`` seconds at the latest, or as soon as there is one
- ``GET /_spillway/code/REGION/NAME`` -> a Lambda function's archive, which moto gives nobody
- ``POST /_spillway/roles`` with ``{access key: ARN of the role that it stands for}``
- ``GET /_spillway/issuer/.well-known/jwks.json`` -> what the account's issuer of tokens has at its own address
"""

from __future__ import annotations

import argparse
import functools
import gc
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
from werkzeug.wrappers import Request, Response

from spillway.twin.aws.alarms import Evaluator
from spillway.twin.aws.client import REPLAYED_HEADER
from spillway.twin.aws.health import judge_health_checks
from spillway.twin.aws.recorder import Call, Handler, Recorder, RefusedError
from spillway.twin.aws.service import ACCOUNT
from spillway.twin.aws.services import ACCOUNTS_ISSUER, GATEWAYS, SERVICES, invoke, invoked, lambda_, route53

_SERVICES = {"monitoring": "cloudwatch", "elasticloadbalancing": "elbv2"}
_GLOBAL = {service.name for service in SERVICES if not service.regional}


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
    """The WSGI application. ``folder``: where the twin says which front serves an endpoint."""

    def __init__(self, folder: Path) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self._folder = folder
        self.boot_id = str(uuid.uuid4())
        self.invocations = Invocations()
        self.recorder = Recorder(tuple(kind for service in SERVICES for kind in service.recorded))
        self._handlers: dict[tuple[str, str], Handler] = self.recorder.handlers | {
            (service.name, operation): answer for service in SERVICES for operation, answer in service.answers.items()
        }
        self._refuses = {(s.name, operation): check for s in SERVICES for operation, check in s.refuses.items()}
        self.memory = Memory()
        self._known_health: dict[str, bool] = {}
        self._moto = DomainDispatcherApplication(create_backend_app)
        for service in SERVICES:
            if service.patch:
                service.patch(self.invocations.add)
        self.evaluator = Evaluator()

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
            return _json(judge_health_checks(ACCOUNT, route53.health_checks(self.recorder), self._known_health))
        if route == "invocations":
            query = dict(pair.partition("=")[::2] for pair in environ.get("QUERY_STRING", "").split("&"))
            after, wait = query.get("after", "0"), query.get("wait", "0")
            for name, given in (("after", after), ("wait", wait)):
                if not given.isdigit():
                    return _json({"error": f"{name} must be a number, not {given!r}"}, 400)
            return _json({"invocations": self.invocations.after(int(after), min(int(wait), 20))})
        if route == "issuer/.well-known/jwks.json":
            return _json(ACCOUNTS_ISSUER.keys)
        if route == "roles":
            GATEWAYS.update(json.loads(Request(environ).get_data()))
            return _json({})
        if route.startswith("code/"):
            _, region, name = route.split("/", 2)
            return Response(lambda_.code_of(region, name), content_type="application/zip")
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
        return self._fill(environ) or Response.from_app(self._moto, environ, buffered=True)

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
        access_key, region, service = scope
        if endpoint := invoked(service, environ["PATH_INFO"]):
            return invoke(endpoint, region, self._folder, environ)
        if service not in {name for name, _ in (*self._handlers, *self._refuses)}:
            return None
        request = BackendRequest(environ)
        # Reading the form or the body once keeps both for moto: werkzeug caches them in the request, not in the stream.
        body = request.get_data(cache=True, parse_form_data=False)
        _rewind(environ, body)
        request = BackendRequest(environ)
        uri: dict[str, Any] = {}
        name = request.headers.get("X-Amz-Target", "").rpartition(".")[2] or request.values.get("Action", "")
        if not name:
            try:
                operation, uri = get_service_router(service).match(request)
                name = str(operation.name)
            except (NotFound, NotImplementedError):
                name = ""
        handler, refuses = self._handlers.get((service, name)), self._refuses.get((service, name))
        _rewind(environ, body)
        if handler is None and refuses is None:
            return None
        request = BackendRequest(environ)
        operation = get_service_model(service).operation_model(name)
        protocol = determine_request_protocol(operation.service_model, request.content_type)
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
        place = "global" if service in _GLOBAL else region
        call = Call(service, place, ACCOUNT, operation, dict(params), self.recorder, access_key)
        result = _judged(call, refuses, handler)
        _rewind(environ, body)
        return None if result is None else _serialise(result, call, protocol)


def _judged(call: Call, refuses: Callable[[Call], None] | None, handler: Handler | None) -> Any:
    """The answer or the refusal; ``None``: neither is ours to give."""
    try:
        if refuses:
            refuses(call)
        return handler(call) if handler else None
    except RefusedError as error:
        return error


def _serialise(result: Any, call: Call, protocol: str) -> Response:
    from moto.core.serialize import XFormedAttributePicker, get_serializer_class

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


def _credential_scope(environ: dict[str, Any]) -> tuple[str, str, str] | None:
    """Access key, region and service of a signed request."""
    try:
        scope: str = environ["HTTP_AUTHORIZATION"].split(",")[0].split()[1]
        credential, _, region, service, _ = scope.split("/")
    except (KeyError, IndexError, ValueError):
        return None
    return credential.removeprefix("Credential="), region, _SERVICES.get(service, service)


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, content_type="application/json")


def make(port: int, folder: Path) -> tuple[Application, BaseWSGIServer]:
    """The application and a server for it, not yet serving. Port 0 takes a free one."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler

    class Handler(MotoRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            level = logging.ERROR if type == "error" else logging.DEBUG
            logging.getLogger("spillway.aws").log(level, message, *args)

    application = Application(folder)
    return application, make_server("127.0.0.1", port, application, threaded=True, request_handler=Handler)


def _read_models_once() -> None:
    """moto opens a session of its own for many a region and service, and each would read the same megabytes of JSON."""
    from botocore.loaders import JSONFileLoader

    read = functools.cache(JSONFileLoader().load_file)
    JSONFileLoader.load_file = lambda self, file_path: read(file_path)


def main() -> None:
    parser = argparse.ArgumentParser(description="The AWS server of the local twin.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.state_dir.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=arguments.state_dir / "aws-server.log", level=logging.WARNING)
    _read_models_once()
    # Collections of a heap this large, most of it modules, took a quarter of the time.
    gc.set_threshold(50_000, 20, 20)
    os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    # What an account has once it is a few months old; new ones start with 10.
    os.environ.setdefault("MOTO_LAMBDA_CONCURRENCY_QUOTA", "1000")
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "AKIASPILLWAYTWIN0000")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "twin")
    application, server = make(arguments.port, arguments.state_dir)
    application.evaluator.start()
    server.serve_forever()


if __name__ == "__main__":
    main()
