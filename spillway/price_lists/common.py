"""What both clouds' price lists share."""

from __future__ import annotations

from collections.abc import Iterable

from spillway.contracts.prices import Price


class PriceListError(Exception):
    """A price list could not be read; nothing of the catalogue was changed."""


def dearest(prices: Iterable[Price]) -> list[Price]:
    """One price for each key: where a list has several meters for one instance, the dearest counts."""
    found: dict[tuple[str, str, str, str], Price] = {}
    for price in prices:
        held = found.get(price.key)
        if held is None or price.usd_per_hour > held.usd_per_hour:
            found[price.key] = price
    return list(found.values())
