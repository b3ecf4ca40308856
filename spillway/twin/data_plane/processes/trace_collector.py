"""A collector of traces, which writes each span as a line of JSON where the twin's logs are.

``python -m spillway.twin.data_plane.processes.trace_collector --port N``. It takes OTLP over HTTP in both of its
encodings (https://opentelemetry.io/docs/specs/otlp/#otlphttp): Envoy sends protobuf, Triton JSON.
"""

from __future__ import annotations

import argparse
import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Final

from aiohttp import web
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from spillway.contracts.traces import PATH

_BINARY: Final = "application/x-protobuf"
_IDS: Final = frozenset({"traceId", "spanId", "parentSpanId"})


@dataclass(frozen=True)
class Span:
    """One of a trace; ``parent`` is empty for the first. ``ms``: how long it took; ``service``: whose it is."""

    trace: str
    id: str
    parent: str
    service: str
    name: str
    ms: float
    tags: dict[str, str]


def app(take: Callable[[Span], None]) -> web.Application:
    async def export(request: web.Request) -> web.Response:
        if request.content_type not in (_BINARY, "application/json"):
            raise web.HTTPUnsupportedMediaType
        try:
            sent = _read(request.content_type, await request.read())
        except (ValueError, KeyError, TypeError, json_format.ParseError) as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        for span in _spans(sent):
            take(span)
        body = b"" if request.content_type == _BINARY else b"{}"
        return web.Response(body=body, content_type=request.content_type)

    made = web.Application(client_max_size=1 << 26)
    made.router.add_post(PATH, export)
    return made


def _read(content_type: str, body: bytes) -> ExportTraceServiceRequest:
    if content_type == _BINARY:
        return ExportTraceServiceRequest.FromString(body)
    given = json.loads(body)
    for group in given["resourceSpans"]:
        for scope in group["scopeSpans"]:
            for span in scope["spans"]:
                # In hexadecimal digits, which protobuf's own JSON has in base64.
                span |= {key: b64encode(bytes.fromhex(span[key])).decode() for key in _IDS & span.keys()}
    return json_format.ParseDict(given, ExportTraceServiceRequest(), ignore_unknown_fields=True)


def _spans(sent: ExportTraceServiceRequest) -> Iterator[Span]:
    for group in sent.resource_spans:
        service = _texts(group.resource.attributes).get("service.name", "")
        for one in (one for scope in group.scope_spans for one in scope.spans):
            yield Span(
                trace=one.trace_id.hex(),
                id=one.span_id.hex(),
                parent=one.parent_span_id.hex(),
                service=service,
                name=one.name,
                ms=(one.end_time_unix_nano - one.start_time_unix_nano) / 1e6,
                tags=_texts(one.attributes),
            )


def _texts(attributes: Iterable[KeyValue]) -> dict[str, str]:
    return {one.key: str(getattr(one.value, one.value.WhichOneof("value") or "string_value")) for one in attributes}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    web.run_app(app(lambda span: print(json.dumps(asdict(span)), flush=True)), host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    main()
