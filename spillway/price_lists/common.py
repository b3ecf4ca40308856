"""What all price lists share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from spillway.contracts.prices import Cloud, Price, PriceModel


class PriceListError(Exception):
    """A price list could not be read; nothing of the catalogue was changed."""


@dataclass(frozen=True)
class Listing:
    """One reading of one list. ``types``: GPUs and GPU kind by instance type."""

    types: dict[str, tuple[int, str]]
    read_on: date
    source: str

    def price(self, cloud: Cloud, name: str, region: str, usd_per_hour: float, model: PriceModel) -> Price:
        gpus, gpu = self.types[name]
        return Price(
            cloud=cloud, instance_type=name, region=region, gpus=gpus, gpu=gpu, usd_per_hour=usd_per_hour,
            model=model, read_on=self.read_on, source=self.source,
        )  # fmt: skip


def dearest(prices: Iterable[Price]) -> list[Price]:
    """One price for each key: where a list has several meters for one instance, the dearest counts."""
    return _one_each(prices, 1.0)


def cheapest(prices: Iterable[Price]) -> list[Price]:
    """One price for each key: where there are several offers of one instance, the cheapest counts."""
    return _one_each(prices, -1.0)


def _one_each(prices: Iterable[Price], sign: float) -> list[Price]:
    found: dict[tuple[str, str, str, str], Price] = {}
    for price in prices:
        held = found.get(price.key)
        if held is None or sign * price.usd_per_hour > sign * held.usd_per_hour:
            found[price.key] = price
    return list(found.values())
