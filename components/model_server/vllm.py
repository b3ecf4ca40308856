"""The vLLM container."""

from __future__ import annotations

HTTP_PORT = 8000
READINESS_PATH = "/health"
"""Answers 200 once the engine has loaded the model."""


def command(model: str) -> list[str]:
    """vLLM's command line: OpenAI-style routes and metrics on one port. The package says how its model is served."""
    return [
        "vllm",
        "serve",
        "/cache/repository",
        "--config=/cache/repository/vllm.yaml",
        f"--served-model-name={model}",
        f"--port={HTTP_PORT}",
        "--download-dir=/cache/downloads",
    ]
