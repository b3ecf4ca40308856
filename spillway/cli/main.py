"""The console script ``spillway``. Commands import what they need when they run, so that ``--help`` is quick."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import click

from spillway.cli.command import command_of, tell
from spillway.cli.errors import FAILED
from spillway.cli.packaging import package
from spillway.cli.plan import plan, report
from spillway.cli.prices import prices

Engine = Literal["embedded", "pulumi"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="spillway")
def cli() -> None:
    """Hybrid GPU serving as code: a private cluster that spills to SageMaker and Azure ML.

    These commands work on the local twin. Real accounts are driven by `pulumi up`.

    Exit codes: 0 done, 1 what was asked for failed, 2 usage or configuration, 130 interrupted.
    """


cli.add_command(package)
cli.add_command(plan)
cli.add_command(prices)
cli.add_command(report)
_command = command_of(cli)


def _stack_option(function: Callable[..., None]) -> Callable[..., None]:
    return click.option("-s", "--stack", "stack_name", default="local", show_default=True, help="The stack.")(function)


def _engine_option(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--engine",
        type=click.Choice(["embedded", "pulumi"]),
        help="Who drives the twin: the embedded engine, or the Pulumi CLI. Default: what the twin was made with, else "
        "the CLI where it is on PATH.",
    )(function)


@_command
@_stack_option
@_engine_option
@click.option("--diff", is_flag=True, help="Show old and new values of what changes.")
def preview(stack_name: str, engine: Engine | None, diff: bool, as_json: bool) -> None:
    """Plan a stack on the twin; changes nothing."""
    from spillway.cli import deploy, views
    from spillway.cli.console import Reporter
    from spillway.cli.stack import find_stack

    result, kind = deploy.preview(find_stack(stack_name), engine, Reporter())
    tell(as_json, views.preview_json(result, stack_name, kind, diff), lambda: views.preview_text(result, diff))


@_command
@_stack_option
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Judge this checkpoint, too: what `pulumi stack export` wrote. Default: the twin's, where there is one.",
)
@click.option("--sarif", type=click.Path(path_type=Path, dir_okay=False), help="Write a SARIF 2.1.0 report here.")
def check(stack_name: str, checkpoint: Path | None, sarif: Path | None, as_json: bool) -> None:
    """Run the policies over a stack's plan, and look for plain-text secrets; needs no credentials.

    Ends with 1 where a mandatory policy is violated.
    """
    from spillway.cli import check as checks
    from spillway.cli.console import Reporter
    from spillway.cli.stack import find_stack

    stack = find_stack(stack_name)
    verdict = checks.check(stack, checkpoint, Reporter())
    if sarif is not None:
        checks.write_sarif(verdict, stack, sarif)
    tell(as_json, checks.verdict_json(verdict, stack), lambda: checks.verdict_text(verdict))
    if verdict.mandatory:
        raise click.exceptions.Exit(FAILED)


@_command
@_stack_option
@_engine_option
@click.option("--refresh", is_flag=True, help="Read the live state first (done by itself after a restart).")
@click.option("--resources-only", is_flag=True, help="Deploy, and start no model server, gateway, cache or DNS.")
def up(stack_name: str, engine: Engine | None, refresh: bool, resources_only: bool, as_json: bool) -> None:
    """Deploy a stack on the local twin, and wait until its sites serve.

    Model servers and gateways are run for stacks whose private cluster is `existing`; of others, the resources only.
    """
    from spillway.cli import deploy, views
    from spillway.cli.console import Reporter
    from spillway.cli.drill import deployed_manifest
    from spillway.cli.stack import find_stack

    stack = find_stack(stack_name)
    done = deploy.up(stack, engine, Reporter(), refresh=refresh, resources_only=resources_only)
    manifest = deployed_manifest(stack)
    tell(as_json, views.up_json(done, stack, manifest), lambda: views.up_text(done, stack, manifest))
    if done.problems:
        raise click.exceptions.Exit(FAILED)


@_command
@_stack_option
@click.option("--processes", is_flag=True, help="List every process, too.")
def status(stack_name: str, processes: bool, as_json: bool) -> None:
    """How the twin's sites, gateways and processes stand."""
    from spillway.cli import deploy, views
    from spillway.cli.stack import find_stack

    found = deploy.status(find_stack(stack_name))
    listed = [views.processes_text(found)] if processes and found else []
    tell(as_json, views.status_json(found, stack_name), lambda: [*views.status_text(found, stack_name), *listed])


@_command
@_stack_option
@click.option("--destroy", is_flag=True, help="Delete the stack's resources first; protected ones stay.")
@click.option("--purge", is_flag=True, help="Remove what the twin keeps on disk: checkpoint, keys, logs.")
def down(stack_name: str, destroy: bool, purge: bool, as_json: bool) -> None:
    """Stop every process of the twin. Its checkpoint stays: the next `up` goes on from there."""
    from spillway.cli import deploy, views
    from spillway.cli.console import Reporter
    from spillway.cli.stack import find_stack

    done = deploy.down(find_stack(stack_name), Reporter(), destroy=destroy, purge=purge)
    tell(as_json, views.down_json(done, stack_name), lambda: views.down_text(done, stack_name))


@_command
@_stack_option
@click.option("--short", "length", flag_value="short", help="About a minute: the private site dies (default).")
@click.option("--full", "length", flag_value="full", help="About four minutes: every kind of fault, two sites at last.")
@click.option("--plan", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A plan of your own, YAML.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="HTML page; default in .spillway/<stack>."
)
def drill(stack_name: str, length: str | None, plan: Path | None, report: Path | None, as_json: bool) -> None:
    """Break sites while load runs; availability, recovery and lost requests in a table."""
    if plan and length:
        raise click.UsageError("--plan goes with neither --short nor --full.")
    from spillway.cli import drill as drills
    from spillway.cli.console import Reporter
    from spillway.cli.stack import find_stack
    from spillway.drill.report import render_table, write_html

    stack = find_stack(stack_name)
    result = drills.run(stack, drills.chosen_plan(plan, length == "full"), Reporter())
    page = report or stack.state_dir / "drill.html"
    write_html(result, page)
    failed = [f"Not held: {check.name} ({check.detail})" for check in result.checks if not check.passed]
    shown = {**result.to_json(), "report": str(page)}
    tell(as_json, shown, lambda: [render_table(result), *failed, f"Report: {page}"])
    if not result.passed:
        raise click.exceptions.Exit(result.exit_code)


def main() -> None:
    sys.exit(cli())


if __name__ == "__main__":
    main()
