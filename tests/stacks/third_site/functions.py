"""What the cost signal and the cut-off ask of it: a fleet that says its own size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillway.runtime.functions.site import Live

FLEETS: dict[str, int] = {"burst": 2}


def read(asked: Mapping[str, Any]) -> list[Live]:
    return [Live(asked["instance_type"], FLEETS[asked["fleet"]])]


def hold(asked: Mapping[str, Any], minimum: int, held: bool) -> None:
    if held:
        FLEETS[asked["fleet"]] = min(minimum, FLEETS[asked["fleet"]])
