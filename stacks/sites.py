"""The routing table of a stack, from its settings and the names of what was deployed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from components.gateway.settings import GatewaySettings
from components.gateway.table import build_table, sagemaker_paths
from components.kubernetes_documents import SERVING_NAMESPACE
from spillway.contracts.classes import Site
from spillway.contracts.manifest import Manifest
from spillway.contracts.routing import (
    ActiveCheck,
    AgentCheck,
    BearerKey,
    Cutoff,
    Heartbeat,
    Listen,
    NoAuth,
    PathRule,
    Probe,
    RoutingTable,
    ServerTls,
    SigV4,
    SiteRoute,
    UpstreamTls,
)
from stacks.settings import StackSettings

KEYS_FOLDER = "/etc/spillway-keys"
AZURE_KEY_FILE = "azure_ml.key"
PROBE_SENTENCE = "Is anybody there?"


@dataclass(frozen=True)
class DeployedNames:
    """What only the deployment knows. ``None`` where a site is off; ``prefix`` tells this stack's heartbeat apart."""

    prefix: str
    sagemaker_endpoint: str | None
    azure_ml_host: str | None
    client_hashes: Mapping[str, str]
    operator_hash: str
    cutoff_parameter: str


def routing_table(settings: StackSettings, manifest: Manifest, names: DeployedNames) -> RoutingTable:
    """The private gateway's table; its ``standby()`` is the standby's."""
    sites = [_private(settings, manifest)]
    if names.sagemaker_endpoint is not None:
        sites.append(_sagemaker(settings, manifest, names.sagemaker_endpoint))
    if names.azure_ml_host is not None:
        sites.append(_azure_ml(settings, manifest, names.azure_ml_host))
    return build_table(
        settings.gateway,
        model=manifest.entry_model,
        sites=sites,
        client_hashes=names.client_hashes,
        operator_hash=names.operator_hash,
        probe=_probe(manifest),
        cutoff=Cutoff(
            parameter=names.cutoff_parameter, region=settings.aws.region, poll_s=settings.gateway.cutoff_poll_s
        ),
        heartbeat=Heartbeat(
            region=settings.aws.region, gateway=names.prefix, period_s=settings.gateway.heartbeat_period_s
        ),
        listen=listen(settings.gateway),
    )


def listen(gateway: GatewaySettings) -> Listen:
    """Where the private gateway listens."""
    if gateway.tls is None:
        return Listen()
    folder = "/etc/spillway-tls"
    return Listen(tls=ServerTls(certificate_file=f"{folder}/tls.crt", key_file=f"{folder}/tls.key"))


def _private(settings: StackSettings, manifest: Manifest) -> SiteRoute:
    ready = "/health" if manifest.kind == "vllm" else f"/v2/models/{manifest.entry_model}/ready"
    return SiteRoute(
        site=Site.PRIVATE,
        host=f"model-server.{SERVING_NAMESPACE}.svc.cluster.local",
        port=8000,
        dns="strict",
        region="private",
        auth=NoAuth(),
        slots=manifest.serving.slots * settings.model_server.autoscaling.min_replicas,
        health=ActiveCheck(path=ready),
    )


def _sagemaker(settings: StackSettings, manifest: Manifest, endpoint: str) -> SiteRoute:
    assert settings.burst.sagemaker is not None
    region = settings.aws.region
    host = f"runtime.sagemaker.{region}.amazonaws.com"
    return SiteRoute(
        site=Site.SAGEMAKER,
        host=host,
        port=443,
        dns="logical",
        region=region,
        tls=UpstreamTls(sni=host),
        auth=SigV4(region=region),
        paths=sagemaker_paths(manifest.entry_model, endpoint),
        slots=manifest.serving.slots * settings.burst.sagemaker.min_instances,
        health=AgentCheck(endpoint=endpoint, interval_s=settings.gateway.probe_interval_s),
    )


def _azure_ml(settings: StackSettings, manifest: Manifest, host: str) -> SiteRoute:
    assert settings.burst.azure_ml is not None
    assert settings.azure is not None
    path = f"/v2/models/{manifest.entry_model}/infer"
    return SiteRoute(
        site=Site.AZURE_ML,
        host=host,
        port=443,
        dns="logical",
        region=settings.azure.location,
        tls=UpstreamTls(sni=host),
        auth=BearerKey(key_file=f"{KEYS_FOLDER}/{AZURE_KEY_FILE}"),
        paths=(PathRule(client=path, upstream=path),),
        slots=manifest.serving.slots * settings.burst.azure_ml.min_instances,
        health=AgentCheck(interval_s=settings.gateway.probe_interval_s),
    )


def _probe(manifest: Manifest) -> Probe:
    """One small inference that every package can answer: a short text, or zeros in the smallest shape."""
    if manifest.kind == "vllm":
        message = {"role": "user", "content": PROBE_SENTENCE}
        body = {"model": manifest.entry_model, "messages": [message], "max_tokens": 1}
        return Probe(path="/v1/chat/completions", body=json.dumps(body))
    tensors = []
    for spec in manifest.inputs:
        shape = [1 if size < 0 else size for size in spec.shape]
        count = 1
        for size in shape:
            count *= size
        value = PROBE_SENTENCE if spec.dtype == "BYTES" else 0
        tensors.append({"name": spec.name, "datatype": spec.dtype, "shape": shape, "data": [value] * count})
    return Probe(path=f"/v2/models/{manifest.entry_model}/infer", body=json.dumps({"inputs": tensors}))
