"""The Triton container."""

from __future__ import annotations

from components.model_server.settings import ModelServerSettings

HTTP_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 8002


def command(settings: ModelServerSettings, redis_host: str | None, *, host_code: bool = False) -> list[str]:
    """Triton's command line. The response cache is Redis where there is one, so that it outlives a pod.

    ``host_code``: engines may bring a runtime of their own, as version-compatible ones do; the TensorRT backend refuses
    them otherwise (its README, ``version-compatible``).
    """
    engines = ["--backend-config=tensorrt,version-compatible=true"] if host_code else []
    cache = [f"--cache-config=redis,host={redis_host}", "--cache-config=redis,port=6379"] if redis_host else []
    return [
        "tritonserver",
        "--model-repository=/cache/repository",
        f"--http-port={HTTP_PORT}",
        f"--grpc-port={GRPC_PORT}",
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
