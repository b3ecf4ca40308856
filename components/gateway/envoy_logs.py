"""What the front tells of each request: a line to whoever collects logs, and what it used to the agent."""

from __future__ import annotations

from typing import Final

from components.gateway.envoy_filters import CLIENT_HEADER, USAGE_METADATA
from components.gateway.envoy_parts import STREAM_HEADER, Json, typed
from spillway.contracts.classes import CLASS_HEADER, SITE_HEADER
from spillway.contracts.refusals import REASON_HEADER
from spillway.contracts.routing import GROUP_HEADER, RoutingTable
from spillway.contracts.usage import Usage

USAGE_CLUSTER: Final = "usage"


def access_logs(table: RoutingTable) -> list[Json]:
    return [_lines(), _usage(table)]


def _noted(key: str) -> str:
    return f"%DYNAMIC_METADATA({USAGE_METADATA}:{key})%"


def _lines() -> Json:
    """One JSON line a request. No query string, no header that can hold a key."""
    return {
        "name": "envoy.access_loggers.stdout",
        "typed_config": typed(
            "extensions.access_loggers.stream.v3.StdoutAccessLog",
            log_format={
                "json_format": {
                    "time": "%START_TIME%",
                    "method": "%REQ(:METHOD)%",
                    "path": "%PATH(NQ:PATH)%",
                    "status": "%RESPONSE_CODE%",
                    "flags": "%RESPONSE_FLAGS%",
                    "reason": f"%RESP({REASON_HEADER.upper()})%",
                    "class": f"%REQ({CLASS_HEADER.upper()})%",
                    "client": f"%REQ({CLIENT_HEADER.upper()})%",
                    "group": f"%REQ({GROUP_HEADER.upper()})%",
                    "site": f"%RESP({SITE_HEADER.upper()})%",
                    "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
                    "duration_ms": "%DURATION%",
                    "bytes_in": "%BYTES_RECEIVED%",
                    "bytes_out": "%BYTES_SENT%",
                    "request_id": "%REQ(X-REQUEST-ID)%",
                    "model": _noted("model"),
                    "prompt_tokens": _noted("prompt"),
                    "completion_tokens": _noted("completion"),
                    "cached_tokens": _noted("cached"),
                }
            },
        ),
    }


def _usage(table: RoutingTable) -> Json:
    """When an answer is over, whole or cut. Forward protocol: https://github.com/fluent/fluentd/wiki."""
    said = {
        "id": "%REQ(X-REQUEST-ID)%",
        "client": f"%REQ({CLIENT_HEADER.upper()})%",
        "request_class": f"%REQ({CLASS_HEADER.upper()})%",
        "site": f"%RESP({SITE_HEADER.upper()})%",
        "status": "%RESPONSE_CODE%",
        "streamed": f"%REQ({STREAM_HEADER.upper()})%",
        "first_ms": "%RESPONSE_DURATION%",
        "duration_ms": "%DURATION%",
        "model": _noted("model") if table.server == "vllm" else table.model,
        **{key: _noted(key) for key in ("reserved", "prompt", "completion", "cached")},
    }
    assert set(said) == set(Usage.model_fields)
    return {
        "name": "envoy.access_loggers.fluentd",
        "filter": _counted(table),
        "typed_config": typed(
            "extensions.access_loggers.fluentd.v3.FluentdAccessLogConfig",
            cluster=USAGE_CLUSTER,
            tag=USAGE_METADATA,
            stat_prefix=USAGE_CLUSTER,
            buffer_flush_interval="0.1s",
            record=said,
        ),
    }


def _counted(table: RoutingTable) -> Json:
    """Requests of a known caller: for generated text those whose body was read, for tensors all."""
    if table.server != "vllm":
        return {"header_filter": {"header": {"name": CLIENT_HEADER, "present_match": True}}}
    noted = {
        "matcher": {"filter": USAGE_METADATA, "path": [{"key": "reserved"}], "value": {"present_match": True}},
        "match_if_key_not_found": False,
    }
    return {"metadata_filter": noted}
