"""What a request passes on its way in: admission, unpacking, the body limit, who asks, the contracted rate."""

from __future__ import annotations

from components.gateway.envoy_parts import (
    AGENT_CLUSTER,
    PREFIX_HEADER,
    STREAM_HEADER,
    UNLIMITED,
    Json,
    extension,
    header_match,
    lua,
    lua_pattern,
    priorities,
    seconds,
)
from components.gateway.envoy_replies import OWN_HEADER, reasons
from components.gateway.envoy_tokens import token_filter, token_words
from spillway.contracts import jobs
from spillway.contracts.classes import (
    CLASS_HEADER,
    CLIENT_KEY_HEADER,
    DEFAULT_CLASS,
    OPERATOR_KEY_HEADER,
    SITE_HEADER,
    RequestClass,
)
from spillway.contracts.refusals import REASON_HEADER, REFUSALS
from spillway.contracts.routing import ANONYMOUS, GROUP_HEADER, OPERATOR, Limits, RoutingTable
from spillway.contracts.server_routes import allowed_routes, exceptions

CLIENT_HEADER = "x-spillway-client"
VLLM_PRIORITY_HEADER = "x-vllm-priority"
"""``vllm/entrypoints/generate/base/serving.py``: PRIORITY_HEADER."""
USAGE_METADATA = "spillway.usage"
"""Where the front notes what a request may use of tokens, and what its answer said that it used."""
ANSWER_TOKENS = 512
"""What is reserved for an answer of which the request does not say how long it may become."""
PREFIX_BYTES = 2048
"""Of a prompt that is no chat, by which requests that begin alike are told."""
AGENT_TIMEOUT_MS = 200
"""After which a request is let through without a word of the agent."""
CORS = "envoy.filters.http.cors"
CORS_ASKED = (
    *("content-type", "authorization", "inference-header-content-length", "traceparent", "x-request-id"),
    *(CLIENT_KEY_HEADER, CLASS_HEADER, "prefer", jobs.KEY_HEADER),
)
CORS_ANSWERED = (
    *(SITE_HEADER, REASON_HEADER, "retry-after", "x-request-id", "inference-header-content-length"),
    *("location", "preference-applied", jobs.ATTEMPTS_HEADER),
)
"""Request and answer headers of clients that a browser would keep from a page otherwise."""
GZIP_METADATA = "spillway.gzip"
"""Where admission leaves for the front what a gzip body was before it was unpacked."""
CHECKED_METADATA = "spillway.checked"
"""Where the first half of the front leaves for the second what it found of a request with tensors."""
GZIP_RATIO = 100
"""How many times its size a gzip body may unpack to; what is above gets 413."""
DEFLATE_RATIO = 1032
"""Envoy's decompressor cuts what unpacks to more than its ratio and passes the rest on. It gets the most that it takes,
which is also the most that deflate reaches (https://zlib.net/zlib_tech.html): the front refuses instead."""


def filters(table: RoutingTable) -> list[Json]:
    """The front's filters, in order."""
    gzip = extension(
        "envoy.compression.gzip.decompressor",
        "extensions.compression.gzip.decompressor.v3.Gzip",
        max_inflate_ratio=DEFLATE_RATIO,
    )
    return [
        extension(
            "envoy.filters.http.health_check",
            "extensions.filters.http.health_check.v3.HealthCheck",
            pass_through_mode=False,
            headers=[header_match(":path", "/healthz")],
        ),
        *([extension(CORS, "extensions.filters.http.cors.v3.Cors")] if table.cors_origins else []),
        lua(_admission_config(table), "admission", clear_route_cache=False),
        *([token_filter(table.token_issuer)] if table.token_issuer else []),
        extension(
            "envoy.filters.http.decompressor",
            "extensions.filters.http.decompressor.v3.Decompressor",
            decompressor_library=gzip,
            request_direction_config={"advertise_accept_encoding": False},
            response_direction_config={"common_config": {"enabled": _never()}},
        ),
        *(_chats(table) if table.server == "vllm" else _tensors(table)),
        _rate_limit(table),
    ]


def _chats(table: RoutingTable) -> list[Json]:
    """The body is held, and then read."""
    files = ("sha256", "crc32", "json", "usage", "caller", "chat", "answer")
    return [_held(table), lua(_front_config(table), *files, clear_route_cache=True)]


def _tensors(table: RoutingTable) -> list[Json]:
    """The body is read on its way to where it is held (docs/decisions/0123-bodies-are-edited-as-they-pass.md)."""
    config = _front_config(table)
    read = lua(config, "sha256", "crc32", "json", "priority", "caller", "tensor", clear_route_cache=False)
    gate = {"checked": config["checked"], "group_header": config["group_header"], **_refusal_words()}
    return [read, _held(table), lua(gate, "gate", "answer", clear_route_cache=True)]


def _held(table: RoutingTable) -> Json:
    return extension(
        "envoy.filters.http.buffer",
        "extensions.filters.http.buffer.v3.Buffer",
        max_request_bytes=table.body_limit_bytes,
    )


def cors_policy(table: RoutingTable) -> Json:
    """Web pages of which origins may ask, with what, and which headers of an answer they may read."""
    policy = extension(
        CORS,
        "extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=[{"exact": origin} for origin in table.cors_origins],
        allow_methods="GET, POST",
        allow_headers=", ".join(CORS_ASKED),
        expose_headers=", ".join(CORS_ANSWERED),
        max_age="600",
    )
    return {CORS: policy["typed_config"]}


def _admission_config(table: RoutingTable) -> Json:
    """Paths as Lua patterns, with the methods that each takes."""
    paths: dict[str, Json] = {}
    for route in allowed_routes(table.server):
        for pattern in route.patterns:
            paths.setdefault(lua_pattern(pattern), {}).update(dict.fromkeys(route.methods, True))
    if table.jobs:
        paths[lua_pattern(jobs.PATH)] = {"GET": True}
    closed = dict.fromkeys(exceptions(table.server), True)
    return {"paths": paths, "closed": closed, "most_bytes": table.body_limit_bytes, "gzip": GZIP_METADATA}


def _never() -> Json:
    return {"default_value": False, "runtime_key": "spillway.decompress_responses"}


def _front_config(table: RoutingTable) -> Json:
    return {
        "class_header": CLASS_HEADER,
        "site_header": SITE_HEADER,
        "key_header": CLIENT_KEY_HEADER,
        "operator_header": OPERATOR_KEY_HEADER,
        "client_header": CLIENT_HEADER,
        "group_header": GROUP_HEADER,
        "stream_header": STREAM_HEADER,
        "prefix_header": PREFIX_HEADER if table.prefix_affinity_percent else None,
        "prefix_bytes": PREFIX_BYTES,
        **_refusal_words(),
        "vllm_header": VLLM_PRIORITY_HEADER,
        "gzip": GZIP_METADATA,
        "gzip_ratio": GZIP_RATIO,
        "checked": CHECKED_METADATA,
        "most_bytes": table.body_limit_bytes,
        "default_class": DEFAULT_CLASS.value,
        "priorities": priorities(),
        "sites": {str(route.site): True for route in table.sites},
        "callers": {c.key_sha256: _caller(c.name, c, table) for c in table.clients if c.key_sha256},
        "named": {c.name: _caller(c.name, c, table) for c in table.clients} if table.token_issuer else None,
        "token": token_words(table.token_issuer),
        "known": bool(table.clients),
        "anonymous": _caller(ANONYMOUS, table.anonymous, table) if table.anonymous else None,
        "operator": table.operator_key_sha256,
        "operator_caller": _caller(OPERATOR, Limits(max_class=RequestClass.P0), table),
        "usage": USAGE_METADATA,
        "budgets": {name: dict.fromkeys(map(str, limits.budgeted), True) for name, limits in table.callers()},
        "answer_tokens": ANSWER_TOKENS,
        "agent": AGENT_CLUSTER,
        "agent_timeout_ms": AGENT_TIMEOUT_MS,
        "jobs": _jobs(table.jobs) if table.jobs else None,
    }


def _refusal_words() -> Json:
    return {
        "own_header": OWN_HEADER,
        "reason_header": REASON_HEADER,
        "reasons": reasons(),
        "retry_after": {reason.value: str(found.retry_after_s) for reason, found in REFUSALS.items()},
    }


def _jobs(queue: jobs.JobQueue) -> Json:
    paths = {lua_pattern(path): True for path in queue.paths}
    return {"class": jobs.CLASS.value, "group": jobs.GROUP, "paths": paths, "pattern": lua_pattern(jobs.PATH)}


def _caller(name: str, limits: Limits, table: RoutingTable) -> Json:
    groups = {c.value: table.group_of(c, limits.may_spill) for c in RequestClass}
    reachable = {str(site) for group in groups.values() for site in group.sites}
    return {
        "name": name,
        "max_class": limits.max_class.value,
        "groups": {request_class: group.name for request_class, group in groups.items() if group.sites},
        "sites": dict.fromkeys(sorted(reachable), True),
        "jobs": table.jobs is not None and table.jobs.site in groups[jobs.CLASS.value].sites,
    }


def _rate_limit(table: RoutingTable) -> Json:
    """One token bucket for each caller with a contracted rate: this process's share of it, or the whole, of which Envoy
    gives it a share (``local_cluster_rate_limit``: a request takes as many tokens as there are gateways)."""
    descriptors = [
        {"entries": [{"key": "client", "value": name}], "token_bucket": _bucket(limits, table)}
        for name, limits in table.callers()
        if limits.requests_per_s
    ]
    by_client = {"actions": [{"request_headers": {"header_name": CLIENT_HEADER, "descriptor_key": "client"}}]}
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return extension(
        "envoy.filters.http.local_ratelimit",
        "extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        stat_prefix="clients",
        token_bucket={"max_tokens": UNLIMITED, "tokens_per_fill": UNLIMITED, "fill_interval": "1s"},
        filter_enabled=always,
        filter_enforced=always,
        always_consume_default_token_bucket=False,
        rate_limits=[by_client],
        descriptors=descriptors,
        **({"local_cluster_rate_limit": {}} if table.peers else {}),
    )


def _bucket(limits: Limits, table: RoutingTable) -> Json:
    parts, least = (1, table.peers.most) if table.peers else (table.replicas, 1)
    rate = (limits.requests_per_s or 0) / parts
    tokens = max(1, round(rate * 0.1))
    return {
        "max_tokens": max(tokens, limits.requests_at_once // parts, least),
        "tokens_per_fill": tokens,
        "fill_interval": seconds(tokens / rate),
    }
