"""A plan, deserialized: run on torch CUDA tensors, and replayed from a CUDA graph.

engine = load_engine(Path("…/minilm/current"))       # the plan for this machine's GPU and TensorRT
answer = engine({"input_ids": ids, "attention_mask": mask})["EMBEDDING"]
replay = engine.capture({"input_ids": ids, "attention_mask": mask})
replay.inputs["input_ids"].copy_(other_ids)
answer = replay()["EMBEDDING"]                        # one launch instead of one a kernel
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from model_packaging.tensorrt import libraries
from model_packaging.tensorrt.libraries import Library, Messages
from spillway.contracts.manifest import PackageError
from spillway.contracts.trt_engines import PLAN_NAME, Compiler, EngineTensor, find_engine

if TYPE_CHECKING:
    import torch

_DTYPES: Final = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "BOOL": "bool",
}
_WARM_UP_RUNS: Final = 3


@dataclass(frozen=True)
class _State:
    """A context, the input shapes that it is set to, and the outputs' shapes and types that follow."""

    context: Any
    shapes: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[tuple[int, ...], torch.dtype]]


class Engine:
    """One deserialized plan and an execution context for each optimisation profile. Not safe for threads."""

    def __init__(self, library: Library, plan: bytes, *, version_compatible: bool = False) -> None:
        """``version_compatible``: the plan was built so; it brings a runtime of its own, which is code of the host.

        Raises :class:`PackageError` with the library's words when this machine cannot run the plan.
        """
        import torch

        messages = Messages(library.trt)
        self._trt = library.trt
        self._runtime = library.trt.Runtime(messages.logger)
        if version_compatible:
            self._runtime.engine_host_code_allowed = True
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        self._messages = messages
        if self._engine is None:
            raise PackageError(
                f"{library.compiler} {library.version} does not take this plan: {messages.last()}. A plan fits the "
                "version and GPU that it was built with: compile it on this machine."
            )
        self.tensors = self._describe()
        self._inputs = tuple(tensor.name for tensor in self.tensors if tensor.mode == "input")
        self._dtypes = {tensor.name: getattr(torch, tensor.dtype) for tensor in self.tensors}
        self._contexts: dict[int, Any] = {}
        self._last: _State | None = None

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Run one batch on torch's current stream and return the outputs, on the GPU.

        Raises :class:`PackageError` for missing inputs, and for shapes that no profile takes.
        """
        import torch

        placed = self._placed(inputs)
        state = self._state({name: tuple(tensor.shape) for name, tensor in placed.items()})
        outputs = {
            name: torch.empty(shape, dtype=dtype, device="cuda") for name, (shape, dtype) in state.outputs.items()
        }
        for name, tensor in (*placed.items(), *outputs.items()):
            state.context.set_tensor_address(name, tensor.data_ptr())
        if not state.context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise PackageError(f"The engine failed to run: {self._messages.last()}")
        return outputs

    def capture(self, inputs: Mapping[str, torch.Tensor]) -> Replay:
        """Record one run at these shapes as a CUDA graph, on a context of its own: later calls do not disturb it."""
        own = copy.copy(self)
        own._contexts, own._last = {}, None
        return Replay(own, self._placed(inputs))

    def _placed(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if set(inputs) != set(self._inputs):
            raise PackageError(f"The engine takes {', '.join(self._inputs)}; given: {', '.join(inputs) or 'nothing'}.")
        return {name: inputs[name].to("cuda", self._dtypes[name]).contiguous() for name in self._inputs}

    def _state(self, shapes: dict[str, tuple[int, ...]]) -> _State:
        """The context that takes these shapes, set to them. Setting costs more than a small batch: only on a change."""
        state = self._last
        if state is not None and state.shapes == shapes:
            return state
        index = next((i for i in range(self._engine.num_optimization_profiles) if self._fits(i, shapes)), None)
        if index is None:
            raise PackageError(f"No optimisation profile takes {shapes}; compile the engine for these sizes.")
        context = self._contexts.get(index) or self._open(index)
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise PackageError(f"{name}: shape {shape} is refused: {self._messages.last()}")
        outputs = {
            tensor.name: (tuple(context.get_tensor_shape(tensor.name)), self._dtypes[tensor.name])
            for tensor in self.tensors
            if tensor.mode == "output"
        }
        self._last = _State(context, shapes, outputs)
        return self._last

    def _open(self, index: int) -> Any:
        import torch

        context = self._engine.create_execution_context()
        if context is None:
            raise PackageError(f"The engine cannot start: {self._messages.last()}")
        stream = torch.cuda.current_stream()
        if not context.set_optimization_profile_async(index, stream.cuda_stream):
            raise PackageError(f"Profile {index} cannot be set: {self._messages.last()}")
        stream.synchronize()
        self._contexts[index] = context
        return context

    def _fits(self, index: int, shapes: dict[str, tuple[int, ...]]) -> bool:
        for name, shape in shapes.items():
            least, _, most = (tuple(bound) for bound in self._engine.get_tensor_profile_shape(name, index))
            if len(shape) != len(least) or any(
                not low <= size <= high for low, size, high in zip(least, shape, most, strict=True)
            ):
                return False
        return True

    def _describe(self) -> tuple[EngineTensor, ...]:
        tensors = []
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            dtype = self._engine.get_tensor_dtype(name).name
            if dtype not in _DTYPES:
                raise PackageError(f"{name}: torch has no counterpart of the engine's type {dtype}.")
            tensors.append(
                EngineTensor(
                    name=name,
                    mode="input" if self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT else "output",
                    dtype=_DTYPES[dtype],
                    shape=tuple(self._engine.get_tensor_shape(name)),
                )
            )
        return tuple(tensors)


class Replay:
    """A recorded run: write into ``inputs``, call, read ``outputs`` before the next call overwrites them."""

    def __init__(self, engine: Engine, inputs: dict[str, torch.Tensor]) -> None:
        import torch

        self.inputs = {name: tensor.clone() for name, tensor in inputs.items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_RUNS):
                engine(self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        # The context's scratch memory is used by the recording, so it lives as long.
        self._engine = engine
        with torch.cuda.graph(self._graph):
            self.outputs = engine(self.inputs)

    def __call__(self) -> dict[str, torch.Tensor]:
        self._graph.replay()
        return self.outputs


def load_engine(package: Path, precision: str | None = None, compiler: Compiler = Compiler.TENSORRT) -> Engine:
    """The engine beside ``package`` that fits this machine: of ``precision``, else the fastest one.

    Raises :class:`PackageError` where there is none, no GPU or no TensorRT, or where the plan was changed.
    """
    library = libraries.load(compiler)
    folder, record = find_engine(package, libraries.this_machine(library), precision)
    return Engine(library, (folder / PLAN_NAME).read_bytes(), version_compatible=record.version_compatible)
