"""The price catalogue read anew from the clouds' public price APIs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from spillway.contracts.prices import Price, PriceError, catalogue, with_prices
from spillway.price_lists import aws, azure, commitments
from spillway.price_lists.commitments import LIST_URL
from spillway.price_lists.common import dearest


@dataclass(frozen=True)
class Also:
    """Regions of AWS of which more is read than the lists of all."""

    spot_regions: tuple[str, ...] = ()
    savings_regions: tuple[str, ...] = ()
    block_regions: tuple[str, ...] = ()


def known_types(only: Sequence[str] = ()) -> dict[str, tuple[int, str]]:
    """GPUs and GPU kind of the wanted types: refreshing keeps what is known up to date, and invents no type.

    Raises ``PriceError`` for a type that the catalogue does not have.
    """
    known = {price.instance_type: (price.gpus, price.gpu) for price in catalogue()}
    if unknown := [name for name in only if name not in known]:
        names = ", ".join(sorted(known))
        raise PriceError(f"unknown instance type {unknown[0]!r}; the catalogue knows {names}")
    return {name: known[name] for name in only} if only else known


def discovered(known: dict[str, tuple[int, str]], aws_endpoint: str | None = None) -> dict[str, tuple[int, str]]:
    """GPU types of AWS's price list that are not known. Azure's does not say how many GPUs a size has."""
    return {name: row for name, row in aws.discover(aws_endpoint).items() if name not in known}


def gone(fresh: Sequence[Price], clouds: Sequence[str], types: dict[str, tuple[int, str]], also: Also) -> list[Price]:
    """Prices of the catalogue that were asked for and are listed no more. Spot prices and capacity blocks come and go,
    and are kept."""
    there = {price.key for price in fresh}

    def asked(price: Price) -> bool:
        savings = price.model.startswith("savings") and price.cloud != "azure"
        listed = not savings or price.region in also.savings_regions
        return price.model not in ("spot", "capacity_block") and listed

    return [
        price
        for price in catalogue()
        if ("azure" if price.cloud == "azure" else "aws") in clouds
        and price.instance_type in types
        and asked(price)
        and price.key not in there
    ]


def read_prices(
    clouds: Sequence[str],
    types: dict[str, tuple[int, str]],
    also: Also,
    phase: Callable[[str], AbstractContextManager[None]],
    aws_endpoint: str | None = None,
    azure_url: str | None = None,
    savings_url: str | None = None,
) -> Iterator[Price]:
    """Prices of these types, of ``aws`` and ``azure``. ``phase``: tells what goes on while its block runs.

    Raises :class:`spillway.price_lists.common.PriceListError` where a price list cannot be read.
    """
    today = date.today()
    azure_types = {name: row for name, row in types.items() if name.startswith("Standard_")}
    aws_types = {name: row for name, row in types.items() if name not in azure_types}
    if "azure" in clouds and azure_types:
        with phase(f"Azure Retail Prices, {len(azure_types)} sizes"):
            yield from dearest(azure.read(azure_types, today, azure_url or azure.URL))
    if "aws" in clouds and aws_types:
        with phase(f"AWS Price List, {len(aws_types)} types"):
            yield from dearest(aws.read(aws_types, today, aws_endpoint))
            yield from aws.read_spot(aws_types, also.spot_regions, today, aws_endpoint)
            yield from commitments.read_blocks(aws_types, also.block_regions, today, aws_endpoint)
    if "aws" in clouds and aws_types and also.savings_regions:
        with phase(f"AWS savings plans in {', '.join(also.savings_regions)}"):
            yield from commitments.read_savings(aws_types, also.savings_regions, today, savings_url or LIST_URL)


def changes(fresh: Iterable[Price], left: Iterable[Price] = ()) -> Iterator[dict[str, Any]]:
    """What differs from the catalogue; ``was``: ``None`` for a price that it lacks, ``is`` for one that is ``left``."""
    for price in left:
        yield {"price": " ".join(price.key), "was": price.usd_per_hour, "is": None}
    known = {price.key: price.usd_per_hour for price in catalogue()}
    for price in fresh:
        was = known.get(price.key)
        if was != price.usd_per_hour:
            yield {"price": " ".join(price.key), "was": was, "is": price.usd_per_hour}


def write_catalogue(fresh: Iterable[Price], table: Path, left: Iterable[Price] = ()) -> None:
    """The catalogue with these prices and without those that are ``left``, as the file ``table``: whole, or as it
    was."""
    draft = table.with_suffix(".new")
    draft.write_text(with_prices(fresh, left), encoding="utf-8")
    draft.replace(table)
