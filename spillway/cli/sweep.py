"""``sweep``: ends what earlier updates kept for a rollback and no endpoint serves any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from spillway.cli.command import command_of, tell
from spillway.cli.options import stack_option

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.group()
def _group() -> None: ...


@command_of(_group)
@stack_option(required=True)
@click.option("--days", type=click.IntRange(0), default=14, show_default=True, help="Keep what is younger.")
@click.option("--delete", is_flag=True, help="Delete it. Without: only say what would go.")
def sweep(stack_name: str, days: int, delete: bool, as_json: bool) -> None:
    """Say, or delete, what a stack's earlier updates kept for a rollback and no endpoint serves any more.

    In AWS these are models and endpoint configurations, which cost nothing, package versions in the bucket, and
    endpoints whose creation failed. After `pulumi destroy` run it with `--days 0`. The clouds are asked with your own
    credentials.
    """
    from spillway.cli.stack import find_stack

    stack = find_stack(stack_name)
    settings = stack.checked_settings
    prefix, before = f"{settings.name}-{stack_name}", datetime.now(UTC) - timedelta(days=days)
    bucket = settings.model_store.aws.bucket(prefix, settings.aws.account_id, settings.aws.region)
    found = {site.name: site.left_behind(prefix, bucket, before, delete) for site in stack.sites}
    told = {name: {kind: list(names) for kind, names in kinds.items()} for name, kinds in found.items()}
    tell(as_json, {"stack": stack_name, "deleted": delete, "sites": told}, lambda: _text(found, delete))


def _text(found: Mapping[str, Mapping[str, Sequence[str]]], deleted: bool) -> Iterator[RenderableType]:
    from rich.table import Table

    table = Table("Site", "What", "Name", title="Deleted" if deleted else "Would go with --delete")
    for site, kinds in found.items():
        for kind, names in kinds.items():
            for name in names:
                table.add_row(site, kind.removesuffix("s"), name)
    yield table if table.rows else "Nothing: all that was kept is served or young."
