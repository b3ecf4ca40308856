"""The price catalogue: list prices of GPU instances, of traffic and of storage, each with its date and source.

``prices.json`` beside this module is the data; ``spillway prices refresh`` reads it anew from the clouds. A price is
what the provider lists, in US dollars an hour; discounts of one's own contract go into the stack's settings. ``basis``
says how it came about: ``list`` was read from a price list, ``scaled`` is another region's list price times the ratio
that the source states. Private capacity has no list: :class:`Owned` says what it is worked out of.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field

from spillway.contracts.frozen import Frozen
from spillway.contracts.problems import nearest

TABLE: Final = Path(__file__).with_name("prices.json")
HOURS_PER_MONTH: Final = 730.0
"""365 × 24 ÷ 12, as both clouds' calculators have it."""
HOURS_PER_YEAR: Final = 8760.0
MAX_AGE_DAYS: Final = 180
"""Days after which a price counts as stale: lists of GPU instances do change within half a year."""

Cloud = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
"""A price list by name: ``sagemaker``, ``ec2`` and ``azure`` are in the catalogue."""
PriceModel = Literal["on_demand", "reserved_1y", "reserved_3y", "savings_1y", "savings_3y", "capacity_block", "spot"]
"""``reserved_*``, ``savings_*`` (a savings plan) and ``capacity_block``: an hour of the term, paid whether used or not.
``spot``: can be taken away at any time."""
COMMITTED: Final[tuple[PriceModel, ...]] = tuple(
    model for model in get_args(PriceModel) if model not in ("on_demand", "spot")
)


class PriceError(LookupError):
    """No price is known; the message says what is."""


class Price(Frozen):
    """One price. ``gpus``: GPUs of one instance; ``usd_per_hour``: of one instance; ``read_on``: when the source was
    read; ``as_of``: when the list said so, where the source is older.

    ``cloud`` is the price list: ``ec2`` holds for EKS nodes, ``azure`` for AKS nodes and for Azure ML, which adds no
    surcharge to the virtual machine's price.
    """

    cloud: Cloud
    instance_type: str
    region: str
    gpus: int = Field(ge=1)
    gpu: str
    usd_per_hour: float = Field(gt=0)
    model: PriceModel = "on_demand"
    basis: Literal["list", "scaled"] = "list"
    read_on: date
    as_of: date | None = None
    source: str = Field(min_length=10)

    @property
    def usd_per_gpu_hour(self) -> float:
        return self.usd_per_hour / self.gpus

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What there is one of: cloud, instance type, region and model."""
        return self.cloud, self.instance_type, self.region, self.model

    def age_days(self, today: date) -> int:
        return (today - (self.as_of or self.read_on)).days


class Owned(Frozen):
    """What a machine of one's own is worked out of; see :func:`amortised_per_gpu_hour` for the terms."""

    gpu: str
    gpus: int = Field(ge=1)
    purchase_usd: float = Field(ge=0)
    years: float = Field(gt=0)
    power_kw: float = Field(ge=0)
    usd_per_kwh: float = Field(ge=0)
    overhead: float = Field(ge=1)
    operation_usd_per_year: float = Field(ge=0)
    interest: float = Field(default=0.0, ge=0, le=1)
    read_on: date
    source: str = Field(min_length=10)

    @property
    def usd_per_gpu_hour(self) -> float:
        return amortised_per_gpu_hour(**self.model_dump(exclude={"gpu", "read_on", "source"}))


@cache
def _table() -> dict[str, Any]:
    return json.loads(TABLE.read_text(encoding="utf-8"))


def _sourced(source: str) -> dict[str, Any]:
    found = _table()["sources"][source]
    return {"source": found["text"], "read_on": found["read_on"]}


@cache
def _as_of(source: str) -> date | None:
    said = _table()["sources"][source].get("as_of")
    return date.fromisoformat(said) if said else None


@cache
def catalogue() -> tuple[Price, ...]:
    """Every price, as ``prices.json`` has it."""
    types = _table()["types"]
    return tuple(
        Price(
            cloud=cloud,
            instance_type=instance_type,
            region=region,
            model=model,
            usd_per_hour=usd,
            basis=basis,
            as_of=_as_of(source),
            **types[instance_type],
            **_sourced(source),
        )
        for cloud, instance_type, region, model, usd, basis, source in _table()["prices"]
    )


@cache
def _by_key() -> dict[tuple[str, str, str, str], Price]:
    return {(p.cloud, p.instance_type.lower(), p.region, p.model): p for p in catalogue()}


@cache
def owned_examples() -> dict[str, Owned]:
    """Examples of private machines by name, e.g. ``h100-8``: assumptions to start from, each with its source."""
    return {name: Owned(**{**row, **_sourced(row["source"])}) for name, row in _table()["owned"].items()}


def find_price(cloud: Cloud, instance_type: str, region: str, model: PriceModel = "on_demand") -> Price:
    """The price of one instance. Raises :class:`PriceError` naming what is known."""
    found = _by_key().get((cloud, instance_type.lower(), region, model))
    if found is not None:
        return found
    known = [price for price in catalogue() if price.cloud == cloud and price.model == model]
    regions = sorted(price.region for price in known if price.instance_type.lower() == instance_type.lower())
    types = sorted({price.instance_type for price in known if price.region == region})
    if regions:
        hint = f"it is known in {', '.join(regions)}"
    elif types:
        hint = f"{nearest(instance_type, types)}known there: {', '.join(types)}"
    elif known:
        hint = f"known regions: {', '.join(sorted({price.region for price in known}))}"
    else:
        hint = f"no {model} price of {cloud} is known; `spillway prices refresh` reads them"
    kind = "" if model == "on_demand" else f"{model} "
    raise PriceError(
        f"no {kind}{cloud} price of {instance_type} in {region}; {hint}. "
        "Give your own under cost_guard.prices in the stack file"
    )


def bought_price(cloud: Cloud, instance_type: str, region: str, model: PriceModel) -> Price:
    """The price as ``model`` where the catalogue knows one, else the dearer one on demand. Raises
    :class:`PriceError`."""
    listed = find_price(cloud, instance_type, region)
    return _by_key().get((cloud, instance_type.lower(), region, model), listed)


def price_per_hour(cloud: Cloud, instance_type: str, region: str, model: PriceModel = "on_demand") -> float:
    """US dollars an hour for one instance. Raises :class:`PriceError`."""
    return find_price(cloud, instance_type, region, model).usd_per_hour


def stale(prices: Iterable[Price], today: date, max_age_days: int = MAX_AGE_DAYS) -> list[Price]:
    """Those that the list said more than ``max_age_days`` ago."""
    return [price for price in prices if price.age_days(today) > max_age_days]


def table_problems(prices: Sequence[Price], today: date) -> list[str]:
    """What is wrong with a table of prices, one sentence each; empty when nothing is.

    Unique keys, dates not in the future, and no spot or reserved price above the on-demand price of the same instance.
    """
    problems: list[str] = []
    seen: set[tuple[str, str, str, str]] = set()
    on_demand = {p.key[:3]: p.usd_per_hour for p in prices if p.model == "on_demand"}
    for price in prices:
        name = " ".join(price.key)
        if price.key in seen:
            problems.append(f"{name}: there twice")
        seen.add(price.key)
        if price.read_on > today:
            problems.append(f"{name}: read on {price.read_on}, which is in the future")
        listed = on_demand.get(price.key[:3])
        if price.model != "on_demand" and listed is not None and price.usd_per_hour >= listed:
            problems.append(f"{name}: {price.usd_per_hour} $/h is not below {listed} $/h on demand")
    return problems


def amortised_per_gpu_hour(
    *,
    purchase_usd: float,
    gpus: int,
    years: float,
    power_kw: float = 0.0,
    usd_per_kwh: float = 0.0,
    overhead: float = 1.0,
    operation_usd_per_year: float = 0.0,
    interest: float = 0.0,
) -> float:
    """What an owned GPU costs an hour, in US dollars, whether it works or not.

    ``(a year's part of the purchase + operation) ÷ (GPUs × 8760) + power × price × overhead ÷ GPUs``. The purchase is
    paid back in equal parts; with ``interest`` a year they are an annuity, ``interest ÷ (1 − (1 + interest)^-years)``
    of it (Brealey, Myers and Allen, Principles of Corporate Finance, chapter 2). ``power_kw``: draw of the whole
    machine; ``overhead``: the site's PUE; ``operation_usd_per_year``: staff, space, spare parts.
    """
    if gpus < 1 or years <= 0:
        raise ValueError(f"gpus must be 1 or more and years above 0, not {gpus} and {years}")
    part = interest / -math.expm1(-years * math.log1p(interest)) if interest else 1 / years
    ownership = (purchase_usd * part + operation_usd_per_year) / (gpus * HOURS_PER_YEAR)
    return ownership + power_kw * usd_per_kwh * overhead / gpus


def with_prices(fresh: Iterable[Price], left: Iterable[Price] = ()) -> str:
    """The text of ``prices.json`` with these prices in place of those with the same key, without those that are
    ``left``, and the rest as it was."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    without = {price.key for price in left}
    rows = {tuple(row[:4]): row for row in table["prices"] if tuple(row[:4]) not in without}
    names = {(s["text"], s["read_on"]): name for name, s in table["sources"].items()}
    for price in fresh:
        said = (price.source, price.read_on.isoformat())
        if said not in names:
            names[said] = _new_name(f"{price.cloud}-{price.read_on}", table["sources"])
            dated = {"as_of": price.as_of.isoformat()} if price.as_of else {}
            table["sources"][names[said]] = {"read_on": said[1], **dated, "text": said[0]}
        table["types"].setdefault(price.instance_type, {"gpus": price.gpus, "gpu": price.gpu})
        rows[price.key] = [*price.key, price.usd_per_hour, price.basis, names[said]]
    used = {row[6] for row in rows.values()} | {row["source"] for row in table["owned"].values()}
    table["sources"] = {name: table["sources"][name] for name in sorted(used)}
    table["types"] = dict(sorted(table["types"].items()))
    table["prices"] = [rows[key] for key in sorted(rows)]
    return _dump(table)


def _new_name(wanted: str, there: Mapping[str, Any]) -> str:
    """Lists of one cloud that were read on one day are different sources."""
    return next(name for n in range(1, len(there) + 2) if (name := wanted if n == 1 else f"{wanted}-{n}") not in there)


def _dump(table: Mapping[str, Any]) -> str:
    """One line for each price, so that a change is read as one."""

    def lines(rows: Iterable[str], begin: str, end: str) -> str:
        return f"{begin}\n" + ",\n".join(f"  {row}" for row in rows) + f"\n {end}"

    def entries(values: Mapping[str, Any]) -> Iterable[str]:
        return (f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())

    parts = [
        f' "{name}": ' + lines(entries(table[name]), "{", "}")
        if isinstance(table[name], Mapping)
        else f' "{name}": ' + lines(map(json.dumps, table[name]), "[", "]")
        for name in ("sources", "types", "owned", "prices")
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"
