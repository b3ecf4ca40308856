"""One trace a request: the front's span, one of each level that it passes, and one of each try.

A try that was refused says by Envoy's response flags why (https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/
observability/access_log/usage): UO, the site's slots are taken; UH, none of its servers is well; UT, its time is over;
UF and UC, it is gone. Servers go on from the last try's span: the context travels as ``traceparent``.
"""

from __future__ import annotations

from typing import Final

from components.gateway.envoy_filters import CLIENT_HEADER
from components.gateway.envoy_parts import Json, dns_cluster, extension, one_endpoint, typed
from spillway.contracts.classes import CLASS_HEADER, SITE_HEADER
from spillway.contracts.routing import RoutingTable
from spillway.contracts.traces import Traces

COLLECTOR_CLUSTER: Final = "traces"


def tracing(table: RoutingTable, *, tries: bool = True) -> Json:
    """A connection manager's part. ``tries``: whether what it sends on gets spans of its own."""
    if table.traces is None:
        return {}
    said = {
        # Without its query, which may hold what is nobody's business.
        "http.url": "%PATH(NQ:PATH)%",
        "spillway.class": f"%REQ({CLASS_HEADER.upper()})%",
        "spillway.client": f"%REQ({CLIENT_HEADER.upper()})%",
        "spillway.site": f"%RESP({SITE_HEADER.upper()})%",
        "spillway.tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    }
    return {
        "tracing": {
            "provider": _provider(table, table.traces),
            "random_sampling": {"value": table.traces.percent},
            "spawn_upstream_span": tries,
            "custom_tags": [{"tag": tag, "value": value} for tag, value in said.items()],
        }
    }


def clusters(table: RoutingTable) -> list[Json]:
    """Where the spans go."""
    if table.traces is None:
        return []
    return [
        {
            "name": COLLECTOR_CLUSTER,
            "connect_timeout": "1s",
            "cluster_type": dns_cluster(each=False),
            "load_assignment": one_endpoint(COLLECTOR_CLUSTER, table.traces.host, table.traces.port),
        }
    ]


def _provider(table: RoutingTable, traces: Traces) -> Json:
    place = {"uri": traces.url, "cluster": COLLECTOR_CLUSTER, "timeout": "1s"}
    attributes = {"service.namespace": "spillway", "spillway.model": table.model, "spillway.role": table.role}
    static = typed(
        "extensions.tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig",
        attributes=attributes,
    )
    return extension(
        "envoy.tracers.opentelemetry",
        "config.trace.v3.OpenTelemetryConfig",
        http_service={"http_uri": place},
        service_name="spillway-gateway",
        resource_detectors=[
            {"name": "envoy.tracers.opentelemetry.resource_detectors.static_config", "typed_config": static}
        ],
    )
