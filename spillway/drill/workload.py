"""What the drill sends, and how it knows that an answer is right."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

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
class EmbeddingWorkload:
    """For a sentence encoder. ``expected``: vectors by sentence; what is missing is learnt with :meth:`learn`."""

    sentences: Sequence[str] = SENTENCES
    expected: dict[str, list[float]] = field(default_factory=dict)
    text_input: str = "TEXT"

    def body(self, index: int) -> bytes:
        return infer_body(self.text_input, self._sentence(index))

    def learn(self, index: int, body: bytes) -> None:
        """Take an answer as the measure for later ones. Raises ``ValueError`` when it is no embedding."""
        vector = first_output(body)
        if not vector or not all(isinstance(value, int | float) for value in vector):
            raise ValueError(f"{self._sentence(index)!r} was not answered with numbers")
        self.expected.setdefault(self._sentence(index), vector)

    def problem(self, index: int, body: bytes) -> str:
        vector = first_output(body)
        wanted = self.expected[self._sentence(index)]
        if vector is None or len(vector) != len(wanted):
            return f"no embedding of {len(wanted)} numbers"
        cosine = _cosine(vector, wanted)
        return "" if cosine >= MIN_COSINE else f"cosine to the expected embedding is {cosine:.4f}"

    def _sentence(self, index: int) -> str:
        return self.sentences[index % len(self.sentences)]


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


def _cosine(left: Sequence[float], right: Sequence[float]) -> float:
    norm = math.sqrt(sum(a * a for a in left)) * math.sqrt(sum(b * b for b in right))
    return sum(a * b for a, b in zip(left, right, strict=True)) / norm if norm else 0.0
