"""The way to the cache of answers and back: by the agent, and past it while it does not answer.

Why there: docs/decisions/0127-answers-are-kept-before-the-sites.md.
"""

from __future__ import annotations

from typing import Final

from components.gateway.envoy_parts import (
    INNER,
    NO_PANIC,
    UNLIMITED,
    Json,
    breaker,
    buffer_bytes,
    connection_manager,
    inner_listener,
    match_of,
    next_priority,
    one_endpoint,
    seconds,
)
from spillway.contracts.routing import Group, RoutingTable
from spillway.contracts.server_routes import Area, allowed_routes

CACHE: Final = "cache"
HEALTH_PATH: Final = "/healthz"
UNANSWERED: Final = "connect-failure,reset,refused-stream"


def front_routes(group: Group, table: RoutingTable, header: Json) -> list[Json]:
    """Of inference whose answer may be kept."""
    if table.cache is None:
        return []
    limits = table.class_route(group.request_class)
    # An agent that hangs costs what all sites but one may take: the request still has a try at one of them.
    patience = max(limits.timeout_s - limits.try_timeout_s, limits.timeout_s / 2)
    policy = {"retry_on": UNANSWERED, "num_retries": 1, "per_try_timeout": seconds(patience), **next_priority()}
    action = {"cluster": CACHE, "timeout": seconds(limits.timeout_s), "retry_policy": policy}
    return [
        {"match": match_of(found, "POST", header), "route": action}
        for found in allowed_routes(table.server)
        if found.area is Area.INFERENCE and not found.generates
    ]


def clusters(table: RoutingTable) -> list[Json]:
    """The agent first, then the inner listener that the agent asks itself. One that hangs is left within two
    seconds."""
    if table.cache is None:
        return []
    places = [
        {**one_endpoint(CACHE, "127.0.0.1", port)["endpoints"][0], "priority": priority}
        for priority, port in enumerate((table.listen.cache_port, table.listen.inner_port))
    ]
    check = {
        "timeout": "0.5s",
        "interval": "0.5s",
        "no_traffic_interval": "0.5s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "http_health_check": {"path": HEALTH_PATH},
    }
    return [
        {
            "name": CACHE,
            "type": "STATIC",
            "connect_timeout": "1s",
            "circuit_breakers": breaker(UNLIMITED),
            "common_lb_config": NO_PANIC,
            "per_connection_buffer_limit_bytes": buffer_bytes(table),
            "health_checks": [check],
            "load_assignment": {"cluster_name": CACHE, "endpoints": places},
        }
    ]


def listeners(table: RoutingTable, routes: list[Json]) -> list[Json]:
    """Where the agent asks the sites. ``routes``: of the groups."""
    if table.cache is None:
        return []
    well = {"match": {"path": HEALTH_PATH}, "direct_response": {"status": 200}}
    host = {"request_body_buffer_limit": buffer_bytes(table)}
    manager = connection_manager(INNER, table, [well, *routes], [], generate_request_id=False, virtual_host=host)
    return [inner_listener(manager, table)]
