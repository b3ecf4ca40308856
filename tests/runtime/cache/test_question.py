"""Which requests are one question, and what of an answer is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spillway.runtime.cache.answer import Answer, unpacked
from spillway.runtime.cache.question import HEADER_LENGTH, question

PATH = "/v2/models/m/infer"


def tensor(name: str = "X", **changes: Any) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1], **changes}


def key(body: bytes | dict[str, Any], path: str = PATH, digest: str = "a", **headers: str) -> str | None:
    sent = json.dumps(body).encode() if isinstance(body, dict) else body
    found = question(digest, path, {name.replace("_", "-"): value for name, value in headers.items()}, sent)
    return found.key if found else None


BASE = {"inputs": [tensor(), tensor("Y")]}


@pytest.mark.parametrize(
    "same",
    [
        json.dumps(BASE, indent=3).encode(),
        {"inputs": [tensor("Y"), tensor()]},
        {"inputs": [dict(reversed(tensor().items())), tensor("Y")]},
        {**BASE, "id": "42"},
        {**BASE, "parameters": {"priority": 1}},
        {"id": "43", **BASE, "parameters": {"timeout": 5, "priority": 3}},
    ],
)
def test_what_changes_no_answer_is_one_question(same: bytes | dict[str, Any]) -> None:
    assert key(same) == key(BASE) is not None


@pytest.mark.parametrize(
    "other",
    [
        {"inputs": [tensor(data=[0.5, 2]), tensor("Y")]},
        {"inputs": [tensor(data=[0.5, 1.0000000000000000001]), tensor("Y")]},
        {"inputs": [tensor(shape=[2, 1]), tensor("Y")]},
        {"inputs": [tensor(datatype="FP64"), tensor("Y")]},
        {"inputs": [tensor(data=["0.5", 1]), tensor("Y")]},
        {**BASE, "outputs": [{"name": "Z"}]},
        {**BASE, "parameters": {"binary_data_output": True}},
        b'{"inputs":[{"name":"X","datatype":"FP32","shape":[1,2],"data":[0.5,1e400]}]}',
        b'{"inputs":[{"name":"X","datatype":"FP32","shape":[1,2],"data":[0.5,1e500]}]}',
    ],
)
def test_what_may_change_an_answer_is_another(other: bytes | dict[str, Any]) -> None:
    assert key(other) not in (None, key(BASE))


def test_numbers_that_no_float_holds_apart_are_apart() -> None:
    texts = [json.dumps(BASE).replace("0.5", number).encode() for number in ("1e400", "1e500", "0.1", "0.10")]
    assert len({key(text) for text in texts}) == len(texts)


def test_package_and_path_are_part_of_it() -> None:
    assert len({key(BASE), key(BASE, digest="b"), key(BASE, "/v2/models/other/infer")}) == 3


@pytest.mark.parametrize(
    "strange",
    [
        b"",
        b"[]",
        b"{}",
        b'{"inputs": 7}',
        b'{"inputs": [7]}',
        b'{"inputs": [], "inputs": []}',
        b'{"inputs": [{"name": "X", "data": [NaN]}]}',
        b"[" * 100_000,
        b'{"inputs": [{"name": "X", "data": [1e99999999999999999999]}]}',
        {**BASE, "id": 7},
        {**BASE, "parameters": {"sequence_id": 1}},
        {"inputs": [tensor(parameters={"shared_memory_region": "a"})]},
    ],
)
def test_of_what_is_ambiguous_or_has_a_state_nothing_is_kept(strange: bytes | dict[str, Any]) -> None:
    assert key(strange) is None


def test_binary_tensors_count_by_their_bytes_and_in_their_order() -> None:
    head = json.dumps({"inputs": [tensor(data=None, parameters={"binary_data_size": 8})]}).encode()
    padded = head.replace(b": ", b":  ")
    same = {key(text + b"\0" * 8, inference_header_content_length=str(len(text))) for text in (head, padded)}
    assert len(same) == 1
    assert key(head + b"\1" * 8, inference_header_content_length=str(len(head))) not in same
    assert key(head, inference_header_content_length=str(len(head) + 1)) is None
    two = json.dumps({"inputs": [tensor(), tensor("Y")]}).encode()
    turned = json.dumps({"inputs": [tensor("Y"), tensor()]}).encode()
    sent = [key(text + b"\0" * 8, inference_header_content_length=str(len(text))) for text in (two, turned)]
    assert sent[0] != sent[1]


def test_an_answer_is_kept_without_its_id_and_given_with_another() -> None:
    answer = Answer(200, {"content-type": "application/json", "date": "today"}, b'{"id":"42","outputs":[0.50]}')
    plain = answer.without_id('"42"')
    assert plain is not None
    assert plain == Answer(200, {"content-type": "application/json"}, b'{"outputs":[0.50]}')
    assert plain.with_id('"é"').body == '{"id":"é","outputs":[0.50]}'.encode()
    assert plain.with_id("") == plain
    for other in (Answer(503, {}, answer.body), Answer(200, {}, b'{"outputs":[]}'), Answer(200, {}, b"no JSON")):
        assert other.without_id('"42"') is None
    assert answer.without_id("") is None, "an id that nobody asked for"


def test_the_binary_answers_length_of_json_moves_with_the_id() -> None:
    head = b'{"id":"42","outputs":[]}'
    answer = Answer(200, {HEADER_LENGTH: str(len(head))}, head + b"\0\1")
    plain = answer.without_id('"42"')
    assert plain is not None
    assert plain.body[: int(plain.headers[HEADER_LENGTH])] == b'{"outputs":[]}'
    again = plain.with_id('"longer"')
    assert json.loads(again.body[: int(again.headers[HEADER_LENGTH])]) == {"id": "longer", "outputs": []}


def test_what_was_changed_where_it_lay_is_no_answer() -> None:
    answer = Answer(200, {"content-type": "application/json"}, b'{"outputs":[1]}')
    kept = answer.packed("key")
    assert unpacked("key", kept) == answer
    for broken in (kept[:-1], kept + b" ", b"", kept.replace(b"[1]", b"[2]")):
        assert unpacked("key", broken) is None
    assert unpacked("another", kept) is None
