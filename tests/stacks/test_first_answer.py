"""The finished site is asked by its name, over TLS, with a client's key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spillway.contracts.classes import CLIENT_KEY_HEADER
from spillway.contracts.routing import Probe
from spillway.twin.data_plane.processes.child import free_port
from stacks.first_answer import Answer, Asker
from stacks.stages import Question
from tests.support.tls_gateway import Gateway, gateway

HOST = "inference.example.com"
REQUEST = Probe(path="/v2/models/echo/infer", body='{"inputs": []}')
HERE = ["127.0.0.1"]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with gateway(tmp_path, HOST, "the-key") as found:
        monkeypatch.setenv("SSL_CERT_FILE", str(found.authority))
        yield found


def ask(port: int, addresses: Any = lambda host: HERE, key: str = "the-key", **question: Any) -> Answer:
    headers = {CLIENT_KEY_HEADER: key}
    asker = Asker(REQUEST, headers, addresses, patience_s=question.pop("patience_s", 0), poll_s=0.01)
    return asker.ask(Question(question.pop("host", HOST), question.pop("public", True), port))


def test_a_good_answer_is_told_with_its_site(served: Gateway) -> None:
    answer = ask(served.port)
    assert (answer.problem, answer.status, answer.site, answer.body) == ("", 200, "private", '{"outputs": []}')
    assert answer.address == HERE[0]
    assert served.paths == [REQUEST.path]


def test_it_waits_until_the_name_is_known(served: Gateway) -> None:
    told = iter([[], [], HERE])
    assert ask(served.port, lambda host: next(told), patience_s=60).status == 200
    assert next(told, None) is None


def test_a_caller_without_the_right_key_is_not_asked_again(served: Gateway) -> None:
    answer = ask(served.port, key="another", patience_s=60)
    assert answer.problem == f"{HOST} answers 401: who are you?"


def test_the_certificate_has_to_be_the_names(served: Gateway) -> None:
    assert "the certificate of other.example.com is not good" in ask(served.port, host="other.example.com").problem


def test_the_certificate_has_to_be_trusted(served: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert f"the certificate of {HOST} is not good" in ask(served.port).problem


def test_a_closed_port_and_an_unknown_name_are_told() -> None:
    assert "is this machine in client_cidrs?" in ask(free_port()).problem
    assert ask(1, lambda host: []).problem == f"DNS does not know {HOST}"


def test_a_private_name_is_left_to_somebody_inside_and_the_key_is_not_shown() -> None:
    answer = ask(1, lambda host: [], public=False, patience_s=60)
    assert "is a private name" in answer.problem
    assert f"https://{HOST}{REQUEST.path}" in answer.problem
    assert "the-key" not in answer.problem
