"""Room for P0 by what the servers begin. A real Envoy refuses by it in tests/components/gateway/test_envoy_chat.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from spillway.contracts.classes import Site
from spillway.contracts.routing import Gate
from spillway.runtime.gateway.queue_room import QueueRoom, shortened
from tests.support.gateway_rig import Rig


def page(running: int, waiting: int, ended: int, aborted: int = 0) -> str:
    """As vLLM writes it: counters by reason, ended ones in two of them, with prometheus_client's floats."""
    labels = 'engine="0",model_name="m"'
    lines = [
        f"vllm:num_requests_running{{{labels}}} {float(running)}",
        f"vllm:num_requests_waiting{{{labels}}} {float(waiting)}",
        f'vllm:request_success_total{{engine="0",finished_reason="stop",model_name="m"}} {float(ended // 2)}',
        f'vllm:request_success_total{{engine="0",finished_reason="length",model_name="m"}} {float(ended - ended // 2)}',
        f'vllm:request_success_total{{engine="0",finished_reason="abort",model_name="m"}} {float(aborted)}',
        'vllm:request_success_created{engine="0",finished_reason="stop",model_name="m"} 1.7e+09',
    ]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("ended", "aborted", "most"),
    [(24, 0, 48 + 12), (24, 500, 48 + 12), (0, 500, 48 + 1), (1, 0, 48 + 1)],
    ids=["twelve a second", "those given up do not count", "none is answered", "hardly one"],
)
def test_as_many_wait_as_begin_within_half_of_what_p0_allows(ended: int, aborted: int, most: int) -> None:
    room = QueueRoom(first_token_s=2.0)
    room.take([page(48, 70, 100)], 10.0)
    assert room.most is None
    room.take([page(48, 70, 100 + ended, aborted)], 12.0)
    assert room.most == most


def test_all_servers_count_and_one_that_started_anew_takes_nothing_away() -> None:
    room = QueueRoom(first_token_s=2.0)
    room.take([page(8, 0, 1000), page(8, 3, 0)], 0.0)
    room.take([page(8, 0, 1010), page(8, 3, 10)], 2.0)
    assert room.most == 16 + 10
    room.take([page(8, 0, 0), page(8, 3, 20)], 4.0)
    assert room.most == 16 + 1


def test_a_site_where_nobody_waits_opens_again_bit_by_bit() -> None:
    room = QueueRoom(first_token_s=2.0)
    room.take([page(48, 70, 0)], 0.0)
    room.take([page(48, 70, 24)], 2.0)
    seen = []
    for reading in range(60):
        room.take([page(20, 0, 24)], 4.0 + 2 * reading)
        seen.append(room.most)
    assert seen[:3] == [76, 96, 121]
    assert seen[-1] is None


@pytest.mark.parametrize(
    ("most", "open_"),
    [(None, 24), (24, 24), (100, 24), (14, 14), (10, 10), (3, 10)],
    ids=["no limit", "as many as ever", "more", "fewer", "the slots", "fewer than the slots"],
)
def test_only_p0s_room_above_the_slots_gets_smaller(tmp_path: Path, most: int | None, open_: int) -> None:
    table = Rig(tmp_path).table
    route = table.site(Site.PRIVATE).model_copy(update={"slots": 10, "headroom": 14, "batch_slots": 4})
    assert table.limits(shortened(route, most)) == {Gate.BATCH: 4, Gate.INTERACTIVE: 10, Gate.OPEN: open_}
