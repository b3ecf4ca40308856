"""Envoy's bootstrap from a routing table: levels, so that overflow spills as failure does.

Why it is built like this: docs/explanation/overflow.md.
"""

from __future__ import annotations

from components.gateway.envoy_front import (
    cache_listeners,
    front_clusters,
    front_listener,
    generation_listeners,
    metrics_listener,
    own_clusters,
)
from components.gateway.envoy_overload import overload_manager
from components.gateway.envoy_parts import UNCOUNTED, Json, extension, socket_address
from components.gateway.envoy_site import site_clusters, site_listeners, site_secrets
from spillway.contracts.routing import PEERS_CLUSTER, RoutingTable


def render(table: RoutingTable) -> Json:
    """The bootstrap as plain data, ready for ``yaml.safe_dump``. Pure; holds no secret."""
    return {
        "node": {"id": f"gateway-{table.role}", "cluster": "spillway"},
        "admin": {"address": socket_address("127.0.0.1", table.listen.admin_port), **UNCOUNTED},
        "overload_manager": overload_manager(table.connections),
        "bootstrap_extensions": [
            extension("envoy.bootstrap.internal_listener", "extensions.bootstrap.internal_listener.v3.InternalListener")
        ],
        # The admin layer lets the agent move the breakers when a site's capacity changes.
        "layered_runtime": {"layers": [{"name": "admin", "admin_layer": {}}]},
        # By how many there are, Envoy divides the clients' rates; the agent divides the slots.
        **({"cluster_manager": {"local_cluster_name": PEERS_CLUSTER}} if table.peers else {}),
        "static_resources": {
            "listeners": [
                front_listener(table),
                metrics_listener(table),
                *generation_listeners(table),
                *cache_listeners(table),
                *(listener for route in table.sites for listener in site_listeners(route, table)),
            ],
            "clusters": [
                *front_clusters(table),
                *own_clusters(table),
                *(cluster for route in table.sites for cluster in site_clusters(route, table)),
            ],
            "secrets": [secret for route in table.sites for secret in site_secrets(route)],
        },
    }
