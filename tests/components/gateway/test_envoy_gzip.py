"""Gzip bodies through a real Envoy: whole, or refused; never a part."""

from __future__ import annotations

import gzip
import json
import random
import struct
import zlib

import pytest

from spillway.contracts.classes import Site
from tests.support.gateway_rig import ALPHA, Answer, Rig

pytestmark = pytest.mark.heavy

RANDOM = random.Random(16)
LIMIT = 1 << 20
OURS = b',"parameters":{"priority":2}}'
"""What the gateway writes at the end of a request's JSON."""


@pytest.fixture
def rig(running: Rig) -> Rig:
    for server in running.servers.values():
        server.seen.clear()
    return running


def tensor(tail: bytes) -> tuple[bytes, dict[str, str]]:
    """A request with a binary tensor, and its headers."""
    parameters = {"binary_data_size": len(tail)}
    inputs = [{"name": "x", "shape": [len(tail)], "datatype": "UINT8", "parameters": parameters}]
    head = json.dumps({"inputs": inputs}).encode()
    return head + tail, {"inference-header-content-length": str(len(head))}


def send(rig: Rig, packed: bytes, headers: dict[str, str] | None = None, encoding: str = "gzip") -> Answer:
    given = {"content-encoding": encoding, "x-spillway-key": ALPHA, **(headers or {})}
    return rig.post(packed, headers=given)


def got(rig: Rig) -> bytes:
    return rig.servers[Site.PRIVATE].seen[-1].body


def nothing_seen(rig: Rig) -> bool:
    return not any(server.seen for server in rig.servers.values())


@pytest.mark.parametrize("size", [0, 1, 1000, 70_000, 900_000])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_body_comes_out_as_it_was_packed(rig: Rig, size: int, level: int) -> None:
    tail = RANDOM.randbytes(size)
    plain, headers = tensor(tail)
    assert send(rig, gzip.compress(plain, level), headers).status == 200
    assert got(rig).endswith(b"}]" + OURS + tail)


def test_json_comes_out_as_it_was_packed(rig: Rig) -> None:
    data = [RANDOM.random() for _ in range(50_000)]
    plain = json.dumps({"inputs": [{"name": "x", "shape": [len(data)], "datatype": "FP32", "data": data}]}).encode()
    for encoding in ("gzip", "GZIP", "GZip"):
        assert send(rig, gzip.compress(plain), encoding=encoding).status == 200
        assert json.loads(got(rig))["inputs"][0]["data"] == data


def test_dense_bodies_below_the_ratio_pass_wherever_they_are_dense(rig: Rig) -> None:
    """Envoy measures what it reads at a time; the ratio is the whole body's."""
    dense, loose = bytes(600_000), RANDOM.randbytes(8_000)
    for tail in (dense + loose, loose + dense, loose[:4_000] + dense + loose[4_000:]):
        plain, headers = tensor(tail)
        assert 50 < len(plain) / len(gzip.compress(plain)) < 100
        assert send(rig, gzip.compress(plain), headers).status == 200
        assert got(rig).endswith(tail)


@pytest.mark.parametrize(
    "tail",
    [
        bytes(900_000),
        bytes(100_000),
        (b"0123456789abcdef" * 56_250),
        b"\xff\x00\x7f" * 70_000,
    ],
    ids=["zeros", "few-zeros", "pattern", "triples"],
)
def test_a_binary_body_above_the_ratio_is_refused(rig: Rig, tail: bytes) -> None:
    plain, headers = tensor(tail)
    assert len(plain) > 100 * len(gzip.compress(plain))
    answer = send(rig, gzip.compress(plain), headers)
    assert (answer.status, nothing_seen(rig)) == (413, True)
    assert "100 times" in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": [{"name": "m", "shape": [300_000], "datatype": "INT64", "data": [1] * 300_000}]},
        {"inputs": [{"name": "t", "shape": [1], "datatype": "BYTES", "data": ["all work and no play. " * 30_000]}]},
    ],
    ids=["mask", "text"],
)
def test_a_json_body_above_the_ratio_is_refused(rig: Rig, body: dict[str, object]) -> None:
    answer = send(rig, gzip.compress(json.dumps(body).encode()))
    assert (answer.status, nothing_seen(rig)) == (413, True)


@pytest.mark.parametrize("megabytes", [2, 40, 400])
def test_a_bomb_is_refused_and_leaves_the_gateway_up(rig: Rig, megabytes: int) -> None:
    packed = gzip.compress(b'{"inputs":[' + b" " * (megabytes << 20) + b"]}")
    forged = packed[:-4] + struct.pack("<I", 100)
    for bomb in (packed, forged):
        assert (send(rig, bomb).status, nothing_seen(rig)) == (413, True)
    assert rig.post().status == 200


def test_a_body_that_unpacks_to_more_than_the_limit_is_refused(rig: Rig) -> None:
    plain, headers = tensor(RANDOM.randbytes(LIMIT))
    assert (send(rig, gzip.compress(plain), headers).status, nothing_seen(rig)) == (413, True)


def damaged() -> dict[str, tuple[bytes, dict[str, str]]]:
    """Bodies of which Envoy unpacks a part without a word."""
    plain, headers = tensor(RANDOM.randbytes(200_000) + bytes(50_000))
    packed = gzip.compress(plain)
    half = len(packed) // 2
    same = len(plain)
    return {
        "cut in the middle": (packed[:half], headers),
        "cut before its end": (packed[:-8], headers),
        "one byte short": (packed[:-1], headers),
        "a wrong byte": (packed[:half] + bytes([packed[half] ^ 255]) + packed[half + 1 :], headers),
        "wrong sum": (packed[:-8] + b"\0\0\0\0" + packed[-4:], headers),
        "wrong size": (packed[:-4] + struct.pack("<I", same - 1), headers),
        "more behind": (packed + b"more", headers),
        "twice the same": (packed + packed, headers),
        "two members": (gzip.compress(plain[:half]) + gzip.compress(plain[half:]), headers),
        "no gzip": (plain, headers),
        "zlib": (zlib.compress(plain), headers),
        "twice packed": (gzip.compress(packed), headers),
    }


@pytest.mark.parametrize("name", damaged())
def test_a_body_that_is_not_whole_is_refused(rig: Rig, name: str) -> None:
    packed, headers = damaged()[name]
    assert (send(rig, packed, headers).status, nothing_seen(rig)) == (400, True)


def test_a_head_that_is_whole_does_not_hide_a_tail_that_is_cut(rig: Rig) -> None:
    """The part that Envoy unpacks is a request of its own: a JSON object with all that it announces."""
    first = json.dumps({"inputs": [], "id": "first"}).encode()
    packed = gzip.compress(first) + gzip.compress(b"second")
    assert (send(rig, packed).status, nothing_seen(rig)) == (400, True)


@pytest.mark.parametrize("encoding", ["br", "deflate", "x-gzip", "identity", "gzip, gzip", "gzip, br"])
def test_other_encodings_are_refused(rig: Rig, encoding: str) -> None:
    answer = send(rig, gzip.compress(b'{"inputs":[]}'), encoding=encoding)
    assert (answer.status, nothing_seen(rig)) == (415, True)


def test_no_body_at_all_is_refused(rig: Rig) -> None:
    assert (send(rig, b"").status, nothing_seen(rig)) == (415, True)


def test_the_priority_is_written_into_a_packed_body(rig: Rig) -> None:
    assert send(rig, gzip.compress(b'{"inputs":[],"parameters":{"priority":1}}')).status == 200
    assert json.loads(got(rig))["parameters"]["priority"] == 2


def test_a_packed_body_in_small_chunks_is_whole(rig: Rig) -> None:
    plain, headers = tensor(RANDOM.randbytes(20_000) + bytes(200_000))
    packed = gzip.compress(plain)
    chunks = (packed[at : at + 97] for at in range(0, len(packed), 97))
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    lines = ["POST /v2/models/m/infer HTTP/1.1", "host: g", "content-encoding: gzip", "transfer-encoding: chunked"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    assert rig.raw("\r\n".join((*lines, "", "")).encode() + body) == 200
    assert got(rig).endswith(OURS.replace(b"2", b"3") + plain[-220_000:])
