"""``model.yaml``: what to package, how it is checked, and how it is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from model_packaging.errors import ModelConfigError
from model_packaging.language.config import KINDS as LANGUAGE_KINDS
from model_packaging.language.config import LanguageConfig
from model_packaging.sources import Source
from model_packaging.tuning.settings import TuningConfig
from model_packaging.variants.settings import CALIBRATED, TORCH_ONLY, Precision, Variant
from spillway.contracts.classes import PROMISES, RequestClass
from spillway.contracts.settings import Settings
from spillway.contracts.targets import CONTAINERS, DEFAULT_TARGETS, LAYOUTS, Layout, containers, layouts

SERVE_DEFAULT: Final = "default"
"""Key of ``serve`` for the layouts that it does not name."""
TENSORRT_PROVIDER_SINCE: Final = (2, 45, 0)
"""First Triton whose ONNX Runtime backend hands ``trt_profile_*_shapes`` and a timing cache on: branch r24.04 of
triton-inference-server/onnxruntime_backend, src/onnxruntime.cc."""


class Latency(Settings):
    """What is timed."""

    batch_sizes: tuple[int, ...] = Field(default=(1, 8), min_length=1)
    sequence_length: int = Field(default=64, ge=1)
    repeats: int = Field(default=15, ge=3)
    threads: int = Field(default=1, ge=1)


class Batching(Settings):
    """Triton's dynamic batching.

    Timeouts are how long a request may wait in the queue before it is rejected: by default until its answer would count
    as lost, so that the bound never costs an answer that was still worth something.
    """

    max_queue_delay_ms: float = Field(default=50, ge=0)
    max_queue_size: int = Field(default=256, ge=0)
    """Requests that may wait per priority level; 0 for no bound."""
    timeout_s: dict[RequestClass, float] = Field(
        default_factory=lambda: {cls: promise.lost_after_s for cls, promise in PROMISES.items()}
    )

    @field_validator("timeout_s")
    @classmethod
    def _every_class(cls, value: dict[RequestClass, float]) -> dict[RequestClass, float]:
        if missing := set(RequestClass) - value.keys():
            raise ValueError(f"give a timeout for every class; missing: {', '.join(sorted(missing))}")
        if bad := [name for name, seconds in value.items() if seconds <= 0]:
            raise ValueError(f"{bad[0]}: a timeout is more than 0 seconds")
        return value


class ServingConfig(Settings):
    """How Triton serves the model."""

    max_batch_size: int = Field(default=32, ge=1, le=1024)
    """Requests that share a batch at most. A model without a batch axis answers one at a time, whatever this says."""
    batching: Batching = Batching()
    instance_kind: Literal["auto", "cpu", "gpu"] = "auto"
    """``auto``: on the GPU where there is one."""
    accelerator: Literal["none", "tensorrt-ep"] = "none"
    """``tensorrt-ep``: on a GPU, ONNX Runtime's TensorRT execution provider compiles the portable model when the server
    loads it, and keeps the engine in ``engine_cache``: for where no engine was compiled for the hardware."""
    engine_cache: str = Field(default="/tmp/tensorrt-engines", min_length=1)
    """Folder, in the server, of the engines that ``tensorrt-ep`` compiles. Mount a volume there to keep them."""
    instances: int = Field(default=1, ge=1, le=64)
    intra_op_threads: int = Field(default=0, ge=0)
    """ONNX Runtime's threads per instance on the CPU; 0 leaves it to ONNX Runtime."""
    pad_to_multiple_of: int = Field(default=16, ge=1)
    """Texts are padded to a multiple of this, so that requests of like length share a batch."""
    response_cache: bool = False
    warm_up: bool = True
    slots: int = Field(default=32, ge=1)
    max_concurrency: int = Field(default=64, ge=1)
    request_timeout_s: float = Field(default=30, gt=0)


class AzureMlConfig(Settings):
    """What goes into Azure ML's deployment description."""

    instance_type: str = "Standard_NC4as_T4_v3"
    cpu_instance_type: str = "Standard_F4s_v2"
    """For the ONNX Runtime target, which has no GPU."""
    instance_count: int = Field(default=1, ge=1)


class ModelConfig(Settings):
    """``model.yaml``."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    """Name of the package and of the Triton model that clients call."""
    source: Source
    variants: tuple[Variant, ...] = (
        Variant(precision="fp32", min_cosine=0.9999),
        Variant(precision="int8-dynamic", min_cosine=0.98),
    )
    serve: dict[str, str] = Field(default={SERVE_DEFAULT: "fp32"})
    """The variant for the targets: a precision, or ``best``, the fastest on this machine's CPU that passed. One for
    all, or one by layout (``triton``, ``sagemaker``, ``azureml``, ``onnxruntime``), ``default`` for those not named."""
    keep: tuple[Precision, ...] = ("fp32", "fp16")
    """Variants that stay in the package as ``variants/<name>/``, where they passed, besides those that are served:
    engines are compiled from ``fp32``."""
    calibration: Path | None = None
    """Real data that int8-static is scaled by: a sentence a line for a text model, else an ``.npz`` file with an array
    per input. Give other data than ``samples``, or parity flatters."""
    samples: Path | None = None
    """What parity is measured on: a text file with a sentence a line, or an ``.npz`` file with an array per input. A
    Python entry brings its own samples."""
    targets: tuple[str, ...] = DEFAULT_TARGETS
    latency: Latency = Latency()
    serving: ServingConfig = ServingConfig()
    azure_ml: AzureMlConfig = AzureMlConfig()
    tuning: TuningConfig | None = Field(default=None, exclude=True)
    """What ``spillway package tune`` searches. It changes nothing in a package, so it is no part of what one is known
    by."""
    base_dir: Path = Field(default=Path(), exclude=True)
    """Folder of model.yaml; relative paths start there. Not a key of the file."""

    @field_validator("targets")
    @classmethod
    def _known_targets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("name at least one target")
        if unknown := [name for name in value if name not in CONTAINERS]:
            raise ValueError(f"unknown target {unknown[0]!r}; known: {', '.join(CONTAINERS)}")
        return value

    @field_validator("serve", mode="before")
    @classmethod
    def _one_for_all(cls, value: object) -> object:
        if isinstance(value, str):
            return {SERVE_DEFAULT: value}
        if not isinstance(value, dict):
            raise ValueError("give a variant, `best`, or a mapping from layout to one of them")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        names = [variant.name for variant in self.variants]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"variants: give each precision once, at least one; got {names}")
        asked = layouts(self.targets)
        _check_serve(self.serve, names, asked)
        if self.tuning and (others := [layout for layout in self.tuning.layouts if layout not in asked]):
            raise ValueError(f"tuning.layouts: no target asks for {others[0]}; allowed: {', '.join(asked)}")
        if self.serving.accelerator == "tensorrt-ep":
            self._check_tensorrt_provider()
        needing = [name for name in names if name in CALIBRATED]
        if needing and self.calibration is None:
            raise ValueError(
                f"calibration: {needing[0]} needs a file of calibration data, which is never made up; "
                "give one, or leave that variant out"
            )
        return self

    def _check_tensorrt_provider(self) -> None:
        for row in containers(self.targets):
            if row.triton and tuple(map(int, row.triton.split("."))) < TENSORRT_PROVIDER_SINCE:
                since = ".".join(map(str, TENSORRT_PROVIDER_SINCE))
                raise ValueError(
                    f"serving.accelerator: tensorrt-ep needs Triton {since} (24.04), which takes the sizes to compile "
                    f"for; {row.name} has {row.triton}: leave that target out, name a newer one, or use `none`"
                )

    def serve_by_layout(self) -> dict[Layout, str]:
        """What ``serve`` says for each layout that a target asks for."""
        return {layout: self.serve.get(layout) or self.serve[SERVE_DEFAULT] for layout in layouts(self.targets)}

    def tuned_layouts(self) -> tuple[Layout, ...]:
        """The layouts that ``tuning``, which must be there, chooses for: those it names, or all of the targets."""
        assert self.tuning
        return self.tuning.layouts or layouts(self.targets)

    def resolve(self, path: Path) -> Path:
        """A path of the file, made absolute."""
        return (self.base_dir / path).resolve()


def _check_serve(serve: dict[str, str], names: list[str], asked: tuple[Layout, ...]) -> None:
    """Every layout of the targets has a variant that it can run, and nothing else is named. Raises ``ValueError``."""
    for key, variant in serve.items():
        where = "serve" if key == SERVE_DEFAULT else f"serve.{key}"
        if key != SERVE_DEFAULT and key not in LAYOUTS.values():
            known = dict.fromkeys(LAYOUTS.values())
            raise ValueError(f"{where}: no such layout; known: {', '.join(known)}, and {SERVE_DEFAULT} for the others")
        if key != SERVE_DEFAULT and key not in asked:
            raise ValueError(
                f"{where}: no target asks for this layout, but for {', '.join(asked)}; leave it out, or add a target"
            )
        if variant != "best" and variant not in names:
            raise ValueError(f"{where}: {variant} is not among the variants {names}; add it, or serve `best`")
        if variant in TORCH_ONLY:
            raise ValueError(f"{where}: {variant} runs in torch alone and fits no target; serve an ONNX variant")
    missing = [layout for layout in asked if layout not in serve]
    if missing and SERVE_DEFAULT not in serve:
        raise ValueError(
            f"serve: nothing is said for {', '.join(missing)}, which the targets ask for; "
            f"name a variant for each, or give {SERVE_DEFAULT}"
        )


def load_config(path: Path | str) -> ModelConfig | LanguageConfig:
    """Read ``model.yaml``. Raises :class:`ModelConfigError`."""
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelConfigError(
            f"{path}: no such file. Start from model_packaging/examples/minilm/model.yaml."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelConfigError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise ModelConfigError(f"{path}: expected keys and values at the top, got {type(values).__name__}.")
    if "base_dir" in values:
        raise ModelConfigError(f"{path}: base_dir: unknown key; remove it.")
    return parse_config(values, base_dir=path.resolve().parent, name=str(path))


def parse_config(values: dict[str, Any], *, base_dir: Path, name: str = "model.yaml") -> ModelConfig | LanguageConfig:
    """The same from values. Raises :class:`ModelConfigError` that names every key at fault.

    ``source.kind`` says which kind of model it is: causal language models have settings of their own.
    """
    source = values.get("source")
    settings = LanguageConfig if isinstance(source, dict) and source.get("kind") in LANGUAGE_KINDS else ModelConfig
    try:
        return settings.model_validate({**values, "base_dir": base_dir})
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in item['loc']) or 'the file'}: {item['msg']}{_given(item['input'])}"
            for item in error.errors()
        ]
        raise ModelConfigError(f"{name}: " + "; ".join(lines) + ". See docs/how-to/your-own-model.md.") from None


def _given(value: object) -> str:
    return "" if isinstance(value, dict | ModelConfig | LanguageConfig) else f" (given: {value!r})"
