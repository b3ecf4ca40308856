"""``model.yaml`` of a model that takes tensors, or a text, and answers with tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field, field_validator, model_validator

from model_packaging.packager import PackageConfig
from model_packaging.sources import Source
from model_packaging.tensors.settings import AzureMlConfig, Latency, ServingConfig
from model_packaging.tensors.variants import SCHEMES
from model_packaging.tensors.variants.settings import Precision, Variant
from model_packaging.tuning.settings import TuningConfig
from spillway.contracts.targets import CONTAINERS, DEFAULT_TARGETS, LAYOUTS, Layout, containers, layouts

SERVE_DEFAULT: Final = "default"
"""Key of ``serve`` for the layouts that it does not name."""
TENSORRT_PROVIDER_SINCE: Final = (2, 45, 0)
"""First Triton whose ONNX Runtime backend hands ``trt_profile_*_shapes`` and a timing cache on: branch r24.04 of
triton-inference-server/onnxruntime_backend, src/onnxruntime.cc."""


class TensorConfig(PackageConfig):
    """``model.yaml``."""

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

    @field_validator("targets")
    @classmethod
    def _known_targets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("name at least one target")
        if unknown := [name for name in value if name not in CONTAINERS]:
            raise ValueError(f"unknown target {unknown[0]!r}; known: {', '.join(CONTAINERS)}")
        return value

    @field_validator("serve", mode="before", json_schema_input_type=str | dict[str, str])
    @classmethod
    def _one_for_all(cls, value: object) -> object:
        if isinstance(value, str):
            return {SERVE_DEFAULT: value}
        if not isinstance(value, dict):
            raise ValueError("give a variant, `best`, or a mapping from layout to one of them")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> TensorConfig:
        names = [variant.name for variant in self.variants]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"variants: give each precision once, at least one; got {names}")
        asked = layouts(self.targets)
        _check_serve(self.serve, names, asked)
        if self.tuning and (others := [layout for layout in self.tuning.layouts if layout not in asked]):
            raise ValueError(f"tuning.layouts: no target asks for {others[0]}; allowed: {', '.join(asked)}")
        if self.serving.accelerator == "tensorrt-ep":
            self._check_tensorrt_provider()
        needing = [name for name in names if SCHEMES[name].calibrated]
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
        if variant != "best" and SCHEMES[variant].torch_only:
            raise ValueError(f"{where}: {variant} runs in torch alone and fits no target; serve an ONNX variant")
    missing = [layout for layout in asked if layout not in serve]
    if missing and SERVE_DEFAULT not in serve:
        raise ValueError(
            f"serve: nothing is said for {', '.join(missing)}, which the targets ask for; "
            f"name a variant for each, or give {SERVE_DEFAULT}"
        )
