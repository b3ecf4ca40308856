"""What Envoy does at the bounds of :class:`Connections`: it closes connections above their number, and refuses requests
before the kernel ends the process for its memory.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/operations/overload_manager/overload_manager
"""

from __future__ import annotations

from typing import Final

from components.gateway.envoy_parts import Json, extension
from spillway.contracts.connections import Connections

HEAP_SHARE: Final = 0.9
"""Of the process's memory: the rest is stacks, code and what is not yet given back."""
ACTIONS: Final = {"shrink_heap": 0.85, "disable_http_keepalive": 0.9, "stop_accepting_requests": 0.95}
"""What is done from which share of the heap on."""
_HEAP: Final = "envoy.resource_monitors.fixed_heap"


def overload_manager(connections: Connections) -> Json:
    """The bootstrap's part."""
    count = extension(
        "envoy.resource_monitors.global_downstream_max_connections",
        "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=connections.most,
    )
    if connections.memory_bytes is None:
        return {"resource_monitors": [count]}
    heap = extension(
        _HEAP,
        "extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
        max_heap_size_bytes=int(connections.memory_bytes * HEAP_SHARE),
    )
    actions = [
        {"name": f"envoy.overload_actions.{action}", "triggers": [{"name": _HEAP, "threshold": {"value": share}}]}
        for action, share in ACTIONS.items()
    ]
    return {"refresh_interval": "0.25s", "resource_monitors": [count, heap], "actions": actions}
