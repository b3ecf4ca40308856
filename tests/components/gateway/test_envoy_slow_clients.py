"""Clients that are slow on purpose, or many, before a real Envoy: they are ended, who waits for an answer is not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial

import pytest

from spillway.contracts.classes import Site
from spillway.contracts.connections import Connections
from spillway.contracts.routing import RoutingTable
from tests.support.gateway_rig import ALPHA, INFER, MODEL, Rig
from tests.support.waiting import eventually

pytestmark = pytest.mark.heavy
LIMITS = Connections(headers_s=1.0, body_s=2.0, age_s=1.0, most=60, streams=7)
HEAD = f"POST {INFER} HTTP/1.1\r\nhost: g\r\nx-spillway-key: {ALPHA}\r\nx-spillway-class: P2\r\n"
BODY = '{"inputs":[]}'
REFUSED = "envoy_listener_downstream_global_cx_overflow"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("gateway"), _with_limits) as rig:
        yield rig


def _with_limits(table: RoutingTable) -> RoutingTable:
    return table.model_copy(update={"connections": LIMITS})


def connect(rig: Rig) -> socket.socket:
    return socket.create_connection(("127.0.0.1", rig.table.listen.port), timeout=20)


def answer_to(rig: Rig, request: str) -> bytes:
    """All of it, to the connection's end, over a connection of its own."""
    with connect(rig) as connection:
        connection.sendall(request.encode())
        return connection.makefile("rb").read()


def is_answered(rig: Rig, path: str = INFER) -> bool:
    head = HEAD.replace(INFER, path)
    try:
        whole = answer_to(rig, f"{head}connection: close\r\ncontent-length: {len(BODY)}\r\n\r\n{BODY}")
    except ConnectionError:
        return False
    return whole.startswith(b"HTTP/1.1 200")


class Slow:
    """A client that sends something each time it is asked, and never all."""

    def __init__(self, rig: Rig, begin: str, more: str) -> None:
        self.connection = connect(rig)
        self.connection.sendall(begin.encode())
        self.connection.settimeout(0.01)
        self.more = more.encode()
        self.told = b""

    def is_ended(self) -> bool:
        try:
            self.connection.sendall(self.more)
            self.told += self.connection.recv(1 << 16)
        except TimeoutError:
            return False
        except OSError:
            return True
        return bool(self.told)


# Each is a limit of one or two seconds here, and of ten and sixty without it.
@pytest.mark.parametrize(
    ("begin", "more", "within_s"),
    [(HEAD, "x-more: 1\r\n", 8), (f"{HEAD}content-length: 1000000\r\n\r\n{{", " ", 30)],
    ids=["headers", "body"],
)
def test_many_slow_clients_are_ended_and_others_are_served(rig: Rig, begin: str, more: str, within_s: float) -> None:
    with ExitStack() as stack:
        crowd = [Slow(rig, begin, more) for _ in range(30)]
        for one in crowd:
            stack.enter_context(closing(one.connection))
        assert is_answered(rig)
        left = set(crowd)

        def all_are_ended() -> bool:
            left.difference_update([one for one in left if one.is_ended()])
            return not left

        eventually(all_are_ended, within_s, "the slow clients are ended")
        assert {one.told[:12] for one in crowd if one.told} == {b"HTTP/1.1 408"}
    assert is_answered(rig)


def test_answers_may_take_longer_than_requests(rig: Rig) -> None:
    """One in a piece, and one that streams, on connections that are past their age by then."""
    rig.servers[Site.PRIVATE].delay_s = LIMITS.body_s + 1
    assert is_answered(rig)
    rig.servers[Site.PRIVATE].delay_s = 0.0
    body = '{"text_input":"a"}'
    path = f"/v2/models/{MODEL}/generate_stream"
    whole = answer_to(rig, f"{HEAD.replace(INFER, path)}connection: close\r\ncontent-length: {len(body)}\r\n\r\n{body}")
    assert whole.count(b"data: ") == 4


def test_an_old_connection_takes_no_further_request(rig: Rig) -> None:
    rig.servers[Site.PRIVATE].delay_s = 2.0
    whole = answer_to(rig, f"{HEAD}content-length: {len(BODY)}\r\n\r\n{BODY}")
    rig.servers[Site.PRIVATE].delay_s = 0.0
    assert whole.startswith(b"HTTP/1.1 200")


def test_more_connections_than_allowed_are_closed(rig: Rig) -> None:
    """Those of the gateway's own listeners do not count, and are answered meanwhile."""
    metrics = f"http://127.0.0.1:{rig.table.listen.metrics_port}/metrics"

    def some_are_refused() -> bool:
        with ExitStack() as stack:
            for _ in range(LIMITS.most + 5):
                stack.enter_context(connect(rig))
            told = rig.http.request("GET", metrics).data.decode().splitlines()
        return any(line.startswith(REFUSED) and not line.endswith(" 0") for line in told)

    eventually(some_are_refused, what="connections are refused")
    eventually(partial(is_answered, rig), what="there is room again")


def test_a_connection_of_http_2_has_so_many_streams(rig: Rig) -> None:
    """RFC 9113, section 6.5.2: SETTINGS_MAX_CONCURRENT_STREAMS is 3."""
    with connect(rig) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        told = connection.makefile("rb")
        head = told.read(9)
        body = told.read(int.from_bytes(head[:3], "big"))
    assert head[3] == 4
    settings = {
        int.from_bytes(body[at : at + 2], "big"): int.from_bytes(body[at + 2 : at + 6], "big")
        for at in range(0, len(body), 6)
    }
    assert settings[3] == LIMITS.streams
