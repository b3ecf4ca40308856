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
    NVIDIA driver branch that goes with it, empty where it has no GPU part. ``source``: the documents of the row.
    ``tensorrt``: its release, empty where there is none, or where no document that could be read names it; an engine of
    another one is not deployed. The image says it best (``ls /usr/lib/x86_64-linux-gnu/libnvinfer.so.*``).
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


# ONNX Runtime release → (opset, IR): the highest that the CPU wheel of that release loads, asked of each wheel with a
# model of one Identity node. onnxruntime's docs/reference/compatibility.md says the same as far as it goes (1.20), and
# each pair is one of an ONNX release (onnx docs/Versioning.md).
_ONNX_LEVELS: Final[dict[str, OnnxLevel]] = {
    "1.16": OnnxLevel(opset=19, ir=9),
    "1.17": OnnxLevel(opset=20, ir=9),
    "1.18": OnnxLevel(opset=21, ir=10),
    "1.19": OnnxLevel(opset=21, ir=10),
    "1.21": OnnxLevel(opset=22, ir=10),
    "1.23": OnnxLevel(opset=23, ir=11),
    "1.24": OnnxLevel(opset=25, ir=13),
    "1.28": OnnxLevel(opset=26, ir=13),
}


@dataclass(frozen=True)
class _Release:
    """One monthly release of Triton. ``documents``: where CUDA, driver and TensorRT stand; see :data:`_BUILD`."""

    triton: str
    onnx_runtime: str
    cuda: str
    driver: str
    documents: str
    tensorrt: str = ""


_SERVER: Final = "github.com/triton-inference-server/server"
_BUILD: Final = f"{_SERVER} build.py at branch r{{tag}} (Triton, ONNX Runtime)"
# That page lists the vLLM image of each tag, which is built on the same base image as the plain one.
_COMPATIBILITY: Final = f"{_SERVER} docs/introduction/compatibility.md at branch r26.08 (CUDA, driver)"
_NOTES: Final = "docs.nvidia.com/deeplearning/triton-inference-server/release-notes/rel-"

_RELEASES: Final[dict[str, _Release]] = {
    "23.12": _Release("2.41.0", "1.16.3", "12.3.2", "545", f"{_NOTES}23-12.html (CUDA, driver)"),
    "24.01": _Release(
        "2.42.0",
        "1.16.3",
        "12.3.2",
        "545",
        f"{_NOTES}24-01.html (CUDA, driver); {_SERVER}/issues/6959, which cites NVIDIA's support matrix (TensorRT)",
        "8.6.1",
    ),
    "24.03": _Release(
        "2.44.0",
        "1.17.2",
        "12.4.0",
        "545",
        f"{_NOTES}24-03.html (CUDA, driver); {_SERVER}/issues/7221, the server's own message (TensorRT)",
        "8.6.3.1",
    ),
    "24.05": _Release("2.46.0", "1.18.0", "12.4", "545", f"{_NOTES}24-05.html (CUDA, driver)"),
    "24.09": _Release("2.50.0", "1.19.2", "12.6.1", "560", _COMPATIBILITY),
    "24.10": _Release(
        "2.51.0",
        "1.19.2",
        "12.6.2",
        "560",
        f"{_NOTES}24-10.html (CUDA, driver); {_SERVER} docs/introduction/release_notes.md at 9fac69d6b (TensorRT)",
        "10.5.0.18",
    ),
    "25.04": _Release("2.57.0", "1.21.0", "12.9.0", "575", _COMPATIBILITY),
    "25.09": _Release("2.61.0", "1.23.0", "13.0.1", "580", _COMPATIBILITY),
    "25.11": _Release("2.63.0", "1.23.2", "13.0.2", "580", _COMPATIBILITY),
    "26.03": _Release("2.67.0", "1.24.2", "13.2.0", "595", _COMPATIBILITY),
    "26.05": _Release("2.69.0", "1.24.4", "13.2.1", "595", _COMPATIBILITY),
    "26.08": _Release("2.72.0", "1.28.0", "13.4.1", "615", _COMPATIBILITY),
}

_SAGEMAKER: Final = (
    "aws/sagemaker-python-sdk image_uri_config/sagemaker-tritonserver.json at a2481266 (the tag); the rest as in NGC's "
    "release of that tag: "
)
_SAGEMAKER_TAGS: Final = ("23.12", "24.01", "24.03", "24.05", "24.09", "25.04", "25.09", "26.05")


def _triton(kind: ContainerKind, tag: str, source: str = "") -> Container:
    release = _RELEASES[tag]
    return _row(
        kind,
        tag,
        release.triton,
        release.onnx_runtime,
        release.cuda,
        release.driver,
        f"{source}{_BUILD.format(tag=tag)}; {release.documents}",
        release.tensorrt,
    )


def _row(
    kind: ContainerKind, tag: str, triton: str, runtime: str, cuda: str, driver: str, source: str, tensorrt: str = ""
) -> Container:
    level = _ONNX_LEVELS[".".join(runtime.split(".")[:2])]
    return Container(kind, tag, triton, runtime, level.opset, level.ir, cuda, driver, source, tensorrt)


_ROWS: Final = (
    *(_triton(ContainerKind.NGC_TRITON, tag) for tag in _RELEASES),
    *(_triton(ContainerKind.SAGEMAKER_TRITON, tag, _SAGEMAKER) for tag in _SAGEMAKER_TAGS),
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
