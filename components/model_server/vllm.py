"""The vLLM container."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillway.contracts.traces import VLLM_ENVIRONMENT, Traces
from spillway.contracts.vllm_options import command_line
from spillway.contracts.vllm_serving import DRAIN_OPTION, SWITCHED_OFF

HTTP_PORT = 8000
READINESS_PATH = "/health"
"""Answers 200 once the engine has loaded the model."""
FOLDER = "/cache/repository"


def environment(user: int, traces: Traces | None) -> dict[str, str]:
    """Of the container. Its user is none that the image knows, and torch asks for a name; what is compiled is kept
    where there is room."""
    variables = {"VLLM_CACHE_ROOT": "vllm", "TORCHINDUCTOR_CACHE_DIR": "torch", "TRITON_CACHE_DIR": "triton"}
    caches = {name: f"/cache/compiled/{folder}" for name, folder in variables.items()}
    return {**SWITCHED_OFF, "USER": str(user), **caches, **(VLLM_ENVIRONMENT if traces else {})}


def command(arguments: Mapping[str, Any], drain_s: int, group: Mapping[str, Any]) -> list[str]:
    """vLLM's command line: OpenAI-style routes and metrics on one port. The package says how its model is served.
    ``group``: what it is told of the server's other nodes."""
    here = {"port": HTTP_PORT, "download-dir": "/cache/downloads", DRAIN_OPTION: drain_s}
    return ["vllm", "serve", FOLDER, *command_line({**arguments, **here, **group}, FOLDER)]
