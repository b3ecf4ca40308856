"""Pieces of an Envoy config that the front and the sites share. Plain dicts, as they go into YAML.

Field names and defaults: Envoy 1.40's v3 API (https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/api).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.gateway.envoy_replies import local_replies
from spillway.contracts.classes import CLASS_HEADER, PROMISES
from spillway.contracts.routing import ClassRoute, RoutingTable
from spillway.contracts.server_routes import ServerKind, ServerRoute, allowed_routes

Json = dict[str, Any]

API = "type.googleapis.com/envoy"
UNLIMITED = 1 << 20
LUA_NAME, LUA_NUMBER = "[%w_.%-]+", "[0-9]+"
"""``NAME`` and ``NUMBER`` of ``contracts.server_routes`` as Lua writes them."""
AGENT_CLUSTER = "agent"
STREAM_IDLE_S = 60.0
"""Seconds without a byte after which a stream is taken for dead."""
STREAM_HEADER = "x-spillway-stream"
PREFIX_HEADER = "x-spillway-prefix"
"""By which the front tells the inner levels that a client wants its answer token by token."""


def typed(type_: str, **fields: Any) -> Json:
    """A ``typed_config`` of a message below ``envoy.``."""
    return {"@type": f"{API}.{type_}", **fields}


def extension(name: str, type_: str, **fields: Any) -> Json:
    return {"name": name, "typed_config": typed(type_, **fields)}


def seconds(value: float) -> str:
    return f"{value:.3f}s"


def socket_address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def dns_cluster(*, each: bool) -> Json:
    """A cluster behind a name: ``each`` of its addresses is a server, or all are one."""
    return extension(
        "envoy.clusters.dns",
        "extensions.clusters.dns.v3.DnsCluster",
        dns_refresh_rate="5s",
        respect_dns_ttl=True,
        all_addresses_in_single_endpoint=not each,
    )


def one_endpoint(cluster: str, host: str, port: int) -> Json:
    """Where a cluster's servers are: behind one name, or at one address."""
    return {
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address(host, port)}}]}],
    }


def internal_endpoint(listener: str, health: str | None = None) -> Json:
    """An endpoint that is one of this Envoy's own internal listeners."""
    endpoint: Json = {"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": listener}}}}
    return {**endpoint, "health_status": health} if health else endpoint


INTERNAL_TRANSPORT = extension(
    "envoy.transport_sockets.internal_upstream",
    "extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
    transport_socket=extension(
        "envoy.transport_sockets.raw_buffer", "extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    ),
)


def upstream_tls(name: str, ca_file: str) -> Json:
    """TLS to a server whose certificate has this name, from an authority of the file."""
    name_check = {"san_type": "DNS", "matcher": {"exact": name}}
    trust = {"trusted_ca": {"filename": ca_file}, "match_typed_subject_alt_names": [name_check]}
    return extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        sni=name,
        common_tls_context={"validation_context": trust},
    )


INNER = "inner"
UNCOUNTED = {"ignore_global_conn_limit": True}
"""Of a listener that is no client's, and so has to answer whatever clients do."""
OWN_LISTENER = {**UNCOUNTED, "bypass_overload_manager": True}

NO_PANIC = {"healthy_panic_threshold": {"value": 0}}
"""Never send to a site that is known to be down, even when all of them are."""


def buffer_bytes(table: RoutingTable) -> int:
    """Room for one whole request: what is retried, rewritten or signed has to be held."""
    return max(table.body_limit_bytes + 65536, 1 << 20)


def between_levels() -> Json:
    """HTTP/1.1 between the levels: a megabyte passes one in a third of the time that HTTP/2's frames take
    (docs/decisions/0122-http-1-between-the-levels.md)."""
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
            "extensions.upstreams.http.v3.HttpProtocolOptions",
            explicit_http_config={"http_protocol_options": {}},
            # What a burst opened goes; long before the other end's hour, so that no request meets a closing one.
            common_http_protocol_options={"idle_timeout": "60s"},
        )
    }


def breaker(requests: int, **more: Any) -> Json:
    """A circuit breaker that counts requests and nothing else."""
    threshold = {
        "max_connections": UNLIMITED,
        "max_pending_requests": max(requests, 1),
        "max_requests": requests,
        "max_retries": UNLIMITED,
        "track_remaining": True,
        **more,
    }
    return {"thresholds": [threshold]}


def internal_cluster(name: str, listener: str, table: RoutingTable, limit: int = UNLIMITED) -> Json:
    """The cluster that is one of this Envoy's own internal listeners, and how much it takes at once."""
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": breaker(limit),
        "common_lb_config": NO_PANIC,
        "per_connection_buffer_limit_bytes": buffer_bytes(table),
        "typed_extension_protocol_options": between_levels(),
        "transport_socket": INTERNAL_TRANSPORT,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [internal_endpoint(listener)]}],
        },
    }


def next_priority() -> Json:
    """A retry policy's part by which each try asks the next site."""
    return {
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
        "retry_priority": extension(
            "envoy.retry_priorities.previous_priorities",
            "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            update_frequency=1,
        ),
    }


def internal_listener(name: str, manager: Json, table: RoutingTable) -> Json:
    return {
        "name": name,
        "internal_listener": {},
        # What was let in is answered.
        "bypass_overload_manager": True,
        "per_connection_buffer_limit_bytes": buffer_bytes(table),
        "filter_chains": [{"filters": [manager]}],
    }


def inner_listener(manager: Json, table: RoutingTable) -> Json:
    """Where the agent gives back to Envoy what it was sent, past the front."""
    return {
        "name": INNER,
        **OWN_LISTENER,
        "address": socket_address("127.0.0.1", table.listen.inner_port),
        "per_connection_buffer_limit_bytes": buffer_bytes(table),
        "filter_chains": [{"filters": [manager]}],
    }


def connection_manager(
    stat_prefix: str,
    table: RoutingTable,
    routes: list[Json],
    filters: list[Json],
    router: Json | None = None,
    most_streams: int | None = None,
    **more: Any,
) -> Json:
    """An HTTP connection manager with one virtual host for every name. ``most_streams``: of one HTTP/2 connection."""
    window = buffer_bytes(table)
    host = {"name": stat_prefix, "domains": ["*"], "routes": routes, **more.pop("virtual_host", {})}
    return extension(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=stat_prefix,
        http2_protocol_options={
            "initial_stream_window_size": window,
            "initial_connection_window_size": min(window * 16, 1 << 30),
            **({"max_concurrent_streams": most_streams} if most_streams else {}),
        },
        stream_idle_timeout=seconds(longest_silence_s(table)),
        local_reply_config=local_replies(table.server),
        route_config={"name": stat_prefix, "virtual_hosts": [host]},
        http_filters=[
            *filters,
            extension("envoy.filters.http.router", "extensions.filters.http.router.v3.Router", **(router or {})),
        ],
        **more,
    )


def lua(prelude: Json, *sources: str, clear_route_cache: bool) -> Json:
    """A Lua filter: ``CONFIG`` as a table, then the named files of ``lua/``."""
    folder = Path(__file__).parent / "lua"
    code = [f"local CONFIG = {lua_literal(prelude)}", *((folder / f"{name}.lua").read_text() for name in sources)]
    return extension(
        "envoy.filters.http.lua",
        "extensions.filters.http.lua.v3.Lua",
        default_source_code={"inline_string": "\n".join(code)},
        clear_route_cache=clear_route_cache,
    )


def lua_literal(value: Any) -> str:
    """A JSON-like value as Lua source. ``None`` members are left out, as Lua has it."""
    if isinstance(value, dict):
        pairs = (f"[{lua_literal(k)}]={lua_literal(v)}" for k, v in value.items() if v is not None)
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return '"' + "".join(_lua_byte(byte) for byte in value.encode()) + '"'


def lua_pattern(path: str) -> str:
    """A route's path as a Lua pattern for the whole of it."""
    parts = re.split(r"(\{\w+\})", path)
    names = {part: LUA_NUMBER if part == "{version}" else LUA_NAME for part in parts if part.startswith("{")}
    return "^" + "".join(names.get(part) or re.sub(r"([^\w/])", r"%\1", part) for part in parts) + "$"


def _lua_byte(byte: int) -> str:
    return chr(byte) if 32 <= byte <= 126 and byte not in b'"\\' else f"\\{byte:03d}"


def class_match(route: ClassRoute) -> Json:
    return header_match(CLASS_HEADER, route.request_class)


def header_match(name: str, value: str) -> Json:
    return {"name": name, "string_match": {"exact": str(value)}}


def quick_routes(
    server: ServerKind, route: ClassRoute, header: Json, cluster: str, margin_s: float, retry: Json
) -> list[Json]:
    """The routes of a class whose answer is due within its limits. There is none for what clients may not ask for.

    ``margin_s`` is added to a try: the outer level waits that much longer than the inner one, which knows the site
    and so has to be the one that notices.
    """
    policy = {**retry, "per_try_timeout": seconds(route.try_timeout_s + margin_s)}
    action = {"cluster": cluster, "timeout": seconds(route.timeout_s), "retry_policy": policy}
    return [
        {"match": match_of(found, method, header), "route": action}
        for found in allowed_routes(server)
        if not found.generates
        for method in found.methods
    ]


def generation_routes(
    server: ServerKind,
    headers: list[Json],
    whole: Json,
    streamed: Json,
    besides: Callable[[ServerRoute], Json] = lambda _: {},
) -> list[Json]:
    """The routes that generate text: how an answer is sent that comes in one piece, and how a stream. ``besides``:
    what else Envoy's route of each has."""
    wanted = header_match(STREAM_HEADER, "true")
    return [
        {"match": match_of(found, method, *headers, *more), "route": action, **besides(found)}
        for found in allowed_routes(server)
        if found.generates
        for method in found.methods
        for more, action in (((wanted,), streamed), ((), whole))
    ]


def match_of(route: ServerRoute, method: str, *headers: Json) -> Json:
    """A route's path and method, for requests with these headers."""
    return {"safe_regex": {"regex": route.expression}, "headers": [*headers, header_match(":method", method)]}


def longest_silence_s(table: RoutingTable) -> float:
    """Longer than any level has to wait without a byte: for a whole answer, or for a first token of the last site."""
    slowest = max(table.answer_timeout_s, *(route.first_token_s for route in table.classes))
    return max(STREAM_IDLE_S, table.answer_timeout_s, slowest * 2 * len(table.sites)) + 5


def priorities() -> dict[str, int]:
    """Triton's priority level by class."""
    return {request_class.value: promise.triton_priority for request_class, promise in PROMISES.items()}
