"""Typed ONNX → serialized plan.

The network is strongly typed: TensorRT keeps the types that the ONNX file gives, explicit quantize-dequantize pairs
included. Precision flags and calibrators are not used; TensorRT 11 has neither.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from model_packaging.tensorrt.libraries import Library, Messages
from model_packaging.tensorrt.settings import EngineSettings, Range
from spillway.contracts.manifest import PackageError
from spillway.contracts.trt_engines import ANY_GPU, Compiler, EngineProfile, HardwareKey

Progress = Callable[[str], None]
InputShapes = dict[str, tuple[int | str, ...]]

BATCH: Final = "batch"
"""The name that the ONNX file gives to the batch axis."""


def build_plan(
    library: Library,
    model: bytes,
    settings: EngineSettings,
    key: HardwareKey,
    timing_cache: Path | None = None,
    progress: Progress = lambda message: None,
) -> tuple[bytes, tuple[EngineProfile, ...]]:
    """Compile a typed ONNX model (its bytes) and return the plan and its optimisation profiles.

    ``timing_cache``: a file that is read where it is there and written afterwards; kernels that were timed once are not
    timed again. Raises :class:`PackageError` with the library's own words when the model cannot be compiled.
    """
    trt = library.trt
    messages = Messages(trt)
    try:
        builder = trt.Builder(messages.logger)
    except TypeError:
        # The constructor that finds no GPU, or no driver, returns nothing, which Python reports as a wrong type.
        raise PackageError(f"{library.compiler} {library.version} cannot start: {messages.last()}") from None
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, messages.logger)
    if not parser.parse(model):
        problems = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise PackageError(f"{library.compiler} {library.version} does not take the ONNX file: {problems}")

    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(settings.workspace_gib * 2**30))
    config.builder_optimization_level = settings.optimisation_level
    if settings.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if settings.hardware_compatibility != "none":
        level = settings.hardware_compatibility.upper().replace("-", "_")
        if not hasattr(trt.HardwareCompatibilityLevel, level):
            raise PackageError(
                f"hardware_compatibility: {library.compiler} {library.version} has no "
                f"{settings.hardware_compatibility}; leave it at `none`."
            )
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
    if key.gpu_name == ANY_GPU:
        config.num_compute_capabilities = 1
        target = getattr(trt.ComputeCapability, f"SM{key.compute_capability.replace('.', '')}")
        config.set_compute_capability(target, 0)

    profiles = make_profiles(input_shapes(network), settings)
    for profile in profiles:
        added = builder.create_optimization_profile()
        for name, (least, tuned, most) in profile.shapes.items():
            added.set_shape(name, least, tuned, most)
        config.add_optimization_profile(added)
    use_cache = timing_cache is not None and library.compiler is Compiler.TENSORRT
    cache = _read_cache(config, timing_cache) if use_cache else None
    config.progress_monitor = _monitor(trt, progress)

    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise PackageError(f"{library.compiler} {library.version} cannot build the engine: {messages.last()}")
    if cache is not None and timing_cache is not None:
        _write(timing_cache, bytes(cache.serialize()))
    return bytes(plan), profiles


def input_shapes(network: Any) -> InputShapes:
    """Input → its sizes; a dynamic axis by the name that the ONNX file gives it."""
    shapes: InputShapes = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        sizes = list(tensor.shape)
        shapes[tensor.name] = tuple(
            size if size >= 0 else tensor.get_dimension_name(axis) for axis, size in enumerate(sizes)
        )
    return shapes


def make_profiles(shapes: InputShapes, settings: EngineSettings) -> tuple[EngineProfile, ...]:
    """One profile for each batch range, or one in all for a model of fixed shapes.

    Raises :class:`PackageError` that names a dynamic axis without a range.
    """
    names = {size for sizes in shapes.values() for size in sizes if isinstance(size, str)}
    if unknown := sorted(names - settings.axes.keys() - {BATCH}):
        raise PackageError(
            f"axes: the model's axis {unknown[0]!r} is dynamic and has no range; give least, tuned for and most."
        )
    profiles = []
    for batch in settings.batches if BATCH in names else settings.batches[:1]:
        ranges = {**settings.axes, BATCH: batch}

        def sized(which: int, sizes: tuple[int | str, ...], ranges: dict[str, Range] = ranges) -> tuple[int, ...]:
            return tuple(ranges[size][which] if isinstance(size, str) else size for size in sizes)

        bounds = {name: (sized(0, sizes), sized(1, sizes), sized(2, sizes)) for name, sizes in shapes.items()}
        profiles.append(EngineProfile(shapes=bounds))
    return tuple(profiles)


def _strongly_typed(trt: Any) -> int:
    """The creation flag; where a release knows no other kind of network any more, no flag."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _read_cache(config: Any, path: Path | None) -> Any:
    known = path.read_bytes() if path is not None and path.is_file() else b""
    cache = config.create_timing_cache(known)
    # A cache of another GPU or version is not wrong, only useless: the library starts an empty one.
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _write(path: Path, content: bytes) -> None:
    """Replace the file in one step: two builds may share it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Tells each outermost phase; inner ones come by the thousand."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase:
                progress(f"{phase_name} ({num_steps} steps)")

        def phase_finish(self, phase_name: str) -> None:
            return None

        def step_complete(self, phase_name: str, step: int) -> bool:
            return True

    return Monitor()
