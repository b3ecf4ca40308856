"""What is paid for: machines that run now, of which the drill makes a bill, and those that a stack asks for."""

from __future__ import annotations

from dataclasses import dataclass

from spillway.contracts.prices import Cloud, PriceModel


@dataclass(frozen=True)
class Running:
    """Machines of one kind that are paid now: US dollars an hour of one, and how many there are."""

    site: str
    usd_per_hour: float
    instances: int


@dataclass(frozen=True)
class Machines:
    """Machines of one kind as the stack file asks for them.

    ``key``: of the stack file, where their type is named. ``cloud``: whose price list. ``least`` and ``most``: how many
    there may be. ``model``: how they are bought.
    """

    key: str
    cloud: Cloud
    instance_type: str
    region: str
    least: int
    most: int
    model: PriceModel = "on_demand"
