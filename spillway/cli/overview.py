"""``spillway status``: how a stack stands, as tables, as JSON, and as a page that renews itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from spillway.cli.errors import WRONG_CONFIG, CommandError
from spillway.contracts.classes import Site
from spillway.overview.overview import LATELY, Clients, Overview, Place, read_overview
from spillway.overview.overview_page import page_of
from spillway.page.live_server import LiveServer, Shown
from spillway.twin import deploy

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spillway.cli.stack import Stack
    from spillway.twin.status import TwinStatus

_TWIN_S: Final = 2.0
_ACCOUNT_S: Final = 60.0
"""Metrics of an account are told by the minute, and each question is paid for."""


def looking(stack: Stack, endpoint_url: str | None = None) -> Callable[[TwinStatus | None], Overview]:
    """Gives how it stands whenever it is called. Raises what is wrong with the stack's file."""
    place = Place(
        stack=stack.name,
        prefix=f"{stack.checked_settings.name}-{stack.name}",
        sites=(str(Site.PRIVATE), *(site.name for site in stack.sites)),
        callers=tuple(stack.callers()),
        drill=stack.state_dir / "drill.json",
    )
    clients = Clients(stack.aws_client("cloudwatch", endpoint_url), stack.aws_client("ssm", endpoint_url))
    return partial(read_overview, place, clients)


def of_twin(stack: Stack, found: TwinStatus | None) -> Overview | None:
    """Of one that runs, as far as the stack's file can be read: who looks at a twin need not mend that first."""
    from spillway.twin.deployer.api import ConfigError

    try:
        return looking(stack)(found) if found else None
    except (CommandError, ConfigError):
        return None


def texts(seen: Overview | None) -> Iterator[RenderableType]:
    """Tables for the terminal, below those of the twin's own status."""
    from spillway.cli.views import table

    if seen is None:
        return
    sites = list(dict.fromkeys(site for found in seen.answers.values() for site in found))
    if sites:
        rows = [(name, *(f"{found.get(site, 0.0):.0f}" for site in sites)) for name, found in seen.answers.items()]
        yield table(f"Answers of the last {LATELY.seconds // 60} minutes", ("class", *sites), rows)
    if seen.spill_share is not None:
        yield f"Burst sites answered {seen.spill_share:.1%} of what sites answered."
    if seen.closed:
        yield f"Spill is closed for {', '.join(seen.closed)}."
    if seen.usd_per_gpu_hour is not None:
        yield f"{seen.usd_per_gpu_hour:.2f} $/GPU-hour blended; burst {seen.burst_usd_per_hour or 0.0:.2f} $/h."
    for alarm in seen.alarms:
        if alarm.rings:
            yield f"Alarm {alarm.name} since {alarm.since}: {alarm.reason}"


def serve(stack: Stack, port: int, endpoint_url: str | None) -> None:
    """The page, until Ctrl-C: of the running twin, else of the account in which the stack is deployed."""
    on_twin = endpoint_url is None and deploy.status(stack) is not None
    every_s = _TWIN_S if on_twin else _ACCOUNT_S
    look, about = looking(stack, endpoint_url), stack.about()

    def shown() -> Shown:
        twin = deploy.status(stack) if on_twin else None
        gone = Overview(stack.name, problems=(str(stack.no_twin()),))
        seen = gone if on_twin and twin is None else look(twin)
        return Shown(page_of(seen, about, every_s), seen.to_json())

    try:
        server = LiveServer(shown, port, every_s)
    except OSError as error:
        why = f"--port {port}: {error.strerror}; give another, or none for a free one"
        raise CommandError(why, WRONG_CONFIG) from None
    with server:
        click.echo(f"{server.url} shows {stack.name}, to this machine alone, until Ctrl-C.")
        server.serve_forever()
