"""The price catalogue: list prices of GPU instances, each with its date and source.

``prices.json`` beside this module is the data. A price is what the provider lists for on-demand use, in US dollars an
hour; discounts of one's own contract go into the stack's settings. ``basis`` says how it came about: ``list`` was read
from the provider's price list, ``scaled`` is another region's list price times the ratio that the source states.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from spillway.contracts.settings import Settings

TABLE: Final = Path(__file__).with_name("prices.json")
HOURS_PER_MONTH: Final = 730.0
"""365 × 24 ÷ 12, as both clouds' calculators have it."""
HOURS_PER_YEAR: Final = 8760.0

Cloud = Literal["sagemaker", "ec2", "azure"]


class PriceError(LookupError):
    """No price is known; the message says what is."""


class Price(Settings):
    """One price. ``gpus``: GPUs of one instance; ``usd_per_hour``: of one instance; ``read_on``: when the list said so.

    ``cloud`` is the price list: ``ec2`` holds for EKS nodes, ``azure`` for AKS nodes and for Azure ML, which adds no
    surcharge to the virtual machine's price.
    """

    cloud: Cloud
    instance_type: str
    region: str
    gpus: int = Field(ge=1)
    gpu: str
    usd_per_hour: float = Field(gt=0)
    model: Literal["on_demand"] = "on_demand"
    basis: Literal["list", "scaled"] = "list"
    read_on: date
    source: str = Field(min_length=10)

    @property
    def usd_per_gpu_hour(self) -> float:
        return self.usd_per_hour / self.gpus


@cache
def catalogue() -> tuple[Price, ...]:
    """Every price, as ``prices.json`` has it."""
    rows = json.loads(TABLE.read_text(encoding="utf-8"))
    sources = rows["sources"]
    return tuple(
        Price(**{**row, "source": sources[row["source"]]["text"], "read_on": sources[row["source"]]["read_on"]})
        for row in rows["prices"]
    )


def find_price(cloud: Cloud, instance_type: str, region: str) -> Price:
    """The price of one instance. Raises :class:`PriceError` naming what is known."""
    known = [price for price in catalogue() if price.cloud == cloud]
    for price in known:
        if price.instance_type.lower() == instance_type.lower() and price.region == region:
            return price
    regions = sorted(price.region for price in known if price.instance_type.lower() == instance_type.lower())
    types = sorted({price.instance_type for price in known if price.region == region})
    if regions:
        hint = f"it is known in {', '.join(regions)}"
    elif types:
        hint = f"known there: {', '.join(types)}"
    else:
        hint = f"known regions: {', '.join(sorted({price.region for price in known}))}"
    raise PriceError(
        f"no {cloud} price of {instance_type} in {region}; {hint}. "
        "Give your own under cost_guard.prices in the stack file"
    )


def price_per_hour(cloud: Cloud, instance_type: str, region: str) -> float:
    """US dollars an hour for one instance. Raises :class:`PriceError`."""
    return find_price(cloud, instance_type, region).usd_per_hour


def amortised_per_gpu_hour(
    *,
    purchase_usd: float,
    gpus: int,
    years: float,
    power_kw: float = 0.0,
    usd_per_kwh: float = 0.0,
    overhead: float = 1.0,
    operation_usd_per_year: float = 0.0,
) -> float:
    """What an owned GPU costs an hour, in US dollars, whether it works or not.

    ``(purchase ÷ years + operation) ÷ (GPUs × 8760) + power × price × overhead ÷ GPUs``: straight-line depreciation, as
    in a total-cost-of-ownership sheet. ``power_kw``: draw of the whole machine; ``overhead``: the site's PUE.
    """
    if gpus < 1 or years <= 0:
        raise ValueError(f"gpus must be 1 or more and years above 0, not {gpus} and {years}")
    ownership = (purchase_usd / years + operation_usd_per_year) / (gpus * HOURS_PER_YEAR)
    return ownership + power_kw * usd_per_kwh * overhead / gpus


def blended_per_gpu_hour(capacity: Iterable[tuple[float, int, int]]) -> float | None:
    """``Σ(price × instances) ÷ Σ(GPUs × instances)`` over ``(usd_per_hour, gpus, instances)``; ``None`` at no GPU."""
    rows = list(capacity)
    gpus = sum(count * instances for _, count, instances in rows)
    if gpus == 0:
        return None
    return sum(price * instances for price, _, instances in rows) / gpus


def catalogue_slice(prices: Iterable[Price]) -> dict[str, Mapping[str, object]]:
    """The few prices that a function needs, as JSON has them: instance type → price, GPUs, date and source."""
    return {
        price.instance_type: {
            "usd_per_hour": price.usd_per_hour,
            "gpus": price.gpus,
            "read_on": price.read_on.isoformat(),
            "source": price.source,
        }
        for price in prices
    }
