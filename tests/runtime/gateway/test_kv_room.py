"""Slots by what the KV caches hold. A real Envoy spills by them in tests/components/gateway/test_envoy_chat.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spillway.contracts.classes import Site
from spillway.contracts.routing import Gate
from spillway.runtime.gateway.kv_room import narrowed, room
from tests.support.gateway_rig import Rig


@pytest.mark.parametrize(
    ("running", "used", "slots"),
    [
        (30, 0.9, 30),
        (30, 0.6, 45),
        (30, 1.0, 27),
        (1, 1.0, 1),
        (30, 0.4, None),
        (0, 0.0, None),
        (0, 0.95, None),
    ],
    ids=["just full", "two thirds", "over", "one that fills it", "hardly used", "idle", "between two readings"],
)
def test_room_is_for_requests_as_long_as_those_that_run(running: float, used: float, slots: int | None) -> None:
    assert room(running, used, 0.9) == slots


@pytest.mark.parametrize("limits", [{}, {"batch_slots": 9, "headroom": 5}, {"batch_slots": 0}])
def test_p0_keeps_its_room_when_slots_go(tmp_path: Path, limits: dict[str, Any]) -> None:
    table = Rig(tmp_path).table
    route = table.site(Site.PRIVATE).model_copy(update={"slots": 10, "headroom": None, "batch_slots": None, **limits})
    before, after = table.limits(route), table.limits(narrowed(route, 4))
    assert after[Gate.INTERACTIVE] == 4
    assert after[Gate.BATCH] <= 4
    assert after[Gate.OPEN] == before[Gate.OPEN]
    assert narrowed(route, None) == narrowed(route, 12) == route
