"""Histograms of first tokens and of further ones. Envoy itself is in tests/components/gateway/test_envoy_tokens.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from spillway.contracts.answer_times import FIRST_TOKEN, TOKEN
from spillway.contracts.usage import Usage
from spillway.runtime.gateway.answer_times import AnswerTimes
from tests.support.gateway_rig import Rig


def usage(**said: Any) -> Usage:
    about = {"id": "1", "client": "alpha", "request_class": "P0", "site": "private", "model": "m", "reserved": 60}
    times = {"status": 200, "streamed": "true", "first_ms": 500, "duration_ms": 2500, "prompt": 3, "cached": 0}
    return Usage.model_validate({**about, **times, "completion": 21, **said})


def counted(folder: Path, *usages: Usage) -> dict[str, float]:
    times = AnswerTimes(Rig(folder).table)
    for each in usages:
        times.take(each)
    found = (re.fullmatch(r'(\w+)\{class="P0"(?:,le="(.+)")?\} (.+)', line) for line in times.metrics())
    return {f"{each[1]}<{each[2]}" if each[2] else each[1]: float(each[3]) for each in found if each}


def test_a_stream_counts_in_each_bucket_that_ends_after_it(tmp_path: Path) -> None:
    """First token after 0.5 s, twenty more within two seconds."""
    found = counted(tmp_path, usage())
    first = {name: found[f"{FIRST_TOKEN}_bucket<{name}"] for name in ("0.25", "0.5", "1.0", "2.0", "+Inf")}
    assert first == {"0.25": 0, "0.5": 1, "1.0": 1, "2.0": 1, "+Inf": 1}
    assert [found[f"{TOKEN}_bucket<{name}"] for name in ("0.075", "0.1", "+Inf")] == [0, 1, 1]
    assert (found[f"{FIRST_TOKEN}_count"], found[f"{FIRST_TOKEN}_sum"]) == (1, 0.5)
    assert found[f"{TOKEN}_sum"] == pytest.approx(0.1)


def test_there_is_a_bucket_that_ends_where_the_class_is_late(tmp_path: Path) -> None:
    table = Rig(tmp_path).table
    odd = table.classes[0].model_copy(update={"first_token_s": 3.3, "token_s": 0.07})
    lines = list(AnswerTimes(table.model_copy(update={"classes": (odd, *table.classes[1:])})).metrics())
    assert any(line.startswith(f'{FIRST_TOKEN}_bucket{{class="P0",le="3.3"}}') for line in lines)
    assert any(line.startswith(f'{TOKEN}_bucket{{class="P0",le="0.07"}}') for line in lines)


@pytest.mark.parametrize(
    ("said", "first", "further"),
    [
        ({"status": 503, "first_ms": "-", "completion": "-"}, (0, 1), 0),
        ({"status": 504, "first_ms": 1, "completion": "-"}, (0, 1), 0),
        ({"status": 0, "first_ms": "-"}, (0, 0), 0),
        ({"status": 429}, (0, 0), 0),
        ({"streamed": "-"}, (0, 0), 0),
        ({"completion": 1}, (1, 1), 0),
        ({"completion": "-"}, (1, 1), 0),
    ],
    ids=["refused", "timed out", "client left", "over the contract", "whole", "one token", "cut at once"],
)
def test_what_counts(tmp_path: Path, said: dict[str, Any], first: tuple[int, int], further: int) -> None:
    """``first``: in time, and in all."""
    found = counted(tmp_path, usage(**said))
    assert (found[f"{FIRST_TOKEN}_bucket<32.0"], found[f"{FIRST_TOKEN}_count"]) == first
    assert found[f"{TOKEN}_count"] == further
