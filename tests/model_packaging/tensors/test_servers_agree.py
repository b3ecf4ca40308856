"""``score.py`` answers as Triton does: one table of requests, put to the real Triton and to the CPU endpoint.

Triton's answer is what is expected; the table holds requests only. Where Triton quietly reads something else than was
sent, or wants a queue, the endpoint differs on purpose: those requests stand apart.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from model_packaging.build import package
from model_packaging.config import parse_config
from spillway.contracts.manifest import ONNX_RUNTIME_FOLDER, TRITON_REPOSITORY
from tests.model_packaging.tensors.test_onnx_runtime_target import endpoint
from tests.support.triton import TOOLS, serving

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        not (TOOLS / "triton").is_dir() or not (TOOLS / "triton-numpy").is_dir(),
        reason="Triton is not unpacked under .tools (the set-up does it)",
    ),
]

MODEL = """
import torch
from model_packaging.sources import Entry

class Mixed(torch.nn.Module):
    def forward(self, x, n, flag, small):
        total = x * n.to(torch.float32) + small.to(torch.float32)
        return torch.where(flag, total, -total), n * 2, flag.logical_not()

def build():
    samples = [
        {"x": torch.randn(1, 3), "n": torch.tensor([[i + 1]]), "flag": torch.tensor([[i % 2 == 0]]),
         "small": torch.tensor([[i]], dtype=torch.uint8)}
        for i in range(4)
    ]
    return Entry(Mixed(), samples, output=("Y", "N", "NOT"))
"""
X: dict[str, Any] = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
N: dict[str, Any] = {"name": "n", "shape": [1, 1], "datatype": "INT64", "data": [2]}
FLAG: dict[str, Any] = {"name": "flag", "shape": [1, 1], "datatype": "BOOL", "data": [True]}
SMALL: dict[str, Any] = {"name": "small", "shape": [1, 1], "datatype": "UINT8", "data": [1]}


def rows(count: int) -> dict[str, Any]:
    sizes = ((X, 3), (N, 1), (FLAG, 1), (SMALL, 1))
    return {"inputs": [{**one, "shape": [count, width], "data": one["data"] * count} for one, width in sizes]}


def ask(**changes: Any) -> dict[str, Any]:
    """The plain request, with these keys of these inputs, or of the request itself, changed."""
    inputs = [{**one, **changes.pop(one["name"], {})} for one in (X, N, FLAG, SMALL)]
    return {"inputs": inputs, **changes}


def without(key: str) -> dict[str, Any]:
    return {"inputs": [{name: value for name, value in X.items() if name != key}, N, FLAG, SMALL]}


def classes(output: str, count: Any) -> dict[str, Any]:
    return ask(outputs=[{"name": output, "parameters": {"classification": count}}])


VALUES = (
    1,
    0,
    -1,
    2.0,
    2.5,
    True,
    False,
    None,
    "1",
    "1.0",
    "false",
    "",
    255,
    2**62,
    2**63,
    1e39,
    [1],
    {},
    float("inf"),
)
"""What JSON can say: each goes to an input of each type."""
ANY: tuple[Any, ...] = (None, True, 3, 2.5, "text", [], {}, [None], [1], {"a": 1})
TABLE: list[Any] = [
    *(
        ask(**{name: {"data": [value] * width}})
        for name, width in (("x", 3), ("n", 1), ("flag", 1))
        for value in VALUES
    ),
    *(ask(small={"data": [value]}) for value in VALUES if value not in (2**62, 2**63)),
    *(ask(x={"data": data}) for data in ([], [1], [1] * 4, [[1, 2, 3]], [[1], [2], [3]], [[1, 2], [3]], [[[1, 2, 3]]])),
    *(ask(x={key: value}) for key in ("datatype", "shape", "data", "name") for value in ANY),
    *(ask(x={"shape": shape}) for shape in ([3], [1, 4], [-1, 3], [1.0, 3], [True, 3], [3, 1], [1, 1, 3], ["1", 3])),
    *(ask(x={"datatype": datatype}) for datatype in ("fp32", "FP64", "INT32", "BYTES", "float")),
    *(without(key) for key in X),
    *(
        ask(**{key: value})
        for key in ("id", "outputs", "parameters")
        for value in ANY
        if (key, value) != ("id", "text")
    ),
    *(ask(id=name) for name in ("abc", "é😀", "")),
    *(ask(parameters={"note": value}) for value in (1, True, "text", None, [1], {"a": 1}, 2.5)),
    *(
        ask(parameters={key: value})
        for key in ("priority", "sequence_id")
        for value in (0, 1, -1, "1", True, 1.0, None)
    ),
    *(ask(outputs=[{"name": name} for name in names]) for names in (["N"], ["N", "Y"], ["Y", "Y"], ["Q"], [3])),
    *(classes("Y", count) for count in (0, 1, 2, 9, -1, "1", True, 1.5, None)),
    *(classes("N", 1), classes("NOT", 1)),
    *(
        ask(x={"parameters": value})
        for value in ({"a": 1}, [1], {"shared_memory_region": "q"}, {"binary_data_size": 12})
    ),
    *(rows(count) for count in (2, 4, 5)),
    *({**rows(2), "outputs": [{"name": "Y", "parameters": {"classification": 2}}]},),
    *(ask(x={"shape": [2, 3], "data": [1] * 6}), ask(note=1), ask(model_name="other")),
    *({"inputs": inputs} for inputs in ([], [X, N, FLAG], [SMALL, FLAG, N, X], [X, X, N, FLAG, SMALL], [None], ANY)),
    *({"inputs": [X, {**X, "data": [9, 9, 9]}, N, FLAG, SMALL]}, {"inputs": [X, N, FLAG, SMALL, {**X, "name": "q"}]}),
    *({"inputs": value} for value in ANY),
    *ANY,
    {},
]
PLAIN = json.dumps(ask())
RAW = [
    *(b"", b"{", PLAIN.encode() + b" x", PLAIN.encode() + b" \n", b"\xef\xbb\xbf" + PLAIN.encode(), b"hello"),
    PLAIN.replace('"data": [1, 2, 3]', '"data": [9, 9, 9], "data": [1, 2, 3]').encode(),
    PLAIN.replace('"data": [2]', '"data": [2e0]').encode(),
    b'{"inputs":' + b"[" * 5000 + b"]" * 5000 + b"}",
]
ON_PURPOSE = [
    ask(small={"data": [256]}),  # Triton keeps the lowest eight bits.
    ask(parameters={"timeout": 1}),  # Triton's queue; there is none here.
    PLAIN.replace("[1, 2, 3]", '[1, 2, 3], "note": "\xff"').encode("latin-1"),  # no UTF-8
]


class Servers:
    """Both, each with the same package."""

    def __init__(self, triton: str, score: str) -> None:
        self._urls = (triton, score)

    def answers(self, request: Any) -> tuple[tuple[int, Any], tuple[int, Any]]:
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        first, second = (self._post(url, body) for url in self._urls)
        return first, second

    @staticmethod
    def _post(url: str, body: bytes) -> tuple[int, Any]:
        asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(asked, timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.loads(refusal.read())


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "mixed_inputs.py").write_text(MODEL)
    values = {
        "name": "mixed",
        "source": {"kind": "python", "entry": "mixed_inputs:build", "licence": "none"},
        "variants": [{"precision": "fp32", "min_cosine": 0.9999}],
        "targets": ["twin-triton-2.51", "onnxruntime-cpu"],
        "latency": {"batch_sizes": [1], "repeats": 3},
        "serving": {"max_batch_size": 4, "batching": {"max_queue_delay_ms": 0}},
    }
    built = package(parse_config(values, base_dir=folder), folder / "store").path
    with (
        serving(built / TRITON_REPOSITORY, folder / "log") as ports,
        endpoint(built / ONNX_RUNTIME_FOLDER) as connection,
    ):
        yield Servers(
            f"http://127.0.0.1:{ports.http}/v2/models/mixed/infer", f"http://127.0.0.1:{connection.port}/invocations"
        )


def same(one: Any, other: Any) -> bool:
    """Equal but for the last digit of a float, which each writes in its own way."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=1e-6, equal_nan=True))
    return type(one) is type(other) and one == other


def test_both_answer_alike_or_refuse_both(servers: Servers) -> None:
    different = []
    for request in (*TABLE, *RAW):
        (status, want), (own_status, got) = servers.answers(request)
        alike = (own_status, same(got, want)) == (200, True) if status == 200 else own_status == 400 and "error" in got
        if not alike:
            different.append(f"{str(request)[:300]}\n  Triton: {status} {want}\n  score.py: {own_status} {got}")
    assert not different, f"{len(different)} differ:\n" + "\n".join(different[:40])


@pytest.mark.parametrize("request_", ON_PURPOSE, ids=["too large", "timeout", "no UTF-8"])
def test_where_they_differ_on_purpose(servers: Servers, request_: Any) -> None:
    (status, _), (own_status, _) = servers.answers(request_)
    assert (status == 200) != (own_status == 200)
