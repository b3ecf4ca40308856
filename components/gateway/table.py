"""The routing table of a stack: its settings, and what the other components made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.gateway.settings import CallerSettings, ClientSettings, GatewaySettings
from spillway.contracts.answer_cache import AnswerCache
from spillway.contracts.classes import Site
from spillway.contracts.jobs import JobQueue
from spillway.contracts.quantities import parse_quantity
from spillway.contracts.routing import (
    ANSWER_TIMEOUT_S,
    Anonymous,
    Client,
    Cutoff,
    Heartbeat,
    Listen,
    LiveInstances,
    Peers,
    Probe,
    RoutingTable,
    SiteRoute,
)
from spillway.contracts.server_routes import ServerKind
from spillway.contracts.traces import Traces
from spillway.contracts.usage import UsageMetrics
from spillway.contracts.web_tokens import TokenIssuer


def build_table(
    settings: GatewaySettings,
    *,
    model: str,
    server: ServerKind,
    sites: Sequence[SiteRoute],
    client_hashes: Mapping[str, str],
    operator_hash: str | None,
    probe: Probe,
    answer_timeout_s: float = ANSWER_TIMEOUT_S,
    cutoff: Cutoff | None,
    live: LiveInstances | None = None,
    heartbeat: Heartbeat | None,
    usage: UsageMetrics | None = None,
    listen: Listen | None = None,
    jobs: JobQueue | None = None,
    peers: Peers | None = None,
    traces: Traces | None = None,
    cache: AnswerCache | None = None,
) -> RoutingTable:
    """The private gateway's table; ``.standby()`` of it is the standby's. ``sites``: in spill order."""
    return RoutingTable(
        model=model,
        server=server,
        model_may_spill=settings.model_may_spill,
        sites=tuple(with_slots(settings, site) for site in sites),
        classes=settings.classes.routes([site.site for site in sites if site.site != Site.PRIVATE]),
        clients=tuple(_client(one, client_hashes) for one in settings.clients),
        anonymous=Anonymous(**_limits(settings.anonymous)) if settings.anonymous else None,
        token_issuer=TokenIssuer(**settings.tokens.model_dump()) if settings.tokens else None,
        operator_key_sha256=operator_hash,
        body_limit_bytes=settings.body_limit_bytes,
        connections=settings.connections.limits(int(parse_quantity(settings.resources.memory))),
        cors_origins=settings.cors_origins,
        prefix_affinity_percent=settings.prefix_affinity_percent,
        prompt_tokens_per_s=settings.prompt_tokens_per_s,
        kv_cache_share=settings.kv_cache_percent / 100,
        replicas=settings.replicas,
        peers=peers,
        listen=listen or Listen(),
        probe=probe,
        answer_timeout_s=answer_timeout_s,
        cutoff=cutoff,
        live=live,
        heartbeat=heartbeat,
        jobs=jobs,
        cache=cache,
        usage=usage,
        traces=traces,
    )


def with_slots(settings: GatewaySettings, site: SiteRoute) -> SiteRoute:
    """The site with the settings' slots in place of the derived ones, where they are given; these follow nothing.

    Other slots change nothing of what the servers accept in all, so the headroom makes up for them.
    """
    given = settings.slots.get(site.site)
    chosen: dict[str, Any] = given.model_dump(exclude_none=True) if given else {}
    if "slots" in chosen:
        chosen["capacity"] = "fixed"
        if site.headroom is not None:
            chosen.setdefault("headroom", max(0, site.slots + site.headroom - chosen["slots"]))
    return SiteRoute.model_validate({**site.model_dump(), **chosen})


def _client(client: ClientSettings, hashes: Mapping[str, str]) -> Client:
    """``hashes``: ``contracts.routing.hash_key`` of the keys by client name; a missing one is a ``KeyError``."""
    return Client(name=client.name, key_sha256=hashes[client.name] if client.key_secret else None, **_limits(client))


def _limits(caller: CallerSettings) -> dict[str, Any]:
    return caller.model_dump(include=set(CallerSettings.model_fields))
