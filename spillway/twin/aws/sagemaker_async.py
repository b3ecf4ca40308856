"""SageMaker's asynchronous endpoints: a request is taken with where its answer will be, and worked on later.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointAsync.html; limits and header names
are botocore's model's. The names of what is written are ours, below the paths that the endpoint's configuration names:
a caller goes by the places that it is told.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from werkzeug.datastructures import Headers
from werkzeug.wrappers import Request, Response

from spillway.twin.aws.service import ACCOUNT

Work = Callable[[Mapping[str, str], bytes], Response | None]
"""The container's answer to headers and a body, ``None`` while there is no container."""

_HEADER: Final = "X-Amzn-SageMaker-"
_LONGEST_TTL_S: Final = 21600
_AGAIN_S: Final = 0.5
"""Until a request is tried again for which there is no container yet."""


@dataclass(frozen=True)
class _Kept:
    work: Work
    headers: Mapping[str, str]
    source: str
    answer: str
    failure: str
    until: float


class _Line:
    """What was taken and not worked on yet. One after another, by a thread that begins with the first."""

    def __init__(self) -> None:
        self._kept: queue.Queue[_Kept] = queue.Queue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, kept: _Kept) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
        self._kept.put(kept)

    def _run(self) -> None:
        while True:
            kept = self._kept.get()
            if not _worked_on(kept):
                time.sleep(_AGAIN_S)
                self._kept.put(kept)


_LINE: Final = _Line()


def keep(request: Request, config: Mapping[str, Any], work: Work) -> Response:
    """202, and the request waits. ``config``: the endpoint configuration's ``AsyncInferenceConfig``."""
    location = request.headers.get(f"{_HEADER}InputLocation", "")
    ttl = int(request.headers.get(f"{_HEADER}RequestTTLSeconds", _LONGEST_TTL_S))
    if not location.startswith(("s3://", "https://")) or request.get_data():
        return _refused("exactly one of InputLocation and Body is taken, and here InputLocation alone")
    if not 60 <= ttl <= _LONGEST_TTL_S:
        return _refused(f"RequestTTLSeconds {ttl} is not between 60 and {_LONGEST_TTL_S}")
    output = config["OutputConfig"]
    number = str(uuid4())
    answer = f"{output['S3OutputPath'].rstrip('/')}/{number}.out"
    failure = f"{output.get('S3FailurePath', output['S3OutputPath']).rstrip('/')}/{number}-error.out"
    handed_on = {
        "Content-Type": request.headers.get(f"{_HEADER}Content-Type", "application/octet-stream"),
        "Accept": request.headers.get(f"{_HEADER}Accept", "*/*"),
    }
    if attributes := request.headers.get(f"{_HEADER}Custom-Attributes"):
        handed_on[f"{_HEADER}Custom-Attributes"] = attributes
    _LINE.add(_Kept(work, handed_on, location, answer, failure, time.monotonic() + ttl))
    told = {"InferenceId": request.headers.get(f"{_HEADER}Inference-Id", number)}
    headers = [(f"{_HEADER}OutputLocation", answer), (f"{_HEADER}FailureLocation", failure)]
    return Response(json.dumps(told), 202, Headers(headers), content_type="application/json")


def _worked_on(kept: _Kept) -> bool:
    """Whether there is an answer or a failure now."""
    try:
        body = _object(kept.source)
    except LookupError as error:
        _write(kept.failure, str(error).encode(), "text/plain")
        return True
    if time.monotonic() > kept.until:
        _write(kept.failure, b"The request expired before it was worked on", "text/plain")
        return True
    answer = kept.work(kept.headers, body)
    if answer is None:
        return False
    place = kept.answer if answer.status_code == 200 else kept.failure
    _write(place, answer.get_data(), answer.content_type or "application/octet-stream")
    return True


def _object(location: str) -> bytes:
    from moto.s3.models import s3_backends

    bucket, _, key = location.removeprefix("s3://").partition("/")
    found = s3_backends[ACCOUNT]["aws"].get_object(bucket, key)
    if found is None:
        raise LookupError(f"{location} is not there")
    return found.value


def _write(location: str, body: bytes, kind: str) -> None:
    from moto.s3.models import s3_backends

    bucket, _, key = location.removeprefix("s3://").partition("/")
    written: Any = s3_backends[ACCOUNT]["aws"].put_object(bucket, key, body)
    written.set_metadata({"Content-Type": kind})


def _refused(message: str) -> Response:
    headers = Headers([("x-amzn-ErrorType", "ValidationError")])
    return Response(json.dumps({"message": message}), 400, headers, content_type="application/json")
