"""The routing table of a stack, from its settings, its sites and the names of what was deployed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import yaml

from components.burst.site import BurstSite
from components.gateway.envoy_config import render
from components.gateway.settings import GatewaySettings
from components.gateway.table import build_table
from components.model_server.settings import CanarySettings
from spillway.contracts.answer_cache import ANSWERS_FOLDER, ANSWERS_PREFIX, AnswerCache, FolderTier, RedisTier, S3Tier
from spillway.contracts.classes import Site
from spillway.contracts.credentials import NoAuth, ServerTls
from spillway.contracts.jobs import JobQueue
from spillway.contracts.manifest import Manifest
from spillway.contracts.names import CANARY, GATEWAY_PEERS, MODEL_SERVER, REDIS, Namespaces
from spillway.contracts.quantities import parse_quantity
from spillway.contracts.routing import (
    ActiveCheck,
    Canary,
    Cutoff,
    Heartbeat,
    Listen,
    LiveInstances,
    Peers,
    Probe,
    RoutingTable,
    SiteRoute,
)
from spillway.contracts.server_routes import CHAT_PATH
from spillway.contracts.usage import UsageMetrics
from spillway.contracts.vllm_serving import headroom
from stacks.settings import StackSettings

PROBE_SENTENCE = "Is anybody there?"


@dataclass(frozen=True)
class DeployedNames:
    """What only the deployment knows. ``prefix`` tells this stack's heartbeat apart; ``addresses``: by burst site, what
    its ``route`` asks for."""

    prefix: str
    addresses: Mapping[str, str]
    client_hashes: Mapping[str, str]
    operator_hash: str
    cutoff_parameter: str
    live_parameter: str
    jobs: JobQueue | None = None


def routing_table(
    settings: StackSettings,
    manifest: Manifest,
    sites: Sequence[BurstSite],
    names: DeployedNames,
    release: Manifest | None = None,
) -> RoutingTable:
    """The private gateway's table; its ``standby()`` is the standby's. ``sites``: in spill order. ``release``: that is
    tried in the private site."""
    interval_s = settings.gateway.probe_interval_s
    burst = [site.route(manifest, names.addresses[site.name], interval_s) for site in sites]
    return build_table(
        settings.gateway,
        model=manifest.entry_model,
        server=manifest.kind,
        sites=[_private(settings, manifest, Namespaces(names.prefix), release), *burst],
        client_hashes=names.client_hashes,
        operator_hash=names.operator_hash,
        probe=probe_of(manifest),
        answer_timeout_s=manifest.serving.request_timeout_s,
        cutoff=Cutoff(
            parameter=names.cutoff_parameter, region=settings.aws.region, poll_s=settings.gateway.cutoff_poll_s
        ),
        live=LiveInstances(parameter=names.live_parameter, region=settings.aws.region),
        heartbeat=Heartbeat(
            region=settings.aws.region, gateway=names.prefix, period_s=settings.gateway.heartbeat_period_s
        ),
        usage=UsageMetrics(region=settings.aws.region, stack=names.prefix),
        listen=listen(settings.gateway),
        peers=Peers(
            host=f"{GATEWAY_PEERS}.{Namespaces(names.prefix).gateway}.svc.cluster.local",
            port=Listen().port,
            # An update starts one more.
            most=settings.gateway.autoscaler.max_replicas + 1,
        ),
        jobs=names.jobs,
        traces=settings.monitoring.traces,
        cache=_cache(settings, manifest, Namespaces(names.prefix)),
    )


def _cache(settings: StackSettings, manifest: Manifest, namespaces: Namespaces) -> AnswerCache | None:
    cache = settings.gateway.cache
    if cache is None:
        return None
    # Kubernetes ends a pod that fills its disk, and answers on their way are not counted yet.
    room = int(parse_quantity(cache.disk) * 4 / 5) if cache.disk else 0
    return AnswerCache(
        package_digest=manifest.digest,
        ttl_s=cache.ttl_s,
        most_answer_bytes=cache.max_answer_bytes,
        redis=RedisTier(host=f"{REDIS}.{namespaces.system}.svc.cluster.local") if cache.redis else None,
        folder=FolderTier(path=ANSWERS_FOLDER, most_bytes=room) if room else None,
        s3=S3Tier(bucket=cache.s3_bucket, region=settings.aws.region, prefix=ANSWERS_PREFIX)
        if cache.s3_bucket
        else None,
    )


def envoy_yaml(table: RoutingTable) -> str:
    """Envoy's bootstrap for a table."""
    return yaml.safe_dump(render(table), sort_keys=False)


def listen(gateway: GatewaySettings) -> Listen:
    """Where the private gateway listens."""
    if gateway.tls is None or gateway.tls.acm:
        return Listen()
    folder = "/etc/spillway-tls"
    return Listen(tls=ServerTls(certificate_file=f"{folder}/tls.crt", key_file=f"{folder}/tls.key"))


def _private(
    settings: StackSettings, manifest: Manifest, namespaces: Namespaces, release: Manifest | None
) -> SiteRoute:
    # A language model's server answers late while it takes many prompts in: that is no fault.
    language = manifest.kind == "vllm"
    servers = settings.model_server.autoscaling.min_replicas
    ready = "/health" if language else f"/v2/models/{manifest.entry_model}/ready"
    return SiteRoute(
        site=Site.PRIVATE,
        host=f"{MODEL_SERVER}.{namespaces.serving}.svc.cluster.local",
        port=8000,
        dns="strict",
        region="private",
        auth=NoAuth(),
        slots=manifest.serving.slots * servers,
        headroom=headroom(manifest, servers),
        instances=servers,
        capacity="addresses",
        health=ActiveCheck(path=ready, timeout_s=2.0, unhealthy_after=3) if language else ActiveCheck(path=ready),
        canary=_canary(settings.model_server.canary, namespaces, release),
    )


def _canary(settings: CanarySettings | None, namespaces: Namespaces, release: Manifest | None) -> Canary | None:
    if settings is None or release is None:
        return None
    return Canary(
        host=f"{CANARY}.{namespaces.serving}.svc.cluster.local",
        version=release.version,
        slots=release.serving.slots * settings.servers,
        **settings.model_dump(include={"percent", "max_error_percent", "max_slowdown", "requests"}),
    )


def probe_of(manifest: Manifest) -> Probe:
    """One small inference that every package can answer: a short text, or zeros in the smallest shape."""
    if manifest.kind == "vllm":
        message = {"role": "user", "content": PROBE_SENTENCE}
        body = {"model": manifest.entry_model, "messages": [message], "max_tokens": 1}
        return Probe(path=CHAT_PATH, body=json.dumps(body))
    tensors = []
    for spec in manifest.inputs:
        shape = [1 if size < 0 else size for size in spec.shape]
        value = PROBE_SENTENCE if spec.dtype == "BYTES" else 0
        tensors.append({"name": spec.name, "datatype": spec.dtype, "shape": shape, "data": [value] * prod(shape)})
    return Probe(path=f"/v2/models/{manifest.entry_model}/infer", body=json.dumps({"inputs": tensors}))
