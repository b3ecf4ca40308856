"""The outer level: clients come in, are told apart, and go to the cluster of their class and sites.

Each such cluster has one priority for each try. Its endpoints are this Envoy's own internal listeners, delivered by
files that the agent writes, so that it can close a site for a class without touching anything else.
"""

from __future__ import annotations

from components.gateway import envoy_cache, envoy_generation, envoy_jobs, envoy_tracing
from components.gateway.envoy_filters import cors_policy, filters
from components.gateway.envoy_logs import USAGE_CLUSTER, access_logs
from components.gateway.envoy_parts import (
    AGENT_CLUSTER,
    INTERNAL_TRANSPORT,
    NO_PANIC,
    OWN_LISTENER,
    UNLIMITED,
    Json,
    between_levels,
    breaker,
    buffer_bytes,
    connection_manager,
    dns_cluster,
    extension,
    generation_routes,
    header_match,
    internal_cluster,
    next_priority,
    one_endpoint,
    quick_routes,
    seconds,
    socket_address,
)
from components.gateway.envoy_tokens import token_cluster
from spillway.contracts.connections import Connections
from spillway.contracts.routing import (
    CERTIFICATE,
    GROUP_HEADER,
    PEERS_CLUSTER,
    Gate,
    Group,
    Peers,
    RoutingTable,
    SiteRoute,
    listener_name,
)
from spillway.contracts.server_routes import exceptions

OUTER_MARGIN_S = 0.1
READ_BYTES = 1 << 16
"""Most of a request that is read, and so unpacked, in one go: 64 KiB become 64 MiB at worst before the body limit is
looked at."""
RETRY_ON = "5xx,reset,connect-failure"
KEEPALIVE = [
    {"level": level, "name": name, "int_value": value, "state": "STATE_LISTENING"}
    for level, name, value in ((1, 9, 1), (6, 4, 60), (6, 5, 30))
]
"""``SO_KEEPALIVE``, ``TCP_KEEPIDLE`` and ``TCP_KEEPINTVL`` by Linux' numbers, whatever a deployer's machine has. An
answer in one piece is silent for minutes; load balancers forget such a connection (Azure's after four, AWS' after six),
unless the system speaks up: https://learn.microsoft.com/azure/load-balancer/load-balancer-tcp-reset,
https://docs.aws.amazon.com/elasticloadbalancing/latest/network/update-idle-timeout.html."""


def front_listener(table: RoutingTable) -> Json:
    """The listener clients connect to."""
    chain: Json = {"filters": [_manager(table)]}
    if table.listen.tls:
        chain["transport_socket_connect_timeout"] = seconds(table.connections.headers_s)
        source = {"path": table.certificate_path}
        # By a file that names files: what stands in the bootstrap itself is read once, and never renewed.
        secret = {"name": CERTIFICATE, "sds_config": {"resource_api_version": "V3", "path_config_source": source}}
        chain["transport_socket"] = extension(
            "envoy.transport_sockets.tls",
            "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context={
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "tls_certificate_sds_secret_configs": [secret],
                "alpn_protocols": ["h2", "http/1.1"],
            },
        )
    return {
        "name": "front",
        "address": socket_address(table.listen.address, table.listen.port),
        "per_connection_buffer_limit_bytes": READ_BYTES,
        "socket_options": KEEPALIVE,
        "filter_chains": [chain],
    }


def front_clusters(table: RoutingTable) -> list[Json]:
    groups = [
        made
        for group in table.groups()
        for made in (
            _group_cluster(group, table),
            _group_cluster(table.second_chance(group), table),
            envoy_generation.cluster(group, table),
        )
    ]
    return [*groups, *(_operator_cluster(route, table) for route in table.sites)]


def generation_listeners(table: RoutingTable) -> list[Json]:
    """The levels between the front and the sites, for what generates text."""
    levels = [envoy_generation.level(group, table) for group in table.groups()]
    return [*levels, *envoy_generation.inner_listeners(table)]


def cache_listeners(table: RoutingTable) -> list[Json]:
    """By which what the cache has no answer for reaches the sites."""
    return envoy_cache.listeners(table, [route for group in table.groups() for route in _quick_routes(group, table)])


def metrics_listener(table: RoutingTable) -> Json:
    """Envoy's and the agent's metrics for Prometheus, and nothing else of the admin page."""
    routes = [
        {"match": {"path": "/metrics"}, "route": {"cluster": "admin", "prefix_rewrite": "/stats/prometheus"}},
        {"match": {"path": "/agent/metrics"}, "route": {"cluster": AGENT_CLUSTER, "prefix_rewrite": "/metrics"}},
    ]
    return {
        "name": "metrics",
        **OWN_LISTENER,
        "address": socket_address(table.listen.address, table.listen.metrics_port),
        "filter_chains": [{"filters": [connection_manager("metrics", table, routes, [])]}],
    }


def own_clusters(table: RoutingTable) -> list[Json]:
    """What listens on this host beside the front: Envoy's admin page and the agent; and who else is asked."""
    ports = {
        "admin": table.listen.admin_port,
        AGENT_CLUSTER: table.listen.agent_port,
        USAGE_CLUSTER: table.listen.usage_port,
        envoy_generation.RELAY: table.listen.relay_port,
    }
    found = [
        {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "circuit_breakers": breaker(UNLIMITED),
            "load_assignment": one_endpoint(name, "127.0.0.1", port),
        }
        for name, port in ports.items()
    ]
    found += [_peers(table.peers)] if table.peers else []
    found += [token_cluster(table.token_issuer)] if table.token_issuer else []
    return [*found, *envoy_cache.clusters(table), *envoy_tracing.clusters(table)]


def _peers(peers: Peers) -> Json:
    """Nothing is sent to them: they are counted."""
    return {
        "name": PEERS_CLUSTER,
        "connect_timeout": "1s",
        "cluster_type": dns_cluster(each=True),
        "load_assignment": one_endpoint(PEERS_CLUSTER, peers.host, peers.port),
    }


def _manager(table: RoutingTable) -> Json:
    closed = [{"match": {"path": path}, "direct_response": {"status": 403}} for path in exceptions(table.server)]
    routes = [*closed, *(r for group in table.groups() for r in _group_routes(group, table))]
    routes += [r for site in table.sites for r in _operator_routes(site, table)]
    routes += envoy_jobs.routes(table)
    host: Json = {"request_body_buffer_limit": buffer_bytes(table), "include_request_attempt_count": True}
    if table.cors_origins:
        # A browser asks first, without anything that tells whose request it is: the policy needs a route of its own.
        nowhere = {"cluster_header": "x-spillway-nowhere", "cluster_not_found_response_code": "NOT_FOUND"}
        routes.append({"match": {"prefix": "/"}, "route": nowhere})
        host["typed_per_filter_config"] = cors_policy(table)
    return connection_manager(
        "front",
        table,
        routes,
        filters(table),
        virtual_host=host,
        # nginx's proxy_pass, ab and old load balancers speak it; the host says nothing here.
        http_protocol_options={"accept_http_10": True, "default_host_for_http_10": "gateway"},
        use_remote_address=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        request_headers_timeout=seconds(table.connections.headers_s),
        request_timeout=seconds(table.connections.body_s),
        common_http_protocol_options=_connections(table.connections),
        most_streams=table.connections.streams,
        access_log=access_logs(table),
        **envoy_tracing.tracing(table),
    )


def _connections(limits: Connections) -> Json:
    return {
        "idle_timeout": seconds(limits.idle_s),
        "headers_with_underscores_action": "DROP_HEADER",
        **({"max_connection_duration": seconds(limits.age_s)} if limits.age_s else {}),
    }


def _group_routes(group: Group, table: RoutingTable) -> list[Json]:
    header = header_match(GROUP_HEADER, group.name)
    kept = envoy_cache.front_routes(group, table, header)
    return [*kept, *_quick_routes(group, table), *envoy_generation.front_routes(group, table, header)]


def _quick_routes(group: Group, table: RoutingTable) -> list[Json]:
    route = table.class_route(group.request_class)
    retry = {"retry_on": RETRY_ON, "num_retries": len(table.endpoints(group)) - 1, **next_priority()}
    header = header_match(GROUP_HEADER, group.name)
    return quick_routes(table.server, route, header, group.name, OUTER_MARGIN_S, retry)


def _group_cluster(group: Group, table: RoutingTable) -> Json:
    route = table.class_route(group.request_class)
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
        "typed_extension_protocol_options": between_levels(),
        "transport_socket": INTERNAL_TRANSPORT,
    }


def _operator_routes(site: SiteRoute, table: RoutingTable) -> list[Json]:
    name = f"only-{site.site}"
    slowest = max(table.classes, key=lambda c: c.timeout_s)
    header = header_match(GROUP_HEADER, name)
    once = {"num_retries": 0}
    whole = {"cluster": name, "timeout": seconds(table.answer_timeout_s), "retry_policy": once}
    streamed = {"cluster": name, "timeout": "0s", "retry_policy": once}
    quick = quick_routes(table.server, slowest, header, name, OUTER_MARGIN_S, once)
    return [*quick, *generation_routes(table.server, [header], whole, streamed)]


def _operator_cluster(site: SiteRoute, table: RoutingTable) -> Json:
    return internal_cluster(f"only-{site.site}", listener_name(site.site, Gate.OPEN), table)
