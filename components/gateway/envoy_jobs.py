"""The way to the agent for requests that are to be answered later, and for who asks after them."""

from __future__ import annotations

from typing import Final

from components.gateway.envoy_parts import AGENT_CLUSTER, Json, header_match, seconds
from spillway.contracts import jobs
from spillway.contracts.routing import GROUP_HEADER, RoutingTable

KEPT_WITHIN_S: Final = 30.0
"""Until a job is in the bucket and in the queue. How long its answer takes to be fetched is the client's matter."""


def routes(table: RoutingTable) -> list[Json]:
    """The front's. The agent finds the path that a job is for behind its own."""
    if table.jobs is None:
        return []
    group = header_match(GROUP_HEADER, jobs.GROUP)
    once: Json = {"cluster": AGENT_CLUSTER, "retry_policy": {"num_retries": 0}}
    folder = jobs.PATH.partition("{")[0]
    actions = {
        "GET": {**once, "timeout": "0s"},
        "POST": {**once, "timeout": seconds(KEPT_WITHIN_S), "prefix_rewrite": folder},
    }
    return [
        {"match": {"prefix": "/", "headers": [group, header_match(":method", method)]}, "route": action}
        for method, action in actions.items()
    ]
