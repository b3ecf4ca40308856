"""What must hold for any loaded model before work goes into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from model_packaging.sources.model import MAX_SOURCE_BYTES, Batch, LoadedModel
from spillway.contracts.manifest import PackageError

if TYPE_CHECKING:
    import torch

_COUNTED: Final = ("running_mean", "running_var")
"""Buffers of torch's normalisations that come from training."""
_DTYPES: Final = ("float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")


def check_sound(model: LoadedModel) -> None:
    """Weights that fit and are numbers, names that differ, samples that agree, and one run of the first sample.

    Raises :class:`PackageError` that says what is wrong and how to mend it.
    """
    _check_size(model)
    _check_weights(model)
    _check_names(model)
    _check_samples(model)
    _check_answer(model)


def fits(model: LoadedModel, name: str, tensor: torch.Tensor) -> bool:
    """Whether a tensor has the dtype of the first sample's and, but for the axes that vary, its shape."""
    wanted, free = model.samples[0][name], model.dynamic_axes.get(name, {})
    return (tensor.dtype, tensor.dim()) == (wanted.dtype, wanted.dim()) and all(
        size == other or axis in free for axis, (size, other) in enumerate(zip(tensor.shape, wanted.shape, strict=True))
    )


def kind(tensor: torch.Tensor) -> str:
    """Dtype and shape, for messages."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _check_size(model: LoadedModel) -> None:
    size = sum(item.numel() * item.element_size() for item in model.module.parameters())
    if size > MAX_SOURCE_BYTES:
        raise PackageError(
            f"The weights take {size / 1e9:.1f} GB in fp32, and one ONNX file holds 2 GB at most: package a smaller "
            "model, or a causal language model as such (it is served from safetensors)."
        )


def _check_weights(model: LoadedModel) -> None:
    """What was trained is finite. Other buffers (masks) may hold infinities: what the model answers decides."""
    import torch

    counted = [item for item in model.module.named_buffers() if item[0].rpartition(".")[2] in _COUNTED]
    for name, tensor in (*model.module.named_parameters(), *counted):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise PackageError(
                f"The weights hold NaN or infinity in {name}: the model is damaged or was trained astray."
            )


def _check_names(model: LoadedModel) -> None:
    names = [*model.samples[0], *model.outputs]
    for name in names:
        if names.count(name) > 1:
            raise PackageError(f"The name {name!r} is given to two inputs or outputs; each needs one of its own.")


def _check_samples(model: LoadedModel) -> None:
    first = model.samples[0]
    for index, sample in enumerate(model.samples):
        if set(sample) != set(first):
            raise PackageError(
                f"Sample {index} has the inputs {', '.join(sorted(sample))}, the first has {', '.join(sorted(first))}."
            )
        for name, tensor in sample.items():
            _check_tensor(model, index, name, sample)
            if str(tensor.dtype).removeprefix("torch.") not in _DTYPES:
                raise PackageError(f"Sample {index}: {name} is {tensor.dtype}; use one of {', '.join(_DTYPES)}.")


def _check_tensor(model: LoadedModel, index: int, name: str, sample: Batch) -> None:
    tensor = sample[name]
    if not fits(model, name, tensor):
        raise PackageError(
            f"Sample {index}: {name} is {kind(tensor)}, in the first sample {kind(model.samples[0][name])}: only the "
            "axes that are declared dynamic may differ."
        )
    if model.batched and (tensor.dim() == 0 or len(tensor) < 1 or len(tensor) != len(next(iter(sample.values())))):
        raise PackageError(
            f"Sample {index}: {name} has shape {list(tensor.shape)}: give every input a first axis for the batch, of "
            "the same size and at least 1."
        )


def _check_answer(model: LoadedModel) -> None:
    import torch

    sample = model.samples[0]
    try:
        answer = model.answer(sample)
    except PackageError:
        raise
    except Exception as error:
        given = ", ".join(f"{name} {kind(item)}" for name, item in sample.items())
        reason = str(error).strip().splitlines()
        raise PackageError(
            f"The model does not take its own first sample ({given}): {type(error).__name__}: "
            f"{reason[0] if reason else ''}. Give samples of the names, dtypes and shapes that forward() takes."
        ) from error
    rows = len(next(iter(sample.values()))) if model.batched else 0
    for name, tensor in answer.items():
        if not bool(torch.isfinite(tensor).all()):
            raise PackageError(
                f"The model answers NaN or infinity in {name} to its first sample: nothing can be compared with that. "
                "Look for a division by zero, or for samples outside the range that the model was trained on."
            )
        if model.batched and (tensor.dim() < 2 or len(tensor) != rows):
            raise PackageError(
                f"Output {name} has shape {list(tensor.shape)} for a batch of {rows}: the batch comes first and at "
                "least one more axis follows; unsqueeze(1) adds one."
            )
        if not model.batched and tensor.dim() == 0:
            raise PackageError(f"Output {name} is a single number without an axis; give it shape [1].")
