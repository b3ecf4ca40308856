"""How long a request works on a model server: from given rates, from a package's latencies, or from measured tables.

Three kinds of service. A language model reads a prompt, by the table, and writes an answer, a token every ``token_s``,
``stretch`` longer when every slot is taken. An encoder runs batches, by the table of batch sizes. Where nothing but a
time is known (``request_s``), a request takes a slot for that long.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from spillway.contracts.frozen import Frozen
from spillway.contracts.gpus import MEMORY_MIB
from spillway.contracts.manifest import LanguageServing, LatencyFigure, Manifest, Serving
from spillway.planner.errors import PlannerError
from spillway.planner.trace import Trace

Tokens = NDArray[np.float64]
MEASURED: Final = Path(__file__).with_name("measured.json")


class Speed(NamedTuple):
    """Dense FP16/BF16 tensor TFLOP/s and memory bandwidth, GB/s, of one GPU."""

    tflops: float
    gb_per_s: float


GPU_SPEED: Final[dict[str, Speed]] = {
    "T4": Speed(65, 320),
    "A10": Speed(125, 600),
    "A10G": Speed(70, 600),
    "L4": Speed(121, 300),
    "L40S": Speed(362, 864),
    "A100-40GB": Speed(312, 1555),
    "A100-80GB": Speed(312, 2039),
    "H100": Speed(989, 3350),
    "H100-NVL": Speed(835, 3900),
    "H200": Speed(989, 4800),
    "B200": Speed(2250, 7700),
    "MI300X": Speed(1307, 5300),
}
"""NVIDIA's and AMD's data sheets (dense figures, SXM where there is a choice). They carry a measurement from one kind
to another: prompts go with the arithmetic, answers with the bandwidth. An estimate, and said to be one."""


class ServiceModel(Frozen):
    """Seconds of a request on one server. Tokens: of the prompt in, of the answer out."""

    name: str
    """What was measured, on what."""
    source: str
    """Where the figures are from."""
    gpu: str | None = None
    """GPU kind of the measurement; ``None`` where it does not matter."""
    gpus_per_server: int = Field(default=1, ge=1)
    """GPUs that one server takes."""
    slots: int = Field(default=1, ge=1)
    """Requests that one server works on at once."""
    gate_slots: int | None = Field(default=None, ge=1)
    """Requests of one server that a gateway counts as its slots; ``None``: those."""
    accepted: int | None = Field(default=None, ge=1)
    """Requests, working or waiting, above which one server refuses (vLLM's ``max-num-queued-reqs``); ``None``: not
    said."""
    most_unread_tokens: int | None = Field(default=None, ge=1)
    """Tokens of waiting prompts above which it refuses (vLLM's ``max-num-queued-tokens``); ``None``: any."""
    prompt_tokens: tuple[float, ...] = (0.0, 1.0)
    """Tokens read at once, of an encoder the batch sizes, at which ``prompt_s`` was measured, rising; straight lines
    between and beyond, below the first its own time."""
    prompt_s: tuple[float, ...] = (0.0, 0.0)
    """Seconds of reading so many, alone on a server."""
    most_read: int = Field(default=2048, ge=1)
    """Tokens that a server reads in one iteration at most (vLLM's ``max-num-batched-tokens``, of whose scheduler's
    configuration 2048 is the default), of an encoder its largest batch."""
    batched: bool = False
    """An encoder: its table is of batches."""
    delay_s: float = Field(default=0.0, ge=0)
    """Seconds that an encoder's batch waits to fill."""
    token_s: float = Field(default=0.0, ge=0)
    """Seconds of one token of an answer, alone on the server."""
    request_s: float = Field(default=0.0, ge=0)
    """Seconds that every request takes besides, in its slot."""
    stretch: float = Field(default=0.0, ge=0)
    """How much longer an answer takes when every slot is taken: 0.25 is a quarter."""
    mixed: float = Field(default=1.1, ge=1)
    """How much longer an iteration is that reads prompts and goes on with answers, than one that reads alone: as in
    splitwise-sim's ``performance_model.py`` (github.com/Mutinifni/splitwise-sim)."""
    gpu_weights_bytes: int = Field(default=0, ge=0)
    """Weights that each of a server's GPUs holds; 0 where that is unknown."""
    gpu_kv_bytes_per_token: float = Field(default=0.0, ge=0)
    """KV cache of one token on each GPU of the copy that serves it; 0 where that is unknown, or there is none."""
    copies: int = Field(default=1, ge=1)
    """Copies of the model in one server (data parallel), each with a KV cache of its own."""
    longest_tokens: int = Field(default=0, ge=0)
    """Tokens of the longest request that a server has to hold; 0 where nothing says."""
    memory_share: float = Field(default=0.9, gt=0, le=1)
    """Share of a GPU's memory that the server takes (vLLM's ``gpu-memory-utilization``)."""
    elsewhere: Mapping[str, float] = Field(default_factory=dict)
    """How much longer a request takes at a site that serves another variant than the private one, by site."""

    @model_validator(mode="after")
    def _rising(self) -> ServiceModel:
        if len(self.prompt_tokens) != len(self.prompt_s) or len(self.prompt_s) < 2:
            raise ValueError("prompt_tokens and prompt_s are points of one line: give two or more of each")
        if any(b <= a for a, b in zip(self.prompt_tokens, self.prompt_tokens[1:], strict=False)):
            raise ValueError(f"prompt_tokens have to rise, not {list(self.prompt_tokens)}")
        if min(self.prompt_s) < 0:
            raise ValueError("prompt_s: no time is negative")
        return self

    @property
    def language(self) -> bool:
        """Whether it writes answers token by token."""
        return self.token_s > 0

    @property
    def server_bytes(self) -> int:
        """Weights of one server, which an instance fetches before it serves; 0 where that is unknown."""
        return self.gpu_weights_bytes * self.gpus_per_server

    def demand(self, counted_in: NDArray[Any], counted_out: NDArray[Any]) -> tuple[Tokens, Tokens, Tokens]:
        """``(prompt, work, tokens)`` of each request, by its tokens in and out, as ``simulate.Demand`` has them."""
        tokens_in, tokens_out = counted_in.astype(np.float64), counted_out.astype(np.float64)
        nothing = np.zeros_like(tokens_in)
        if self.language:
            return np.maximum(tokens_in, 1.0), np.maximum(tokens_out - 1.0, 0.0), tokens_in + tokens_out
        if self.batched:
            return nothing + 1.0, nothing, nothing
        return nothing, nothing + self.request_s, nothing

    def kv_tokens(self, gpu: str | None) -> int | None:
        """Tokens that one server's KV cache holds on GPUs of this kind; ``None`` where that is unknown.

        Raises :class:`PlannerError` where the model does not fit.
        """
        if gpu is None or not self.gpu_weights_bytes or gpu not in MEMORY_MIB:
            return None
        there = MEMORY_MIB[gpu] * 2**20 * self.memory_share
        free = there - self.gpu_weights_bytes
        each = int(free / self.gpu_kv_bytes_per_token) if self.gpu_kv_bytes_per_token and free > 0 else 0
        if free <= 0 or (self.gpu_kv_bytes_per_token and each < max(1, self.longest_tokens)):
            need = self.gpu_weights_bytes + self.gpu_kv_bytes_per_token * self.longest_tokens
            raise PlannerError(
                f"{self.name} does not fit {gpu}: each of its {self.gpus_per_server} GPUs has to hold {need / 1e9:.1f} "
                f"GB of weights and KV cache, and {self.memory_share:.0%} of one are {there / 1e9:.1f} GB. Use larger "
                "GPUs, more of them for a server, or a smaller variant"
            )
        return each * self.copies if each else None

    def at(self, site: str, gpu: str | None) -> tuple[float, float]:
        """How much longer prompts and answers take at a site, on its GPU kind where that is known."""
        prompt, answer = self.factors(gpu) if gpu else (1.0, 1.0)
        longer = self.elsewhere.get(site, 1.0)
        return prompt * longer, answer * longer

    def factors(self, gpu: str) -> tuple[float, float]:
        """How much longer prompts and answers take on another GPU kind, by :data:`GPU_SPEED`.

        Raises :class:`PlannerError` where one of the kinds is unknown.
        """
        if self.gpu is None or gpu == self.gpu:
            return 1.0, 1.0
        for kind in (self.gpu, gpu):
            if kind not in GPU_SPEED:
                raise PlannerError(
                    f"nothing is known of the speed of {kind}; known: {', '.join(GPU_SPEED)}. Plan with instances of "
                    f"{self.gpu} alone, or give tokens/s measured on the kind you use"
                )
        here, there = GPU_SPEED[self.gpu], GPU_SPEED[gpu]
        return here.tflops / there.tflops, here.gb_per_s / there.gb_per_s


def from_rates(
    prompt_tokens_per_s: float,
    answer_tokens_per_s: float,
    *,
    slots: int,
    gpus_per_server: int = 1,
    gpu: str | None = None,
    stretch: float = 0.0,
) -> ServiceModel:
    """From tokens a second: of one prompt alone on a server, and of one answer (one stream, not all slots together)."""
    for name, rate in (("prompt", prompt_tokens_per_s), ("answer", answer_tokens_per_s)):
        if not rate > 0 or not np.isfinite(rate):
            raise PlannerError(f"the {name} rate is {rate} tokens/s; it must be above 0")
    return ServiceModel(
        name=f"{prompt_tokens_per_s:g} prompt and {answer_tokens_per_s:g} answer tokens/s, {slots} slots",
        source="given",
        gpu=gpu,
        gpus_per_server=gpus_per_server,
        slots=slots,
        prompt_s=(0.0, 1.0 / prompt_tokens_per_s),
        token_s=1.0 / answer_tokens_per_s,
        stretch=stretch,
    )


def from_manifest(manifest: Manifest, variant: str, gpus_per_server: int = 1) -> ServiceModel:
    """From the latencies that were measured when the package was made: of the variant that is served, on that machine.

    Such a model's answer has no tokens of its own: a request is one sample of a batch. Raises :class:`PlannerError`.
    """
    figures = _figures(manifest, variant)
    sizes = sorted({figure.batch_size for figure in figures})
    seconds = [mean(figure.p50_ms for figure in figures if figure.batch_size == size) / 1000 for size in sizes]
    if len(sizes) == 1:
        # Nothing shows that a batch gains anything.
        sizes, seconds = [sizes[0], 2 * sizes[0]], [seconds[0], 2 * seconds[0]]
    bytes_ = next((made.size_bytes for made in manifest.variants if made.name == variant), 0)
    return ServiceModel(
        name=f"{manifest.name} {manifest.version}, {variant}",
        source="latencies in the package's manifest: p50 over the measured lengths, on the CPU that made it",
        gpus_per_server=gpus_per_server,
        slots=manifest.serving.slots,
        prompt_tokens=tuple(map(float, sizes)),
        prompt_s=tuple(seconds),
        most_read=manifest.serving.max_batch_size,
        batched=True,
        gpu_weights_bytes=bytes_,
    )


def need_tokens(trace: Trace, service: ServiceModel) -> None:
    """Raises :class:`PlannerError` where a trace of generated text meets a service that makes none: whatever a request
    asks for, each would take as long as the next."""
    if not service.language and float(trace.tokens_out.sum()) > 0:
        raise PlannerError(
            f"the trace's answers have {float(trace.tokens_out.mean()):.0f} tokens on the mean, and {service.name} "
            "generates no text: plan with --measured or --tokens-per-s, with a language model's package, or say with "
            "--ignore-tokens that each request takes as long as the next"
        )


def with_engine(service: ServiceModel, language: LanguageServing, serving: Serving) -> ServiceModel:
    """Given speeds, with what the package says of the engine: its memory, how much it reads at once, and what it and
    the gateways let in."""
    together = language.tensor_parallel_size * language.pipeline_parallel_size
    holders = min(language.tensor_parallel_size, language.kv_shards) * language.pipeline_parallel_size
    most_read = language.arguments.get("max-num-batched-tokens", service.most_read)
    return service.model_copy(
        update={
            "gpu_weights_bytes": language.weights_bytes // together,
            "gpu_kv_bytes_per_token": (language.kv_bytes_per_token or 0) / holders,
            "copies": language.data_parallel_size,
            "longest_tokens": language.max_model_len,
            "memory_share": language.gpu_memory_utilization,
            "most_read": int(most_read),
            "slots": language.max_num_seqs,
            "gate_slots": serving.slots,
            "accepted": serving.max_concurrency,
            "most_unread_tokens": language.arguments.get("max-num-queued-tokens"),
        }
    )


def _figures(manifest: Manifest, variant: str) -> Sequence[LatencyFigure]:
    if found := [figure for figure in manifest.latency if figure.variant == variant]:
        return found
    there = ", ".join(sorted({figure.variant for figure in manifest.latency})) or "none"
    raise PlannerError(
        f"package {manifest.name} has no latencies of {variant}, which it serves; measured variants: {there}. "
        "Package it again, or give --tokens-per-s"
    )


@cache
def measured() -> dict[str, ServiceModel]:
    """The committed measurements, by name: see ``measured.json`` for source and licence."""
    rows = json.loads(MEASURED.read_text(encoding="utf-8"))
    return {name: ServiceModel(source=rows["source"], **row) for name, row in rows["models"].items()}


def measured_model(name: str) -> ServiceModel:
    """Raises :class:`PlannerError` naming what there is."""
    try:
        return measured()[name]
    except KeyError:
        raise PlannerError(f"no measurement is called {name!r}; there are: {', '.join(measured())}") from None
