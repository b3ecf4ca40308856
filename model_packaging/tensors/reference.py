"""What variants are compared with: the answer to each sample alone.

A server fills texts up and puts strangers' requests side by side. Neither may change an answer, so the reference never
does it, and the model is held against the reference in batches as servers make them before anything is packaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from model_packaging.sources import Batch, LoadedModel, TextCodec
from model_packaging.sources.model import padded
from spillway.contracts.manifest import PackageError

if TYPE_CHECKING:
    import torch

PARITY_BATCH_SIZES: Final = (1, 3, 8)

_SAME: Final = 1e-3
"""The difference, as a share of the answer's length, that the order of sums may make in fp32."""
_SAME_ROUNDED: Final = 0.1
"""The same where the source itself rounds: dynamic quantization takes one scale for a whole batch."""


@dataclass(frozen=True)
class Reference:
    """Batches of every size and length that parity looks at, and the answers to each, by output."""

    batches: tuple[dict[str, np.ndarray], ...]
    outputs: tuple[dict[str, np.ndarray], ...]
    samples: int
    batched: bool = True
    classifies: bool = False
    """Whether the outputs are scores of classes, so that the highest one matters."""


@dataclass(frozen=True)
class _Answered:
    """A batch, and what is answered to each of its rows alone."""

    batch: Batch
    answer: Batch

    @property
    def rows(self) -> int:
        return len(next(iter(self.batch.values())))


def make_reference(model: LoadedModel) -> Reference:
    """Answers to samples alone, by threes and by eights (texts filled up as servers do it, and once as long as may be);
    each alone where the model has no batch axis.

    Raises :class:`PackageError` where the model answers otherwise beside others, or filled up, than alone.
    """
    longest = [_longest(model, model.text)] if model.text is not None else []
    alone = [_alone(model, index) for index in range(len(model.samples))]
    batches = [*(_join(model, group) for group in _groups(model, alone)), *longest]
    _check_finite(batches)
    if model.batched:
        _check_beside_others(model, [*batches, *_beside_its_mirror(model, alone)])
    return Reference(
        batches=tuple(_arrays(one.batch) for one in batches),
        outputs=tuple(_arrays({name: tensor.float() for name, tensor in one.answer.items()}) for one in batches),
        samples=len(model.samples),
        batched=model.batched,
        classifies=bool(model.labels),
    )


def join(samples: Sequence[Batch], text: TextCodec | None) -> Batch:
    """One batch of several samples; texts are filled up as a server does it."""
    import torch

    if text is None:
        return {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}
    longest = padded(max(sample["input_ids"].shape[1] for sample in samples), text.pad_to_multiple_of)
    fill = {"input_ids": text.pad_id, "attention_mask": 0}
    return {name: torch.cat([_filled(sample[name], longest, fill[name]) for sample in samples]) for name in samples[0]}


def timing_batch(model: LoadedModel, size: int, length: int) -> Batch:
    """Real samples, repeated to the batch size; token sequences are repeated or cut to the length asked for."""
    import torch

    group = [model.samples[index % len(model.samples)] for index in range(size)]
    if model.text is None and not model.batched:
        return model.samples[0]
    if model.text is None:
        joined = join(group if len({_shapes(sample) for sample in group}) == 1 else [group[0]] * size, None)
        return {name: tensor[:size] for name, tensor in joined.items()}
    rows = [sample["input_ids"][0] for sample in group]
    ids = torch.stack([row.repeat(-(-length // len(row)))[:length] for row in rows])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _alone(model: LoadedModel, index: int) -> _Answered:
    sample = model.samples[index]
    if model.expected:
        return _Answered(sample, model.expected[index])
    return _Answered(sample, _by_rows(model, sample) if model.batched else model.answer(sample))


def _by_rows(model: LoadedModel, batch: Batch) -> Batch:
    import torch

    rows = len(next(iter(batch.values())))
    answers = [model.answer({name: tensor[row : row + 1] for name, tensor in batch.items()}) for row in range(rows)]
    return {name: torch.cat([answer[name] for answer in answers]) for name in answers[0]}


def _groups(model: LoadedModel, alone: Sequence[_Answered]) -> Iterator[Sequence[_Answered]]:
    """What goes into one batch: texts in their order, other samples with those of their shape."""
    alike: dict[object, list[_Answered]] = {}
    for one in alone:
        alike.setdefault(None if model.text is not None else _shapes(one.batch), []).append(one)
    for size in PARITY_BATCH_SIZES if model.batched else (1,):
        for group in alike.values():
            whole = min(size, len(group))
            yield from (group[start : start + whole] for start in range(0, len(group) - whole + 1, whole))


def _join(model: LoadedModel, group: Sequence[_Answered]) -> _Answered:
    import torch

    if not model.batched:
        return group[0]
    answers = {name: torch.cat([one.answer[name] for one in group]) for name in group[0].answer}
    return _Answered(join([one.batch for one in group], model.text), answers)


def _longest(model: LoadedModel, text: TextCodec) -> _Answered:
    batch = timing_batch(model, 2, text.longest)
    try:
        return _Answered(batch, _by_rows(model, batch))
    except (IndexError, RuntimeError) as error:
        raise PackageError(
            f"The model does not take the longest text that a server would send it, {text.longest} tokens "
            f"(source.max_length {text.max_length}, padded to a multiple of {text.pad_to_multiple_of}): {error}. Lower "
            "source.max_length, or serving.pad_to_multiple_of."
        ) from error


def _beside_its_mirror(model: LoadedModel, alone: Sequence[_Answered]) -> list[_Answered]:
    """Where all samples are one and the same, their neighbour is that one turned round on its last axis and twice as
    large: beside its like a model may answer as it does alone although it looks across the batch."""
    import torch

    first = alone[0].batch
    if any(_shapes(one.batch) == _shapes(first) and not _equal(one.batch, first) for one in alone[1:]):
        return []
    row = {name: tensor[:1] for name, tensor in first.items()}
    mirror = {name: _turned(tensor) for name, tensor in row.items()}
    answers = [_by_rows(model, one) for one in (row, mirror)]
    batch = {name: torch.cat([row[name], mirror[name]]) for name in row}
    return [_Answered(batch, {name: torch.cat([answer[name] for answer in answers]) for name in answers[0]})]


def _check_finite(batches: Iterable[_Answered]) -> None:
    if not all(bool(tensor.isfinite().all()) for one in batches for tensor in one.answer.values()):
        raise PackageError("The model answers NaN or infinity to the samples: nothing can be compared with that.")


def _check_beside_others(model: LoadedModel, batches: Iterable[_Answered]) -> None:
    allowed = _SAME_ROUNDED if _rounds(model) else _SAME
    for one in batches:
        try:
            answer = model.answer(one.batch)
        except Exception as error:
            raise PackageError(
                f"The model answers samples alone, and not {one.rows} at once, as a server asks it: "
                f"{type(error).__name__}: {str(error).strip().splitlines()[0]}. {_ONE_BY_ONE}"
            ) from error
        for name, want in one.answer.items():
            worst = _difference(answer[name], want)
            if not worst <= allowed:
                raise PackageError(_why(model, one.rows, name, worst))


_ONE_BY_ONE: Final = (
    "Mend the model, or have its requests answered one at a time: `batched=False` in the Entry of a Python source, a "
    "fixed first axis in a .pt2 or .onnx file (docs/how-to/your-own-model.md, models without a batch axis)."
)


def _why(model: LoadedModel, rows: int, name: str, worst: float) -> str:
    differs = f"({name} differs by {worst:.2g} of its length)"
    if rows > 1:
        return (
            f"The answer to a sample changes with the {rows - 1} that stand beside it in a batch {differs}, and "
            "servers put strangers' requests side by side. Look for a mean, softmax, sort or sum over axis 0, and for "
            f"batch normalisation that takes the batch's own statistics. {_ONE_BY_ONE}"
        )
    if model.expected:
        return (
            f"Given ids and mask, and filled up as servers do it, the model answers otherwise than {model.reference} "
            f"answers the text alone {differs}. Servers send neither token types nor positions, and fill up on the "
            "right. Package it with a Python entry (source.kind: python) that takes what servers send."
        )
    return f"The model answers the same sample otherwise each time {differs}: look for dropout and random numbers."


def _difference(got: torch.Tensor, want: torch.Tensor) -> float:
    """The largest distance of a row from what is wanted, as a share of its length; infinite for another shape."""
    if got.shape != want.shape:
        return float("inf")
    ours, theirs = (tensor.detach().double().reshape(len(tensor), -1) for tensor in (got, want))
    lengths = theirs.norm(dim=1)
    least = max(float(lengths.mean()) / 100, 1e-6)
    return float(((ours - theirs).norm(dim=1) / lengths.clamp(min=least)).max())


def _rounds(model: LoadedModel) -> bool:
    """Whether the reference is an ONNX file that is quantized, or in half precision."""
    if not isinstance(model.graph, Path):
        return False
    import onnx

    graph = onnx.load(str(model.graph), load_external_data=False).graph
    return any("Quantize" in node.op_type or "Integer" in node.op_type for node in graph.node) or any(
        item.data_type in (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16) for item in graph.initializer
    )


def _shapes(sample: Batch) -> tuple[tuple[int, ...], ...]:
    """Shapes but for the batch axis."""
    return tuple(tuple(tensor.shape[1:]) for tensor in sample.values())


def _turned(tensor: torch.Tensor) -> torch.Tensor:
    turned = tensor.flip(-1) if tensor.dim() > 1 else tensor
    return 2 * turned if turned.is_floating_point() else turned


def _equal(one: Batch, other: Batch) -> bool:
    return all(one[name].equal(other[name]) for name in one)


def _filled(tensor: torch.Tensor, length: int, value: int) -> torch.Tensor:
    import torch

    return torch.nn.functional.pad(tensor, (0, length - tensor.shape[1]), value=value)


def _arrays(batch: Batch) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in batch.items()}
