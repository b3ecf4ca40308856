"""What each serving container holds: the table that decides the ONNX opset and IR of a package.

A model runs everywhere it is meant to run when it is exported to the lowest opset and IR among its targets: a Triton
that takes IR 9 refuses IR 10.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class ContainerKind(StrEnum):
    """Who runs the container."""

    NGC_TRITON = "ngc-triton"
    SAGEMAKER_TRITON = "sagemaker-triton"
    AZURE_ML_TRITON = "azureml-triton"
    TWIN_TRITON = "twin-triton"
    ONNX_RUNTIME = "onnxruntime"
    """A container of one's own with Python and ONNX Runtime, for CPU burst endpoints."""


class Layout(StrEnum):
    """A form of the model in a package, named for its folder. Each holds one variant."""

    TRITON = "triton"
    """For the private site and the twin."""
    SAGEMAKER = "sagemaker"
    AZURE_ML = "azureml"
    ONNX_RUNTIME = "onnxruntime"
    VLLM = "vllm"
    """Of a language model: every site serves this one folder."""


LAYOUTS: Final[dict[ContainerKind, Layout]] = {
    ContainerKind.NGC_TRITON: Layout.TRITON,
    ContainerKind.TWIN_TRITON: Layout.TRITON,
    ContainerKind.SAGEMAKER_TRITON: Layout.SAGEMAKER,
    ContainerKind.AZURE_ML_TRITON: Layout.AZURE_ML,
    ContainerKind.ONNX_RUNTIME: Layout.ONNX_RUNTIME,
}
"""Which layout each kind of container reads."""


@dataclass(frozen=True)
class Container:
    """One serving container.

    ``opset`` and ``ir``: the highest that its ONNX Runtime takes. ``cuda`` / ``driver``: what it was built on and the
    NVIDIA driver that asks for, empty where it has no GPU part. ``source``: where the row comes from.
    ``tensorrt``: its release, empty where there is none or no release is known.
    """

    kind: ContainerKind
    tag: str
    triton: str
    onnx_runtime: str
    opset: int
    ir: int
    cuda: str
    driver: str
    source: str
    tensorrt: str = ""

    @property
    def name(self) -> str:
        """How a model.yaml and a manifest name this row."""
        return f"{self.kind}-{self.tag}"


@dataclass(frozen=True)
class OnnxLevel:
    """The opset and IR that a set of containers all take."""

    opset: int
    ir: int


# ONNX Runtime release → (opset, IR). Source: the ONNX release that each was built on, by
# onnxruntime.ai/docs/reference/compatibility.html, and that release's levels by onnx docs/Versioning.md
# (1.14: opset 19, IR 9; 1.16: 21, 10; 1.17: 22, 10; 1.18: 23, 11).
_ONNX_LEVELS: Final[dict[str, OnnxLevel]] = {
    "1.16": OnnxLevel(opset=19, ir=9),
    "1.18": OnnxLevel(opset=21, ir=10),
    "1.19": OnnxLevel(opset=21, ir=10),
    "1.21": OnnxLevel(opset=22, ir=10),
    "1.23": OnnxLevel(opset=23, ir=11),
}

# NGC release → TensorRT. NOT VERIFIED: written from memory of NVIDIA's Frameworks Support Matrix, which could not be
# read when this was written. Nothing is decided by it: an engine is keyed by the library that loads it. It tells a
# reader which TensorRT to compile with; the image itself says it best (the file name of its libnvinfer.so).
_TENSORRT: Final = {"24.01": "8.6.1", "24.09": "10.4.0", "24.10": "10.5.0", "25.04": "10.9.0", "25.09": "10.13.3"}

_BUILD = "github.com/triton-inference-server/server build.py and docs/introduction/compatibility.md"
_NOTES = "docs.nvidia.com/deeplearning/triton-inference-server/release-notes/rel-"


def _row(kind: ContainerKind, tag: str, triton: str, runtime: str, cuda: str, driver: str, source: str) -> Container:
    level = _ONNX_LEVELS[".".join(runtime.split(".")[:2])]
    return Container(kind, tag, triton, runtime, level.opset, level.ir, cuda, driver, source, _TENSORRT.get(tag, ""))


_SDK = "sagemaker-python-sdk image_uri_config/sagemaker-tritonserver.json; versions as in NGC's release of that tag"

_ROWS: Final = (
    _row(ContainerKind.NGC_TRITON, "24.01", "2.42.0", "1.16.3", "12.3.2", "545", f"{_BUILD}; {_NOTES}24-01.html"),
    _row(ContainerKind.NGC_TRITON, "24.09", "2.50.0", "1.19.2", "12.6.1", "560", f"{_BUILD}; {_NOTES}24-09.html"),
    _row(ContainerKind.NGC_TRITON, "24.10", "2.51.0", "1.19.2", "12.6.2", "560", f"{_BUILD}; {_NOTES}24-10.html"),
    _row(ContainerKind.NGC_TRITON, "25.04", "2.57.0", "1.21.0", "12.9.0", "575", f"{_BUILD}; {_NOTES}25-04.html"),
    _row(ContainerKind.NGC_TRITON, "25.09", "2.61.0", "1.23.0", "13.0.1", "580", f"{_BUILD}; {_NOTES}25-09.html"),
    _row(ContainerKind.SAGEMAKER_TRITON, "24.01", "2.42.0", "1.16.3", "12.3.2", "545", _SDK),
    _row(ContainerKind.SAGEMAKER_TRITON, "24.09", "2.50.0", "1.19.2", "12.6.1", "560", _SDK),
    _row(ContainerKind.SAGEMAKER_TRITON, "25.04", "2.57.0", "1.21.0", "12.9.0", "575", _SDK),
    _row(ContainerKind.SAGEMAKER_TRITON, "25.09", "2.61.0", "1.23.0", "13.0.1", "580", _SDK),
    _row(
        ContainerKind.AZURE_ML_TRITON,
        "managed",
        "2.42.0",
        "1.16.3",
        "12.3.2",
        "545",
        "No-code deployment: Microsoft publishes no version (learn.microsoft.com how-to-deploy-with-triton), so this "
        "row is a floor taken from NGC 24.01 and no measured fact. With an image of your own, name its NGC tag.",
    ),
    _row(
        ContainerKind.TWIN_TRITON,
        "2.51",
        "2.51.0",
        "1.23",
        "",
        "",
        "nvidia-pytriton 0.7.0 on PyPI; ONNX Runtime is the environment's own (1.32 takes more than this row says)",
    ),
    _row(
        ContainerKind.ONNX_RUNTIME,
        "cpu",
        "",
        "1.23",
        "",
        "",
        "The package's own requirements.txt pins the ONNX Runtime that parity was measured with; this row is a floor.",
    ),
)

CONTAINERS: Final[dict[str, Container]] = {row.name: row for row in _ROWS}
"""Every known container by name."""

DEFAULT_TARGETS: Final = ("ngc-triton-24.10", "sagemaker-triton-25.09", "azureml-triton-managed", "twin-triton-2.51")


def containers(names: Iterable[str]) -> tuple[Container, ...]:
    """The rows of these names. Raises ``KeyError`` with what exists for a name that does not."""
    unknown = sorted(set(names := tuple(names)) - CONTAINERS.keys())
    if unknown:
        raise KeyError(f"unknown target {unknown[0]!r}; known: {', '.join(CONTAINERS)}")
    return tuple(CONTAINERS[name] for name in names)


def layouts(names: Iterable[str]) -> tuple[Layout, ...]:
    """The layouts that these containers read, each once, in the order of :class:`Layout`."""
    asked = {LAYOUTS[row.kind] for row in containers(names)}
    return tuple(layout for layout in Layout if layout in asked)


def onnx_level(names: Iterable[str]) -> OnnxLevel:
    """The highest opset and IR that all of these containers take. ``names`` must not be empty."""
    rows = containers(names)
    return OnnxLevel(opset=min(row.opset for row in rows), ir=min(row.ir for row in rows))
