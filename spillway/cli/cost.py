"""``spillway cost`` and ``showback``: what a stack costs before it is deployed, and who caused what it has cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spillway.cli.command import command_of, tell
from spillway.cli.errors import WRONG_CONFIG, CommandError
from spillway.cli.options import stack_option

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from rich.console import RenderableType

    from policies.bill import Before, Bill, Line
    from spillway.cli.stack import Stack
    from spillway.planner.showback import Showback

_commands = click.Group()


@command_of(_commands)
@stack_option()
@click.option("--markdown", "as_markdown", is_flag=True, help="As a comment for a pull request.")
@click.option(
    "--against",
    "earlier",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="What `spillway cost --json` wrote of the stack before the change.",
)
@click.option(
    "--use", "uses", multiple=True, help='How much a month takes of what is paid by use, e.g. "aws egress gb=500".'
)
def cost(stack_name: str, as_markdown: bool, earlier: Path | None, uses: tuple[str, ...], as_json: bool) -> None:
    """Say what a stack costs at rest, line by line, before it is deployed: machines, networks, control planes.

    It is rehearsed as `spillway check` does it, and needs no credentials. What is paid by use is summed as far as --use
    says how much it is, else named.
    """
    from policies.bill import UsageError, bill_at_rest, bill_json, markdown
    from policies.resources import Stack as Planned
    from spillway.cli.console import DeploymentProgress, Reporter
    from spillway.cli.stack import find_stack
    from spillway.twin.deploy import rehearse
    from stacks.stack_file import policy_context

    stack = find_stack(stack_name)
    before, used = _before(earlier) if earlier else None, _amounts(uses)
    rehearsed = rehearse(stack, stack.brief(), DeploymentProgress(Reporter()))
    planned = Planned(rehearsed.resources, policy_context(stack.settings, stack.project.root))
    try:
        bill = bill_at_rest(planned, _own_machines(stack), used)
    except UsageError as error:
        raise click.UsageError(f"--use {error}.") from None
    if as_markdown and not as_json:
        click.echo(markdown(bill, stack_name, before), nl=False)
        return
    tell(as_json, bill_json(bill), lambda: _text(bill, before))


def _amounts(uses: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for use in uses:
        what, _, amount = use.rpartition("=")
        try:
            found[what.strip()] = float(amount)
        except ValueError:
            found[use] = -1.0
        if not 0 <= found.get(what.strip(), -1.0) < float("inf"):
            raise click.UsageError(f'--use {use!r}: write WHAT=AMOUNT, e.g. "aws egress gb=500".')
    return found


def _own_machines(stack: Stack) -> Iterator[Line]:
    """A cluster of one's own is no resource of the plan."""
    from policies.bill import Line
    from spillway.contracts.classes import Site
    from stacks.pricing import private_capacity

    if stack.settings.private_cluster.kind == "existing":
        gpus, usd = private_capacity(stack.settings)
        yield Line(
            "GPU of the cluster of one's own", Site.PRIVATE, usd, gpus, gpus, "private_cluster, in the stack file"
        )


def _before(path: Path) -> Before:
    try:
        lines = json.loads(path.read_text(encoding="utf-8"))["lines"]
        return {(line["what"], line["place"]): float(line["usd_per_month"]) for line in lines}
    except (ValueError, KeyError, TypeError):
        raise CommandError(f"--against {path}: give what `spillway cost --json` wrote", WRONG_CONFIG) from None


def _text(bill: Bill, before: Before | None) -> Iterator[RenderableType]:
    from rich.table import Table

    from policies.bill import cells, changed, footnotes, titles

    table = Table(*titles(before), box=None, pad_edge=False)
    for line in bill.lines:
        table.add_row(*cells(line, before))
    yield table
    yield f"{bill.month:,.2f} $ a month at rest, {bill.month_at_peak:,.2f} $ with every autoscaler at its maximum."
    yield from changed(bill, before or {})
    yield from footnotes(bill)


@command_of(_commands)
@stack_option()
@click.option("--month", help="Year and month, UTC, e.g. 2026-11. Default: the present one, so far.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Default: .spillway/<stack>/showback.")
@click.option("--endpoint-url", help="CloudWatch's address. Default: the running twin's, else AWS.")
def showback(stack_name: str, month: str | None, out: Path | None, endpoint_url: str | None, as_json: bool) -> None:
    """Say who caused what a month cost: tokens and dollars by client, class, model and site.

    Writes a CSV with each hour, and a page. The gateways tell what clients used, the cost function what burst costs.
    """
    from spillway.cli.stack import find_stack
    from spillway.page.page import write_page
    from spillway.planner.showback import as_csv, cents, page_of, read_showback
    from stacks.pricing import price_per_hour

    stack = find_stack(stack_name)
    settings = stack.checked_settings
    client = stack.aws_client("cloudwatch", endpoint_url)
    span, bursts = _span(month), [site.name for site in stack.sites]
    private = price_per_hour(settings, stack.sites)["private"]
    found = read_showback(client, f"{settings.name}-{stack.name}", private, bursts, span, stack.callers())
    folder = out or stack.state_dir / "showback"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{found.begin:%Y-%m}.csv", folder / f"{found.begin:%Y-%m}.html"]
    files[0].write_text(as_csv(found), encoding="utf-8")
    write_page(page_of(found, stack.about()), files[1])
    shown = {
        "stack": found.stack,
        "begin": found.begin.isoformat(),
        "end": found.end.isoformat(),
        "cents": cents(found),
        "hours_without_price": found.unpriced,
        "files": [str(path) for path in files],
    }
    tell(as_json, shown, lambda: [*_shown(found), *[f"Written: {path}" for path in files]])


def _span(month: str | None) -> tuple[datetime, datetime]:
    from datetime import UTC, datetime, timedelta

    from spillway.planner.showback import month_of

    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    begin, end = month_of(month or f"{now:%Y-%m}")
    return begin, max(begin, min(end, now + timedelta(hours=1)))


def _shown(found: Showback) -> Iterator[RenderableType]:
    from rich.table import Table

    from spillway.planner.showback import cents

    bills = cents(found)
    table = Table("client", "answers", "tokens", "$", box=None, pad_edge=False)
    for client, (answers, tokens, _) in found.by_client().items():
        table.add_row(client, f"{answers:,.0f}", f"{tokens:,.0f}", f"{bills.get(client, 0) / 100:,.2f}")
    yield table
    yield f"{sum(bills.values()) / 100:,.2f} $ in all, {found.begin:%Y-%m-%d %H:%M} to {found.end:%Y-%m-%d %H:%M} UTC."
    if found.unpriced:
        yield f"Of {found.unpriced} hours nobody knows what burst cost: the cost function said nothing."
