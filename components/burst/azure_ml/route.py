"""How gateways reach an Azure ML online endpoint: a host of its own and a token of Entra's."""

from __future__ import annotations

from components.burst.azure_ml.settings import AzureMlSettings
from spillway.contracts.azure_calls import SCORING_AUDIENCE
from spillway.contracts.classes import Site
from spillway.contracts.credentials import EntraToken, UpstreamTls
from spillway.contracts.manifest import Manifest
from spillway.contracts.routing import AgentCheck, PathRule, SiteRoute, infer_paths, probe_timeout_s
from spillway.contracts.server_routes import ServerKind, openai_paths
from spillway.contracts.vllm_serving import headroom


def route(
    settings: AzureMlSettings, location: str, manifest: Manifest, host: str, probe_interval_s: float
) -> SiteRoute:
    """``host``: the endpoint's own."""
    return SiteRoute(
        site=Site.AZURE_ML,
        host=host,
        port=443,
        dns="logical",
        region=location,
        tls=UpstreamTls(sni=host),
        auth=EntraToken(audience=SCORING_AUDIENCE),
        paths=paths(manifest.kind, manifest.entry_model),
        slots=int(manifest.serving.slots * _fewest(settings)),
        headroom=headroom(manifest, _fewest(settings)),
        instances=_fewest(settings),
        capacity="published",
        health=AgentCheck(interval_s=probe_interval_s, timeout_s=probe_timeout_s(manifest.kind)),
    )


def paths(kind: ServerKind, model: str) -> tuple[PathRule, ...]:
    """What an online endpoint answers under the container's own paths: inference, and nothing else."""
    served = openai_paths() if kind == "vllm" else infer_paths(model)
    return tuple(PathRule(client=path, upstream=path) for path in served)


def _fewest(settings: AzureMlSettings) -> int | float:
    """The fewest instances of the deployments as one site, as the traffic is split over them. How many there really are
    the cost signal publishes: it may ask Resource Manager, and no gateway has to (ADR 57)."""
    fewest = min(one.min_instances * 100 / one.traffic for one in settings.planned if one.traffic)
    return int(fewest) if fewest.is_integer() else fewest
