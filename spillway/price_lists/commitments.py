"""What AWS asks of who commits himself: savings plans by their own API, capacity blocks by what EC2 offers now.

A savings plan's rate is that of an hour of one instance, paid in every hour of the term
(https://docs.aws.amazon.com/savingsplans/latest/APIReference/API_DescribeSavingsPlansOfferingRates.html). A capacity
block is paid for as a whole beforehand, and may cost something else tomorrow
(https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeCapacityBlockOfferings.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

from spillway.contracts.prices import Price, PriceModel
from spillway.price_lists.aws import API_REGION, MANAGED, called, client_of, cloud_of

SAVINGS_SOURCE: Final = "AWS DescribeSavingsPlansOfferingRates (no upfront), read by `spillway prices refresh`"
BLOCK_SOURCE: Final = "Amazon EC2 DescribeCapacityBlockOfferings (a week), read by `spillway prices refresh`"
NOT_SOLD: Final = ("InvalidParameterValue", "Unsupported")
"""How EC2 refuses a type of which it sells no blocks."""
BLOCK_DAYS: Final = 7
"""Of the block that is asked for: most are sold by the week."""
TERMS: Final[dict[int, PriceModel]] = {365: "savings_1y", 3 * 365: "savings_3y"}
_ENDPOINT: Final = re.compile(r"Host:(ml\.[\w.-]+)$")
"""How a usage type names what serves in real time, as the price list's do."""


def read_savings(types: dict[str, tuple[int, str]], today: date, endpoint_url: str | None = None) -> Iterator[Price]:
    """Each type's cheapest plan without an upfront payment, in every region.

    Raises :class:`spillway.price_lists.common.PriceListError` when AWS refuses.
    """
    client = client_of("savingsplans", API_REGION, endpoint_url)
    cheapest: dict[tuple[str, str, str, str], Price] = {}
    for rate in _rates(client, [name for name in types if not name.startswith("ml.")]):
        price = _price(rate, types, today)
        if price is not None:
            held = cheapest.get(price.key)
            cheapest[price.key] = price if held is None else min(held, price, key=lambda one: one.usd_per_hour)
    yield from cheapest.values()


def _rates(client: Any, machines: list[str]) -> Iterator[dict[str, Any]]:
    linux = [{"name": "productDescription", "values": ["Linux/UNIX"]}, {"name": "tenancy", "values": ["shared"]}]
    asked: list[dict[str, Any]] = [{"products": [MANAGED], "savingsPlanTypes": [MANAGED], "filters": []}]
    for name in machines:
        chosen = [*linux, {"name": "instanceType", "values": [name]}]
        asked.append({"products": ["EC2"], "savingsPlanTypes": ["Compute", "EC2Instance"], "filters": chosen})
    for one in asked:
        token: dict[str, str] = {}
        while True:
            wanted = {**one, "savingsPlanPaymentOptions": ["No Upfront"], "maxResults": 1000, **token}
            answer = called(client.describe_savings_plans_offering_rates, **wanted)
            yield from answer["searchResults"]
            if not answer.get("nextToken"):
                break
            token = {"nextToken": answer["nextToken"]}


def _price(rate: dict[str, Any], types: dict[str, tuple[int, str]], today: date) -> Price | None:
    """``None`` for what is no hour of a wanted type."""
    said = {one["name"]: one["value"] for one in rate["properties"]}
    managed = _ENDPOINT.search(rate["usageType"])
    name = managed[1] if managed else said.get("instanceType", "")
    model = TERMS.get(round(rate["savingsPlanOffering"]["durationSeconds"] / 86400))
    wanted = name in types and model is not None and rate["unit"] == "Hrs" and "region" in said
    if not wanted or float(rate["rate"]) <= 0:
        return None
    gpus, gpu = types[name]
    return Price(
        cloud=cloud_of(name),
        instance_type=name,
        region=said["region"],
        gpus=gpus,
        gpu=gpu,
        usd_per_hour=float(rate["rate"]),
        model=model or "savings_1y",
        read_on=today,
        source=SAVINGS_SOURCE,
    )


def read_blocks(
    types: dict[str, tuple[int, str]], regions: list[str], today: date, endpoint_url: str | None = None
) -> Iterator[Price]:
    """An hour of one instance in the cheapest block of a week that each region offers, of the types that it offers.

    Raises :class:`spillway.price_lists.common.PriceListError` when EC2 refuses.
    """
    for region in regions:
        client = client_of("ec2", region, endpoint_url)
        for name, (gpus, gpu) in types.items():
            offers = () if name.startswith("ml.") else _offers(client, name)
            hourly = [_hourly(offer) for offer in offers if offer.get("CurrencyCode", "USD") == "USD"]
            if hourly:
                yield Price(
                    cloud="ec2",
                    instance_type=name,
                    region=region,
                    gpus=gpus,
                    gpu=gpu,
                    usd_per_hour=min(hourly),
                    model="capacity_block",
                    read_on=today,
                    source=BLOCK_SOURCE,
                )


def _hourly(offer: dict[str, Any]) -> float:
    hours = offer["CapacityBlockDurationHours"] * offer["InstanceCount"]
    return round(float(offer["UpfrontFee"]) / hours, 6)


def _offers(client: Any, name: str) -> list[dict[str, Any]]:
    """Empty for a type of which EC2 sells no blocks, which it says by refusing."""
    wanted = {"InstanceType": name, "InstanceCount": 1, "CapacityDurationHours": BLOCK_DAYS * 24}
    answer = called(client.describe_capacity_block_offerings, NOT_SOLD, **wanted)
    return answer.get("CapacityBlockOfferings", [])
