"""Five hundred malformed requests to a real Envoy: no crash, no 5xx of the gateway's own, no credential in a log."""

from __future__ import annotations

import gzip
import random
import re
import socket
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus

import pytest

from spillway.contracts.classes import Site
from tests.support.gateway_rig import ALPHA, INFER, OPERATOR_KEY, Rig

pytestmark = pytest.mark.heavy

COUNT = 500
SILENCE_S = 0.25
GOOD = b'{"inputs":[]}'
KEYS = (ALPHA, OPERATOR_KEY, "secret-that-nobody-has")
Made = Callable[[random.Random], bytes]


def request(lines: list[str], body: bytes = b"", version: str = "1.1", path: str = INFER) -> bytes:
    head = [f"POST {path} HTTP/{version}", f"x-spillway-key: {ALPHA}", "content-type: application/json", *lines]
    return "\r\n".join((*head, "", "")).encode("latin-1") + body


def sized(body: bytes, *lines: str, version: str = "1.1") -> bytes:
    return request(["host: g", f"content-length: {len(body)}", *lines], body, version)


def chunked(parts: list[bytes], *lines: str, end: bytes = b"0\r\n\r\n") -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + end
    return request(["host: g", "transfer-encoding: chunked", *lines], body)


def smuggled(draw: random.Random) -> bytes:
    """Two lengths of one body (RFC 9112, section 6.1), or a second request within it."""
    hidden = b"POST /admin HTTP/1.1\r\nhost: g\r\ncontent-length: 0\r\n\r\n"
    length = str(draw.choice([0, len(GOOD), len(GOOD) + 5, len(hidden)]))
    coding = draw.choice(
        ["chunked", "Chunked", "chunked, identity", "identity, chunked", " chunked", "xchunked", "chunked;q=1"]
    )
    lines = draw.choice(
        [
            [f"content-length: {length}", f"transfer-encoding: {coding}"],
            [f"transfer-encoding: {coding}", f"transfer-encoding: {draw.choice(['identity', 'chunked'])}"],
            [f"content-length: {length}", f"content-length: {len(hidden)}"],
            [f"content-length: {length}, {length}"],
            [f"content-length: +{length}"],
            [f"content-length: {length}", "transfer_encoding: chunked"],
            [f"content-length : {length}"],
            ["transfer-encoding:\x0bchunked", f"content-length: {length}"],
        ]
    )
    return request(["host: g", *lines], b"0\r\n\r\n" + hidden)


def odd_version(draw: random.Random) -> bytes:
    return sized(GOOD, version=draw.choice(["1.0", "0.9", "2.0", "1.2", "1", "x", "1.1 1.1", ""]))


def odd_chunks(draw: random.Random) -> bytes:
    end = draw.choice(
        [
            b"0\r\n\r\n",
            b"0\r\nx-spillway-class: P0\r\n\r\n",
            b"zz\r\n\r\n",
            b"-1\r\n\r\n",
            b"ffffffffffffffff\r\nx",
            b"0\n\n",
            b"",
        ]
    )
    size = draw.randint(1, 7)
    return chunked([GOOD[at : at + size] for at in range(0, len(GOOD), size)], end=end)


def bomb(draw: random.Random) -> bytes:
    plain = b'{"inputs":[' + draw.choice([b" ", b"[", b"1,"]) * draw.choice([1000, 100_000, 5_000_000]) + b"]}"
    packed = gzip.compress(plain, mtime=0)
    cut = draw.choice([len(packed), len(packed) // 2, len(packed) - 4])
    return sized(packed[:cut], f"content-encoding: {draw.choice(['gzip', 'GZIP', 'gzip, gzip', 'br', 'deflate'])}")


def doubled(draw: random.Random) -> bytes:
    name = draw.choice(["parameters", "inputs", "para\\u006deters", "priority"])
    value = draw.choice(['{"priority":1}', "[]", "null", '{"priority":1,"priority":9}', '"x"'])
    members = ",".join([f'"{name}":{value}'] * draw.randint(2, 40))
    return sized(f'{{"inputs":[],{members}}}'.encode())


def huge_number(draw: random.Random) -> bytes:
    number = draw.choice(
        [
            "1e999999",
            "-" + "9" * 5000,
            "0." + "1" * 5000,
            "1e-99999",
            "00012",
            "0x10",
            "NaN",
            "Infinity",
            "--1",
            "1.2.3",
        ]
    )
    place = draw.choice(
        ['{{"inputs":[{}]}}', '{{"inputs":[],"x":{}}}', '{{"parameters":{{"priority":{}}},"inputs":[]}}']
    )
    return sized(place.format(number).encode())


def odd_json(draw: random.Random) -> bytes:
    whole = b'{"inputs":[{"name":"x","data":[1,"a\\"b"]}],"parameters":{"a":{"b":[{}]}}}'
    at = draw.randrange(len(whole))
    change = draw.choice(
        [b"", b"\0", b'"', b"\\", b"{", b"}", b"[", b"\xff\xfe", b"\xed\xa0\x80", b"//", b"[" * 60_000]
    )
    return sized(whole[:at] + change + whole[at + draw.randint(0, 2) :])


def odd_length(draw: random.Random) -> bytes:
    said = draw.choice(["-1", "99999999999999999999", "0x5", "5;", "", "1e3", "13, 13", "7"])
    return sized(GOOD, f"inference-header-content-length: {said}")


def odd_header(draw: random.Random) -> bytes:
    line = draw.choice(
        [
            "x: " + "a" * 70_000,
            "x\0y: 1",
            "x: a\0b",
            "no colon",
            ": empty",
            "x: \x7f",
            "host: other",
            "expect: 200-ok",
            "te: trailers, deflate",
            "upgrade: websocket",
            "connection: upgrade, x-spillway-key",
            "x-spillway-class: P0\r\nx-spillway-class: P9",
            "x-spillway-class: ",
            f"authorization: Bearer {KEYS[2]} {KEYS[2]}",
            f"authorization: {KEYS[2]}",
            f"x-spillway-operator-key: {KEYS[2]}",
            "x-spillway-group: only-azure_ml",
            "content-type: \xff",
            " folded: 1",
            "x-envoy-upstream-rq-timeout-ms: 0",
            "x-spillway-site: nowhere",
        ]
    )
    return sized(GOOD, line)


def odd_line(draw: random.Random) -> bytes:
    line = draw.choice(
        [
            b"GET",
            b"",
            b"\0" * 40,
            b"POST  /x HTTP/1.1",
            b"POST http://[::1 HTTP/1.1",
            b"POST /%00 HTTP/1.1",
            b"POST " + b"/" * 70_000 + b" HTTP/1.1",
            b"CONNECT g:80 HTTP/1.1",
            b"TRACE / HTTP/1.1",
            b"OPTIONS * HTTP/1.1",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nx",
            b"post /v2/models/m/infer HTTP/1.1",
            b"POST /v2/models/m/infer?x=%ff%00#y HTTP/1.1",
            b"POST \\v2\\models HTTP/1.1",
        ]
    )
    return line + b"\r\nhost: g\r\nx-spillway-key: " + ALPHA.encode() + b"\r\ncontent-length: 0\r\n\r\n"


KINDS: tuple[Made, ...] = (
    *(smuggled, odd_version, odd_chunks, bomb, doubled, huge_number, odd_json, odd_length, odd_header, odd_line),
)


def status(rig: Rig, sent: bytes) -> int | None:
    """The first answer's; none where the gateway ends the connection without a word, or waits for what is missing."""
    with socket.create_connection(("127.0.0.1", rig.table.listen.port), timeout=SILENCE_S) as connection:
        try:
            connection.sendall(sent)
            line = connection.makefile("rb").readline()
        except (TimeoutError, ConnectionResetError, BrokenPipeError):
            return None
    return int(line.split()[1]) if line.startswith(b"HTTP/1.") else None


def test_what_is_malformed_is_refused_and_nothing_else_happens(running: Rig) -> None:
    """Whatever a server sees is a request for inference with the gateway's own priority in it."""
    draw = random.Random(17)
    answered: Counter[tuple[str, int | None]] = Counter()
    for index in range(COUNT):
        made = KINDS[index % len(KINDS)]
        answered[made.__name__, status(running, made(draw))] += 1
    found = {code for _, code in answered if code}
    # 501 is what RFC 9112, section 6.1, has for a transfer coding that nobody knows.
    assert answered.pop(("smuggled", HTTPStatus.NOT_IMPLEMENTED), 0) < COUNT / 50
    assert max(code for _, code in answered if code) < HTTPStatus.INTERNAL_SERVER_ERROR, answered
    assert found >= {200, 400, 413, 415}
    assert sum(count for (_, code), count in answered.items() if code) > COUNT / 2
    assert answered["odd_line", 200] == 0
    for server in running.servers.values():
        for seen in server.seen:
            assert seen.path == INFER
            # What stands deeper than that is for the server's parser to judge.
            assert len(re.findall(rb'"parameters":\{"priority":[123][,}]', seen.body)) == 1
    assert running.envoy.poll() is None
    assert running.post(headers={"x-spillway-key": ALPHA}).site == Site.PRIVATE.value
    log = (running.folder / "envoy.log").read_text()
    assert not [key for key in KEYS if key in log]
