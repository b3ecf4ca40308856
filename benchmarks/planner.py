"""The planner's claims, measured: the speed of the simulation, and the hybrid's bill on the Azure 2023 traces.

``python benchmarks/planner.py speed``, ``week [ROWS]``, ``begun``, ``claim code|conv first|begun`` or
``seeds code|conv first|begun``.

The claim: Llama 2 70B on H100 on both sides (service times measured for Splitwise, ISCA 2024, see
``spillway/planner/measured.json``), the deployed gateway's rule with two processes, classes 70/20/10 drawn with seed 1,
sized on the first half hour and judged on the second; a month is that half hour's mean times 730 hours. ``first``: P0's
first token within 2 s at 99.95 %, P1's within 6 s at 99 %, which is when the gateway asks the next site. ``begun``:
begun within 0.5 s and 2 s. Prices are those of ``spillway/contracts/prices.json``.
"""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.prices import HOURS_PER_MONTH, find_price, owned_examples, price_per_hour
from spillway.contracts.routing import DEFAULT_CLASSES
from spillway.contracts.scaling import Scaling
from spillway.planner.charts import HEADINGS, cells, named_rows
from spillway.planner.costs import years_at
from spillway.planner.plan import Plan, at_burst_price, make_plan
from spillway.planner.search import NoPlanError, Space
from spillway.planner.service import measured_model
from spillway.planner.simulate import run_trace
from spillway.planner.system import Failures, Objective, SiteSpec, System, default_objectives, tries_of
from spillway.planner.trace import Trace, superpose
from spillway.planner.trace_files import read_trace

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MEASURED = "llama2-70b-h100-x4"
OWNED = "h100-8"
WANTED = 0.42
INTEREST = 0.08
"""What money costs a year: an assumption."""
GATEWAYS = 2
SEEDS = range(1, 6)
TRIES = tries_of(DEFAULT_CLASSES, language=True)
FAILURES = Failures(site_mtbf_h=4380.0, site_mttr_h=4.0)
"""Two outages a year of four hours: an assumption."""


def azure_trace(name: str, seed: int = 1) -> Trace:
    """``code`` or ``conv`` as a whole hour, classes 70/20/10 by seed."""
    return read_trace(DATA / f"azure_llm_inference_2023_{name}.csv", seed=seed, duration_s=3600.0)


def promises(kind: str) -> dict[RequestClass, Objective]:
    """``begun``, or ``first``: what the gateway itself does to a late first token."""
    goals = default_objectives("wait")
    if kind == "first":
        for route, share in zip(DEFAULT_CLASSES[:2], (0.9995, 0.99), strict=True):
            name = route.request_class
            goals[name] = goals[name].promising("first_token", route.first_token_s, share)
    return goals


def claim(trace: Trace, kind: str, foresight: bool = True) -> Plan:
    """The plan of the claim. Both sides are eight H100 in one machine, two servers of four on it."""
    service = measured_model(MEASURED)
    owned = owned_examples()[OWNED]
    burst = find_price("sagemaker", "ml.p5.48xlarge", "us-west-2")
    assert owned.gpu == burst.gpu == service.gpu

    def spec(site: Site, cloud: str, name: str, usd: float, network_s: float) -> SiteSpec:
        return SiteSpec(
            site=site, cloud=cloud, instance_type=name, gpu=owned.gpu, gpus=8, usd_per_hour=usd,
            servers=8 // service.gpus_per_server, slots=service.slots, kv_tokens=service.kv_tokens(owned.gpu),
            most_at_server=2 * service.slots, min_instances=1, max_instances=1, network_s=network_s,
            scaling=Scaling().loading(service.server_bytes),
        )  # fmt: skip

    private = spec(Site.PRIVATE, "owned", "8 × H100 node", owned.usd_per_gpu_hour * owned.gpus, 0.0)
    public = spec(Site.SAGEMAKER, "sagemaker", burst.instance_type, burst.usd_per_hour, 0.03)
    space = Space(
        private=private, burst=(public,), failures=FAILURES, objectives=promises(kind), gateways=GATEWAYS, tries=TRIES
    )  # fmt: skip
    halves = trace.between(0.0, 1800.0), trace.between(1800.0, 3600.0)
    return make_plan(halves[0], service, space, judge=halves[1], owned=owned, seed=1, foresight=foresight)


def claim_table(plan: Plan) -> str:
    """Markdown: the alternatives, and what would have to be true for the saving to be lost."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "| " + " | ".join("---" for _ in HEADINGS) + " |"]
    lines += ["| " + " | ".join(cells(name, row)) + " |" for name, row in named_rows(plan)]
    hybrid, public = plan.chosen, plan.public.judged
    assert public is not None
    assert hybrid.private is not None
    owned = owned_examples()[OWNED]
    gpus = hybrid.private.gpus * hybrid.private.min_instances
    burst = hybrid.bill.total_per_hour - hybrid.bill.usd_per_hour[Site.PRIVATE]
    still = (public.bill.total_per_hour * (1 - WANTED) - burst) / gpus
    even = plan.break_even_usd_per_gpu_hour or 0.0
    ec2 = price_per_hour("ec2", "p5.48xlarge", "us-east-1") / public.bursts[0].usd_per_hour
    lines += [
        "",
        "| what would have to be true | value |",
        "| --- | --- |",
        f"| saving against all public at list price | {plan.saving_vs_all_public:.1%} |",
        f"| private price assumed: {owned.purchase_usd:,.0f} $ a node over {owned.years:g} years | "
        f"{owned.usd_per_gpu_hour:.2f} $/GPU-hour |",
        f"| the saving is {WANTED:.0%} at | {still:.2f} $/GPU-hour, {_years(still)} |",
        f"| the hybrid stops paying at | {even:.2f} $/GPU-hour, {_years(even)} |",
        f"| saving where all public runs on bare EC2 p5.48xlarge, at {ec2:.0%} of SageMaker's price, and the hybrid's "
        f"burst stays on SageMaker | {1 - hybrid.bill.month / at_burst_price(public, ec2):.1%} |",
        f"| saving where the node's money costs {INTEREST:.0%} a year, and the private site has one node more, as a "
        f"spare | {1 - _dearer(plan) / public.bill.month:.1%} |",
        f"| all private on two sites, each of the size that holds alone | {_two_sites(plan)} |",
        f"| the saving is {WANTED:.0%} where all public is cheaper by (negative: dearer), the hybrid's burst at list "
        f"price | {1 - hybrid.bill.month / (1 - WANTED) / public.bill.month:.1%} |",
    ]
    return "\n".join(lines)


def _dearer(plan: Plan) -> float:
    """The hybrid's bill of a month with what a careful owner adds; sizes as they are."""
    hybrid, owned = plan.chosen, owned_examples()[OWNED]
    assert hybrid.private is not None
    nodes, mine = hybrid.private.min_instances, hybrid.bill.usd_per_hour[Site.PRIVATE]
    longer = owned.model_copy(update={"interest": INTEREST}).usd_per_gpu_hour / owned.usd_per_gpu_hour
    return (hybrid.bill.total_per_hour - mine + mine * longer * (nodes + 1) / nodes) * HOURS_PER_MONTH


def _two_sites(plan: Plan) -> str:
    alone = plan.private.judged
    return f"{2 * alone.bill.month:,.0f} $ a month" if alone else "no size holds"


def _years(usd_per_gpu_hour: float) -> str:
    years = years_at(owned_examples()[OWNED], usd_per_gpu_hour)
    return f"a write-off over {years:.2f} years" if years is not None else "never"


def seeds_table(name: str, kind: str) -> str:
    """Markdown: the claim for other drawings of the classes, and the mean saving with its 95 % interval (Student's t
    for four degrees of freedom: 2.776)."""
    lines, savings = ["| seed | hybrid | all public | saving |", "| --- | --- | --- | --- |"], []
    for seed in SEEDS:
        try:
            plan = claim(azure_trace(name, seed), kind, foresight=False)
        except NoPlanError as error:
            lines.append(f"| {seed} | {error} | | – |")
            continue
        sized = (row.judged for row in (plan.hybrid, plan.public))
        labels = (f"{found.label()}, {'holds' if found.holds else 'misses'}" if found else "none" for found in sized)
        saved = "–" if plan.saving_vs_all_public is None else f"{plan.saving_vs_all_public:.1%}"
        savings += [] if plan.saving_vs_all_public is None else [plan.saving_vs_all_public]
        lines.append(f"| {seed} | {' | '.join(labels)} | {saved} |")
    if len(savings) == len(SEEDS):
        half = 2.776 * float(np.std(savings, ddof=1)) / len(savings) ** 0.5
        lines.append(f"| mean, 95 % | | | {np.mean(savings):.1%} ± {half:.1%} |")
    return "\n".join(lines)


def begun_table() -> str:
    """Markdown: how many of the code trace's P0 begin within 0.5 s while nothing is full, by nodes and by processes of
    the gateway, of which each knows its own requests alone."""
    trace, service = azure_trace("code").between(0.0, 1800.0), measured_model(MEASURED)
    lines = ["| nodes | 1 process | 2 processes | 4 processes |", "| --- | --- | --- | --- |"]
    for nodes in (8, 16, 24, 32, 64, 128, 256):
        shares = []
        for gateways in (1, 2, 4):
            sites = (_nodes(Site.PRIVATE, nodes),)
            system = System(sites=sites, gateways=gateways, objectives=promises("begun"), tries=TRIES)
            shares.append(f"{run_trace(trace, service, system).classes[RequestClass.P0].available:.3%}")
        lines.append(f"| {nodes} | {' | '.join(shares)} |")
    return "\n".join(lines)


def _nodes(site: Site, least: int, most: int = 0) -> SiteSpec:
    return SiteSpec(
        site=site, cloud="any", instance_type="any", gpu=None, gpus=8, usd_per_hour=1, servers=2,
        slots=measured_model(MEASURED).slots, min_instances=least, max_instances=max(least, most),
    )  # fmt: skip


def _speed() -> None:
    """A million requests of the conversation trace, laid over each other, on sixty nodes and ten of burst."""
    service = measured_model(MEASURED)
    trace = superpose(azure_trace("conv"), 52.0)
    system = System(sites=(_nodes(Site.PRIVATE, 60), _nodes(Site.SAGEMAKER, 10)), gateways=GATEWAYS, tries=TRIES)
    begun = time.perf_counter()
    run_trace(trace.between(0.0, 1.0), service, system)
    print(f"first call, compiled or read from the cache: {time.perf_counter() - begun:.1f} s")
    begun, cpu = time.perf_counter(), time.process_time()
    outcome = run_trace(trace, service, system)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(trace):,} requests: {time.perf_counter() - begun:.1f} s, {time.process_time() - cpu:.1f} s of one core, "
        f"peak memory {peak:.0f} MiB; P0 in time {outcome.classes[RequestClass.P0].available:.3%}"
    )


def week_hours(rows: int) -> Iterator[Trace]:
    """A week as long as Azure's of 2024 (27.3 million conversations), hour by hour: the conversation trace's hour laid
    over itself, each copy turned by a time of its own, as often as a working day's profile wants and half as often at
    the weekend. Nothing else is known here of that week: its bursts are those of 2023."""
    profile = 1.0 + 0.6 * np.sin((np.arange(24) - 8.0) / 24.0 * 2.0 * np.pi)
    weights = np.concatenate([profile * (1.0 if day < 5 else 0.5) for day in range(7)])
    hour = azure_trace("conv")
    for number, weight in enumerate(weights / weights.sum()):
        yield superpose(hour, rows * weight / len(hour), seed=number)


def write_week(rows: int, path: Path) -> int:
    """As a file of the 2024 kind: dates with a fraction and an offset. Returns how many rows it has."""
    begin, written = np.datetime64("2024-05-12T00:00:00", "us"), 0
    with path.open("w", encoding="ascii") as file:
        file.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for number, hour in enumerate(week_hours(rows)):
            dates = begin + ((hour.arrival + 3600.0 * number) * 1e6).astype("timedelta64[us]")
            columns = (dates.astype(str), hour.tokens_in.astype(int), hour.tokens_out.astype(int))
            file.writelines(f"{at}+00:00,{read},{made}\n" for at, read, made in zip(*columns, strict=True))
            written += len(hour)
    return written


def _week(rows: int = 27_300_000) -> None:
    """The file read, and run on a fleet that grows; what that took, and the most memory so far."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "week.csv")
        written = write_week(rows, path)
        _tell(f"{written:,} rows, {path.stat().st_size / 2**20:,.0f} MiB written", 0.0)
        begun = time.process_time()
        trace = read_trace(path)
        _tell("read", time.process_time() - begun)
    service, begun = measured_model(MEASURED), time.process_time()
    system = System(sites=(_nodes(Site.PRIVATE, 16), _nodes(Site.SAGEMAKER, 2, 16)), gateways=GATEWAYS, tries=TRIES)
    outcome = run_trace(trace, service, system)
    _tell(f"simulated; P0 in time {outcome.classes[RequestClass.P0].available:.3%}", time.process_time() - begun)


def _tell(what: str, cpu_s: float) -> None:
    """With what is its own of the memory, what is mapped from files, and the most of both together so far."""
    now = dict(re.findall(r"^(Rss\w+):\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE))
    own, mapped = (int(now[name]) / 1024 for name in ("RssAnon", "RssFile"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{what}: {cpu_s:.1f} s of one core; own memory {own:,.0f} MiB, mapped {mapped:,.0f}, most so far {peak:,.0f}",
        flush=True,
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["speed"]:
        _speed()
    elif sys.argv[1:2] == ["week"] and len(sys.argv) <= 3:
        _week(*map(int, sys.argv[2:]))
    elif sys.argv[1:2] == ["claim"] and len(sys.argv) == 4:
        try:
            print(claim_table(claim(azure_trace(sys.argv[2]), sys.argv[3])))
        except NoPlanError as error:
            sys.exit(f"{error}")
    elif sys.argv[1:] == ["begun"]:
        print(begun_table())
    elif sys.argv[1:2] == ["seeds"] and len(sys.argv) == 4:
        print(seeds_table(sys.argv[2], sys.argv[3]))
    else:
        sys.exit(__doc__)
