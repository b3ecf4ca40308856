"""The inner level: what stands behind one site's internal listeners.

``batch`` → ``interactive`` → ``open`` → the site, each a breaker of its own. One that is full answers 503 at once;
to the outer level that is a failed try like any other, and that is what makes overflow spill.
"""

from __future__ import annotations

from functools import partial
from pathlib import PurePosixPath

from components.gateway.envoy_parts import (
    NO_PANIC,
    PREFIX_HEADER,
    STREAM_HEADER,
    STREAM_IDLE_S,
    UNLIMITED,
    Json,
    breaker,
    buffer_bytes,
    class_match,
    connection_manager,
    dns_cluster,
    extension,
    generation_routes,
    internal_cluster,
    internal_listener,
    lua,
    one_endpoint,
    quick_routes,
    seconds,
    typed,
    upstream_tls,
)
from components.gateway.envoy_replies import OWN_HEADER, reasons
from components.gateway.envoy_tracing import tracing
from components.gateway.first_byte import FAILED_HEADER, first_byte
from spillway.contracts.classes import SITE_HEADER, Site, SiteName
from spillway.contracts.credentials import AwsToken, BearerKey, EntraToken, SigV4
from spillway.contracts.refusals import REASON_HEADER
from spillway.contracts.routing import (
    ROUTE_HEADER,
    Canary,
    Gate,
    PathRule,
    RoutingTable,
    SiteRoute,
    canary_name,
    listener_name,
    token_name,
)
from spillway.contracts.server_routes import ServerKind, ServerRoute

KEPT_FOR_A_CLOUD = ("accept", "content-length", "content-type", "inference-header-content-length", "transfer-encoding")

TOKEN_FILTER = "envoy.filters.http.credential_injector"
SIGNING_FILTER = "envoy.filters.http.aws_request_signing"
CODEC_FILTER = "envoy.filters.http.upstream_codec"
LEAST_BUSY: Json = {
    "policies": [
        {
            "typed_extension_config": extension(
                "envoy.load_balancing_policies.least_request",
                "extensions.load_balancing_policies.least_request.v3.LeastRequest",
                selection_method="FULL_SCAN",
            )
        }
    ]
}
"""To the server with the fewest requests of all, not to the better one of two drawn ones: a prompt that meets a busy
server waits for seconds while others idle (docs/decisions/0075-the-least-busy-server.md)."""

PREFIX_POLICY: Json = {"hash_policy": [{"header": {"header_name": PREFIX_HEADER}}]}
"""To a server by what the front says that the prompt begins with; one without goes anywhere."""

STEPS = ((Gate.BATCH, Gate.INTERACTIVE), (Gate.INTERACTIVE, Gate.OPEN))


def site_listeners(route: SiteRoute, table: RoutingTable) -> list[Json]:
    gates = [_gate_listener(route.site, gate, table) for gate, _ in STEPS]
    return [*gates, _open_listener(route, table)]


def site_clusters(route: SiteRoute, table: RoutingTable) -> list[Json]:
    limits = table.limits(route)
    gates = [_gate_cluster(route.site, gate, behind, limits[gate], table) for gate, behind in STEPS]
    canary = [_canary_cluster(route, route.canary, table)] if route.canary else []
    return [*gates, _open_cluster(route, limits[Gate.OPEN], table), *canary]


def site_secrets(route: SiteRoute) -> list[Json]:
    """Keys by file name: the config map never holds one."""
    if not isinstance(route.auth, BearerKey):
        return []
    return [{"name": f"{route.site}-key", "generic_secret": {"secret": {"filename": route.auth.key_file}}}]


def _gate_listener(site: SiteName, gate: Gate, table: RoutingTable) -> Json:
    name = listener_name(site, gate)
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "0s"}}]
    router = {"suppress_envoy_headers": True}
    manager = connection_manager(name, table, routes, [], router=router, **tracing(table, tries=False))
    return internal_listener(name, manager, table)


def _gate_cluster(site: SiteName, gate: Gate, behind: Gate, limit: int, table: RoutingTable) -> Json:
    return internal_cluster(listener_name(site, gate), listener_name(site, behind), table, limit)


def _open_listener(route: SiteRoute, table: RoutingTable) -> Json:
    name = listener_name(route.site, Gate.OPEN)
    once = {"num_retries": 0}
    routes = [r for c in table.classes for r in quick_routes(table.server, c, class_match(c), name, 0.0, once)]
    endless: Json = {"cluster": name, "timeout": "0s", "retry_policy": once}
    streamed = {**endless, "idle_timeout": seconds(STREAM_IDLE_S)}
    if _by_prefix(route, table):
        endless, streamed = {**endless, **PREFIX_POLICY}, {**streamed, **PREFIX_POLICY}
    routes += generation_routes(table.server, [], endless, streamed, partial(_one_credential, route))
    if route.canary:
        routes = [{**one, "route": _shared(route.site, one["route"])} for one in routes]
    held = [first_byte()] if table.server == "vllm" else []
    framed = [lua({}, "event_stream", clear_route_cache=False)] if any(rule.streamed for rule in route.paths) else []
    manager = connection_manager(
        name,
        table,
        routes,
        [_dialect(route, table), *held, *framed, *_credentials(route, table)],
        router={"suppress_envoy_headers": True},
        generate_request_id=False,
        **tracing(table),
    )
    return internal_listener(name, manager, table)


def _by_prefix(route: SiteRoute, table: RoutingTable) -> bool:
    return route.site == Site.PRIVATE and table.server == "vllm" and table.prefix_affinity_percent is not None


def _balancing(route: SiteRoute, table: RoutingTable) -> Json:
    if not _by_prefix(route, table):
        return LEAST_BUSY
    # Consistent: a server that comes or goes moves its own share of the prefixes alone.
    bounded = {"hash_balance_factor": {"value": table.prefix_affinity_percent}}
    maglev = extension(
        "envoy.load_balancing_policies.maglev",
        "extensions.load_balancing_policies.maglev.v3.Maglev",
        consistent_hashing_lb_config=bounded,
    )
    return {"policies": [{"typed_extension_config": maglev}]}


def _shared(site: SiteName, action: Json) -> Json:
    """The action with a share for the servers on trial, which get nothing until the agent says so."""
    own, canary = listener_name(site, Gate.OPEN), canary_name(site)
    weights = {"clusters": [{"name": own, "weight": 100}, {"name": canary, "weight": 0}], "runtime_key_prefix": canary}
    return {**{key: value for key, value in action.items() if key != "cluster"}, "weighted_clusters": weights}


def _dialect(route: SiteRoute, table: RoutingTable) -> Json:
    cloud = route.site != Site.PRIVATE
    config = {
        "site": str(route.site),
        "site_header": SITE_HEADER,
        "dialect": str(route.site),
        "authority": route.authority,
        "paths": {rule.client: _path(rule) for rule in route.paths} or None,
        "stream_header": STREAM_HEADER,
        "route_header": ROUTE_HEADER.lower(),
        "max_body": route.max_body_bytes,
        "keep": dict.fromkeys(KEPT_FOR_A_CLOUD, True) if cloud else None,
        "openai": table.server == "vllm",
        "own_header": OWN_HEADER,
        "reason_header": REASON_HEADER,
        "reasons": reasons(),
        "failed_header": FAILED_HEADER,
        "failed_input_header": FAILED_INPUT_HEADER,
    }
    # The route was chosen by a header that must not leave the house, so it has to outlive that header.
    return lua(config, "json", "triton_errors", "site", clear_route_cache=False)


def _path(rule: PathRule) -> Json:
    return {"whole": rule.upstream, "streamed": rule.streamed or rule.upstream, "route": rule.route}


def _one_credential(route: SiteRoute, asked: ServerRoute) -> Json:
    """Of a site with both, the one that the path does not take is switched off."""
    if not any(rule.signed for rule in route.paths):
        return {}
    signed = any(rule.signed for rule in route.paths if rule.client == asked.path)
    off = typed("config.route.v3.FilterConfig", disabled=True)
    return {"typed_per_filter_config": {TOKEN_FILTER if signed else SIGNING_FILTER: off}}


def _signature(auth: SigV4 | AwsToken) -> Json:
    provider: Json = {}
    if auth.credentials_file:
        file_provider = {
            "credentials_data_source": {"filename": auth.credentials_file},
            "profile": auth.profile,
        }
        chain = {"custom_credential_provider_chain": True, "credentials_file_provider": file_provider}
        provider = {"credential_provider": chain}
    return extension(
        SIGNING_FILTER,
        "extensions.filters.http.aws_request_signing.v3.AwsRequestSigning",
        service_name=auth.service,
        region=auth.region,
        **provider,
    )


def _credentials(route: SiteRoute, table: RoutingTable) -> list[Json]:
    if isinstance(route.auth, SigV4):
        return [_signature(route.auth)]
    if isinstance(route.auth, BearerKey):
        return [_bearer({"name": f"{route.site}-key"})]
    if isinstance(route.auth, AwsToken | EntraToken):
        path = table.token_path(route.site)
        source = {"path": path, "watched_directory": {"path": str(PurePosixPath(path).parent)}}
        sds = {"resource_api_version": "V3", "path_config_source": source, "initial_fetch_timeout": "5s"}
        bearer = _bearer({"name": token_name(route.site), "sds_config": sds})
        if isinstance(route.auth, AwsToken) and any(rule.signed for rule in route.paths):
            return [bearer, _signature(route.auth)]
        return [bearer]
    return []


def _bearer(credential: Json) -> Json:
    """``Authorization: Bearer`` with a secret, whatever the request brought."""
    generic = extension(
        "envoy.http.injected_credentials.generic",
        "extensions.http.injected_credentials.generic.v3.Generic",
        credential=credential,
        header_value_prefix="Bearer ",
    )
    return extension(
        TOKEN_FILTER,
        "extensions.filters.http.credential_injector.v3.CredentialInjector",
        overwrite=True,
        credential=generic,
    )


def _open_cluster(route: SiteRoute, limit: int, table: RoutingTable) -> Json:
    name = listener_name(route.site, Gate.OPEN)
    cluster: Json = {
        "name": name,
        "cluster_type": dns_cluster(each=route.dns != "logical"),
        "connect_timeout": seconds(route.connect_timeout_s),
        "load_balancing_policy": _balancing(route, table),
        "circuit_breakers": breaker(limit, max_pending_requests=limit),
        "common_lb_config": NO_PANIC,
        "per_connection_buffer_limit_bytes": buffer_bytes(table),
        "typed_extension_protocol_options": _http1_with_errors(route, table),
        "outlier_detection": _passive_checks(),
        "load_assignment": one_endpoint(name, route.host, route.port),
        # A server that is told to end leaves DNS, and is well until it ends: kept for that, it would be cut off.
        "ignore_health_on_host_removal": True,
    }
    if route.health.kind == "active":
        check = route.health
        cluster["health_checks"] = [
            {
                "timeout": seconds(check.timeout_s),
                "interval": seconds(check.interval_s),
                "no_traffic_interval": seconds(check.interval_s),
                "unhealthy_threshold": check.unhealthy_after,
                "healthy_threshold": check.healthy_after,
                "http_health_check": {"path": check.path, "host": route.authority},
            }
        ]
    if route.tls:
        cluster["transport_socket"] = upstream_tls(route.tls.sni, route.tls.ca_file)
    return cluster


def _canary_cluster(route: SiteRoute, canary: Canary, table: RoutingTable) -> Json:
    """As the site's own servers, at another name and with slots of its own; it has no queue for P0."""
    name, limit = canary_name(route.site), table.share(canary.slots)
    cluster = _open_cluster(route.model_copy(update={"host": canary.host}), limit, table)
    return {**cluster, "name": name, "load_assignment": {**cluster["load_assignment"], "cluster_name": name}}


BROKEN: dict[ServerKind, tuple[str, ...]] = {"triton": ("500", "502", "504"), "vllm": ("502", "504")}
"""What a server answers that is not well. 503 is how a full one says no (queue limits), and must not get a healthy one
ejected. vLLM says with its health when its engine is dead; a 500 of it is about one request. A 500 of Triton's over
what came in is none by the time that it is counted: see ``lua/server.lua``."""
FAILED_INPUT_HEADER = "x-spillway-failed-input"


def _http1_with_errors(route: SiteRoute, table: RoutingTable) -> Json:
    broken = [
        {"http_response_headers_match": {"headers": [{"name": ":status", "string_match": {"exact": status}}]}}
        for status in BROKEN[table.server]
    ]
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
            "extensions.upstreams.http.v3.HttpProtocolOptions",
            explicit_http_config={"http_protocol_options": {}},
            outlier_detection={"error_matcher": {"or_match": {"rules": broken}}},
            **_told_apart(route, table),
        )
    }


def _told_apart(route: SiteRoute, table: RoutingTable) -> Json:
    """Failures of the site's own Triton servers by whose fault they are; of its containers' a cloud says 424."""
    if route.site != Site.PRIVATE or table.server != "triton":
        return {}
    judge = lua(
        {"failed_input_header": FAILED_INPUT_HEADER}, "json", "triton_errors", "server", clear_route_cache=False
    )
    untold = [lua({}, "unsampled", clear_route_cache=False)] if table.traces else []
    return {
        "http_filters": [
            judge,
            *untold,
            extension(CODEC_FILTER, "extensions.filters.http.upstream_codec.v3.UpstreamCodec"),
        ]
    }


def _passive_checks() -> Json:
    """Timeouts, resets and 5xx of real requests take a host out after a few, whatever its health check says."""
    return {
        "consecutive_5xx": 5,
        "enforcing_consecutive_5xx": 100,
        "consecutive_gateway_failure": UNLIMITED,
        "enforcing_consecutive_gateway_failure": 0,
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 3,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": "3s",
        "max_ejection_time": "15s",
        "max_ejection_percent": 100,
        "successful_active_health_check_uneject_host": False,
    }
