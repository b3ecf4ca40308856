"""What the drill sends, and how it knows that an answer is right."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from spillway.contracts.manifest import TensorSpec

MIN_COSINE: Final = 0.999
"""All sites serve one package: what differs more than this is another model."""

SENTENCES: Final = (
    "The private cluster is full and the next request spills.",
    "A sentence encoder turns text into a vector.",
    "Der Ersatzstandort antwortet, wenn der erste ausfällt.",
    "Latency is counted from the time a request was due.",
    "Is the answer from the cloud the same as the one from the rack?",
    "日本語の文も同じモデルで埋め込まれます。",
    "Short.",
    "A queue that never drains is a promise that was never kept, and someone has to say so before the pager does.",
)


class Workload(Protocol):
    """``index`` counts the requests of a drill."""

    def body(self, index: int) -> bytes: ...

    def problem(self, index: int, body: bytes) -> str:
        """Empty when the answer is right, else what is wrong with it."""
        ...


@dataclass
class InferenceWorkload:
    """Requests of KServe, over and over. ``expected``: the first output of each; what is missing is learnt. Numbers may
    be a little off, all else may not."""

    requests: Sequence[bytes]
    expected: dict[int, list[Any]] = field(default_factory=dict)

    def body(self, index: int) -> bytes:
        return self.requests[index % len(self.requests)]

    def learn(self, index: int, body: bytes) -> None:
        """Take an answer as the measure for later ones. Raises ``ValueError`` when it has no output."""
        values = first_output(body)
        if not values:
            raise ValueError(f"request {index} was answered without an output")
        self.expected.setdefault(index % len(self.requests), values)

    def problem(self, index: int, body: bytes) -> str:
        values, wanted = first_output(body), self.expected[index % len(self.requests)]
        if values == wanted:
            return ""
        if values is None or len(values) != len(wanted) or not _are_numbers(values + wanted):
            return f"not the expected output of {len(wanted)} values"
        cosine = _cosine(values, wanted)
        return "" if cosine >= MIN_COSINE else f"cosine to the expected output is {cosine:.4f}"


def sentences(text_input: str = "TEXT") -> InferenceWorkload:
    """For packages that take text."""
    return InferenceWorkload([infer_body(text_input, sentence) for sentence in SENTENCES])


def samples(inputs: Sequence[TensorSpec], given: Sequence[Mapping[str, Any]]) -> InferenceWorkload:
    """For packages that take tensors. ``given``: arrays by input, each sample as the model takes it."""
    return InferenceWorkload([_tensors_body(inputs, sample) for sample in given])


def _tensors_body(inputs: Sequence[TensorSpec], sample: Mapping[str, Any]) -> bytes:
    tensors = [
        {
            "name": spec.name,
            "shape": list(sample[spec.name].shape),
            "datatype": spec.dtype,
            "data": sample[spec.name].reshape(-1).tolist(),
        }
        for spec in inputs
    ]
    return json.dumps({"inputs": tensors}).encode()


def infer_body(text_input: str, text: str) -> bytes:
    """A KServe v2 request with one text."""
    tensor = {"name": text_input, "shape": [1, 1], "datatype": "BYTES", "data": [text]}
    return json.dumps({"inputs": [tensor]}).encode()


def first_output(body: bytes) -> list[Any] | None:
    """The numbers or texts of the first output tensor, ``None`` when it is no such answer."""
    try:
        answer: Mapping[str, Any] = json.loads(body)
        return list(answer["outputs"][0]["data"])
    except (ValueError, KeyError, IndexError, TypeError):
        return None


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)


def _cosine(left: Sequence[float], right: Sequence[float]) -> float:
    norm = math.sqrt(sum(a * a for a in left)) * math.sqrt(sum(b * b for b in right))
    return sum(a * b for a, b in zip(left, right, strict=True)) / norm if norm else 0.0
