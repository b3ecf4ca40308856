"""What each kind of model server answers, and which of it a client may ask for through a gateway.

One table for every site: the Envoy config lets through what it allows and refuses the rest before any site is asked;
``docs/reference/routes.md`` and the tests are made from it. A route that is not in it is refused as well; a test holds
it against the routes of the pinned servers, so that a new one waits for a decision.

Sources: Triton 2.51, the expressions in its binary and ``docs/protocol`` of its repository; vLLM 0.30.0,
``vllm/entrypoints``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

ServerKind = Literal["triton", "vllm"]
"""A package's kind, and so the server on every site of its stack."""

TRITON_VERSION: Final = "2.51.0"
VLLM_VERSION: Final = "0.30.0"
"""Whose routes were decided about. Other versions have others, which are refused until they are in the table.

vLLM's is one for all sites: docs/decisions/0044-one-engine-version.md."""

NAME: Final = r"[A-Za-z0-9_.-]+"
"""What a ``{name}`` in a path stands for. Narrower than the servers' own, so that no odd byte gets through."""
NUMBER: Final = r"[0-9]+"
"""What ``{version}`` stands for."""


class Area(StrEnum):
    """What a route is for. Only the first three are ever allowed."""

    INFERENCE = "inference"
    METADATA = "metadata"
    HEALTH = "health"
    ADMINISTRATION = "administration"


@dataclass(frozen=True)
class ServerRoute:
    """``path``: ``{name}`` stands for one part of it, ``[…]`` for what may be left out. ``reason``: why it is so."""

    methods: tuple[str, ...]
    path: str
    area: Area
    allowed: bool
    reason: str

    @property
    def patterns(self) -> tuple[str, ...]:
        """The path with and without what may be left out."""
        if "[" not in self.path:
            return (self.path,)
        return tuple(re.sub(r"\[(.*?)\]", with_it, self.path) for with_it in ("", r"\1"))

    @property
    def expression(self) -> str:
        """A regular expression, as Python and RE2 have it, for the whole of a path."""
        marks = {"[": "(?:", "]": ")?"}
        parts = re.split(r"(\{\w+\}|\[|\])", self.path)
        marks["{version}"] = NUMBER
        return "".join(marks.get(part) or (NAME if part.startswith("{") else re.escape(part)) for part in parts)

    @property
    def generates(self) -> bool:
        """Whether the answer is text whose length nobody knows beforehand."""
        return self.area is Area.INFERENCE and not self.path.endswith("/infer")

    def matches(self, path: str) -> bool:
        """Whether a path is one of this route's."""
        return re.fullmatch(self.expression, path) is not None


def _get(path: str, area: Area, reason: str) -> ServerRoute:
    return ServerRoute(("GET",), path, area, allowed=True, reason=reason)


def _post(path: str, area: Area, reason: str) -> ServerRoute:
    return ServerRoute(("POST",), path, area, allowed=True, reason=reason)


def _closed(path: str, reason: str, *methods: str) -> ServerRoute:
    return ServerRoute(methods or ("GET", "POST"), path, Area.ADMINISTRATION, allowed=False, reason=reason)


_MODEL: Final = "/v2/models/{model}[/versions/{version}]"
_MEMORY: Final = "lets a caller map memory of the server's host (CVE-2025-23319 and its kin)"
_REPOSITORY: Final = "decides what is served; deployments do that"
_TRACE: Final = "makes the server write files that a caller names"
_CLOUD: Final = "a cloud's own front end, on a port of its own"
_GRPC: Final = "the gateway carries HTTP only, and servers start without gRPC"

TRITON: Final = (
    _post(f"{_MODEL}/infer", Area.INFERENCE, "KServe's inference request"),
    _post(f"{_MODEL}/generate", Area.INFERENCE, "the generate extension"),
    _post(f"{_MODEL}/generate_stream", Area.INFERENCE, "the generate extension, streamed"),
    _get("/v2", Area.METADATA, "name, version and extensions of the server; client libraries begin with it"),
    _get(_MODEL, Area.METADATA, "names, types and shapes of the tensors"),
    _get(f"{_MODEL}/ready", Area.HEALTH, "whether the model can serve"),
    _get("/v2/health/live", Area.HEALTH, "whether the server runs"),
    _get("/v2/health/ready", Area.HEALTH, "whether the server can serve"),
    _closed(f"{_MODEL}/config", "tells files, parameters and instances; a request needs the metadata only"),
    _closed(f"{_MODEL}/stats", "tells how much others ask; operators have the metrics"),
    _closed("/v2/models/stats", "tells how much others ask; operators have the metrics"),
    _closed(f"{_MODEL}/trace/setting", _TRACE),
    _closed("/v2/trace/setting", _TRACE),
    _closed("/v2/logging", "makes the server write a log file that a caller names"),
    _closed("/v2/repository[/{repository}]/index", "lists what is served and what could be"),
    _closed(
        "/v2/repository[/{repository}]/models/{model}/load", f"takes a model's files from the caller; {_REPOSITORY}"
    ),
    _closed("/v2/repository[/{repository}]/models/{model}/unload", _REPOSITORY),
    _closed("/v2/systemsharedmemory[/region/{region}]/status", _MEMORY),
    _closed("/v2/systemsharedmemory[/region/{region}]/register", _MEMORY),
    _closed("/v2/systemsharedmemory[/region/{region}]/unregister", _MEMORY),
    _closed("/v2/cudasharedmemory[/region/{region}]/status", _MEMORY),
    _closed("/v2/cudasharedmemory[/region/{region}]/register", _MEMORY),
    _closed("/v2/cudasharedmemory[/region/{region}]/unregister", _MEMORY),
    _closed("/metrics", "on a port of its own, which network policies open for monitoring only"),
    _closed("/invocations", _CLOUD),
    _closed("/ping", _CLOUD),
    _closed("/models[/{model}]", _CLOUD),
    _closed("/models/invoke", _CLOUD),
    _closed("/models/{model}/invoke", _CLOUD),
    _closed("/models{model}[/invoke]", f"{_CLOUD}; its expression needs no slash"),
    _closed("/inference.GRPCInferenceService/{method}", _GRPC),
    _closed("/grpc.health.v1.Health/{method}", _GRPC),
)

_CAUSAL: Final = "not for causal language models, and those are what packages for vLLM hold"
_TWICE: Final = "another name for a route below /v1"
_DEVELOPMENT: Final = "vLLM's development mode, which servers start without"
_RENDER: Final = "takes a request apart, or puts an answer together, without an engine"
_WEIGHTS: Final = f"changes weights in place; {_DEVELOPMENT}"
_FAULTS: Final = "orders the engine to recover, or tells of its faults; for operators"
_SUPERVISOR: Final = "of the supervisor of several engines, which is not started here"
_OTHER_API: Final = "another vendor's form of a chat, in which no burst site answers"
_STORED: Final = "reads or ends what another client asked for"
_ADAPTERS: Final = "loads weights from a path that a caller names; servers start without it"
_PROFILE: Final = "slows the server down and writes files; servers start without it"
_PAGES: Final = "FastAPI's pages about every route; servers start without them"

CHAT_PATH: Final = "/v1/chat/completions"

VLLM: Final = (
    _post(CHAT_PATH, Area.INFERENCE, "OpenAI's chat completions"),
    _post("/v1/completions", Area.INFERENCE, "OpenAI's completions"),
    _post("/v1/responses", Area.INFERENCE, "OpenAI's responses; nothing is stored"),
    _post("/v1/embeddings", Area.INFERENCE, "OpenAI's embeddings; a model without them answers 400"),
    _post("/v1/rerank", Area.INFERENCE, "documents by their fit to a query; a model that cannot answers 404"),
    _post("/v1/score", Area.INFERENCE, "how well two texts fit; a model that cannot answers 404"),
    _get("/v1/models", Area.METADATA, "names of the models; client libraries ask for it"),
    _get("/health", Area.HEALTH, "whether the engine runs"),
    _closed("/v1/responses/{response}", _STORED, "GET"),
    _closed("/v1/responses/{response}/cancel", _STORED, "POST"),
    _closed("/v1/audio/transcriptions", _CAUSAL, "POST"),
    _closed("/v1/audio/translations", _CAUSAL, "POST"),
    _closed("/v2/rerank", _TWICE, "POST"),
    _closed("/pooling", "hidden states of every token, with which a model can be copied", "POST"),
    _closed("/classify", _CAUSAL, "POST"),
    _closed("/score", _TWICE, "POST"),
    _closed("/rerank", _TWICE, "POST"),
    _closed("/invocations", "any inference under one name, for a cloud only", "POST"),
    _closed("/ping", "for a cloud only; the gateway has /health"),
    _closed("/tokenize", "work that no slot and no priority holds", "POST"),
    _closed("/detokenize", "work that no slot and no priority holds", "POST"),
    _closed("/tokenizer_info", "tells the chat template and the tokenizer's files", "GET"),
    _closed("/version", "tells which weaknesses to try", "GET"),
    _closed("/load", "tells how much others ask; operators have the metrics", "GET"),
    _closed("/metrics", "for monitoring, which asks the server itself", "GET"),
    _closed("/server_info", _DEVELOPMENT, "GET"),
    _closed("/reset_prefix_cache", _DEVELOPMENT, "POST"),
    _closed("/sleep", _DEVELOPMENT, "POST"),
    _closed("/wake_up", _DEVELOPMENT, "POST"),
    _closed("/is_sleeping", _DEVELOPMENT, "GET"),
    _closed("/collective_rpc", f"calls any method of the workers; {_DEVELOPMENT}", "POST"),
    _closed("/scale_elastic_ep", "changes the number of engines; the autoscaler does that", "POST"),
    _closed("/is_scaling_elastic_ep", "tells about that change", "POST"),
    _closed("/start_profile", _PROFILE, "POST"),
    _closed("/stop_profile", _PROFILE, "POST"),
    _closed("/v1/load_lora_adapter", _ADAPTERS, "POST"),
    _closed("/v1/unload_lora_adapter", _ADAPTERS, "POST"),
    *(_closed(f"/v1/{kind}/render", _RENDER, "POST") for kind in ("chat/completions", "completions", "responses")),
    *(_closed(f"/v1/{kind}/derender", _RENDER, "POST") for kind in ("chat/completions", "completions")),
    _closed("/v1/messages/render", _RENDER, "POST"),
    _closed("/cohere/v2/chat/render", _RENDER, "POST"),
    _closed("/v1/messages", _OTHER_API, "POST"),
    _closed("/v1/messages/count_tokens", "work that no slot and no priority holds", "POST"),
    _closed("/cohere/v2/chat", _OTHER_API, "POST"),
    _closed("/v1/chat/completions/batch", "many chats in one request: one slot would hold them all", "POST"),
    _closed("/v1/realtime", _CAUSAL, "GET"),
    _closed("/v2/embed", _CAUSAL, "POST"),
    _closed("/generative_scoring", _CAUSAL, "POST"),
    _closed("/inference/v1/generate", "token ids in and out, for disaggregated servers", "POST"),
    _closed("/abort_requests", "ends what other clients asked for", "POST"),
    _closed("/pause", f"stops the engine; {_DEVELOPMENT}", "POST"),
    _closed("/resume", _DEVELOPMENT, "POST"),
    _closed("/is_paused", _DEVELOPMENT, "GET"),
    _closed("/reset_mm_cache", _DEVELOPMENT, "POST"),
    _closed("/reset_encoder_cache", _DEVELOPMENT, "POST"),
    _closed("/weight_info", _DEVELOPMENT, "GET"),
    _closed("/get_world_size", _DEVELOPMENT, "GET"),
    _closed("/init_weight_transfer_engine", _WEIGHTS, "POST"),
    _closed("/start_weight_update", _WEIGHTS, "POST"),
    _closed("/start_draft_weight_update", _WEIGHTS, "POST"),
    _closed("/update_weights", _WEIGHTS, "POST"),
    _closed("/update_weight_version", _WEIGHTS, "POST"),
    _closed("/finish_weight_update", _WEIGHTS, "POST"),
    _closed("/fault_tolerance/apply", _FAULTS, "POST"),
    _closed("/fault_tolerance/status", _FAULTS, "GET"),
    _closed("/ready", _SUPERVISOR, "GET"),
    _closed("/readyz", _SUPERVISOR, "GET"),
    _closed("/docs", _PAGES, "GET"),
    _closed("/docs/oauth2-redirect", _PAGES, "GET"),
    _closed("/redoc", _PAGES, "GET"),
    _closed("/openapi.json", _PAGES, "GET"),
)

ROUTES: Final[dict[ServerKind, tuple[ServerRoute, ...]]] = {"triton": TRITON, "vllm": VLLM}


TRITON_RESTRICTED: Final = ("shared-memory", "model-repository", "trace", "logging")
"""Protocols that Triton itself answers with a key only (``--http-restricted-api``), behind the gateway's refusal."""
TRITON_KEY_HEADER: Final = "spillway-server-key"
"""Header of that key. The gateway passes no header on with which a client could guess: these paths never get there."""


def restriction(key: str) -> str:
    """Triton's argument that closes :data:`TRITON_RESTRICTED` to whoever does not know ``key``.

    https://github.com/triton-inference-server/server/blob/r24.10/docs/customization_guide/inference_protocols.md
    """
    return f"--http-restricted-api={','.join(TRITON_RESTRICTED)}:{TRITON_KEY_HEADER}={key}"


def allowed_routes(server: ServerKind) -> tuple[ServerRoute, ...]:
    """What clients may ask for."""
    return tuple(route for route in ROUTES[server] if route.allowed)


def openai_paths() -> tuple[str, ...]:
    """The paths of vLLM's inference, which are OpenAI's."""
    return tuple(route.path for route in allowed_routes("vllm") if route.area is Area.INFERENCE)


def exceptions(server: ServerKind) -> tuple[str, ...]:
    """Paths that are closed although they look like an open route's: ``/v2/models/stats`` is no model."""
    closed = [path for route in ROUTES[server] if not route.allowed for path in route.patterns if "{" not in path]
    return tuple(path for path in closed if any(route.matches(path) for route in allowed_routes(server)))


def decision(server: ServerKind, method: str, path: str) -> ServerRoute | None:
    """The route that a request is for; ``None`` where nobody has decided about it. Such a request is refused."""
    found = [route for route in ROUTES[server] if method in route.methods and route.matches(path)]
    # What is closed goes first: see :func:`exceptions`.
    return min(found, key=lambda route: route.allowed, default=None)
