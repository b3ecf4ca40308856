"""The planner's claims, measured: the speed of the simulation, and the hybrid's bill on the Azure 2023 code trace.

``python benchmarks/planner.py speed`` or ``python benchmarks/planner.py claim [TRACE.csv]``.

The claim: Llama 2 70B on H100 on both sides (service times measured for Splitwise, ISCA 2024, see
``spillway/planner/measured.json``), classes 70/20/10 drawn with seed 1, sized on the first half hour and judged on the
second; a month is that half hour's mean times 730 hours. Prices are those of ``spillway/contracts/prices.json``.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.prices import find_price, owned_examples, price_per_hour
from spillway.planner.charts import HEADINGS, cells, named_rows
from spillway.planner.costs import years_at
from spillway.planner.plan import Plan, at_burst_price, make_plan
from spillway.planner.search import Space
from spillway.planner.service import measured_model
from spillway.planner.simulate import CHUNK, Demand, Outcome, simulate
from spillway.planner.system import Failures, Objective, SiteSpec, System
from spillway.planner.trace import Trace
from spillway.planner.trace_files import read_trace

TRACE = Path(__file__).resolve().parents[2] / "shared" / "data" / "azure_llm_inference_2023_code.csv"
MEASURED = "llama2-70b-h100-x4"
OWNED = "h100-8"
WANTED = 0.42
FAILURES = Failures(site_mtbf_h=4380.0, site_mttr_h=4.0)
"""Two outages a year of four hours: an assumption."""


def read_azure_trace(path: Path = TRACE) -> Trace:
    """The trace as a whole hour, classes 70/20/10 by seed 1."""
    return read_trace(path, seed=1, duration_s=3600.0)


def claim(trace: Trace) -> Plan:
    """The plan of the claim. Both sides are eight H100 in one machine, two servers of four on it."""
    service = measured_model(MEASURED)
    owned = owned_examples()[OWNED]
    burst = find_price("sagemaker", "ml.p5.48xlarge", "us-west-2")
    assert owned.gpu == burst.gpu == service.gpu

    def spec(site: Site, cloud: str, name: str, usd: float, network_s: float) -> SiteSpec:
        return SiteSpec(
            site=site, cloud=cloud, instance_type=name, gpu=owned.gpu, gpus=8, usd_per_hour=usd,
            servers=8 // service.gpus_per_server, slots=service.slots, min_instances=1, max_instances=1,
            stretch=service.stretch, network_s=network_s,
        )  # fmt: skip

    private = spec(Site.PRIVATE, "owned", "8 × H100 node", owned.usd_per_gpu_hour * owned.gpus, 0.0)
    public = spec(Site.SAGEMAKER, "sagemaker", burst.instance_type, burst.usd_per_hour, 0.03)
    space = Space(private=private, burst=(public,), failures=FAILURES)
    return make_plan(
        trace.between(0.0, 1800.0), service, space, judge=trace.between(1800.0, 3600.0), owned=owned, seed=1
    )


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
        f"| saving against all public | {plan.saving_vs_all_public:.1%} |",
        f"| private price assumed: {owned.purchase_usd:,.0f} $ a node over {owned.years:g} years | "
        f"{owned.usd_per_gpu_hour:.2f} $/GPU-hour |",
        f"| the saving falls to {WANTED:.0%} at | {still:.2f} $/GPU-hour, {_years(still)} |",
        f"| the hybrid stops paying at | {even:.2f} $/GPU-hour, {_years(even)} |",
        f"| saving where all public runs on bare EC2 p5.48xlarge, at {ec2:.0%} of SageMaker's price, and the hybrid's "
        f"burst stays on SageMaker | {1 - hybrid.bill.month / at_burst_price(public, ec2):.1%} |",
        f"| all private on two sites, each of the size that holds alone | {_two_sites(plan)} |",
        f"| the saving falls to {WANTED:.0%} where all public is cheaper by, the hybrid's burst staying at list price "
        f"| {1 - hybrid.bill.month / (1 - WANTED) / public.bill.month:.1%} |",
    ]
    return "\n".join(lines)


def _two_sites(plan: Plan) -> str:
    alone = plan.private.judged
    return f"{2 * alone.bill.month:,.0f} $ a month" if alone else "no size holds"


def _years(usd_per_gpu_hour: float) -> str:
    years = years_at(owned_examples()[OWNED], usd_per_gpu_hour)
    return f"a write-off over {years:.2f} years" if years is not None else "never"


def queue(servers: int, load: float, count: int, seed: int, fixed: bool) -> tuple[Iterator[Demand], System, float]:
    """Poisson arrivals at one site of ``servers`` slots with work of mean 1 s, exponential or fixed."""

    def chunks() -> Iterator[Demand]:
        dice, at = np.random.default_rng(seed), 0.0
        for begin in range(0, count, CHUNK):
            size = min(CHUNK, count - begin)
            arrival = at + np.cumsum(dice.exponential(1 / (servers * load), size))
            at = float(arrival[-1])
            work = np.ones(size) if fixed else dice.exponential(1.0, size)
            yield Demand(arrival, np.zeros(size), work, np.zeros(size, dtype=np.int8))

    site = SiteSpec(
        site=Site.PRIVATE, cloud="owned", instance_type="any", gpu=None, gpus=0, usd_per_hour=0, slots=servers,
        min_instances=1, max_instances=1,
    )  # fmt: skip
    ever = {name: Objective(within_s=1e12, share=0.5) for name in RequestClass}
    return chunks(), System(sites=(site,), objectives=ever), 1.1 * count / (servers * load)


def run_queue(servers: int, load: float, count: int, seed: int = 1, fixed: bool = False) -> Outcome:
    chunks, system, duration_s = queue(servers, load, count, seed, fixed)
    return simulate(chunks, system, duration_s)


def _speed() -> None:
    begun = time.perf_counter()
    run_queue(8, 0.8, 1000)
    print(f"first call, compiled or read from the cache: {time.perf_counter() - begun:.1f} s")
    for count in (1_000_000, 10_000_000):
        begun, cpu = time.perf_counter(), time.process_time()
        outcome = run_queue(8, 0.8, count)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{count:,} requests: {time.perf_counter() - begun:.1f} s, {time.process_time() - cpu:.1f} s of one core, "
            f"peak memory {peak:.0f} MiB; mean wait {outcome.classes[RequestClass.P0].mean_wait_s:.4f} s"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["speed"]:
        _speed()
    elif sys.argv[1:2] == ["claim"]:
        print(claim_table(claim(read_azure_trace(Path(sys.argv[2]) if sys.argv[2:] else TRACE))))
    else:
        sys.exit(__doc__)
