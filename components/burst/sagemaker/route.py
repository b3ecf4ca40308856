"""How gateways reach a SageMaker endpoint: one host a region, paths of its own, AWS signatures or a token of AWS's."""

from __future__ import annotations

from components.burst.sagemaker.settings import SageMakerSettings
from spillway.contracts.classes import Site
from spillway.contracts.credentials import AwsToken, SigV4, UpstreamTls
from spillway.contracts.manifest import Manifest
from spillway.contracts.routing import AgentCheck, PathRule, SiteRoute, infer_paths, probe_timeout_s
from spillway.contracts.server_routes import CHAT_PATH, ServerKind, openai_paths
from spillway.contracts.vllm_serving import headroom


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
        headroom=headroom(manifest, settings.min_instances),
        instances=settings.min_instances,
        capacity="endpoint",
        health=AgentCheck(endpoint=endpoint, interval_s=probe_interval_s, timeout_s=probe_timeout_s(manifest.kind)),
    )


def paths(kind: ServerKind, model: str, endpoint: str) -> tuple[PathRule, ...]:
    """What a SageMaker endpoint answers, and where: inference.

    Of OpenAI's routes SageMaker has chat completions alone, with a token. The others are invocations, signed, with the
    route in a header that SageMaker hands on to AWS's vLLM container, which goes by it.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html,
    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointWithResponseStream.html,
    https://docs.aws.amazon.com/sagemaker/latest/dg/realtime-endpoints-openai-compatible.html,
    https://github.com/aws/deep-learning-containers/blob/main/scripts/docker/vllm/sagemaker_serve.py
    """
    invocations = f"/endpoints/{endpoint}/invocations"
    if kind == "triton":
        return tuple(PathRule(client=path, upstream=invocations) for path in infer_paths(model))
    return tuple(
        PathRule(client=path, upstream=f"/endpoints/{endpoint}/openai{path}")
        if path == CHAT_PATH
        else PathRule(
            client=path, upstream=invocations, streamed=f"{invocations}-response-stream", route=path, signed=True
        )
        for path in openai_paths()
    )
