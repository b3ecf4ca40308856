"""The routing table of a stack: its settings, and what the other components made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.gateway.settings import CallerSettings, GatewaySettings
from spillway.contracts.routing import (
    Anonymous,
    Client,
    Cutoff,
    Heartbeat,
    Listen,
    PathRule,
    Probe,
    RoutingTable,
    SiteRoute,
)


def build_table(
    settings: GatewaySettings,
    *,
    model: str,
    sites: Sequence[SiteRoute],
    client_hashes: Mapping[str, str],
    operator_hash: str | None,
    probe: Probe,
    cutoff: Cutoff | None,
    heartbeat: Heartbeat | None,
    listen: Listen | None = None,
) -> RoutingTable:
    """The private gateway's table; ``.standby()`` of it is the standby's.

    ``client_hashes``: ``contracts.routing.hash_key`` of each client's key, by client name; a missing one
    is a ``KeyError``.
    ``sites``: in spill order, as :func:`with_slots` completes them.
    """
    clients = [Client(name=c.name, key_sha256=client_hashes[c.name], **_limits(c)) for c in settings.clients]
    return RoutingTable(
        model=model,
        model_may_spill=settings.model_may_spill,
        sites=tuple(with_slots(settings, site) for site in sites),
        classes=settings.classes.routes(),
        clients=tuple(clients),
        anonymous=Anonymous(**_limits(settings.anonymous)) if settings.anonymous else None,
        operator_key_sha256=operator_hash,
        body_limit_bytes=settings.body_limit_bytes,
        replicas=settings.replicas,
        listen=listen or Listen(),
        probe=probe,
        cutoff=cutoff,
        heartbeat=heartbeat,
    )


def with_slots(settings: GatewaySettings, site: SiteRoute) -> SiteRoute:
    """The site with the settings' slots in place of the derived ones, where they are given."""
    chosen = settings.slots.of(site.site).model_dump(exclude_none=True)
    return SiteRoute.model_validate({**site.model_dump(), **chosen})


def sagemaker_paths(model: str, endpoint: str) -> tuple[PathRule, ...]:
    """What a SageMaker endpoint answers, and where: inference on Triton, chat completions on vLLM.

    Paths: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html and
    https://docs.aws.amazon.com/sagemaker/latest/dg/realtime-endpoints-openai-compatible.html
    """
    return (
        PathRule(client=f"/v2/models/{model}/infer", upstream=f"/endpoints/{endpoint}/invocations"),
        PathRule(client="/v1/chat/completions", upstream=f"/endpoints/{endpoint}/openai/v1/chat/completions"),
    )


def _limits(caller: CallerSettings) -> dict[str, Any]:
    return caller.model_dump(include={"max_class", "requests_per_s", "burst", "may_spill"})
