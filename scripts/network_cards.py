"""Renew ``spillway/contracts/network_cards.json``: how the GPU machines of EC2 reach each other.

    python scripts/network_cards.py

moto keeps EC2's own answers to DescribeInstanceTypes, from which its maintainers renew them.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

WRITTEN = Path(__file__).resolve().parents[1] / "spillway" / "contracts" / "network_cards.json"
GBITS = re.compile(r"(Up to )?((?P<times>\d+)x )?(?P<each>[\d.]+) Gigabit")


def machines() -> Iterator[tuple[str, list[float]]]:
    """Of each type with GPUs: its network cards, those of them that take an EFA, and Gbit/s in all."""
    packed = files("moto.ec2").joinpath("resources/instance_types.json.gz").read_bytes()
    for name, found in sorted(json.loads(gzip.decompress(packed)).items()):
        if "GpuInfo" in found:
            network = found["NetworkInfo"]
            cards = network.get("NetworkCards", [])
            with_efa = [card["NetworkCardIndex"] for card in cards if "efa-only" in card.get("InterfaceTypes", ())]
            # Where one card has none, it is the first: the table needs numbers alone.
            assert with_efa == list(range(len(cards)))[len(cards) - len(with_efa) :], name
            yield name, [len(cards), len(with_efa), _gbits(network)]


def _gbits(network: dict[str, Any]) -> float:
    told = GBITS.fullmatch(network["NetworkPerformance"])
    assert told is not None, network["NetworkPerformance"]
    return int(told["times"] or 1) * float(told["each"])


def main() -> None:
    head = {
        "source": f"EC2's DescribeInstanceTypes, as moto {version('moto')} keeps it (Apache-2.0)",
        "meaning": "name: [network cards, those of them that take an EFA, Gbit/s in all at most]",
    }
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in machines())
    WRITTEN.write_text(f'{json.dumps(head, indent=1)[:-2]},\n "machines": {{\n{lines}\n }}\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
