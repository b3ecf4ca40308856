"""What AWS asks of who commits himself: savings plans by their public list, capacity blocks by what EC2 offers now.

A savings plan's rate is that of an hour of one instance, paid in every hour of the term. The list asks for no
credentials: an index of regions, and of each region a CSV file, whose sixth line names its columns
(https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file-for-savings-plans.html).
A capacity block is paid for as a whole beforehand, and may cost something else tomorrow
(https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeCapacityBlockOfferings.html).
"""

from __future__ import annotations

import csv
import http.client
import io
import json
import re
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import dropwhile
from typing import Any, Final

from spillway.contracts.prices import Price, PriceModel
from spillway.price_lists.aws import called, client_of, cloud_of
from spillway.price_lists.common import Listing, PriceListError, cheapest

LIST_URL: Final = "https://pricing.us-east-1.amazonaws.com"
PLANS: Final = ("AWSComputeSavingsPlan", "AWSMachineLearningSavingsPlans")
"""The lists of EC2's plans, of both kinds, and of those for what serves on types named ``ml.``."""
SAVINGS_SOURCE: Final = f"AWS's public list of savings plans ({LIST_URL}), read by `spillway prices refresh`"
BLOCK_SOURCE: Final = "Amazon EC2 DescribeCapacityBlockOfferings (a week), read by `spillway prices refresh`"
NOT_SOLD: Final = ("InvalidParameterValue", "Unsupported")
"""How EC2 refuses a type of which it sells no blocks."""
BLOCK_DAYS: Final = 7
"""Of the block that is asked for: most are sold by the week."""
TERMS: Final[dict[str, PriceModel]] = {"1 year": "savings_1y", "3 year": "savings_3y"}
_TIMEOUT_S: Final = 60
_USED: Final = re.compile(r"(?:^|-)(?:BoxUsage:(?P<machine>\S+)|Host:(?P<managed>ml\.\S+))$")
"""Usage types of a shared machine, and of what serves in real time: ``USE1-BoxUsage:g5.xlarge``."""
_LINUX: Final = "RunInstances"
"""The operation of a machine whose system costs nothing more; ``RunInstances:0002`` is Windows
(https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/billing-info-fields.html)."""


def read_savings(
    types: dict[str, tuple[int, str]], regions: Sequence[str], today: date, url: str = LIST_URL
) -> list[Price]:
    """Each type's cheapest plan without an upfront payment, in these regions.

    Raises :class:`PriceListError` where the list cannot be read, or knows no such region.
    """
    return cheapest(_savings(Listing(types, today, SAVINGS_SOURCE), regions, url))


def _savings(listing: Listing, regions: Sequence[str], url: str) -> Iterator[Price]:
    for plan in PLANS if regions else ():
        index = f"{url}/savingsPlan/v1.0/aws/{plan}/current/region_index.json"
        try:
            files = {row["regionCode"]: row["versionUrl"] for row in json.loads("".join(_lines(index)))["regions"]}
        except (ValueError, KeyError, TypeError):
            raise PriceListError(f"{index} is no index of regions") from None
        for region in regions:
            if region not in files:
                raise PriceListError(f"{plan} is not sold in {region!r}; its list has {', '.join(sorted(files))}")
            for row in _rows(url + files[region].removesuffix(".json") + ".csv"):
                yield from _rate(row, listing, region)


def _rows(address: str) -> Iterator[dict[str, str]]:
    """The file's rows, one by one: those of a large region are hundreds of megabytes."""
    rows = csv.DictReader(dropwhile(lambda line: not line.startswith(("SKU,", '"SKU",')), _lines(address)))
    try:
        yield from rows
    except csv.Error as error:
        raise PriceListError(f"{address}: {error}") from None


def _lines(address: str) -> Iterator[str]:
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer:
            yield from io.TextIOWrapper(answer, encoding="utf-8", newline="")
            if answer.length:
                raise PriceListError(f"{address} ends {answer.length:,} bytes early")
    except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
        raise PriceListError(f"{address}: {error}") from None


def _rate(row: dict[str, str], listing: Listing, region: str) -> Iterator[Price]:
    """Nothing of what is no hour of a wanted type."""
    try:
        used = _USED.search(row["DiscountedUsageType"])
        name = (used["machine"] or used["managed"]) if used else ""
        model = TERMS.get(f"{row['LeaseContractLength']} {row['LeaseContractLengthUnit']}")
        wanted = row["Unit"] == "Hrs" and row["Currency"] == "USD" and row["PurchaseOption"] == "No Upfront"
        linux = name.startswith("ml.") or row["DiscountedOperation"] == _LINUX
        usd = float(row["DiscountedRate"])
    except (KeyError, TypeError, ValueError):
        raise PriceListError(f"the list of savings plans in {region} has a row that cannot be read: {row}") from None
    if name in listing.types and model and wanted and linux and usd > 0:
        yield listing.price(cloud_of(name), name, region, usd, model)


def read_blocks(
    types: dict[str, tuple[int, str]], regions: Sequence[str], today: date, endpoint_url: str | None = None
) -> list[Price]:
    """An hour of one instance in the cheapest block of a week that each region offers, of the types that it offers.

    Raises :class:`PriceListError` when EC2 refuses.
    """
    return cheapest(_blocks(Listing(types, today, BLOCK_SOURCE), regions, endpoint_url))


def _blocks(listing: Listing, regions: Sequence[str], endpoint_url: str | None) -> Iterator[Price]:
    for region in regions:
        client = client_of("ec2", region, endpoint_url)
        for name in listing.types:
            for offer in () if name.startswith("ml.") else _offers(client, name):
                if offer.get("CurrencyCode", "USD") == "USD":
                    yield listing.price("ec2", name, region, _hourly(offer), "capacity_block")


def _hourly(offer: dict[str, Any]) -> float:
    hours = offer["CapacityBlockDurationHours"] * offer["InstanceCount"]
    return round(float(offer["UpfrontFee"]) / hours, 6)


def _offers(client: Any, name: str) -> list[dict[str, Any]]:
    """Empty for a type of which EC2 sells no blocks, which it says by refusing."""
    wanted = {"InstanceType": name, "InstanceCount": 1, "CapacityDurationHours": BLOCK_DAYS * 24}
    answer = called(client.describe_capacity_block_offerings, NOT_SOLD, **wanted)
    return answer.get("CapacityBlockOfferings", [])
