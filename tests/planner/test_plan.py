"""Service times, the search and the plan that comes out of it."""

from __future__ import annotations

import importlib.util
import json
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.manifest import MANIFEST_NAME, LanguageServing, LatencyFigure, Manifest, Serving, read_manifest
from spillway.contracts.prices import PriceError, owned_examples
from spillway.contracts.scaling import Scaling
from spillway.page.page import write_page
from spillway.planner.charts import CHARTS, named_rows, page_of, summary_lines, write_charts
from spillway.planner.costs import saving, years_at
from spillway.planner.errors import PlannerError
from spillway.planner.plan import Plan, make_plan
from spillway.planner.search import Kind, NoPlanError, Search, Space, fitted, judged, pareto
from spillway.planner.service import (
    ServiceModel,
    from_manifest,
    from_rates,
    measured,
    measured_model,
    need_tokens,
    with_engine,
)
from spillway.planner.simulate import run_trace
from spillway.planner.system import Failures, Objective, SiteSpec, System, Tries, default_objectives
from spillway.planner.trace import Trace, superpose, synthetic
from stacks.planning import Commitment, PrivatePrice, service_of, space_of
from stacks.sites import burst_sites
from stacks.stack_file import read_settings
from tests.planner.test_trace_files import REAL
from tests.stacks.files import changed, example, flat
from tests.support.browser import LOOKS, Look, problems
from tests.support.packages import small_package
from tests.support.paths import ROOT

P0, P1, P2 = RequestClass
KINDS: tuple[Kind, ...] = ("hybrid", "all public", "all private")
SERVICE = from_rates(40_000, 60, slots=8)
ENCODER = ServiceModel(name="MiniLM", source="x", prompt_tokens=(1, 8), prompt_s=(0.01, 0.05), batched=True)


def spec(site: Site, usd: float, **more: object) -> SiteSpec:
    given = {"site": site, "cloud": "owned", "instance_type": str(site), "gpu": "L4", "gpus": 1, "usd_per_hour": usd}
    return SiteSpec.model_validate({**given, "slots": 8, "min_instances": 1, "max_instances": 1, **more})


def space(**more: object) -> Space:
    given = {
        "private": spec(Site.PRIVATE, 0.5),
        "burst": (spec(Site.SAGEMAKER, 2.0),),
        "most_private": 8,
        "most_burst": 8,
    }
    return Space.model_validate({**given, **more})


@pytest.fixture(scope="module")
def plan() -> Plan:
    trace = synthetic(600, 2.5, seed=3)
    failures = Failures(site_mtbf_h=500, site_mttr_h=0.5)
    owned = owned_examples()["h100-8"]
    return make_plan(
        trace.between(0, 300), SERVICE, space(failures=failures), judge=trace.between(300, 600), owned=owned
    )


# Service times


def test_rates_make_times() -> None:
    model = from_rates(1000, 20, slots=4)
    assert model.prompt_s[1] / model.prompt_tokens[1] == pytest.approx(1e-3)
    prompt, work, tokens = model.demand(np.array([500.0, 0.0]), np.array([10.0, 0.0]))
    assert prompt.tolist() == [500.0, 1.0], "there is no empty prompt"
    assert (work * model.token_s).tolist() == pytest.approx([0.45, 0.0]), "the first token comes with the prompt"
    assert tokens.tolist() == [510.0, 0.0]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(PlannerError, match="above 0"):
        from_rates(rate, 30, slots=1)


def test_measured_times_are_those_of_the_table() -> None:
    """A prompt alone, and nine tokens after the first: in chunks as at once."""
    model = measured_model("llama2-70b-h100-x4")
    for tokens, seconds in ((2048.0, 0.2007), (8192.0, 0.9536)):
        one = Trace(np.zeros(1), np.array([tokens]), np.array([10.0]), np.zeros(1, dtype=np.int8), 60.0)
        found = run_trace(one, model, System(sites=(spec(Site.PRIVATE, 1.0),))).classes[P0]
        assert found.first_token_p50_s == pytest.approx(seconds, rel=0.011)
        assert found.per_token_p50_s == pytest.approx(model.token_s, rel=0.011)
    assert all("MIT" in row.source for row in measured().values())
    with pytest.raises(PlannerError, match="there are: llama2-70b"):
        measured_model("gpt-9")


# Memory


def test_what_does_not_fit_is_refused() -> None:
    """68.98 billion parameters in FP16 are 138 GB (Meta's model card): not on four L4 of 24 GB, on four H100 easily."""
    model = measured_model("llama2-70b-h100-x4")
    with pytest.raises(PlannerError, match=r"does not fit L4: each of its 4 GPUs has to hold 34\.5 GB"):
        model.kv_tokens("L4")
    # 320 KiB a token (Llama 2's 80 layers, 8 KV heads of 128, FP16) in what 90 % of 4 × 80 GB leave: 500,000 tokens.
    assert model.kv_tokens("H100") == pytest.approx((4 * 0.9 * 81559 * 2**20 - 137.95e9) / (320 * 1024), rel=1e-3)
    assert model.kv_tokens(None) is None
    assert model.kv_tokens("B900") is None, "nothing is known of it"


def test_a_package_says_what_its_engine_holds() -> None:
    """DeepSeek-V2-Lite's latent attention is copied to each GPU; two copies have two caches."""
    language = LanguageServing(
        max_model_len=8192, max_num_seqs=64, tensor_parallel_size=2, data_parallel_size=2, dtype="bfloat16",
        quantization="none", scheme="bf16", tokenizer="any", vocabulary=100, chat_template=True,
        weights_bytes=31_400_000_000, kv_bytes_per_token=31_104, kv_shards=1,
        arguments={"max-num-batched-tokens": 8192},
    )  # fmt: skip
    model = with_engine(from_rates(10_000, 30, slots=8), language, Serving(slots=48, max_concurrency=256))
    assert model.most_read == 8192
    assert (model.slots, model.gate_slots, model.accepted) == (64, 48, 256)
    free = 46068 * 2**20 * 0.9 - 15.7e9
    assert model.kv_tokens("L40S") == 2 * int(free / 31_104)
    with pytest.raises(PlannerError, match="does not fit T4"):
        model.kv_tokens("T4")


def test_a_stack_is_planned_with_what_its_gateways_and_engines_let_in() -> None:
    """As docs/decisions/0098-seats-for-the-urgent.md has it: 48 of the batch's 64 are all classes', P0 has the others
    and the queue up to a sixteenth below where vLLM refuses."""
    language = LanguageServing(
        max_model_len=8192, max_num_seqs=64, tensor_parallel_size=1, dtype="bfloat16", quantization="none",
        scheme="bf16", tokenizer="any", vocabulary=100, chat_template=True,
        arguments={"max-num-queued-tokens": 20_000},
    )  # fmt: skip
    service = with_engine(from_rates(10_000, 30, slots=8), language, Serving(slots=48, max_concurrency=256))
    settings = read_settings(flat(example("prod")))
    found = space_of(settings, burst_sites(settings), service, dict(default_objectives()), None, PrivatePrice())
    assert found.private is not None
    for one in (found.private, *found.burst):
        assert (one.slots, one.let_through, one.headroom, one.most_at_server) == (64, 48, 192, 256)
        assert one.most_unread_tokens == 20_000
    assert found.private.kv_share == settings.gateway.kv_cache_percent / 100
    assert found.tries[RequestClass.P0] == Tries(one_s=settings.gateway.classes.p0.first_token_s)
    tensors = space_of(settings, burst_sites(settings), ENCODER, dict(default_objectives()), None, PrivatePrice())
    route = settings.gateway.classes.p1
    assert tensors.tries[RequestClass.P1] == Tries(one_s=route.try_timeout_s, all_s=route.timeout_s)
    assert tensors.burst[0].headroom is None


def test_a_trace_of_generated_text_is_refused_for_a_package_that_makes_none() -> None:
    trace = synthetic(60, 1.0, seed=1)
    with pytest.raises(PlannerError, match="MiniLM generates no text: plan with --measured"):
        need_tokens(trace, ENCODER)
    need_tokens(trace, from_rates(1000, 50, slots=4))
    need_tokens(replace(trace, tokens_out=np.zeros_like(trace.tokens_out)), ENCODER)


def test_what_is_always_there_is_paid_as_committed_and_the_rest_as_listed() -> None:
    burst = spec(Site.SAGEMAKER, 2.0, max_instances=4, committed_usd_per_hour=1.2)
    system, trace = System(sites=(burst,)), synthetic(600, 2.5, seed=3)
    candidate = judged("all public", system, run_trace(trace, SERVICE, system), trace.tokens)
    hours = candidate.outcome.instance_hours[Site.SAGEMAKER] / candidate.outcome.hours
    assert hours >= 1
    assert candidate.bill.total_per_hour == pytest.approx(1.2 + (hours - 1) * 2.0)


@pytest.mark.parametrize(("how", "usd"), [(0.4, 60.0), ("reserved_3y", None)])
def test_a_commitment_is_a_share_off_the_list_or_what_the_catalogue_has(how: Any, usd: float | None) -> None:
    node = spec(Site.SAGEMAKER, 100.0, cloud="sagemaker", instance_type="ml.p5.48xlarge")
    if usd is None:
        with pytest.raises(PriceError, match=r"no reserved_3y price of ml\.p5\.48xlarge; `spillway prices refresh"):
            Commitment(how).of(node)
    else:
        assert Commitment(how).of(node) == usd


def test_a_large_package_starts_later() -> None:
    """Llama 2 70B takes four minutes and 25 seconds to be fetched and loaded, besides the machine."""
    large = measured_model("llama2-70b-h100-x4")
    small, slow = (Scaling().loading(size).cold_start_s for size in (60_000_000, large.server_bytes))
    assert small == pytest.approx(420, abs=1)
    assert slow == pytest.approx(420 + 265, abs=10)


def test_slots_are_no_more_than_the_cache_holds() -> None:
    trace = Trace(np.zeros(2), np.array([900.0, 700.0]), np.array([100.0, 300.0]), np.zeros(2, dtype=np.int8), 60.0)
    small = space(private=spec(Site.PRIVATE, 1.0, kv_tokens=3500), burst=(spec(Site.SAGEMAKER, 1.0, kv_tokens=99_999),))
    found = fitted(small, trace)
    assert found.private is not None
    assert (found.private.slots, found.burst[0].slots) == (3, 8)


def test_another_gpu_is_slower_by_its_data_sheet_and_an_unknown_one_is_refused() -> None:
    model = measured_model("llama2-70b-h100-x8")
    assert model.factors("H100") == (1.0, 1.0)
    prompt, answer = model.factors("A100-80GB")
    assert (prompt, answer) == (pytest.approx(989 / 312), pytest.approx(3350 / 2039))
    with pytest.raises(PlannerError, match="nothing is known of the speed of B900"):
        model.factors("B900")


def test_a_packages_latencies_become_a_service_model(tmp_path: Path) -> None:
    manifest = read_manifest(small_package(tmp_path / "package"))
    with pytest.raises(PlannerError, match="no latencies"):
        from_manifest(manifest.model_copy(update={"latency": ()}), "fp32")
    figures = [(1, 128, 10.0), (8, 128, 25.0), (1, 64, 8.0)]
    latency = tuple(
        LatencyFigure(variant="fp32", batch_size=b, sequence_length=n, p50_ms=ms, p99_ms=ms, threads=1)
        for b, n, ms in figures
    )
    model = from_manifest(manifest.model_copy(update={"latency": latency}), "fp32")
    assert model.prompt_tokens == (1, 8)
    assert model.prompt_s == pytest.approx((0.009, 0.025))
    assert (model.slots, model.most_read) == (manifest.serving.slots, manifest.serving.max_batch_size)
    alone = from_manifest(manifest.model_copy(update={"latency": latency[:1]}), "fp32")
    assert alone.prompt_s == pytest.approx((0.01, 0.02)), "nothing shows that a batch gains anything"


def test_a_plan_is_sized_with_what_is_served(tmp_path: Path) -> None:
    """Not with the fastest variant that was measured, which only one kind of container can take."""
    config = changed(example("local"), {"spillway:package.path": "package"})
    settings = read_settings(flat(config))
    manifest = read_manifest(small_package(tmp_path / "package"))
    measured_ms = {"int8-static": 5.0, "fp32": 15.0, "fp16": 12.0}
    latency = [
        LatencyFigure(variant=name, batch_size=1, sequence_length=64, p50_ms=ms, p99_ms=ms, threads=1)
        for name, ms in measured_ms.items()
    ]
    served = {"triton": "fp32", "sagemaker": "fp16", "azureml": "fp32"}
    changes = {"latency": [figure.model_dump() for figure in latency], "served": served}
    sealed = Manifest.model_validate({**manifest.model_dump(), **changes}).sealed()
    (tmp_path / "package" / MANIFEST_NAME).write_text(sealed.to_json())
    pipeline = tmp_path / "package" / "triton" / "echo" / "config.pbtxt"
    pipeline.write_text(pipeline.read_text() + "dynamic_batching {\n  max_queue_delay_microseconds: 5000\n}\n")
    model = service_of(settings, burst_sites(settings), tmp_path, None, None, 1)
    assert model.delay_s == 0.005, "as the repository says that a batch waits"
    assert model.prompt_s[0] == pytest.approx(0.015)
    assert model.at(Site.SAGEMAKER, None)[1] == pytest.approx(0.8)
    assert model.at(Site.AZURE_ML, None) == (1.0, 1.0)


# The search


@pytest.mark.heavy
def test_the_plan_holds_where_it_was_not_sized_and_every_row_is_judged_alike(plan: Plan) -> None:
    assert plan.chosen.holds, plan.chosen.misses
    assert plan.public.judged is not None
    assert plan.public.judged.private is None
    assert plan.private.judged is not None
    assert plan.private.judged.bursts == ()
    assert plan.chosen.private is not None
    offered = {row.judged.outcome.offered for row in (plan.hybrid, plan.public, plan.private) if row.judged}
    assert len(offered) == 1


def test_what_is_not_simulated_to_its_end_changes_no_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes, bills and availabilities are those of a search that simulates everything."""
    trace, room = synthetic(300, 2.5, seed=3), space(failures=Failures(site_mtbf_h=500, site_mttr_h=0.5))
    monkeypatch.setattr("spillway.planner.search._HOPELESS", float("inf"))
    whole = [Search(trace, SERVICE, room).find(kind) for kind in KINDS]
    monkeypatch.undo()
    search = Search(trace, SERVICE, room)
    found = [search.find(kind) for kind in KINDS]
    for one, other in zip(found, whole, strict=True):
        for mine, its in ((one.best, other.best), (one.calm, other.calm)):
            assert (mine and replace(mine, outcome=None)) == (its and replace(its, outcome=None))  # pyright: ignore[reportArgumentType]
    assert len(found[0].tried) < len(whole[0].tried)


def test_one_private_instance_fewer_would_miss_or_cost_more(plan: Plan) -> None:
    fewer = [reason for reason in plan.reasons if reason.startswith("One private instance fewer")]
    more = [reason for reason in plan.reasons if reason.startswith("One more")]
    assert all("would miss" in reason or "-" in reason for reason in fewer)
    assert all("would miss" in reason or "+" in reason for reason in more)


def test_a_site_outage_lowers_availability_of_the_private_site_alone(plan: Plan) -> None:
    alone, hybrid = plan.private.judged, plan.chosen
    assert alone is not None
    assert alone.with_outages is not None
    assert hybrid.with_outages is not None
    down = 0.5 / 500.5
    assert alone.with_outages == pytest.approx(alone.p0 - down, abs=down), "all requests of the outages are late"
    assert hybrid.with_outages > alone.with_outages


def test_an_instance_that_fails_lowers_what_has_no_room_for_it() -> None:
    """More often, the more there are; with an instance to spare it costs next to nothing."""
    trace = synthetic(600, 2.5, seed=3)
    failures = Failures(instance_mtbf_h=100, instance_mttr_h=2)
    search = Search(trace, SERVICE, space(failures=failures))
    found = {}
    for count in (2, 4):
        system = System(sites=(spec(Site.PRIVATE, 0.5, min_instances=count, max_instances=count),))
        calm = search.run("all private", system, trace)
        found[count] = calm.p0 - (search.with_outages(calm).with_outages or 0.0)
    assert found[2] > 0.0005
    assert found[4] < found[2] / 5


def test_json_has_the_three_bills_and_the_saving(plan: Plan) -> None:
    found = json.loads(json.dumps(plan.to_json()))
    assert set(found["bills"]) == {"hybrid", "all_public", "all_private", "two_private", "perfect_foresight"}
    hybrid, public = (found["bills"][kind]["usd_per_month"] for kind in ("hybrid", "all_public"))
    assert found["saving_vs_all_public"] == pytest.approx(1 - hybrid / public, abs=1e-3)
    assert found["plan"]["classes"]["P0"]["available"] >= 0.9995
    hourly = sum(found["plan"]["usd_per_hour"].values())
    assert hybrid == pytest.approx(hourly * 730, rel=1e-3)


def test_the_break_even_makes_the_bills_equal(plan: Plan) -> None:
    even, public, private = plan.break_even_usd_per_gpu_hour, plan.public.judged, plan.chosen.private
    assert even is not None
    assert public is not None
    assert private is not None
    burst = plan.chosen.bill.total_per_hour - plan.chosen.bill.usd_per_hour[Site.PRIVATE]
    assert burst + even * private.min_instances * private.gpus == pytest.approx(public.bill.total_per_hour)


@pytest.mark.parametrize("interest", [0.0, 0.08])
def test_years_are_the_inverse_of_the_amortisation(interest: float) -> None:
    owned = owned_examples()["h100-8"].model_copy(update={"interest": interest})
    assert years_at(owned, owned.usd_per_gpu_hour) == pytest.approx(owned.years)
    assert years_at(owned, 0.01) is None


def test_nothing_on_the_front_is_beaten(plan: Plan) -> None:
    front = list(plan.front)
    assert pareto(front) == front
    assert all(a.bill.month <= b.bill.month and a.p0 < b.p0 for a, b in pairwise(front))


def test_an_impossible_promise_gives_the_nearest_plan() -> None:
    wishes = {**default_objectives(), P0: Objective(measure="latency", within_s=0.01, share=0.9)}
    with pytest.raises(NoPlanError, match=r"no plan holds this \(hybrid\); the nearest, .* misses: P0 .*%") as refused:
        make_plan(synthetic(120, 3), SERVICE, space(objectives=wishes, most_private=2, most_burst=2))
    assert refused.value.found.nearest is not None


def test_too_small_a_bound_is_no_plan_and_a_missing_site_is_said() -> None:
    with pytest.raises(NoPlanError, match="no plan holds this"):
        make_plan(synthetic(120, 60), SERVICE, space(most_private=1, most_burst=1))
    search = Search(synthetic(60, 3), SERVICE, Space(burst=(spec(Site.SAGEMAKER, 1.0),)))
    with pytest.raises(PlannerError, match="no private site"):
        search.find("hybrid")


def test_a_kept_burst_site_is_paid_for() -> None:
    kept = spec(Site.AZURE_ML, 3.0)
    found = Search(synthetic(120, 3), SERVICE, space(kept=(kept,))).find("all public").need()
    assert found.bill.usd_per_hour[Site.AZURE_ML] == pytest.approx(3.0)


def test_free_public_capacity_saves_nothing() -> None:
    with pytest.raises(PlannerError, match="against a bill of 0"):
        saving(1.0, 0.0)


def test_two_private_sites_are_told_as_an_alternative(plan: Plan) -> None:
    """Where one holds while it stands, and not with its outages."""
    alone = plan.private.judged
    assert alone is not None
    assert not alone.holds
    assert not alone.misses_in_calm
    both = plan.two_private and plan.two_private.judged
    assert both
    # 500 h between outages of half an hour: both are out in a millionth of the time.
    assert both.with_outages == pytest.approx(alone.p0 * (1 - (0.5 / 500.5) ** 2))
    assert both.holds
    assert both.bill.month == pytest.approx(2 * alone.bill.month)
    assert dict(named_rows(plan))["two private sites"].judged is both
    said = " ".join(summary_lines(plan))
    assert f"Two private sites, each of the size that holds while it stands, cost {both.bill.month:,.0f} $" in said


def test_what_was_not_measured_and_what_is_too_little_is_told(plan: Plan) -> None:
    """Service times of another GPU kind are estimates, and a few hundred requests cannot show 99.95 %."""
    sites = tuple(site.model_copy(update={"gpu": "T4", "factors": (1.9, 0.9)}) for site in plan.chosen.system.sites)
    scaled = replace(plan.chosen, system=plan.chosen.system.model_copy(update={"sites": sites}))
    said = " ".join(summary_lines(replace(plan, hybrid=replace(plan.hybrid, judged=scaled))))
    assert "Estimated, not measured: on sagemaker prompts take 1.90 and answers 0.90 times as long" in said
    assert "Estimated" not in " ".join(summary_lines(plan))
    assert any("requests of P0 say little of 99.95% in time: it takes 20,000" in note for note in plan.notes)


def test_pictures_and_a_page_are_written(plan: Plan, tmp_path: Path) -> None:
    charts = write_charts(plan, tmp_path)
    assert [path.stem for path in charts] == list(CHARTS)
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000 for path in charts)
    page = tmp_path / "plan.html"
    write_page(page_of(plan, charts, "Plan of <test>", {"package": "minilm 1f0c"}), page)
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == len(CHARTS)
    assert "Plan of &lt;test&gt;" in text
    assert "minilm 1f0c" in text
    assert "all private" in text


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_reads_well_on_every_screen(plan: Plan, tmp_path: Path, look: Look) -> None:
    page = tmp_path / "plan.html"
    write_page(page_of(plan, write_charts(plan, tmp_path), "Plan of test", {"package": "minilm 1f0c"}), page)
    assert problems(page, look) == []


# The claim


def benchmark() -> ModuleType:
    described = importlib.util.spec_from_file_location("planner_benchmark", ROOT / "benchmarks" / "planner.py")
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


@pytest.mark.heavy
@pytest.mark.skipif(not REAL.is_file(), reason="the Azure 2023 traces are not beside this checkout (shared/data)")
@pytest.mark.parametrize("name", ["code", "conv"])
def test_the_claims_are_those_of_the_page(name: str) -> None:
    """Whatever comes out: both traces, planned on one half hour and judged on the other, by the deployed rule."""
    made = benchmark()
    found: Plan = made.claim(made.azure_trace(name), "first")
    for row in (found.public, found.hybrid):
        assert row.judged is not None
        assert row.judged.holds
        assert row.judged.p0 >= 0.9995
        assert {spec.gpu for spec in row.judged.system.sites} == {"H100"}
    written = (ROOT / "docs" / "explanation" / "planner-model.md").read_text(encoding="utf-8")
    assert made.claim_table(found) in written, f"run `python benchmarks/planner.py claim {name} first` for its table"


@pytest.mark.heavy
@pytest.mark.skipif(not REAL.is_file(), reason="the Azure 2023 traces are not beside this checkout (shared/data)")
def test_a_million_requests_of_the_token_trace_take_less_than_thirty_seconds_of_a_core() -> None:
    made = benchmark()
    trace = superpose(made.azure_trace("conv"), 52.0)
    assert len(trace) > 1_000_000
    sites = (spec(Site.PRIVATE, 1.0, servers=2, slots=32).sized(60), spec(Site.SAGEMAKER, 1.0, slots=32).sized(20))
    service, system = measured_model(made.MEASURED), System(sites=sites, gateways=2)
    run_trace(trace.between(0, 1), service, system)
    begun = time.process_time()
    run_trace(trace, service, system)
    assert time.process_time() - begun < 30


def test_service_model_points_have_to_rise() -> None:
    with pytest.raises(ValueError, match="have to rise"):
        ServiceModel(name="x", source="x", prompt_tokens=(1, 1), prompt_s=(0, 1))
