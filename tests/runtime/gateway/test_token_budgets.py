"""Buckets of tokens, and what Envoy tells of them. Envoy itself is in tests/components/gateway/test_envoy_tokens.py."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from spillway.contracts.classes import RequestClass
from spillway.contracts.routing import Anonymous, RoutingTable
from spillway.contracts.usage import Usage, UsageMetrics
from spillway.runtime.gateway.token_budgets import Bucket, TokenBudgets
from spillway.runtime.gateway.usage_log import CutError, UnreadError, read_value
from spillway.runtime.gateway.usage_report import UsageReport
from tests.support.gateway_rig import Rig


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def usage(**said: Any) -> Usage:
    about = {"id": "1", "client": "alpha", "request_class": "P1", "site": "private", "status": 200, "model": "m"}
    times = {"streamed": "-", "first_ms": "-", "duration_ms": 1500}
    return Usage.model_validate({**about, **times, "reserved": 60, "prompt": 10, "completion": 20, "cached": 4, **said})


def test_a_bucket_is_a_share_of_the_gateways_that_there_are() -> None:
    """Two take from 900 together; a third comes: what was left of a share is left of the smaller one."""
    clock = Clock()
    bucket = Bucket(450, clock)
    bucket.take(300)
    bucket.resize(300)
    assert (bucket.size, bucket.level) == (300, pytest.approx(100))
    clock.now = 30
    assert bucket.wait_s(250) == 0
    bucket.resize(900)
    assert bucket.level == pytest.approx(750)


def test_a_bucket_fills_in_a_minute_and_never_over() -> None:
    clock = Clock()
    bucket = Bucket(600, clock)
    bucket.take(600)
    assert bucket.wait_s(100) == pytest.approx(10)
    clock.now = 10
    assert bucket.wait_s(100) == 0
    clock.now = 1000
    bucket.take(-50)
    assert bucket.level == 600


def test_a_request_larger_than_the_bucket_waits_until_it_is_full_and_leaves_a_debt() -> None:
    clock = Clock()
    bucket = Bucket(60, clock)
    assert bucket.wait_s(90) == 0
    bucket.take(90)
    assert bucket.wait_s(10) == pytest.approx(40)


def budgets(tmp_path: Path, clock: Clock, replicas: int = 1) -> TokenBudgets:
    table = Rig(tmp_path).table
    alpha = table.clients[0].model_copy(update={"tokens_per_minute": {RequestClass.P1: 120}})
    changes = {"clients": (alpha, *table.clients[1:]), "replicas": replicas}
    return TokenBudgets(table.model_copy(update=changes), clock)


def left(found: TokenBudgets) -> str:
    return next(line for line in found.metrics() if line.startswith("spillway_tokens_left")).rpartition(" ")[2]


def test_what_was_not_used_is_given_back(tmp_path: Path) -> None:
    found = budgets(tmp_path, Clock())
    assert found.reserve("1", "alpha", "P1", 60) == 0
    assert left(found) == "60"
    found.settle(usage())
    assert left(found) == "90"
    assert found.charged["alpha", "P1"] == 30


def test_who_has_none_left_is_told_when_there_will_be_some(tmp_path: Path) -> None:
    found = budgets(tmp_path, Clock())
    assert [found.reserve(str(each), "alpha", "P1", 60) for each in range(3)] == [0, 0, 30]
    assert found.refused["alpha", "P1"] == 1
    assert found.reserve("4", "alpha", "P0", 10**9) == 0
    assert found.reserve("5", "anonymous", "P1", 10**9) == 0


@pytest.mark.parametrize(
    ("said", "charged"),
    [
        ({}, 30),
        ({"prompt": "-", "completion": "-", "cached": "-", "status": 503}, 0),
        ({"prompt": "-", "completion": "-", "cached": "-"}, 60),
    ],
    ids=["said", "no answer", "cut before it said"],
)
def test_what_is_charged(said: dict[str, Any], charged: int) -> None:
    assert usage(**said).charged == charged


def test_what_clients_use_is_counted_and_told_once(tmp_path: Path) -> None:
    """Tokens where an answer says them, else its seconds; nothing of what is refused, whatever model it names."""
    found = budgets(tmp_path, Clock())
    report, told = UsageReport(UsageMetrics(region="r", stack="s"), found.used), []
    found.settle(usage())
    found.settle(usage(prompt="-", completion="-", cached="-", reserved="-"))
    found.settle(usage(status=404, model="anything", prompt="-", completion="-", cached="-"))
    report.publish(lambda **call: told.append(call))
    report.publish(lambda **call: told.append(call))
    (call,) = told
    assert {one["MetricName"]: one["Value"] for one in call["MetricData"]} == {
        "PromptTokens": 10, "CompletionTokens": 20, "CachedTokens": 4, "Answers": 2, "AnswerSeconds": 1.5,
    }  # fmt: skip
    names = {one["Name"]: one["Value"] for one in call["MetricData"][0]["Dimensions"]}
    assert names == {"Stack": "s", "Client": "alpha", "Class": "P1", "Site": "private", "Model": "m"}
    assert 'spillway_answers_total{client="alpha",class="P1",site="private",model="m"} 2.000' in list(found.metrics())


def test_what_could_not_be_told_is_told_the_next_time(tmp_path: Path) -> None:
    found = budgets(tmp_path, Clock())
    report, told = UsageReport(UsageMetrics(region="r", stack="s"), found.used), []
    found.settle(usage())

    def refuse(**_: Any) -> None:
        raise OSError("CloudWatch is away")

    with pytest.raises(OSError, match="away"):
        report.publish(refuse)
    found.settle(usage())
    report.publish(lambda **call: told.extend(call["MetricData"]))
    assert {one["MetricName"]: one["Value"] for one in told}["PromptTokens"] == 20


def test_replicas_share_a_budget(tmp_path: Path) -> None:
    assert left(budgets(tmp_path, Clock(), replicas=2)) == "60"


def test_a_table_with_budgets_makes_the_round_trip(tmp_path: Path) -> None:
    table = Rig(tmp_path).table.model_copy(update={"anonymous": Anonymous(tokens_per_minute={RequestClass.P2: 5})})
    assert RoutingTable.model_validate_json(table.model_dump_json()) == table


SPECIFIED = {
    # The example on https://msgpack.org.
    b"\x82\xa7compact\xc3\xa6schema\x00": {"compact": True, "schema": 0},
    # Formats of https://github.com/msgpack/msgpack/blob/master/spec.md.
    b"\xff": -1,
    b"\xcd\x01\x00": 256,
    b"\xcb" + struct.pack(">d", 0.5): 0.5,
    b"\xd9\x03abc": "abc",
    b"\xdc\x00\x02\xc0\xc2": [None, False],
    b"\xdf\x00\x00\x00\x01\xa1a\x91\x07": {"a": [7]},
}


@pytest.mark.parametrize("content", SPECIFIED)
def test_message_pack_is_read_as_specified(content: bytes) -> None:
    """Wherever it is cut, it is read when all of it has come."""
    for at in range(len(content)):
        with pytest.raises(CutError):
            read_value(content[:at])
    assert read_value(b"\x00" + content, 1) == (SPECIFIED[content], len(content) + 1)


def test_what_envoy_never_writes_is_refused() -> None:
    with pytest.raises(UnreadError):
        read_value(b"\xc7\x01\x00\x00")
