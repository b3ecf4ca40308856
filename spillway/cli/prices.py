"""``spillway prices``: the price catalogue, listed, checked, and read anew from the clouds' public price APIs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spillway.cli.command import command_of, tell
from spillway.cli.errors import FAILED, WRONG_CONFIG, CommandError
from spillway.cli.options import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.table import Table

    from spillway.contracts.prices import Price

_CLOUDS = ("ec2", "sagemaker", "azure")
_MODELS = ("on_demand", "reserved_1y", "reserved_3y", "savings_1y", "savings_3y", "capacity_block", "spot")


@click.group()
def prices() -> None:
    """The price catalogue: what is in it, how old it is, and how it is read anew."""


_command = command_of(prices)


def _choice(function: Callable[..., None]) -> Callable[..., None]:
    """The options that narrow a list."""
    for option in (
        click.option("--model", type=click.Choice(_MODELS)),
        click.option("--type", "instance_type", help="Instance type, e.g. ml.g5.xlarge."),
        click.option("--region", help="Region, e.g. eu-west-1 or westeurope."),
        click.option("--cloud", type=click.Choice(_CLOUDS)),
    ):
        function = option(function)
    return function


@command_of(prices, "list")
@_choice
def list_(cloud: str | None, region: str | None, instance_type: str | None, model: str | None, as_json: bool) -> None:
    """The prices that the catalogue holds, dearest GPU last."""
    from spillway.contracts.prices import catalogue

    wanted = {"cloud": cloud, "region": region, "instance_type": instance_type, "model": model}
    found = [p for p in catalogue() if all(v is None or getattr(p, k) == v for k, v in wanted.items())]
    found.sort(key=lambda price: (price.usd_per_gpu_hour, price.key))
    if not found:
        raise CommandError("the catalogue has no such price; `spillway prices list` shows what it has", WRONG_CONFIG)
    shown = [{**price.model_dump(mode="json"), "usd_per_gpu_hour": price.usd_per_gpu_hour} for price in found]
    tell(as_json, {"prices": shown}, lambda: [_table(found)])


@_command
@click.option("--max-age-days", type=click.IntRange(1), help="Days after which a price is stale. Default: 180.")
def check(max_age_days: int | None, as_json: bool) -> None:
    """Whether the catalogue is whole, and which prices are stale. Fails when it is not whole."""
    from datetime import date

    from spillway.contracts.prices import MAX_AGE_DAYS, catalogue, stale, table_problems

    today, limit = date.today(), max_age_days or MAX_AGE_DAYS
    problems, old = table_problems(catalogue(), today), stale(catalogue(), today, limit)
    shown = {
        "prices": len(catalogue()),
        "problems": problems,
        "stale": [" ".join(price.key) for price in old],
        "max_age_days": limit,
    }
    tell(as_json, shown, lambda: _checked(len(catalogue()), problems, old, limit))
    if problems:
        raise click.exceptions.Exit(FAILED)


@_command
@click.option("--cloud", type=click.Choice(["aws", "azure"]), multiple=True, help="Default: both.")
@click.option("--type", "only", multiple=True, help="Instance type; default: every one that the catalogue knows.")
@click.option("--discover", is_flag=True, help="Read AWS's GPU types that the catalogue does not know, too.")
@click.option("--spot-region", multiple=True, help="AWS region whose spot prices are read, too.")
@click.option(
    "--savings-region",
    multiple=True,
    help="AWS region whose savings plans are read, too; Azure's come with its prices.",
)
@click.option("--block-region", multiple=True, help="AWS region whose capacity blocks are read, too.")
@click.option("--write", is_flag=True, help="Change the catalogue; without it, only tell what would change.")
@click.option("--aws-endpoint", hidden=True, help="Where AWS answers; for tests.")
@click.option("--azure-url", hidden=True, help="Where the Retail Prices API answers; for tests.")
@click.option("--savings-url", hidden=True, help="Where AWS's public list of savings plans is; for tests.")
@click.option("--table", type=Output(), hidden=True, help="File to write instead.")
def refresh(
    cloud: tuple[str, ...],
    only: tuple[str, ...],
    discover: bool,
    spot_region: tuple[str, ...],
    savings_region: tuple[str, ...],
    block_region: tuple[str, ...],
    write: bool,
    aws_endpoint: str | None,
    azure_url: str | None,
    savings_url: str | None,
    table: Path | None,
    as_json: bool,
) -> None:
    """Read prices from the AWS Price List and the Azure Retail Prices API.

    Azure and AWS's list of savings plans ask for no credentials. AWS's other prices want some, with
    `pricing:GetProducts` (and `ec2:DescribeSpotPriceHistory` and `ec2:DescribeCapacityBlockOfferings` for spot and
    capacity blocks). Nothing is written unless everything could be read. Prices that were asked for and are not
    listed go.
    """
    from spillway.cli.console import Reporter
    from spillway.contracts.prices import TABLE
    from spillway.price_lists import refresh as lists

    types = lists.known_types(only)
    clouds, phase = cloud or ("aws", "azure"), Reporter().phase
    new = lists.discovered(types, aws_endpoint) if discover else {}
    also = lists.Also(spot_region, savings_region, block_region)
    fresh = list(lists.read_prices(clouds, {**types, **new}, also, phase, aws_endpoint, azure_url, savings_url))
    left = lists.gone(fresh, clouds, types, also)
    changes = list(lists.changes(fresh, left))
    if write:
        lists.write_catalogue(fresh, table or TABLE, left)
    shown = {"read": len(fresh), "changes": changes, "written": write}
    tell(as_json, shown, lambda: _refreshed(len(fresh), changes, write))


def _table(found: list[Price]) -> Table:
    from rich.table import Table

    table = Table(title=f"{len(found)} prices, US dollars")
    for column in ("cloud", "type", "region", "model", "GPUs", "GPU", "$/h", "$/GPU-h", "basis", "as of"):
        table.add_column(column, justify="right" if "$" in column or column == "GPUs" else "left")
    for p in found:
        numbers = (f"{p.usd_per_hour:.4f}", f"{p.usd_per_gpu_hour:.4f}")
        table.add_row(*p.key, str(p.gpus), p.gpu, *numbers, p.basis, (p.as_of or p.read_on).isoformat())
    return table


def _checked(count: int, problems: list[str], old: list[Price], limit: int) -> Iterator[str]:
    yield from problems
    if old:
        oldest = min(price.as_of or price.read_on for price in old)
        yield f"{len(old)} of {count} prices are more than {limit} days old, the oldest of {oldest}"
        yield "`spillway prices refresh --write` reads them anew"
    if not problems:
        yield f"{count} prices: unique, dated, and no spot price above the list"


def _refreshed(count: int, changes: list[dict[str, Any]], written: bool) -> Iterator[str]:
    for change in changes:
        was, now = ("new" if change["was"] is None else change["was"]), change["is"]
        yield f"{change['price']}: {was} -> {'listed no more' if now is None else now}"
    yield f"{count} prices read, {len(changes)} differ" + ("" if written else "; --write takes them over")
