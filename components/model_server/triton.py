"""The Triton container."""

from __future__ import annotations

from components.model_server.settings import ModelServerSettings
from spillway.contracts.server_routes import restriction

HTTP_PORT, METRICS_PORT = 8000, 8002
POD_UID = "POD_UID"
"""Variable with the pod's uid, which Kubernetes writes into the command line."""


def command(settings: ModelServerSettings, model: str, redis_host: str | None, *, host_code: bool = False) -> list[str]:
    """Triton's command line. The response cache is Redis where there is one, so that it outlives a pod.

    ``model`` and what it is made of are loaded, and nothing else. Whoever may read the pod knows the key of what is
    closed, and no client does: it is the pod's uid. Clients come over HTTP only, so there is no gRPC.

    ``host_code``: engines may bring a runtime of their own, as version-compatible ones do; the TensorRT backend refuses
    them otherwise (its README, ``version-compatible``).
    """
    engines = ["--backend-config=tensorrt,version-compatible=true"] if host_code else []
    cache = [f"--cache-config=redis,host={redis_host}", "--cache-config=redis,port=6379"] if redis_host else []
    return [
        "tritonserver",
        "--model-repository=/cache/repository",
        "--model-control-mode=explicit",
        f"--load-model={model}",
        restriction(f"$({POD_UID})"),
        f"--http-port={HTTP_PORT}",
        "--allow-grpc=false",
        f"--metrics-port={METRICS_PORT}",
        "--strict-readiness=true",
        "--exit-on-error=true",
        f"--exit-timeout-secs={settings.drain_s}",
        *engines,
        *cache,
    ]


def readiness_path(model: str) -> str:
    """Answers 200 when this model can serve, not only the server."""
    return f"/v2/models/{model}/ready"
