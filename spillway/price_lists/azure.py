"""Azure's prices from its public Retail Prices API, which asks for no credentials.

https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices: pages of ``Items``, the next one
under ``NextPageLink``. A reservation's price is that of the whole term, though its unit says one hour.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

from spillway.contracts.prices import HOURS_PER_YEAR, Price, PriceModel
from spillway.price_lists.common import Listing, PriceListError

URL: Final = "https://prices.azure.com/api/retail/prices"
API_VERSION: Final = "2023-01-01-preview"
TIMEOUT_S: Final = 30
TRIES: Final = 4
"""The API answers 429 to a caller in a hurry."""
TERMS: Final[dict[str, tuple[PriceModel, int]]] = {"1 Year": ("reserved_1y", 1), "3 Years": ("reserved_3y", 3)}
SAVINGS: Final[dict[str, PriceModel]] = {"1 Year": "savings_1y", "3 Years": "savings_3y"}
"""By the term of an entry's ``savingsPlan``; its price is that of an hour."""


def read(types: dict[str, tuple[int, str]], today: date, url: str = URL) -> Iterator[Price]:
    """Linux prices of these sizes in every region. ``types``: GPUs and GPU kind by size, e.g. ``Standard_NC4as_T4_v3``.

    Raises :class:`PriceListError` when the API does not answer, or answers something else.
    """
    listing = Listing(types, today, f"Azure Retail Prices API ({URL}), read by `spillway prices refresh`")
    for name in types:
        chosen = f"serviceName eq 'Virtual Machines' and armSkuName eq '{name}' and currencyCode eq 'USD'"
        for item in _items(f"{url}?{urllib.parse.urlencode({'api-version': API_VERSION, '$filter': chosen})}", url):
            for model, usd in _prices(item):
                yield listing.price("azure", name, item["armRegionName"], usd, model)


def _prices(item: dict[str, Any]) -> Iterator[tuple[PriceModel, float]]:
    """Model and US dollars an hour; nothing of Windows, cloud services, low priority, development prices and what is
    free."""
    product = item["productName"]
    if "Windows" in product or not product.startswith("Virtual Machines") or item["retailPrice"] <= 0:
        return
    if product.replace(" ", "").endswith("CloudServices"):
        return
    if item["type"] == "Reservation" and item.get("reservationTerm") in TERMS:
        model, years = TERMS[item["reservationTerm"]]
        yield model, round(item["retailPrice"] / (years * HOURS_PER_YEAR), 6)
    if item["type"] != "Consumption" or "Low Priority" in item["skuName"] or not item["armRegionName"]:
        return
    yield "spot" if item["skuName"].endswith("Spot") else "on_demand", item["retailPrice"]
    for plan in item.get("savingsPlan") or ():
        if plan.get("term") in SAVINGS and plan.get("retailPrice", 0) > 0:
            yield SAVINGS[plan["term"]], plan["retailPrice"]


def _items(first: str, base: str) -> Iterator[dict[str, Any]]:
    """Every item of every page. A next page elsewhere than at ``base`` is refused."""
    address: str | None = first
    while address:
        page = _page(address)
        try:
            yield from page["Items"]
            address = page["NextPageLink"]
        except (KeyError, TypeError):
            raise PriceListError(f"{base} answered something that is no page of prices") from None
        if address and not address.replace(":443/", "/").startswith(base):
            raise PriceListError(f"{base} names a next page elsewhere: {address[:80]}")


def _page(address: str) -> Any:
    for left in reversed(range(TRIES)):
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:
                return json.load(answer)
        except (OSError, ValueError) as error:
            busy = isinstance(error, urllib.error.HTTPError) and error.code in (429, 500, 502, 503)
            if not (busy and left):
                raise PriceListError(f"{address.partition('?')[0]}: {error}") from None
            time.sleep(2.0 ** (TRIES - left - 2))
    raise AssertionError("unreachable")
