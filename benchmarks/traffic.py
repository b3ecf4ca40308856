"""What the traffic plane promises, each row in one run with the same system without the feature.

``PYTHONPATH=. python benchmarks/traffic.py [--short] [--only ROW ...] [--trace FILE] [--json FILE]``

A whole local twin by ``spillway up``: real Envoys and agents, three real Tritons behind the fronts that check what the
clouds check, Redis, DNS. Each Triton serves a model with a fixed service time that burns no CPU, eight requests at
once: a site does fifty a second, so little that two cores can send and answer three times of it. The twin's minute
takes six seconds, so that alarms of a minute are not waited for; nothing else is quicker.

``without``: for what a site's death costs, a client whose requests may not spill, asking the same gateway at the same
time; for the gateway's death, one that does not follow DNS; for overload, the client that may not spill, in turns with
the other. A run during which the machine was busier than 70 % is void: what sends the load shares it with what answers.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from operator import ge
from pathlib import Path
from typing import Final, cast

import pytest
import yaml
from scipy.stats import binomtest

from benchmarks.machine import BUSIEST, cpu_times
from benchmarks.rows import Row, tell
from benchmarks.traffic_batching import MOST as CLIENTS
from benchmarks.traffic_batching import measure as measure_batching
from spillway.contracts.classes import RequestClass, Site
from spillway.drill.plan import DrillPlan
from spillway.drill.plan_file import PhaseFile, PlanFile, TraceFile, find_plan
from spillway.drill.resolver import Resolver
from spillway.drill.result import ClassResult, DrillResult, PhaseResult
from spillway.drill.run import run_drill
from spillway.drill.target import DrillTarget
from spillway.drill.workload import infer_body, sentences
from spillway.twin.clock import VARIABLE
from tests.end_to_end.site import Answer, LocalSite, make_project, post, standing
from tests.support.packages import small_package
from tests.support.waiting import eventually

P0, P1, P2 = RequestClass
MINUTE_S: Final = 6
SLOTS: Final = 8
SERVICE_S: Final = 0.16
CONFIDENCE: Final = 0.95
NAME: Final = "inference.spillway.test"
FAULT_RATES: Final = {P0: 24.0, P1: 6.0, P2: 3.0}
USUAL: Final = {P0: 25.0, P1: 9.0, P2: 6.0}
"""Four fifths of what the private site does."""
RUNS: Final = 5
SURGE_S: Final = 54.0
"""Of one run with the feature: five of them have more than 20,000 requests of P0."""
BASELINE_S: Final = 8.0
TRACE_FROM_S, TRACE_SPEED, TRACE_S = 840.0, 2.0, 150.0
"""Five minutes of the trace, its busiest among them: bursts of 65 a second, of which the private site does 50."""


@dataclass(frozen=True)
class Bench:
    """``house``: the key of a client whose requests may not spill."""

    site: LocalSite
    house: str
    short: bool
    trace: Path | None

    def target(self, *, spills: bool = True, follow_dns: bool = False) -> DrillTarget:
        port = self.site.gateway.rpartition(":")[2]
        return DrillTarget(
            gateway_url=f"http://{NAME}:{port}" if follow_dns else self.site.gateway,
            model="echo",
            workload=sentences(),
            faults=self.site.twin,
            resolver=Resolver(NAME, self.site.twin.status().dns, "127.0.0.1") if follow_dns else None,
            client_key=self.site.client_key if spills else self.house,
            operator_key=self.site.operator_key,
        )

    def drill(self, plan: DrillPlan, *, spills: bool = True) -> tuple[DrillResult, float]:
        """The result, and how busy the machine was."""
        before = cpu_times()
        result = run_drill(self.target(spills=spills, follow_dns=plan.follow_dns), plan)
        worked, passed = (after - then for then, after in zip(before, cpu_times(), strict=True))
        return result, worked / passed

    def beside(self, plan: DrillPlan, *, spills: bool) -> tuple[DrillResult, DrillResult, float]:
        """As :meth:`drill`, and what a client without the feature saw meanwhile, which orders no faults."""
        phases = tuple(replace(phase, faults=()) for phase in plan.phases)
        onlooker = replace(plan, phases=phases, follow_dns=False, seed=plan.seed + 1)
        if plan.follow_dns:
            # Else the other would begin while the drill waits for DNS.
            asyncio.run(cast("Resolver", self.target(follow_dns=True).resolver).come_home())
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(run_drill, self.target(spills=spills), onlooker)
            result, cpu = self.drill(plan)
            return result, other.result(), cpu

    def ask(self, site: str = "") -> Answer:
        target = self.target()
        return post(target.gateway_url + target.path, infer_body("TEXT", "Short."), target.headers(P0, site))

    def settle(self) -> None:
        """Until every site answers again, and the private one is asked first."""

        def well() -> bool:
            # A gateway that comes back refuses connections first.
            with suppress(OSError):
                statuses = {self.ask(place).status for place in Site}
                return statuses == {200} and self.ask().site == Site.PRIVATE
            return False

        eventually(well, within_s=60, what="every site answers again")


@contextmanager
def bench(short: bool, trace: Path | None) -> Iterator[Bench]:
    """A twin of the example's stack with a small package and a second client, whose requests stay."""
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(MINUTE_S))
        folder = Path(scratch)
        (folder / "site").mkdir()
        project = make_project(folder / "site")
        path = project / "config" / "Pulumi.local.yaml"
        stack = yaml.safe_load(path.read_text())
        stack["config"]["spillway:package"] = {"path": str(small_package(folder / "package", slots=SLOTS))}
        house = {"name": "house", "key_secret": "house_key", "max_class": "P0", "may_spill": "never"}
        stack["config"]["spillway:gateway"]["clients"].append(house)
        path.write_text(yaml.safe_dump(stack))
        with standing(project) as site:
            assert site.twin.reconcile(service_time_s=SERVICE_S).problems == ()
            yield Bench(site, site.secret("house_key"), short, trace)


def scenario(name: str, last_s: float = 0.0) -> DrillPlan:
    """The first two phases of a shipped plan: well, and broken. ``last_s``: of the second one."""
    plan = find_plan(name)
    well, broken = plan.phases[:2]
    phases = (replace(well, duration_s=4.0), replace(broken, duration_s=last_s or 10.0))
    return replace(plan, phases=phases, rates=FAULT_RATES)


def site_row(bench: Bench, name: str, goal: str) -> Row:
    """A shipped plan about a site: its objectives, and no P0 lost where it says so."""
    result, other, cpu = bench.beside(scenario(name), spills=False)
    bench.settle()
    broken = result.phases[1]
    urgent = broken.classes[P0]
    found = f"{urgent.lost} of {urgent.requests} lost, recovered {said(broken.recovery_s[P0])}; {sites(urgent)}"
    return Row(name, goal, found, lost(other.phases[1].classes[P0]), verdict(result.passed, cpu), cpu)


def gateway_row(bench: Bench, name: str, goal: str) -> Row:
    """Four of the twin's minutes, in which DNS has to move."""
    plan = scenario(name, last_s=20.0 + 4 * MINUTE_S)
    result, other, cpu = bench.beside(plan, spills=True)
    bench.settle()
    dead = result.phases[1]
    found = f"DNS moved {said(dead.moved_s)}, clients recovered {said(dead.recovery_s[P0])}"
    return Row(name, goal, found, lost(other.phases[1].classes[P0]), verdict(result.passed, cpu), cpu)


def surge_row(bench: Bench, name: str, goal: str) -> Row:
    """In turns: the private site alone, and all of them."""
    runs, length, cpus = (1, 10.0, []) if bench.short else (RUNS, SURGE_S, [])
    with_it, without = [], []
    for seed in range(1, runs + 1):
        for spills, lasts, kept in ((False, BASELINE_S, without), (True, length, with_it)):
            result, cpu = bench.drill(surge(lasts, seed), spills=spills)
            kept.append(result.phases[1])
            cpus.append(cpu)
    urgent = [phase.classes[P0] for phase in with_it]
    sent = sum(found.requests for found in urgent)
    in_time = sum(round(found.on_time * found.requests) for found in urgent)
    span = binomtest(in_time, sent).proportion_ci(CONFIDENCE, method="exact")
    errors, before = share_lost(with_it), share_lost(without)
    down = 1 - errors / before if before else 0.0
    good, good_before = [goodput(phase) for phase in with_it], [goodput(phase) for phase in without]
    found = (
        f"P0 {in_time} of {sent} in 500 ms: {in_time / sent:.3%} ({span.low:.3%} to {span.high:.3%}); "
        f"errors {errors:.2%}, down {down:.1%}; goodput {min(good):.0f} to {max(good):.0f}/s"
    )
    held = in_time / sent >= 0.9997 and down >= 0.89 and all(map(ge, good, good_before))
    other = f"errors {before:.2%}; goodput {min(good_before):.0f} to {max(good_before):.0f}/s"
    return Row(name, goal, found, other, verdict(held, max(cpus)), max(cpus))


def surge(lasts: float, seed: int) -> DrillPlan:
    plan = find_plan("surge")
    usual, triple = plan.phases[:2]
    rates = {name: 3 * rate for name, rate in USUAL.items()}
    phases = (replace(usual, duration_s=2.0), replace(triple, duration_s=lasts, rates=rates))
    return replace(plan, phases=phases, rates=USUAL, seed=seed)


def trace_row(bench: Bench, name: str, goal: str) -> Row:
    """Each request of the trace is one of P0, at its own time."""
    if bench.trace is None:
        return Row(name, goal, "not run: give the trace with --trace", "", None, 0.0)
    lasts = 15.0 if bench.short else TRACE_S
    given = TraceFile(path=str(bench.trace), speed=TRACE_SPEED, from_s=TRACE_FROM_S)
    plan = PlanFile(name=name, phases=(PhaseFile(name=name, duration_s=lasts),), trace=given).plan(Path())
    alone, cpu_alone = bench.drill(plan, spills=False)
    result, cpu = bench.drill(plan)
    before, found = alone.totals[P0], result.totals[P0]
    cpu = max(cpu, cpu_alone)
    held = verdict(found.availability >= 0.9995 > before.availability, cpu)
    return Row(name, goal, f"{found.availability:.3%} of {found.requests}; {sites(found)}", lost(before), held, cpu)


def batching_row(bench: Bench, name: str, goal: str) -> Row:
    """Of one Triton beside the twin: what it gains is the server's, whoever asks."""
    before = cpu_times()
    measured = measure_batching(1.0 if bench.short else 3.0, CLIENTS)
    worked, passed = (after - then for then, after in zip(before, cpu_times(), strict=True))
    single, batched = measured["single"], measured["batched"]
    gain = batched.requests_per_s / single.requests_per_s
    most = sorted(batched.histogram.items(), key=lambda entry: -entry[0] * entry[1])[:3]
    found = (
        f"{gain:.1f} times: {batched.requests_per_s:.0f}/s, {batched.requests_per_execution:.1f} at once (most in "
        f"batches of {', '.join(str(size) for size, _ in most)}), {batched.queue_ms:.1f} ms in the queue"
    )
    other = f"{single.requests_per_s:.0f}/s, {single.queue_ms:.1f} ms in the queue"
    # Clients that never wait keep every core busy: that is what is measured here.
    return Row(name, goal, found, other, gain >= 2, worked / passed, {"batched": asdict(batched)})


def share_lost(phases: Sequence[PhaseResult]) -> float:
    classes = [found for phase in phases for found in phase.classes.values()]
    return sum(found.lost for found in classes) / sum(found.requests for found in classes)


def goodput(phase: PhaseResult) -> float:
    """Answers a second that were in time."""
    good = sum(found.on_time * found.requests for found in phase.classes.values())
    return good / (phase.end_s - phase.start_s)


def lost(found: ClassResult) -> str:
    return f"{found.availability:.2%} available, {found.lost} of {found.requests} lost"


def sites(found: ClassResult) -> str:
    return ", ".join(f"{site} {count}" for site, count in found.answered.items())


def said(seconds: float | None) -> str:
    return "never" if seconds is None else f"after {seconds:.2f} s"


def verdict(held: bool, cpu: float) -> bool | None:
    return held if cpu <= BUSIEST else None


ROWS: Final[dict[str, tuple[Callable[[Bench, str, str], Row], str]]] = {
    "killed": (site_row, "no P0 lost, P99 recovered within 1 s"),
    "hung": (site_row, "P0 99 % available, P99 recovered within 3 s"),
    "two-sites-gone": (site_row, "private and SageMaker gone: Azure ML carries P0, none lost"),
    "gateway-killed": (gateway_row, "clients that follow DNS recover within its move + TTL + 10 s"),
    "surge": (surge_row, "P0 99.97 % within 500 ms, errors down 89 %, goodput not below"),
    "trace": (trace_row, "available 99.95 %"),
    "batching": (batching_row, "answers a second at least doubled by dynamic batching"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=cast("str", __doc__).partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="one run of the surge, and a part of the trace")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--trace", type=Path, help="the Azure code trace of 2023, or another that the planner reads")
    parser.add_argument("--json", type=Path, help="where to write the rows")
    args = parser.parse_args()
    rows = []
    with bench(args.short, args.trace.absolute() if args.trace else None) as running:
        for name in args.only:
            measure, goal = ROWS[name]
            rows.append(measure(running, name, goal))
            print(f"{name}: {rows[-1].found}", file=sys.stderr, flush=True)
    return tell("The traffic plane", rows, args.json)


if __name__ == "__main__":
    sys.exit(main())
