"""The Triton container."""

from __future__ import annotations

from dataclasses import dataclass

from components.model_server.settings import ModelServerSettings
from spillway.contracts.server_routes import restriction
from spillway.contracts.traces import Traces, triton_flags

HTTP_PORT, METRICS_PORT = 8000, 8002
POD_UID = "POD_UID"
"""Variable with the pod's uid, which Kubernetes writes into the command line."""


CACHES = 4096
"""Databases of the Redis that holds responses."""


@dataclass(frozen=True)
class ResponseCache:
    """Redis, where a response outlives the pod that gave it. ``package_sha256``: of what gives it: the key of a cached
    response holds the model's name, version and inputs (Triton's ``cache_manager.cc``), which the next release has,
    too, so each has a database of its own."""

    host: str
    package_sha256: str

    @property
    def flags(self) -> list[str]:
        """https://github.com/triton-inference-server/redis_cache"""
        options = {"host": self.host, "port": 6379, "db": int(self.package_sha256[:8], 16) % CACHES}
        return [f"--cache-config=redis,{name}={value}" for name, value in options.items()]


def command(
    settings: ModelServerSettings,
    model: str,
    cache: ResponseCache | None,
    *,
    host_code: bool = False,
    traces: Traces | None = None,
) -> list[str]:
    """Triton's command line.

    ``model`` and what it is made of are loaded, and nothing else. Whoever may read the pod knows the key of what is
    closed, and no client does: it is the pod's uid. Clients come over HTTP only, so there is no gRPC.

    ``host_code``: engines may bring a runtime of their own, as version-compatible ones do; the TensorRT backend refuses
    them otherwise (its README, ``version-compatible``).
    """
    engines = ["--backend-config=tensorrt,version-compatible=true"] if host_code else []
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
        *(cache.flags if cache else []),
        *(triton_flags(traces.url) if traces else []),
    ]


def readiness_path(model: str) -> str:
    """Answers 200 when this model can serve, not only the server."""
    return f"/v2/models/{model}/ready"
