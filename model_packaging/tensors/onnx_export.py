"""torch → ONNX in fp32."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from model_packaging.sources import LoadedModel
from model_packaging.sources.signatures import onnx_batch_first, onnx_scalars_to_rows
from model_packaging.tensors.onnx_files import normalise, quiet, save
from spillway.contracts.manifest import PackageError
from spillway.contracts.targets import OnnxLevel

if TYPE_CHECKING:
    from torch.jit import ScriptModule

EXPORT_OPSET: Final = 18
"""What torch's exporter writes by itself; every container in the table takes it."""

_ONNX_FILE_LIMIT_BYTES: Final = 2_000_000_000
BATCH_LABEL: Final = "batch"
_MAX_BATCH: Final = 1024


def export(model: LoadedModel, path: Path, level: OnnxLevel) -> None:
    """Write the model as one fp32 ONNX file with its dynamic axes. Raises :class:`PackageError`."""
    import onnx

    if isinstance(model.graph, Path):
        proto = _read_file(model.graph, level)
    else:
        if level.opset < EXPORT_OPSET:
            raise PackageError(
                f"A target takes ONNX opset {level.opset} at most, and the exporter writes {EXPORT_OPSET}."
            )
        proto = _from_torch(model)
    onnx_batch_first(proto, model.batch_axes)
    onnx_scalars_to_rows(proto)
    _name_sizes(proto, model)
    _name_nodes(proto)
    if proto.ByteSize() > _ONNX_FILE_LIMIT_BYTES:
        raise PackageError(f"The ONNX file would be {proto.ByteSize() / 1e9:.1f} GB; one file holds 2 GB at most.")
    normalise(proto, level)
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise PackageError(
            f"The exported file is not valid ONNX: {error}. One cause is an output named like a value "
            "inside the model: rename the output."
        ) from error
    save(proto, path)


def _read_file(path: Path, level: OnnxLevel) -> Any:
    """A source that is ONNX already, its external data taken in."""
    import onnx

    proto = onnx.load(str(path))
    opset = max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    if opset > level.opset:
        raise PackageError(
            f"{path}: ONNX opset {opset}, and the targets take {level.opset} at most: export it again with "
            f"opset_version={min(level.opset, EXPORT_OPSET)}, or name newer containers under targets."
        )
    return proto


def _from_torch(model: LoadedModel) -> Any:
    try:
        with quiet():
            return _from_script(model, model.graph) if _is_script(model.graph) else _exported_program(model)
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise PackageError(
            f"torch cannot export the model: {reason[0] if reason else type(error).__name__}. The usual cause is "
            "control flow that depends on the data: write it with torch.where or torch.cond."
        ) from error


def _exported_program(model: LoadedModel) -> Any:
    import torch

    common: dict[str, Any] = {
        "dynamo": True,
        "opset_version": EXPORT_OPSET,
        "input_names": list(model.samples[0]),
        "output_names": list(model.outputs),
        "external_data": False,
        "optimize": True,
        "verbose": False,
    }
    if isinstance(model.graph, torch.export.ExportedProgram):
        program = torch.onnx.export(model.graph, **common)
    else:
        dims = {
            label: torch.export.Dim(label, min=1 if label == BATCH_LABEL else 2, max=_limit(model, label))
            for axes in model.dynamic_axes.values()
            for label in axes.values()
        }
        shapes = {
            name: {axis: dims[label] for axis, label in model.dynamic_axes.get(name, {}).items()}
            for name in model.samples[0]
        }
        with torch.no_grad():
            program = torch.onnx.export(model.module, kwargs=_example(model), dynamic_shapes=shapes, **common)
    assert program is not None
    return program.model_proto


def _is_script(graph: object) -> TypeGuard[ScriptModule]:
    import torch

    return isinstance(graph, torch.jit.ScriptModule)


def _from_script(model: LoadedModel, script: ScriptModule) -> Any:
    """torch's exporter for programs refuses TorchScript; the older one takes it, branches and loops included."""
    import onnx
    import torch

    example, axes = _example(model), model.batch_axes
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        written = Path(folder, "model.onnx")
        torch.onnx.export(
            script,
            tuple(tensor.movedim(0, axes.get(name, 0)) for name, tensor in example.items()),
            str(written),
            dynamo=False,
            opset_version=EXPORT_OPSET,
            input_names=list(example),
            output_names=list(model.outputs),
            dynamic_axes={name: {axes.get(name, 0): BATCH_LABEL} for name in (*example, *model.outputs)},
        )
        return onnx.load(str(written))


def _name_sizes(proto: Any, model: LoadedModel) -> None:
    """Write the sizes of outputs that the exporter left open although no axis of the inputs varies but the batch."""
    batch = {0} if model.batched else set()
    if any(set(axes) - batch for axes in model.dynamic_axes.values()):
        return
    answer = model.answer(model.samples[0])
    for value in proto.graph.output:
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if (axis > 0 or not model.batched) and not size.HasField("dim_value"):
                size.dim_value = answer[value.name].shape[axis]


def _name_nodes(proto: Any) -> None:
    """Name nodes that have no name like what they make. Quantizers go by the name: for them "" is all such nodes."""
    taken = {"", *(node.name for node in proto.graph.node)}
    for node in proto.graph.node:
        if not node.name:
            node.name = node.output[0]
            while node.name in taken:
                node.name += "_"
            taken.add(node.name)


def _example(model: LoadedModel) -> dict[str, Any]:
    """The longest sample, at batch 2 and more: an axis of 1 would be taken for a constant."""
    longest = max(model.samples, key=lambda sample: sum(tensor.numel() for tensor in sample.values()))
    if not model.batched:
        return dict(longest)
    return {name: tensor.repeat(2, *[1] * (tensor.dim() - 1)) for name, tensor in longest.items()}


def _limit(model: LoadedModel, label: str) -> int | None:
    """The largest size of an axis, where there is one."""
    if label == "sequence" and model.text:
        return model.text.longest
    return _MAX_BATCH if label == BATCH_LABEL else None
