"""TensorRT and TensorRT-RTX: found, asked for their exact version, and what they say when something fails.

Both have one Python interface, so the rest of this package is written once. TensorRT 10 and 11 are supported.
"""

from __future__ import annotations

import ctypes
import importlib
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from spillway.contracts.manifest import PackageError
from spillway.contracts.trt_engines import ANY_GPU, Compiler, HardwareKey

RTX_TARGETS: Final = ("8.0", "8.6", "8.9", "12.0")
"""Compute capabilities that TensorRT-RTX builds for with no GPU at hand. 9.0 (H100, H200) is not among them: the
library knows no such target, and an engine for 8.9 was refused on an H100."""

_MODULES: Final = {
    Compiler.TENSORRT: ("tensorrt", "tensorrt_bindings"),
    Compiler.TENSORRT_RTX: ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
_LIBRARIES: Final = {
    Compiler.TENSORRT: ("libnvinfer.so.11", "libnvinfer.so.10"),
    Compiler.TENSORRT_RTX: ("libtensorrt_rtx.so.1",),
}
_INSTALL: Final = {
    Compiler.TENSORRT: "It comes with NVIDIA's serving images and as `pip install tensorrt` (10 or 11), and needs a "
    "GPU. Run this command there, or use TensorRT-RTX, which needs none (--compiler tensorrt-rtx)",
    Compiler.TENSORRT_RTX: "Install it with `pip install 'spillway[tensorrt-rtx]'`",
}
_OLDEST_MAJOR: Final = 10


@dataclass(frozen=True)
class Library:
    """One of the two, imported. ``trt`` is its Python module, ``version`` major.minor.patch.build."""

    compiler: Compiler
    trt: Any
    version: str


class Messages:
    """Collects what the library says, so that an error can say it, too."""

    def __init__(self, trt: Any) -> None:
        self._problems: list[str] = []
        collected = self._problems

        class Log(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                    collected.append(message.strip())

        self.logger = Log()

    def last(self) -> str:
        return self._problems[-1] if self._problems else "the library gives no reason"


def load(compiler: Compiler) -> Library:
    """Import the library. Raises :class:`PackageError` that says where to get it."""
    reasons = []
    for name in _MODULES[compiler]:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:
            reasons.append(f"{name}: {error}")
            continue
        version = _full_version(compiler)
        if compiler is Compiler.TENSORRT and int(version.split(".")[0]) < _OLDEST_MAJOR:
            raise PackageError(f"TensorRT {version} is installed; strongly typed networks need 10 or 11.")
        return Library(compiler, module, version)
    raise PackageError(f"{compiler} cannot be loaded ({'; '.join(reasons)}). {_INSTALL[compiler]}.")


def this_machine(library: Library) -> HardwareKey:
    """The key of this machine's first GPU. Raises :class:`PackageError` where there is none."""
    import torch

    if not torch.cuda.is_available():
        raise PackageError(
            f"{library.compiler} {library.version} is installed, but no NVIDIA GPU is visible here, and an engine is "
            "built and tried on the GPU that it is for. Run this on a machine that has it, serve the portable ONNX "
            "variant with `accelerator: tensorrt-ep`, or use --compiler tensorrt-rtx with --compute-capability."
        )
    major, minor = torch.cuda.get_device_capability()
    return HardwareKey(
        compiler=library.compiler,
        version=library.version,
        compute_capability=f"{major}.{minor}",
        gpu_name=torch.cuda.get_device_name(),
        os=this_os(),
    )


def ahead_of_time(library: Library, compute_capability: str) -> HardwareKey:
    """The key of a TensorRT-RTX engine for every GPU of a compute capability. Raises :class:`PackageError`."""
    if library.compiler is not Compiler.TENSORRT_RTX:
        raise PackageError(
            f"--compute-capability: {library.compiler} builds for the GPU of the machine it runs on only; "
            "leave it out, or use --compiler tensorrt-rtx."
        )
    if compute_capability not in RTX_TARGETS:
        raise PackageError(
            f"--compute-capability {compute_capability}: TensorRT-RTX builds for {', '.join(RTX_TARGETS)}. "
            "For an H100 or H200 (9.0) and other data centre GPUs use --compiler tensorrt on a machine that has one."
        )
    return HardwareKey(
        compiler=library.compiler,
        version=library.version,
        compute_capability=compute_capability,
        gpu_name=ANY_GPU,
        os=this_os(),
    )


def this_os() -> str:
    return f"{platform.system()}-{platform.machine()}".lower()


def _full_version(compiler: Compiler) -> str:
    """The loaded library's own answer: a Python wheel's version may lack the build number or carry a suffix."""
    loaded = _loaded_libraries()
    for name in _LIBRARIES[compiler]:
        try:
            library = ctypes.CDLL(loaded.get(name, name))
        except OSError:
            continue
        parts = ("Major", "Minor", "Patch", "Build")
        return ".".join(str(getattr(library, f"getInferLib{part}Version")()) for part in parts)
    raise PackageError(f"{compiler}: none of {', '.join(_LIBRARIES[compiler])} is loaded.")


def _loaded_libraries() -> dict[str, str]:
    """File name → path of every shared library in this process (Linux)."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    paths = {line.split(maxsplit=5)[5] for line in lines if "/" in line}
    return {Path(path).name: path for path in paths}
