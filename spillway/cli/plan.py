"""``spillway plan`` and ``spillway report``: sizes from a trace, and what the past would have cost with other ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spillway.cli.command import command_of, tell
from spillway.cli.errors import FAILED, WRONG_CONFIG, CommandError
from spillway.cli.options import Output, stack_option, unwritable

if TYPE_CHECKING:
    from rich.table import Table

    from spillway.cli.console import Reporter
    from spillway.cli.stack import Stack
    from spillway.contracts.classes import RequestClass
    from spillway.drill.plan import DrillPlan
    from spillway.planner.plan import Asked, Plan
    from spillway.planner.search import Space
    from spillway.planner.service import ServiceModel
    from spillway.planner.system import Failures, Measure, Objective
    from spillway.planner.trace import Trace
    from stacks.planning import Commitment, PrivatePrice

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_EXAMPLE = "example"


class TraceFile(click.Path):
    """A file of the user's, or the example that Spillway brings."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, exists=True, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == _EXAMPLE:
            from spillway.planner.trace_files import EXAMPLE

            return EXAMPLE
        return super().convert(value, param, ctx)


_commands = click.Group()


@command_of(_commands)
@stack_option()
@click.option(
    "--trace", "trace_path", type=TraceFile(), help="Requests, as CSV or JSON lines, also in gzip; or: example."
)
@click.option(
    "--time-unit", type=click.Choice(["s", "ms", "us", "ns"]), help="Of the trace's numbers. Default: by size."
)
@click.option("--time-zone", help="Of dates without one, e.g. Europe/Berlin. Default: UTC.")
@click.option("--measured", help="A committed measurement as service times, e.g. llama2-70b-h100-x4.")
@click.option("--tokens-per-s", "rates", help="Service times as PROMPT,ANSWER tokens/s of one request on a server.")
@click.option(
    "--slots",
    default=32,
    show_default=True,
    help="With --tokens-per-s: requests at once on a server, unless the package says.",
)
@click.option("--scale", default=1.0, show_default=True, help="Times the trace's traffic: copies laid over each other.")
@click.option("--judge-from", "split", type=click.FloatRange(0.05, 0.95), help="Size on this share, judge on the rest.")
@click.option(
    "--objective",
    "wishes",
    multiple=True,
    help="CLASS=[MEASURE:]SECONDS:SHARE, e.g. P0=first_token:2:0.999; wait, first_token or latency. Of tokens, seconds "
    "of each may follow: P0=first_token:2+0.1:0.999.",
)
@click.option("--mtbf-hours", default=4380.0, show_default=True, help="Between outages of the private site; 0: none.")
@click.option("--mttr-hours", default=4.0, show_default=True, help="How long such an outage lasts, on the mean.")
@click.option("--instance-mtbf-hours", default=0.0, show_default=True, help="Of one private instance; 0: none fails.")
@click.option("--private-usd-per-gpu-hour", "private_usd", type=float, help="Instead of the stack's own price.")
@click.option(
    "--commit", help="How a baseline that pays is bought: reserved_1y, savings_3y …, or a share off the list, e.g. 0.4."
)
@click.option("--growth", "growth_text", help="What comes to the traffic, e.g. 30%/quarter: how long the sizes hold.")
@click.option("--shared", "shares", is_flag=True, help="Say in --json the fewest private servers, for --beside.")
@click.option(
    "--beside", type=_FILE, multiple=True, help="Other models' plans, by --shared --json: nodes that all share."
)
@click.option(
    "--spot-hours",
    type=click.FloatRange(min=0, min_open=True),
    help="P2 on spot nodes, too, each taken away once in so many hours.",
)
@click.option(
    "--spot-usd-per-hour", "spot_usd", type=click.FloatRange(min=0), help="Of a spot node. Default: the catalogue's."
)
@click.option("--owned", "owned_name", help="A machine of the price catalogue as the private price, e.g. h100-8.")
@click.option("--ignore-tokens", is_flag=True, help="Of a trace of generated text, for a package that makes none.")
@click.option("--ignore-minima", is_flag=True, help="Let burst sites have fewer instances than the stack file says.")
@click.option("--max-gap", "max_gap_h", default=24.0, show_default=True, help="Hours that a trace may be silent.")
@click.option("--seed", default=1, show_default=True, help="Of classes, copies, cold starts and outages.")
@click.option("--write", "new_name", help="Write the plan as a stack of this name.")
@click.option("--out", type=Output(folder=True), help="Default: .spillway/<stack>/plan.")
@click.option("--validate", "drill_path", type=_FILE, help="Compare with what `spillway drill --json` wrote.")
@click.option(
    "--drill-plan", type=_FILE, help="With --validate: the file of the plan that drill ran, unless it is a shipped one."
)
def plan(stack_name: str, as_json: bool, **options: Any) -> None:
    """Find the cheapest mix of private and burst capacity that holds the promises on a trace.

    Service times come from the stack's package, unless --measured or --tokens-per-s says otherwise. The hybrid, the
    public cloud alone and the private site alone are sized by one search with the same rules.
    """
    from spillway.cli.console import Reporter
    from spillway.cli.stack import find_stack

    stack, reporter = find_stack(stack_name), Reporter()
    if options["drill_path"]:
        _validate(stack, options, as_json)
        return
    if options["trace_path"] is None:
        raise click.UsageError("--trace is missing: a CSV of time,input_tokens,output_tokens,class, or `example`.")
    _look_before(stack, options)
    made, files = _make(stack, options, reporter)
    written: list[str] = []
    if options["new_name"]:
        written = _write(stack, options, made)
    shown = {**made.to_json(), "files": files, "stack_file": written[0] if written else None}
    tell(as_json, shown, lambda: [*_plan_text(made), *[f"Written: {line}" for line in [*files, *written]]])


def _look_before(stack: Stack, options: dict[str, Any]) -> None:
    """A search takes minutes: what it is to write has a place before."""
    from spillway.cli.stack import find_stack
    from stacks.planned_file import need_free

    if options["new_name"]:
        need_free(stack.project.stack_file(find_stack(options["new_name"]).name))
    if why := unwritable(_folder(stack, options)):
        raise CommandError(why, WRONG_CONFIG)


def _folder(stack: Stack, options: dict[str, Any]) -> Path:
    return options["out"] or stack.state_dir / "plan"


def _make(stack: Stack, options: dict[str, Any], reporter: Reporter) -> tuple[Plan, list[str]]:
    from spillway.page.page import write_page
    from spillway.planner.charts import page_of, write_charts
    from spillway.planner.plan import make_plan
    from spillway.planner.service import need_tokens
    from spillway.planner.trace import superpose
    from spillway.planner.trace_files import read_trace
    from spillway.planner.trace_times import TimeUnit

    service, price = _service(stack, options), _price(options)
    goals = _objectives(options["wishes"], "wait" if service.language else "latency")
    space = _space(stack, options, service, goals, price)
    asked = _asked(stack, options, service)
    trace = read_trace(
        options["trace_path"],
        seed=options["seed"],
        max_gap_s=options["max_gap_h"] * 3600,
        time_unit=TimeUnit(options["time_unit"]) if options["time_unit"] else None,
        time_zone=options["time_zone"],
    )
    if not options["ignore_tokens"]:
        need_tokens(trace, service)
    if options["scale"] != 1.0:
        trace = superpose(trace, options["scale"], options["seed"])
    sized, judge = _parts(trace, options["split"])
    with reporter.phase(f"plan of {len(trace):,} requests"):
        made = make_plan(
            sized,
            service,
            space,
            judge=judge,
            owned=price.owned,
            seed=options["seed"],
            asked=asked,
            progress=reporter.now,
        )
    folder = _folder(stack, options)
    charts = write_charts(made, folder)
    page = folder / "plan.html"
    write_page(page_of(made, charts, f"Plan of {stack.name}", stack.about()), page)
    return made, [str(page), *map(str, charts)]


def _space(
    stack: Stack,
    options: dict[str, Any],
    service: ServiceModel,
    goals: dict[RequestClass, Objective],
    price: PrivatePrice,
) -> Space:
    from stacks.planning import space_of
    from stacks.pricing import private_machines

    settings, failures = stack.checked_settings, _failures(options)
    nodes = private_machines(settings)
    if nodes is not None and nodes.model == "spot" and not options["instance_mtbf_hours"]:
        raise click.UsageError(
            "the private nodes are bought as spot (private_cluster.gpu_pool.capacity_type): say how often one is taken "
            "away with --instance-mtbf-hours, e.g. 50."
        )
    minima, commit = not options["ignore_minima"], _commitment(options["commit"])
    return space_of(settings, stack.sites, service, goals, failures, price, minima, commit)


def _asked(stack: Stack, options: dict[str, Any], service: ServiceModel) -> Asked:
    """What is worked out besides."""
    from spillway.planner.growth import growth_of
    from spillway.planner.plan import Asked
    from spillway.planner.shared import read_tenant
    from stacks.planning import offers_of, spot_of

    settings, hours, usd = stack.checked_settings, options["spot_hours"], options["spot_usd"]
    if usd is not None and hours is None:
        raise click.UsageError("--spot-usd-per-hour goes with --spot-hours.")
    return Asked(
        offers=offers_of(settings, stack.sites, _commitment(options["commit"])),
        growth=growth_of(options["growth_text"]) if options["growth_text"] else None,
        spot=spot_of(settings, stack.sites, service, hours, usd) if hours else None,
        shares=options["shares"],
        beside=tuple(map(read_tenant, options["beside"])),
    )


def _service(stack: Stack, options: dict[str, Any]) -> ServiceModel:
    from stacks.planning import service_of

    settings, root, rates = stack.checked_settings, stack.project.root, _rates(options["rates"])
    return service_of(settings, stack.sites, root, options["measured"], rates, options["slots"])


def _parts(trace: Trace, split: float | None) -> tuple[Trace, Trace | None]:
    if split is None:
        return trace, None
    at = trace.duration_s * split
    return trace.between(0.0, at), trace.between(at, trace.duration_s)


def _rates(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        prompt, answer = (float(part) for part in text.split(","))
    except ValueError:
        raise click.UsageError(f"--tokens-per-s {text!r}: write two numbers, e.g. 10000,34") from None
    return prompt, answer


def _price(options: dict[str, Any]) -> PrivatePrice:
    from spillway.contracts.prices import owned_examples
    from stacks.planning import PrivatePrice

    given, name = options["private_usd"], options["owned_name"]
    if given is not None and name:
        raise click.UsageError("--private-usd-per-gpu-hour goes with no --owned: each is the private price.")
    if given is not None and not given >= 0:
        raise click.UsageError(f"--private-usd-per-gpu-hour {given}: give 0 or more.")
    if not name:
        return PrivatePrice(given)
    known = owned_examples()
    if name not in known:
        raise click.UsageError(f"--owned {name!r}: the catalogue has {', '.join(known)}.")
    return PrivatePrice(known[name].usd_per_gpu_hour, known[name])


def _commitment(text: str | None) -> Commitment | None:
    from spillway.contracts.prices import COMMITTED
    from stacks.planning import Commitment

    if text is None:
        return None
    for model in COMMITTED:
        if model == text:
            return Commitment(model)
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise click.UsageError(
            f"--commit {text!r}: give {', '.join(COMMITTED)}, or a share off the list from 0 to below 1"
        )
    return Commitment(share)


def _objectives(wishes: tuple[str, ...], measure: Measure) -> dict[RequestClass, Objective]:
    from typing import get_args

    from spillway.contracts.classes import RequestClass
    from spillway.planner.system import Measure, default_objectives

    found = default_objectives(measure)
    for wish in wishes:
        name, _, bounds = wish.partition("=")
        try:
            *measured, within, share = bounds.split(":")
            within, _, each = within.partition("+")
            key, within_s, wanted = RequestClass(name.upper()), float(within), float(share)
            per_token_s = float(each) if each else None
        except ValueError:
            raise click.UsageError(
                f"--objective {wish!r}: write CLASS=[MEASURE:]SECONDS:SHARE, e.g. P0=first_token:2:0.999"
            ) from None
        named = ":".join(measured) or found[key].measure
        chosen: Measure | None = next((one for one in get_args(Measure) if one == named), None)
        if chosen is None:
            raise click.UsageError(f"--objective {wish!r}: {named!r} is none of {', '.join(get_args(Measure))}")
        if not (within_s > 0 and 0 < wanted <= 1 and (per_token_s is None or per_token_s > 0)):
            raise click.UsageError(f"--objective {wish!r}: seconds above 0, and a share above 0 and up to 1")
        found[key] = found[key].promising(chosen, within_s, wanted, per_token_s)
    return found


def _failures(options: dict[str, Any]) -> Failures | None:
    from spillway.planner.system import Failures

    mtbf, mttr = options["mtbf_hours"], options["mttr_hours"]
    if mtbf < 0 or mttr <= 0:
        raise click.UsageError(
            f"--mtbf-hours {mtbf:g} --mttr-hours {mttr:g}: the first is 0 or more, the second above 0"
        )
    one = options["instance_mtbf_hours"]
    if one < 0:
        raise click.UsageError(f"--instance-mtbf-hours {one:g}: give 0 or more")
    failures = Failures(site_mtbf_h=mtbf or None, site_mttr_h=mttr, instance_mtbf_h=one or None)
    return failures if mtbf or one else None


def _write(stack: Stack, options: dict[str, Any], made: Plan) -> list[str]:
    from spillway.cli.stack import find_stack
    from spillway.planner.charts import summary_lines
    from stacks.planned_file import write_planned

    target = stack.project.stack_file(find_stack(options["new_name"]).name)
    source, chosen = stack.project.stack_file(stack.name), made.hybrid.found.need()
    outage_h = options["mttr_hours"] if options["mtbf_hours"] else 0.0
    private = chosen.private
    assert private is not None
    out = f"out every {options['mtbf_hours']:g} h for {outage_h:g} h" if outage_h else "never out"
    scale = f", {options['scale']:g} times" if options["scale"] != 1.0 else ""
    said = [
        f"{made.requests:,} requests of {options['trace_path'].name}{scale}, seed {made.seed}.",
        f"Private: {private.usd_per_hour:.2f} $/h an instance; {out}.",
        *summary_lines(made),
        *made.reasons,
        f"package.path has to name {made.service.name}.",
    ]
    notes = write_planned(source, target, stack.sites, chosen, said, outage_h, _package_slots(stack))
    return [str(target), *notes]


def _package_slots(stack: Stack) -> int | None:
    """Of one server; a plan by given speeds needs no package."""
    from spillway.contracts.manifest import PackageError

    try:
        return stack.manifest().serving.slots
    except PackageError:
        return None


def _plan_text(made: Plan) -> list[Any]:
    from spillway.planner.charts import BOUGHT, HEADINGS, bought_cells, cells, named_rows, summary_lines

    table = _table(list(HEADINGS))
    for name, row in named_rows(made):
        table.add_row(*cells(name, row))
    bought = _table(list(BOUGHT))
    for way in made.bought:
        bought.add_row(*bought_cells(way))
    notes = [f"Note: {note}." for note in made.notes]
    return [table, *([bought] if made.bought else []), *summary_lines(made), *made.reasons, *notes]


def _table(headings: list[str]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    return table


# Against a drill


def _validate(stack: Stack, options: dict[str, Any], as_json: bool) -> None:
    """What the planner predicts for the drill's own requests, beside what the drill measured."""
    from spillway.contracts.routing import RoutingTable
    from spillway.drill.result import read_totals
    from spillway.planner.deployed import deployed_system
    from spillway.planner.validate import compare, predict

    name, measured = read_totals(options["drill_path"])
    routing = stack.state_dir / "gateway-private" / "routing.json"
    if not routing.is_file():
        raise CommandError(
            f"{routing} is not there: `spillway up -s {stack.name}` writes it, with the slots to predict with",
            WRONG_CONFIG,
        )
    service = _service(stack, options)
    system = deployed_system(RoutingTable.model_validate_json(routing.read_bytes()))
    ran = _drill_plan(name, options["drill_plan"])
    arrivals = [(one.due_s, one.request_class) for one in ran.arrivals()]
    outages = ran.outages([str(spec.site) for spec in system.sites])
    rows = compare(predict(arrivals, ran.duration_s, outages, service, system), measured)
    table = _table(["class", "figure", "predicted", "95 %", "measured", "error", "holds"])
    for row in rows:
        error = f"{row.error:+.3f}" + (f" ({row.relative:+.1%})" if row.relative is not None else "")
        interval = f"{row.interval[0]:.3f} to {row.interval[1]:.3f}" if row.interval else ""
        figures = f"{row.predicted:.3f}", interval, f"{row.measured:.3f}", error
        table.add_row(row.request_class, row.figure, *figures, "yes" if row.holds else "no")
    off = [row for row in rows if not row.holds]
    said = [f"{len(off)} of {len(rows)} predictions are off by more than {_bounds()}."] if off else []
    tell(as_json, {"service": service.name, "rows": [row.to_json() for row in rows]}, lambda: [table, *said])
    if off:
        raise click.exceptions.Exit(FAILED)


def _bounds() -> str:
    from spillway.planner.validate import MOST_OFF

    return ", ".join(f"{most:.0%} ({figure})" for figure, most in MOST_OFF.items())


def _drill_plan(name: str, path: Path | None) -> DrillPlan:
    from spillway.drill.plan_file import find_plan, read_plan, shipped

    if path is None and name not in shipped():
        raise CommandError(f"the drill ran plan {name!r}; give its file with --drill-plan", WRONG_CONFIG)
    return read_plan(path) if path else find_plan(name)


# The past


@command_of(_commands)
@stack_option()
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 455), help="How far back.")
@click.option("--endpoint-url", help="CloudWatch's address. Default: the running twin's, else AWS.")
def report(stack_name: str, days: int, endpoint_url: str | None, as_json: bool) -> None:
    """Say what the last month cost by the stack's own metrics, and what it would have cost with other burst sizes."""
    from datetime import UTC, datetime

    from spillway.cli.stack import find_stack
    from spillway.planner.history import history_json, read_history, what_if
    from stacks.planning import sizes_of

    stack = find_stack(stack_name)
    settings = stack.checked_settings
    sizes = sizes_of(settings, stack.sites)
    client = stack.aws_client("cloudwatch", endpoint_url)
    burst = [fleet.site for fleet in sizes.fleets]
    found = read_history(client, f"{settings.name}-{stack.name}", datetime.now(UTC), days, burst)
    choices = what_if(found, sizes)
    table = _table(["sizes", "$ a month", "hours short of burst"])
    for choice in choices:
        table.add_row(choice.name, f"{choice.month:,.0f}", f"{choice.short_hours:.1%}")
    blended = f", {found.mean_blended:.3f} $/GPU-hour blended" if found.mean_blended is not None else ""
    head = (
        f"{found.stack}: {len(found.hours)} of {found.expected} hours have metrics. Burst cost "
        f"{found.mean_burst:.2f} $/h on the mean{blended}. A month is 730 hours of that mean."
    )
    tell(as_json, history_json(found, choices), lambda: [head, table])
