"""SageMaker's runtime API: what is asked of an endpoint goes to the front before its model server, and through it.

The twin's data plane says in :data:`FILE` of this server's folder where that front is. The front holds a request
against the cloud's rules, so it is signed for the front on the way, as boto3 signed it for this server's address.

An asynchronous endpoint has no server of its own here: it serves the same package, so the real-time one's front works
on its requests, one after another, whatever its number of instances. A request waits in memory until there is a front.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from werkzeug.datastructures import Headers
from werkzeug.wrappers import Request, Response

from spillway.contracts.frozen import Frozen
from spillway.twin.aws import sagemaker_async
from spillway.twin.aws.service import ACCOUNT

FILE: Final = "runtime.json"
_PATH: Final = re.compile(r"/endpoints/([A-Za-z0-9-]+)/(?:invocations(?:-response-stream)?|async-invocations)")
_ASYNC: Final = "/async-invocations"
_HANDED_ON: Final = ("Content-Type", "Accept")
_OWN: Final = ("content-length", "transfer-encoding", "connection", "date", "server")
_TIMEOUT_S: Final = 70
"""More than SageMaker's own minute."""


class Front(Frozen):
    """Where the requests of one endpoint go."""

    endpoint: str
    region: str
    host: str
    """The name that a request is signed for, and that its certificate has."""
    port: int
    access_key: str
    secret_key: str
    authority: str | None = None
    """File of the authority behind the front's certificate; ``None``: it speaks plain HTTP."""


def invoked(service: str, path: str) -> str | None:
    """The endpoint that a request invokes."""
    found = _PATH.fullmatch(path) if service == "sagemaker" else None
    return found[1] if found else None


def invoke(endpoint: str, region: str, folder: Path, environ: dict[str, Any]) -> Response:
    """The front's answer, or that a request is kept; SageMaker's refusal where the region has no such endpoint."""
    from moto.sagemaker.models import sagemaker_backends

    backend: Any = sagemaker_backends[ACCOUNT][region]
    if endpoint not in backend.endpoints:
        return _refusal(400, "ValidationError", f"Endpoint {endpoint} of account {ACCOUNT} not found.")
    config = backend.endpoint_configs.get(backend.endpoints[endpoint].endpoint_config_name)
    waits = getattr(config, "async_inference_config", None) or None
    request = Request(environ)
    if request.path.endswith(_ASYNC) != (waits is not None):
        # The words are ours.
        kind = "an asynchronous" if waits else "no asynchronous"
        return _refusal(400, "ValidationError", f"Endpoint {endpoint} is {kind} endpoint, and does not take this.")
    if waits:
        return sagemaker_async.keep(request, waits, partial(_work, folder / FILE, region))
    front = _front(folder / FILE)
    if front is None or (front.endpoint, front.region) != (endpoint, region):
        told = f"The twin runs no server for {endpoint}: spillway up, without --resources-only, starts one."
        return _refusal(503, "ServiceUnavailable", told)
    return _forwarded(front, request.path, dict(request.headers.items()), request.get_data())


def _work(file: Path, region: str, headers: Mapping[str, str], body: bytes) -> Response | None:
    """The answer to a request that waited; ``None``: there is no server yet."""
    front = _front(file)
    if front is None or front.region != region:
        return None
    return _forwarded(front, f"/endpoints/{front.endpoint}/invocations", headers, body)


def _front(path: Path) -> Front | None:
    return Front.model_validate_json(path.read_text(encoding="utf-8")) if path.is_file() else None


def _forwarded(front: Front, path: str, sent: Mapping[str, str], body: bytes) -> Response:
    kept = {
        name: value
        for name, value in sent.items()
        if name.title() in _HANDED_ON or name.lower().startswith("x-amzn-sagemaker-")
    }
    signed = AWSRequest("POST", f"https://{front.host}{path}", data=body, headers=kept)
    SigV4Auth(Credentials(front.access_key, front.secret_key), "sagemaker", front.region).add_auth(signed)
    headers = {**dict(signed.headers.items()), "Host": front.host}
    try:
        with _pool(front) as pool:
            answer = pool.request("POST", path, body=body, headers=headers, retries=False)
    except urllib3.exceptions.HTTPError as error:
        return _refusal(503, "ServiceUnavailable", f"The twin's front of {front.endpoint} does not answer: {error}")
    own = [(name, value) for name, value in answer.headers.items() if name.lower() not in _OWN]
    return Response(answer.data, answer.status, Headers(own))


def _pool(front: Front) -> urllib3.HTTPConnectionPool:
    if front.authority is None:
        return urllib3.HTTPConnectionPool("127.0.0.1", front.port, timeout=_TIMEOUT_S)
    return urllib3.HTTPSConnectionPool(
        "127.0.0.1",
        front.port,
        timeout=_TIMEOUT_S,
        ca_certs=front.authority,
        server_hostname=front.host,
        assert_hostname=front.host,
    )


def _refusal(status: int, kind: str, message: str) -> Response:
    headers = Headers([("x-amzn-ErrorType", kind)])
    return Response(json.dumps({"message": message}), status, headers, content_type="application/json")
