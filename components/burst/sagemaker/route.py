"""How gateways reach a SageMaker endpoint: one host a region, paths of its own, AWS signatures or a token of AWS's."""

from __future__ import annotations

from components.burst.sagemaker.settings import SageMakerSettings
from spillway.contracts.classes import Site
from spillway.contracts.manifest import Manifest
from spillway.contracts.routing import (
    AgentCheck,
    AwsToken,
    PathRule,
    SigV4,
    SiteRoute,
    UpstreamTls,
    infer_paths,
    probe_timeout_s,
)
from spillway.contracts.server_routes import ServerKind


def route(
    settings: SageMakerSettings, region: str, manifest: Manifest, endpoint: str, probe_interval_s: float
) -> SiteRoute:
    """``endpoint``: the endpoint's name."""
    host = f"runtime.sagemaker.{region}.amazonaws.com"
    return SiteRoute(
        site=Site.SAGEMAKER,
        host=host,
        port=443,
        dns="logical",
        region=region,
        tls=UpstreamTls(sni=host),
        auth=AwsToken(region=region) if manifest.kind == "vllm" else SigV4(region=region),
        paths=paths(manifest.kind, manifest.entry_model, endpoint),
        slots=manifest.serving.slots * settings.min_instances,
        instances=settings.min_instances,
        capacity="endpoint",
        health=AgentCheck(endpoint=endpoint, interval_s=probe_interval_s, timeout_s=probe_timeout_s(manifest.kind)),
    )


def paths(kind: ServerKind, model: str, endpoint: str) -> tuple[PathRule, ...]:
    """What a SageMaker endpoint answers, and where: inference on Triton, on vLLM chat completions and nothing else.

    Paths: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html and
    https://docs.aws.amazon.com/sagemaker/latest/dg/realtime-endpoints-openai-compatible.html
    """
    if kind == "vllm":
        chat = "/v1/chat/completions"
        return (PathRule(client=chat, upstream=f"/endpoints/{endpoint}/openai{chat}"),)
    return tuple(PathRule(client=path, upstream=f"/endpoints/{endpoint}/invocations") for path in infer_paths(model))
