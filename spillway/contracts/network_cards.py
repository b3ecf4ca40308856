"""How the GPU machines of EC2 reach each other: network cards, and which of them take an Elastic Fabric Adapter."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Network:
    """``cards``: of the machine; the last ``efa`` of them take an Elastic Fabric Adapter each. ``gbits``: of all
    together, a second, at most."""

    cards: int
    efa: int
    gbits: float


def network(instance_type: str) -> Network | None:
    """``None`` for a type without GPUs, or one that ``network_cards.json`` does not know."""
    row = _machines().get(instance_type)
    return None if row is None else Network(int(row[0]), int(row[1]), row[2])


@cache
def _machines() -> dict[str, list[float]]:
    text = files("spillway.contracts").joinpath("network_cards.json").read_text(encoding="utf-8")
    return json.loads(text)["machines"]
