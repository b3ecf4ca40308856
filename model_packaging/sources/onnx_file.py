"""An ONNX file that exists already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from model_packaging.sources.model import LoadedModel, Place, files_sha256
from model_packaging.sources.onnx_weights import check_trained, external_files
from model_packaging.sources.packages import model_file
from model_packaging.sources.python_entry import PythonSource
from model_packaging.sources.samples import ARRAYS, read_arrays, read_whole_arrays
from model_packaging.sources.signatures import (
    batch_first,
    in_order,
    onnx_batch_first,
    onnx_scalars_to_rows,
    scalars_to_rows,
)
from spillway.contracts.frozen import Frozen
from spillway.contracts.manifest import PackageError, PackageSource

if TYPE_CHECKING:
    from torch import nn

ONNX_REFERENCE: Final = "onnxruntime-source"
"""Name of the reference where it is the given ONNX file itself."""


class OnnxSource(Frozen):
    """An ONNX file. It is its own reference, computed by ONNX Runtime, unless a torch reference is given."""

    kind: Literal["onnx"]
    path: Path
    """The file: absolute or relative to model.yaml, or to ``package``. Files beside it that hold its tensors (external
    data) are taken in."""
    package: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*$")
    """An installed Python package that holds the file."""
    reference: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """``module:function`` that returns a :class:`model_packaging.sources.Entry` with the torch model it was made from.
    Parity is then measured against torch, on the entry's samples."""
    search_path: Path = Path()
    """Folder that is put on the import path for ``reference``."""
    batch_axes: dict[str, int] = Field(default_factory=dict)
    """Input or output → its batch axis, where that is not 0. It is moved to the front in what is packaged."""
    licence: str
    origin: str = ""

    def files(self, place: Place) -> dict[str, Path]:
        model = model_file(place, self.path, self.package, (".onnx",))
        files = {"model": model}
        files |= {f"external/{name}": path for name, path in external_files(model).items()}
        if entry := self._entry():
            return files | {f"reference/{name}": path for name, path in entry.files(place).items()}
        return files | {"samples": place.samples_file(ARRAYS)}

    def load(self, place: Place) -> LoadedModel:
        """Read and check it. Raises :class:`PackageError` when it is damaged or holds numbers that are none."""
        files = self.files(place)
        model = files["model"]
        proto = _read(model)
        names = tuple(signature(proto)[0])
        onnx_batch_first(proto, self.batch_axes)
        onnx_scalars_to_rows(proto)
        inputs, outputs, batched = signature(proto)
        described = PackageSource(
            name=self.path.name, origin=self.origin, licence=self.licence, weights_sha256=files_sha256(files)
        )
        axes = {name: dict(enumerate_dynamic(shape)) for name, shape in inputs.items()}
        if entry := self._entry():
            torch_model = entry.load(place)
            samples = tuple(in_order(sample, tuple(inputs), self.path.name) for sample in torch_model.samples)
            return LoadedModel(
                module=torch_model.module,
                samples=samples,
                outputs=tuple(outputs),
                source=described,
                dynamic_axes=axes,
                batched=batched,
                graph=model,
                batch_axes=self.batch_axes,
            )
        read = read_arrays if batched else read_whole_arrays
        samples = tuple(in_order(sample, tuple(inputs), self.path.name) for sample in read(files["samples"]))
        return LoadedModel(
            module=batch_first(_reference(model, names, tuple(outputs)), names, tuple(outputs), self.batch_axes),
            samples=tuple(scalars_to_rows(sample) for sample in samples),
            outputs=tuple(outputs),
            source=described,
            dynamic_axes=axes,
            batched=batched,
            reference=ONNX_REFERENCE,
            graph=model,
            batch_axes=self.batch_axes,
        )

    def _entry(self) -> PythonSource | None:
        if self.reference is None:
            return None
        return PythonSource(
            kind="python", entry=self.reference, search_path=self.search_path, licence=self.licence, origin=self.origin
        )


def signature(proto: Any) -> tuple[dict[str, list[int | str]], dict[str, list[int | str]], bool]:
    """Inputs, outputs (name → shape, a free axis by its label) and whether the first axis of all of them is free."""
    weights = {item.name for item in proto.graph.initializer}
    inputs = {item.name: _shape(item) for item in proto.graph.input if item.name not in weights}
    outputs = {item.name: _shape(item) for item in proto.graph.output}
    batched = all(shape and not isinstance(shape[0], int) for shape in (*inputs.values(), *outputs.values()))
    return inputs, outputs, batched


def enumerate_dynamic(shape: list[int | str]) -> list[tuple[int, str]]:
    """Axis and label of each free axis."""
    return [(axis, size) for axis, size in enumerate(shape) if isinstance(size, str)]


def _shape(value: Any) -> list[int | str]:
    sizes = value.type.tensor_type.shape.dim
    return [
        size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else size.dim_param or f"axis_{axis}"
        for axis, size in enumerate(sizes)
    ]


def _read(path: Path) -> Any:
    import onnx

    try:
        proto = onnx.load(str(path))
        onnx.checker.check_model(proto)
    except Exception as error:
        raise PackageError(
            f"{path}: no sound ONNX file: {str(error).strip().splitlines()[0]}. Export or fetch it again."
        ) from error
    if not proto.graph.input or not proto.graph.output:
        raise PackageError(f"{path}: the ONNX graph has no inputs or no outputs.")
    check_trained(proto)
    return proto


def _reference(path: Path, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> nn.Module:
    """ONNX Runtime behind the same call as a torch module: tensors in, a tuple of tensors out."""
    import onnxruntime as ort
    import torch
    from torch import nn

    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise PackageError(f"{path}: ONNX Runtime does not load it: {error}") from error

    ranks = {item.name: len(item.shape) for item in session.get_inputs()}

    class OnnxReference(nn.Module):
        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            feed = {
                name: tensor.numpy() if ranks[name] else tensor.numpy().reshape(())
                for name, tensor in zip(inputs, tensors, strict=True)
            }
            answers = session.run(list(outputs), feed)
            return tuple(torch.from_numpy(answer) for answer in answers)

    return OnnxReference()
