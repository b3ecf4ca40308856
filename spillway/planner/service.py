"""How long a request works on a model server: from given rates, from a package's latencies, or from measured tables.

A request has two parts. ``serial`` seconds: its prompt, which a server works on alone. ``parallel`` seconds: its
answer, which shares the server with those in the other slots and is ``stretch`` longer when all are taken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from spillway.contracts.frozen import Frozen
from spillway.contracts.manifest import LatencyFigure, Manifest
from spillway.planner.errors import PlannerError

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
}
"""NVIDIA's data sheets (dense figures, SXM where there is a choice). They carry a measurement from one GPU kind to
another: prompts go with the arithmetic, answers with the bandwidth. An estimate, and said to be one."""


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
    prompt_tokens: tuple[float, ...] = (0.0, 1.0)
    """Prompt lengths at which ``prompt_s`` was measured, rising; straight lines between and beyond."""
    prompt_s: tuple[float, ...] = (0.0, 0.0)
    """Seconds of a prompt alone on a server."""
    token_s: float = Field(default=0.0, ge=0)
    """Seconds of one token of an answer, alone on the server."""
    request_s: float = Field(default=0.0, ge=0)
    """Seconds that every request takes besides, in its slot."""
    stretch: float = Field(default=0.0, ge=0)
    """How much longer an answer takes when every slot is taken: 0.25 is a quarter."""
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

    def times(self, tokens_in: NDArray[np.float64], tokens_out: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
        """``(serial, parallel)`` seconds for each request."""
        xs, ys = np.array(self.prompt_tokens), np.array(self.prompt_s)
        serial = np.interp(tokens_in, xs, ys)
        beyond = np.maximum(tokens_in - xs[-1], 0.0) * (ys[-1] - ys[-2]) / (xs[-1] - xs[-2])
        return serial + beyond, tokens_out * self.token_s + self.request_s

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

    Such a model's answer has no tokens of its own: a request is one inference. A server that runs batches of ``b`` in
    ``t(b)`` answers ``b`` requests side by side in ``t(b)`` each, so ``stretch`` is ``t(largest) ÷ t(1) − 1``, and the
    largest batch that was measured bounds the slots. Raises :class:`PlannerError`.
    """
    figures = _figures(manifest, variant)
    least = min(figure.batch_size for figure in figures)
    single = [figure for figure in figures if figure.batch_size == least]
    longest = max(figure.sequence_length for figure in figures)
    batches = sorted((f for f in figures if f.sequence_length == longest), key=lambda f: f.batch_size)
    return ServiceModel(
        name=f"{manifest.name} {manifest.version}, {figures[0].variant}",
        source="latencies in the package's manifest: p50 over the measured lengths, on the machine that made it",
        gpus_per_server=gpus_per_server,
        slots=min(manifest.serving.slots, batches[-1].batch_size) if len(batches) > 1 else manifest.serving.slots,
        request_s=sum(figure.p50_ms for figure in single) / len(single) / 1000,
        stretch=max(0.0, batches[-1].p50_ms / batches[0].p50_ms - 1.0),
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
