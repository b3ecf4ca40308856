"""How requests that generate text are tried: a level of its own between the front and the sites.

A server says no before it begins (503: its queue is full, or the gateway's own limit is reached), or it has not begun
within the class's limit of the first token, to which a long prompt adds. Then nothing was generated, and the next site
is asked, as often as there are sites. A server that failed over a request (500, or gone: 502) may have been killed by
it: the front sends such a request once more, from the far end of the sites, and no further. An answer that has begun is
not tried again.

Why: docs/explanation/overflow.md.
"""

from __future__ import annotations

from typing import Final

from components.gateway.envoy_parts import (
    INNER,
    STREAM_HEADER,
    Json,
    connection_manager,
    generation_routes,
    header_match,
    inner_listener,
    internal_cluster,
    internal_listener,
    lua,
    next_priority,
    seconds,
)
from components.gateway.envoy_tracing import tracing
from spillway.contracts.routing import GROUP_HEADER, Group, RoutingTable

NOT_BEGUN: Final = {
    "retry_on": "retriable-status-codes,reset,connect-failure,refused-stream",
    "retriable_status_codes": [503],
}
"""``reset`` is what Envoy calls the end of a try's time, too."""
FAILED: Final = {"retry_on": "retriable-status-codes", "retriable_status_codes": [500, 502], "num_retries": 1}
ATTEMPT_HEADER: Final = "x-envoy-attempt-count"
RELAY: Final = "relay"
"""The cluster that is the agent's relay."""


def listener_of(group: Group) -> str:
    return f"{group.name}-generation"


def front_routes(group: Group, table: RoutingTable, header: Json) -> list[Json]:
    """From the front to the group's own level, and once more after a failure."""
    action: Json = {"cluster": listener_of(group), "retry_policy": FAILED}
    whole = {**action, "timeout": seconds(table.answer_timeout_s)}
    streamed = {**action, "timeout": "0s"}
    if _resumes(group, table):
        streamed["cluster"] = RELAY
    return generation_routes(table.server, [header], whole, streamed)


def _resumes(group: Group, table: RoutingTable) -> bool:
    resume = table.class_route(group.request_class).resume_streams
    return resume and table.server == "vllm"


def inner_listeners(table: RoutingTable) -> list[Json]:
    """Where the agent's relay gives streams back: each to its group's level."""
    groups = [group for group in table.groups() if _resumes(group, table)]
    routes = [
        {
            "match": {"prefix": "/", "headers": [header_match(GROUP_HEADER, group.name)]},
            "route": {"cluster": listener_of(group), "timeout": "0s", "retry_policy": {"num_retries": 0}},
        }
        for group in groups
    ]
    if not routes:
        return []
    manager = connection_manager(INNER, table, routes, [], generate_request_id=False, **tracing(table, tries=False))
    return [inner_listener(manager, table)]


def level(group: Group, table: RoutingTable) -> Json:
    """The listener of a group's level."""
    name = listener_of(group)
    again = header_match(ATTEMPT_HEADER, "2")
    tries = ((again, table.second_chance(group), table.second_tries(group)), (None, group, table.endpoints(group)))
    patience = table.class_route(group.request_class).first_token_s
    routes = []
    for first, sites, endpoints in tries:
        policy = {**NOT_BEGUN, **next_priority(), "num_retries": len(endpoints) - 1}
        for stream in (True, False):
            headers = [*([first] if first else []), *([header_match(STREAM_HEADER, "true")] if stream else [])]
            timed = {**policy, "per_try_timeout": seconds(patience)} if stream else policy
            action = {"cluster": sites.name, "timeout": "0s", "retry_policy": timed}
            routes.append({"match": {"prefix": "/", "headers": headers}, "route": action})
    limit = lua(
        {
            "stream_header": STREAM_HEADER,
            "first_token_s": patience,
            "prompt_tokens_per_s": table.prompt_tokens_per_s,
            "most_s": max(patience, table.answer_timeout_s),
        },
        "first_token",
        clear_route_cache=False,
    )
    manager = connection_manager(name, table, routes, [limit], generate_request_id=False, **tracing(table))
    return internal_listener(name, manager, table)


def cluster(group: Group, table: RoutingTable) -> Json:
    """By which the front reaches the level."""
    return internal_cluster(listener_of(group), listener_of(group), table)
