"""The console script ``spillway``. Commands import what they need when they run, so that ``--help`` is quick."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from spillway.cli.command import command_of, tell
from spillway.cli.completion import completion
from spillway.cli.cost import cost, showback
from spillway.cli.deploy import deploy
from spillway.cli.doctor import doctor
from spillway.cli.errors import FAILED, WRONG_CONFIG, CommandError
from spillway.cli.init import init
from spillway.cli.logs import logs
from spillway.cli.options import Output, stack_option, unwritable
from spillway.cli.packaging import package
from spillway.cli.plan import plan, report
from spillway.cli.prices import prices
from spillway.cli.sweep import sweep

if TYPE_CHECKING:
    from spillway.cli.stack import Stack
    from spillway.contracts.resources import Resource
    from spillway.twin.handle import KubernetesKind

Deployer = Literal["embedded", "pulumi"]
_PROGRAM = click.Path(exists=True, dir_okay=False, executable=True)


def _tell_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        from spillway.version import version

        click.echo(f"spillway {version()}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_tell_version, help="Show it.")
def cli() -> None:
    """Hybrid GPU serving as code: a private cluster that spills to SageMaker and Azure ML.

    These commands work on the local twin, all but `deploy`: real accounts are driven by it, or by plain `pulumi up`.

    Exit codes: 0 done, 1 what was asked for failed, 2 usage or configuration, 130 interrupted.
    """


cli.add_command(completion)
cli.add_command(cost)
cli.add_command(deploy)
cli.add_command(doctor)
cli.add_command(init)
cli.add_command(logs)
cli.add_command(package)
cli.add_command(plan)
cli.add_command(prices)
cli.add_command(report)
cli.add_command(showback)
cli.add_command(sweep)
_command = command_of(cli)


def _deployer_option(function: Callable[..., None]) -> Callable[..., None]:
    choice = click.Choice(["embedded", "pulumi"])
    # The option's former name, for one release.
    with_engine = click.option("--engine", "deployer", type=choice, hidden=True)(function)
    return click.option(
        "--deployer",
        type=choice,
        help="Who drives the twin: the embedded deployer, or the Pulumi CLI. Default: what the twin was made with, "
        "else the CLI where it is on PATH.",
    )(with_engine)


@_command
@stack_option()
@_deployer_option
@click.option("--diff", is_flag=True, help="Show old and new values of what changes.")
def preview(stack_name: str, deployer: Deployer | None, diff: bool, as_json: bool) -> None:
    """Plan a stack on the twin; changes nothing."""
    from spillway.cli import views
    from spillway.cli.console import DeploymentProgress, Reporter
    from spillway.cli.stack import find_stack
    from spillway.twin import deploy

    stack = find_stack(stack_name)
    result, kind = deploy.preview(stack, stack.brief(), deployer, DeploymentProgress(Reporter()))
    cost = stack.cost()
    shown = {**views.preview_json(result, stack_name, kind, diff), "usd_per_hour": cost}
    tell(as_json, shown, lambda: [*views.preview_text(result, diff), views.cost_line(cost)])


@_command
@stack_option()
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Look for plain-text secrets in this checkpoint, too: what `pulumi stack export` wrote. Default: the twin's.",
)
@click.option("--sarif", type=Output(), help="Write a SARIF 2.1.0 report here.")
@click.option("--flows", is_flag=True, help="Show each arrow of the architecture: open, or the first closed door.")
@click.option("--html", type=Output(), help="Draw the arrows into this page.")
@click.option("--quotas", is_flag=True, help="List the quotas that the plan needs: at rest, at peak, during a change.")
@click.option(
    "--deployer-policy",
    "policy_folder",
    type=Output(folder=True),
    help="Write the IAM policies that deploying this plan into AWS takes, one file each, into this folder.",
)
@click.option("--live", is_flag=True, help="Ask AWS and Azure, with your own credentials, whether these are there.")
def check(
    stack_name: str,
    checkpoint: Path | None,
    sarif: Path | None,
    flows: bool,
    html: Path | None,
    quotas: bool,
    policy_folder: Path | None,
    live: bool,
    as_json: bool,
) -> None:
    """Run the policies over a stack's plan, and look for plain-text secrets; needs no credentials without --live.

    Ends with 1 where a mandatory policy is violated, and where a live quota is too small for the plan at rest.
    """
    from policies.catalogue import ALL
    from spillway.cli.console import DeploymentProgress, Reporter
    from spillway.cli.quotas import answers_of, quotas_json, quotas_text
    from spillway.cli.stack import find_stack
    from spillway.cli.verdict import flows_text, verdict_json, verdict_text, write_sarif
    from spillway.conformance.flows.picture import rows, write_page
    from spillway.conformance.flows.walk import walk
    from spillway.conformance.graph import Graph
    from spillway.twin.deploy import rehearse

    stack, reporter = find_stack(stack_name), Reporter()
    rehearsed = rehearse(stack, stack.brief(), DeploymentProgress(reporter))
    with reporter.phase(f"{len(ALL)} policies"):
        deployed = _deployed(checkpoint or stack.checkpoint)
        verdict = stack.policies(rehearsed.secrets).verdict(rehearsed.resources, deployed)
    if sarif is not None:
        write_sarif(verdict, stack.file, sarif)
    walked = walk(Graph(rehearsed.resources)) if flows or html else ()
    if html is not None:
        write_page(walked, stack.about(), html)
    if policy_folder is not None:
        _write_policies(stack, stack_name, rehearsed.resources, policy_folder)
    answers = answers_of(rehearsed.resources, stack.azure_subscription, live=live) if quotas or live else []
    shown = verdict_json(verdict, stack_name)
    shown |= {"flows": rows(walked)} if flows else {}
    shown |= {"quotas": quotas_json(answers)} if answers else {}
    seen = flows_text(walked) if flows else ()
    tell(as_json, shown, lambda: [*seen, *verdict_text(verdict), *quotas_text(answers)])
    if verdict.mandatory or any(answer.verdict == "short" for answer in answers):
        raise click.exceptions.Exit(FAILED)


def _write_policies(stack: Stack, name: str, resources: Sequence[Resource], folder: Path) -> None:
    from spillway.twin.aws.deployer_rights import policies

    settings = stack.settings
    place = f"{settings.name}-{name}", settings.aws.account_id, settings.aws.region
    folder.mkdir(parents=True, exist_ok=True)
    for number, document in enumerate(policies((one.type for one in resources), *place), 1):
        (folder / f"deployer-{number}.json").write_text(document + "\n", encoding="utf-8")


def _deployed(path: Path | None) -> list[Resource] | None:
    """What stands, by a checkpoint."""
    from policies.checkpoint import read_checkpoint

    try:
        return read_checkpoint(path) if path else None
    except ValueError as error:
        raise CommandError(f"--checkpoint {path}: {error}", WRONG_CONFIG) from None


@_command
@stack_option()
@_deployer_option
@click.option("--refresh", is_flag=True, help="Read the live state first (done by itself after a restart).")
@click.option("--resources-only", is_flag=True, help="Deploy, and start no model server, gateway, cache or DNS.")
@click.option(
    "--serve", is_flag=True, help="Run also what a stack would with a cluster of its own: one model server a site."
)
@click.option(
    "--port",
    type=click.IntRange(1024, 65535),
    envvar="SPILLWAY_PORT",
    show_envvar=True,
    help="Of the gateways. Default: a free one, and the same again later.",
)
@click.option(
    "--kubernetes",
    type=click.Choice(["stand-in", "real"]),
    help="The cluster: emulated, or a real control plane with nodes that run nothing. Default: as the twin runs.",
)
def up(
    stack_name: str,
    deployer: Deployer | None,
    refresh: bool,
    resources_only: bool,
    serve: bool,
    port: int | None,
    kubernetes: KubernetesKind | None,
    as_json: bool,
) -> None:
    """Deploy a stack on the local twin, and wait until its sites serve.

    Model servers and gateways are run for stacks whose private cluster is `existing`; of others, the resources only,
    unless --serve is given.
    """
    if serve and resources_only:
        raise click.UsageError("--serve goes with no --resources-only.")
    from spillway.cli import views
    from spillway.cli.console import DeploymentProgress, Reporter
    from spillway.cli.stack import find_stack
    from spillway.twin import deploy

    stack, progress = find_stack(stack_name), DeploymentProgress(Reporter())
    how = {"refresh": refresh, "resources_only": resources_only, "port": port, "kubernetes": kubernetes}
    done = deploy.up(stack, stack.brief(serve=serve), deployer, progress, **how)
    tell(as_json, views.up_json(done, stack), lambda: views.up_text(done, stack))
    if done.problems:
        raise click.exceptions.Exit(FAILED)


@_command
@stack_option()
@click.option("--processes", is_flag=True, help="List every process, too.")
@click.option("--wait", "wait_s", type=click.IntRange(1), help="Wait up to so many seconds until all serve.")
@click.option("--watch", is_flag=True, help="Show it anew each second, until Ctrl-C.")
@click.option("--web", is_flag=True, help="Serve a page to this machine's browser that renews itself, until Ctrl-C.")
@click.option("--port", type=click.IntRange(1, 65535), help="With --web: of the page. Default: a free one.")
@click.option("--endpoint-url", help="With --web: AWS's address. Default: the running twin's, else AWS's own.")
def status(
    stack_name: str,
    processes: bool,
    wait_s: int | None,
    watch: bool,
    web: bool,
    port: int | None,
    endpoint_url: str | None,
    as_json: bool,
) -> None:
    """How the twin's sites, gateways and processes stand, who answered lately, what it costs, and what alarms.

    With --web also of a stack in your accounts, by its metrics and with your own credentials.

    Ends with 1 where no twin runs, and where something that was deployed does not serve.
    """
    from spillway.cli import overview, views
    from spillway.cli.stack import find_stack
    from spillway.twin import deploy

    if watch and (as_json or wait_s):
        raise click.UsageError("--watch goes with neither --json nor --wait.")
    if web and (as_json or wait_s or watch or processes):
        raise click.UsageError("--web goes with none of --json, --wait, --watch and --processes.")
    if (port or endpoint_url) and not web:
        raise click.UsageError("--port and --endpoint-url go with --web.")
    stack = find_stack(stack_name)
    if web:
        overview.serve(stack, port or 0, endpoint_url)
    if watch:
        views.watch(lambda: views.status_text(deploy.status(stack), stack))
    found = deploy.awaited_status(stack, wait_s or 0)
    if found is None:
        stack.need_file()
    seen = overview.of_twin(stack, found)
    listed = [views.processes_text(found)] if processes and found else []
    shown = {**views.status_json(found, stack_name), "overview": seen and seen.to_json()}
    tell(as_json, shown, lambda: [*views.status_text(found, stack), *overview.texts(seen), *listed])
    if found is None or not found.whole:
        raise click.exceptions.Exit(FAILED)


@_command
@stack_option()
@click.option("--destroy", is_flag=True, help="Delete the stack's resources first; protected ones stay.")
@click.option("--purge", is_flag=True, help="Remove what the twin keeps on disk: checkpoint, keys, logs.")
def down(stack_name: str, destroy: bool, purge: bool, as_json: bool) -> None:
    """Stop every process of the twin. Its checkpoint stays: the next `up` goes on from there."""
    from spillway.cli import views
    from spillway.cli.console import DeploymentProgress, Reporter
    from spillway.cli.stack import find_stack
    from spillway.twin import deploy

    stack = find_stack(stack_name)
    if not stack.state_dir.is_dir():
        stack.need_file()
    done = deploy.down(stack, DeploymentProgress(Reporter()), destroy=destroy, purge=purge)
    tell(as_json, views.down_json(done, stack_name), lambda: views.down_text(done, stack_name))


@_command
@stack_option()
@click.option("--short", "length", flag_value="short", help="About a minute: the private site dies (default).")
@click.option("--full", "length", flag_value="full", help="About four minutes: every kind of fault, two sites at last.")
@click.option("--load", "length", flag_value="load", help="A minute of load, nothing broken (default with --against).")
@click.option("--plan", metavar="NAME|FILE", help="A plan that is shipped, by its name, or one of your own, YAML.")
@click.option("--list", "listed", is_flag=True, help="Show the plans that are shipped, and run none.")
@click.option(
    "--against",
    "--url",
    "url",
    metavar="URL",
    help="Gateway of a site of your own, asked as a client of the stack's with the stack's package.",
)
@click.option("--breaker", type=_PROGRAM, help="With --against: called as PROGRAM GROUP ACTION [OPTION=VALUE...].")
@click.option("--report", type=Output(), help="HTML page; default in .spillway/<stack>.")
@click.option(
    "--chat", is_flag=True, help="Stream chats, to a package for vLLM: first tokens, further ones, cut streams."
)
def drill(
    stack_name: str,
    length: str | None,
    plan: str | None,
    listed: bool,
    url: str | None,
    breaker: str | None,
    report: Path | None,
    chat: bool,
    as_json: bool,
) -> None:
    """Break sites while load runs; availability, recovery and lost requests in a table."""
    if plan and length:
        raise click.UsageError("--plan goes with none of --short, --full and --load.")
    from spillway.cli import drill as drills
    from spillway.cli.console import Reporter
    from spillway.cli.stack import find_stack
    from spillway.drill.plan_file import find_plan
    from spillway.drill.report import render_table, write_html, write_json

    if listed:
        _list_plans(as_json)
        return
    if breaker and not url:
        raise click.UsageError("--breaker goes with --against; on the twin, the twin breaks what is to break.")
    stack = find_stack(stack_name)
    chosen = find_plan(plan or length or ("load" if url else "short"))
    page = report or stack.state_dir / "drill.html"
    if why := unwritable(page):
        raise CommandError(why, WRONG_CONFIG)
    result = drills.run(stack, chosen, Reporter(), url=url, breaker=breaker, chat=chat)
    write_html(result, page, stack.about())
    write_json(result, page.with_suffix(".json"))
    failed = [f"Not held: {check.name} ({check.detail})" for check in result.checks if not check.passed]
    shown = {**result.to_json(), "report": str(page)}
    tell(as_json, shown, lambda: [render_table(result), *failed, f"Report: {page}"])
    if not result.passed:
        raise click.exceptions.Exit(result.exit_code)


def _list_plans(as_json: bool) -> None:
    from spillway.drill.plan_file import about, find_plan, shipped

    found = {name: {"about": about(path), "seconds": find_plan(name).duration_s} for name, path in shipped().items()}
    tell(as_json, found, lambda: [f"{name} ({each['seconds']:.0f} s): {each['about']}" for name, each in found.items()])


def main() -> None:
    sys.exit(cli())


if __name__ == "__main__":
    main()
