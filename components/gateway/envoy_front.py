"""The outer level: clients come in, are told apart, and go to the cluster of their class and sites.

Each such cluster has one priority for each try. Its endpoints are this Envoy's own internal listeners, delivered by
files that the agent writes, so that it can close a site for a class without touching anything else.
"""

from __future__ import annotations

from components.gateway.envoy_parts import (
    INTERNAL_TRANSPORT,
    NO_PANIC,
    UNLIMITED,
    Json,
    breaker,
    buffer_bytes,
    connection_manager,
    extension,
    header_match,
    http2,
    internal_endpoint,
    lua,
    priorities,
    seconds,
    socket_address,
    timed_routes,
    typed,
)
from spillway.contracts.classes import (
    CLASS_HEADER,
    CLIENT_KEY_HEADER,
    DEFAULT_CLASS,
    OPERATOR_KEY_HEADER,
    SITE_HEADER,
    RequestClass,
)
from spillway.contracts.routing import (
    Gate,
    Group,
    Limits,
    RoutingTable,
    SiteRoute,
    listener_name,
)

GROUP_HEADER = "x-spillway-group"
CLIENT_HEADER = "x-spillway-client"
ANONYMOUS = "anonymous"
OPERATOR = "operator"
OUTER_MARGIN_S = 0.1
RETRY_ON = "5xx,reset,connect-failure"


def front_listener(table: RoutingTable) -> Json:
    """The listener clients connect to."""
    chain: Json = {"filters": [_manager(table)]}
    if table.listen.tls:
        certificate = {
            "certificate_chain": {"filename": table.listen.tls.certificate_file},
            "private_key": {"filename": table.listen.tls.key_file},
        }
        chain["transport_socket"] = extension(
            "envoy.transport_sockets.tls",
            "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context={
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "tls_certificates": [certificate],
                "alpn_protocols": ["h2", "http/1.1"],
            },
        )
    return {
        "name": "front",
        "address": socket_address(table.listen.address, table.listen.port),
        "per_connection_buffer_limit_bytes": buffer_bytes(table),
        "filter_chains": [chain],
    }


def front_clusters(table: RoutingTable) -> list[Json]:
    groups = [_group_cluster(group, table) for group in table.groups()]
    return [*groups, *(_operator_cluster(route, table) for route in table.sites)]


def metrics_listener(table: RoutingTable) -> Json:
    """Envoy's and the agent's metrics for Prometheus, and nothing else of the admin page."""
    routes = [
        {"match": {"path": "/metrics"}, "route": {"cluster": "admin", "prefix_rewrite": "/stats/prometheus"}},
        {"match": {"path": "/agent/metrics"}, "route": {"cluster": "agent", "prefix_rewrite": "/metrics"}},
    ]
    return {
        "name": "metrics",
        "address": socket_address(table.listen.address, table.listen.metrics_port),
        "filter_chains": [{"filters": [connection_manager("metrics", table, routes, [])]}],
    }


def metrics_clusters(table: RoutingTable) -> list[Json]:
    ports = {"admin": table.listen.admin_port, "agent": table.listen.agent_port}
    return [
        {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address("127.0.0.1", port)}}]}],
            },
        }
        for name, port in ports.items()
    ]


def _manager(table: RoutingTable) -> Json:
    routes = [r for group in table.groups() for r in _group_routes(group, table)]
    routes += [r for site in table.sites for r in _operator_routes(site, table)]
    return connection_manager(
        "front",
        table,
        routes,
        _filters(table),
        virtual_host={"request_body_buffer_limit": buffer_bytes(table)},
        use_remote_address=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        request_headers_timeout="10s",
        request_timeout="60s",
        common_http_protocol_options={"idle_timeout": "300s", "headers_with_underscores_action": "DROP_HEADER"},
        access_log=[_access_log()],
    )


def _filters(table: RoutingTable) -> list[Json]:
    gzip = extension(
        "envoy.compression.gzip.decompressor", "extensions.compression.gzip.decompressor.v3.Gzip", max_inflate_ratio=100
    )
    return [
        extension(
            "envoy.filters.http.health_check",
            "extensions.filters.http.health_check.v3.HealthCheck",
            pass_through_mode=False,
            headers=[header_match(":path", "/healthz")],
        ),
        extension(
            "envoy.filters.http.decompressor",
            "extensions.filters.http.decompressor.v3.Decompressor",
            decompressor_library=gzip,
            request_direction_config={"advertise_accept_encoding": False},
            response_direction_config={"common_config": {"enabled": _never()}},
        ),
        extension(
            "envoy.filters.http.buffer",
            "extensions.filters.http.buffer.v3.Buffer",
            max_request_bytes=table.body_limit_bytes,
        ),
        lua(_front_config(table), "sha256", "json", "front", clear_route_cache=True),
        _rate_limit(table),
    ]


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
        "default_class": DEFAULT_CLASS.value,
        "priorities": priorities(),
        "sites": {route.site.value: True for route in table.sites},
        "callers": {client.key_sha256: _caller(client.name, client, table) for client in table.clients},
        "anonymous": _caller(ANONYMOUS, table.anonymous, table) if table.anonymous else None,
        "operator": table.operator_key_sha256,
        "operator_caller": _caller(OPERATOR, Limits(max_class=RequestClass.P0), table),
    }


def _caller(name: str, limits: Limits, table: RoutingTable) -> Json:
    groups = {c.value: table.group_of(c, limits.may_spill) for c in RequestClass}
    reachable = {site.value for group in groups.values() for site in group.sites}
    return {
        "name": name,
        "max_class": limits.max_class.value,
        "groups": {request_class: group.name for request_class, group in groups.items() if group.sites},
        "sites": dict.fromkeys(sorted(reachable), True),
    }


def _rate_limit(table: RoutingTable) -> Json:
    """One token bucket for each caller with a contracted rate, this process's share of it."""
    callers: list[tuple[str, Limits]] = [(client.name, client) for client in table.clients]
    if table.anonymous:
        callers.append((ANONYMOUS, table.anonymous))
    descriptors = [
        {"entries": [{"key": "client", "value": name}], "token_bucket": _bucket(limits, table)}
        for name, limits in callers
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
    )


def _bucket(limits: Limits, table: RoutingTable) -> Json:
    rate = (limits.requests_per_s or 0) / table.replicas
    tokens = max(1, round(rate * 0.1))
    return {
        "max_tokens": max(tokens, limits.burst // table.replicas),
        "tokens_per_fill": tokens,
        "fill_interval": seconds(tokens / rate),
    }


def _group_routes(group: Group, table: RoutingTable) -> list[Json]:
    route = next(c for c in table.classes if c.request_class is group.request_class)
    retry = {
        "retry_on": RETRY_ON,
        "num_retries": len(table.endpoints(group)) - 1,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
        "retry_priority": extension(
            "envoy.retry_priorities.previous_priorities",
            "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            update_frequency=1,
        ),
    }
    return timed_routes(route, header_match(GROUP_HEADER, group.name), group.name, OUTER_MARGIN_S, retry)


def _group_cluster(group: Group, table: RoutingTable) -> Json:
    route = next(c for c in table.classes if c.request_class is group.request_class)
    budget: Json = {}
    if route.retry_budget_percent < 100:
        floor = sum(table.limits(table.site(site))[Gate(route.pool)] for site in group.sites)
        budget = {
            "retry_budget": {
                "budget_percent": {"value": route.retry_budget_percent},
                "min_retry_concurrency": max(floor, 1),
            }
        }
    folder = f"{table.runtime_dir}/eds"
    source = {"path": f"{folder}/{group.name}.json", "watched_directory": {"path": folder}}
    return {
        "name": group.name,
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {
            "service_name": group.name,
            "eds_config": {"resource_api_version": "V3", "path_config_source": source, "initial_fetch_timeout": "5s"},
        },
        "circuit_breakers": breaker(UNLIMITED, **budget),
        "common_lb_config": NO_PANIC,
        "per_connection_buffer_limit_bytes": buffer_bytes(table),
        "typed_extension_protocol_options": http2(table),
        "transport_socket": INTERNAL_TRANSPORT,
    }


def _operator_routes(site: SiteRoute, table: RoutingTable) -> list[Json]:
    name = f"only-{site.site}"
    slowest = max(table.classes, key=lambda c: c.timeout_s)
    return timed_routes(slowest, header_match(GROUP_HEADER, name), name, OUTER_MARGIN_S, {"num_retries": 0})


def _operator_cluster(site: SiteRoute, table: RoutingTable) -> Json:
    name = f"only-{site.site}"
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": breaker(UNLIMITED),
        "common_lb_config": NO_PANIC,
        "per_connection_buffer_limit_bytes": buffer_bytes(table),
        "typed_extension_protocol_options": http2(table),
        "transport_socket": INTERNAL_TRANSPORT,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [internal_endpoint(listener_name(site.site, Gate.OPEN))]}],
        },
    }


def _access_log() -> Json:
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
                    "class": f"%REQ({CLASS_HEADER.upper()})%",
                    "client": f"%REQ({CLIENT_HEADER.upper()})%",
                    "group": f"%REQ({GROUP_HEADER.upper()})%",
                    "site": f"%RESP({SITE_HEADER.upper()})%",
                    "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
                    "duration_ms": "%DURATION%",
                    "bytes_in": "%BYTES_RECEIVED%",
                    "bytes_out": "%BYTES_SENT%",
                    "request_id": "%REQ(X-REQUEST-ID)%",
                }
            },
        ),
    }
