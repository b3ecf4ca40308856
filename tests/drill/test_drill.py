"""A drill's numbers, against a gateway whose failures are known."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from spillway.cli.main import cli
from spillway.contracts.capacity import Running
from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.manifest import TensorSpec
from spillway.drill.bill import Sample, bill
from spillway.drill.load import Outcome, schedule
from spillway.drill.plan import DrillPlan, Fault, Phase
from spillway.drill.plan_file import find_plan, read_plan, schema_text
from spillway.drill.report import render_table, write_html
from spillway.drill.result import percentile, read_totals, summarise
from spillway.drill.run import HEALING, run_drill
from spillway.drill.target import DrillError, DrillTarget
from spillway.drill.workload import samples, sentences
from tests.drill.gateway import FakeGateway, serve
from tests.stacks.files import changed, example, project
from tests.support.browser import LOOKS, Look, problems
from tests.support.overflow import EchoWorkload, check_capacity
from tests.support.packages import small_package
from tests.support.pages import blocks
from tests.support.paths import DOCS, ROOT
from tests.support.waiting import eventually

pytestmark = pytest.mark.heavy

P0, P1, P2 = RequestClass
RATES = {P0: 30.0, P1: 20.0, P2: 10.0}


def brief_plan() -> DrillPlan:
    kill, start = Fault(Site.PRIVATE, "kill"), Fault(Site.PRIVATE, "start")
    return DrillPlan(
        "brief",
        (
            Phase("baseline", 1.0, min_availability={P0: 1.0}),
            Phase("private killed", 2.0, (kill,), (Site.PRIVATE,), {P0: 1.0}),
            Phase("private returns", 2.0, (start,), back_on=Site.PRIVATE),
        ),
        RATES,
    )


def drill(gateway: FakeGateway, plan: DrillPlan):
    with serve(gateway) as url:
        return run_drill(DrillTarget(url, "minilm", sentences(), faults=gateway), plan)


def test_a_gateway_that_spills_loses_nothing() -> None:
    gateway = FakeGateway()
    result = drill(gateway, brief_plan())
    assert result.passed
    assert result.exit_code == 0
    assert result.reasons == {}
    baseline, killed, returned = result.phases
    assert set(baseline.classes["P0"].answered) == {"private"}
    # Requests that are sent at the very moment of the order may still meet the site.
    assert killed.classes["P0"].answered["sagemaker"] >= killed.classes["P0"].requests - 2
    assert killed.elsewhere_s is not None
    assert killed.elsewhere_s < 0.5
    assert returned.back_s is not None
    assert returned.back_share is not None
    assert returned.back_share > 0.9
    offered = len(schedule(RATES, 5.0, 1))
    assert sum(found.requests for found in result.totals.values()) == offered
    # One answer more for each sentence that was learnt before.
    assert gateway.hits == offered + len(sentences().requests)


def test_an_outage_is_counted_and_fails_the_verdict() -> None:
    result = drill(FakeGateway(outage_s=1.0), brief_plan())
    assert result.exit_code == 1
    killed = result.phases[1]
    expected = sum(1 for a in schedule(RATES, 5.0, 1) if 1.0 <= a.due_s < 2.0)
    lost = sum(found.lost for found in killed.classes.values())
    assert abs(lost - expected) <= 4
    # On a busy machine a request that is due at a phase's edge can be answered in the next one.
    everywhere = sum(found.lost for phase in result.phases for found in phase.classes.values())
    assert result.reasons == {"status 503": everywhere}
    assert killed.elsewhere_s == pytest.approx(1.0, abs=0.3)
    assert killed.disturbed_s == pytest.approx(1.0, abs=0.3)
    failed = [check.name for check in result.checks if not check.passed]
    assert failed == ["private killed: P0 ≥ 100% available"]
    assert sum(second.lost for second in result.timeline) == everywhere


def test_a_wrong_embedding_is_no_answer() -> None:
    result = drill(FakeGateway(wrong=("sagemaker",)), brief_plan())
    killed = result.phases[1].classes["P0"]
    assert killed.lost >= killed.requests - 2
    assert any("cosine" in reason for reason in result.reasons)
    assert not next(check for check in result.checks if check.name == "no wrong answer").passed


def test_a_site_of_one_s_own_is_loaded_by_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_package(tmp_path / "package")
    config = changed(example("local"), {"spillway:package.path": str(tmp_path / "package")})
    folder = project(tmp_path / "project", config)
    monkeypatch.chdir(folder)
    plan = tmp_path / "plan.yaml"
    plan.write_text("name: brief\nphases: [{name: all, duration_s: 1, min_availability: {P0: 1}}]\nrates: {P0: 20}\n")
    with serve(FakeGateway()) as url:
        done = CliRunner().invoke(cli, ["drill", "-s", "test", "--url", f"{url}/", "--plan", str(plan), "--json"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["passed"], told["bill"]) == (0, True, None), done.output
    assert told["totals"]["P0"]["answered"] == {"private": told["totals"]["P0"]["requests"]}
    kept = json.loads((folder / ".spillway" / "test" / "drill.json").read_text())
    assert kept["totals"] == told["totals"]
    assert "spillway-test" in (folder / ".spillway" / "test" / "drill.html").read_text()


def test_a_drill_that_is_interrupted_keeps_what_it_measured(tmp_path: Path) -> None:
    """By Ctrl-C as a shell gives it. Its first phase ended and is judged; of the second there is what was answered."""
    config = changed(example("local"), {"spillway:package.path": str(small_package(tmp_path / "package"))})
    folder = project(tmp_path / "project", config)
    breaker = tmp_path / "breaker"
    breaker.write_text('#!/bin/sh\necho "$@" >> "$0.log"\n')
    breaker.chmod(0o755)
    phases = "[{name: calm, duration_s: 1, min_availability: {P0: 1}}, {name: hung, duration_s: 600, "
    phases += "faults: [{group: private, action: hang}], min_availability: {P0: 1}, max_recovery_s: {P0: 1}}]"
    (tmp_path / "plan.yaml").write_text(f"name: long\nrates: {{P0: 30}}\nphases: {phases}\n")
    asked = ["drill", "-s", "test", "--plan", str(tmp_path / "plan.yaml"), "--breaker", str(breaker), "--json"]
    gateway, orders = FakeGateway(), Path(f"{breaker}.log")
    with serve(gateway) as url:
        command = [sys.executable, "-m", "spillway", *asked, "--url", url]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        eventually(orders.exists, within_s=60, what="the second phase begins")
        hits = gateway.hits
        eventually(lambda: gateway.hits > hits + 5, what="it is loaded")
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    told = json.loads(said)
    assert (told["interrupted"], told["passed"]) == (True, False)
    assert [phase["name"] for phase in told["phases"]] == ["calm", "hung"]
    assert told["phases"][1]["end_s"] < 600
    assert {check["name"] for check in told["checks"]} == {"calm: P0 ≥ 100% available", "no wrong answer"}
    assert told["totals"]["P0"]["requests"] > 5
    assert orders.read_text().split("\n")[:5] == [f"private {done}" for done in ("hang", *HEALING)]
    kept = folder / ".spillway" / "test"
    assert json.loads((kept / "drill.json").read_text())["interrupted"]
    assert "interrupted" in (kept / "drill.html").read_text()
    with pytest.raises(DrillError, match="was interrupted"):
        read_totals(kept / "drill.json")


def test_the_plan_of_the_how_to_is_one_and_says_which_sites_are_broken(tmp_path: Path) -> None:
    (text,) = (one.text for one in blocks(DOCS / "how-to" / "drill.md") if one.language == "yaml")
    jsonschema.validate(yaml.safe_load(text), json.loads(schema_text()))
    (tmp_path / "night.yaml").write_text(text)
    plan = read_plan(tmp_path / "night.yaml")
    assert [(phase.broken, phase.back_on) for phase in plan.phases] == [
        ((), None),
        (("private",), None),
        ((), "private"),
    ]
    assert plan.rates == {P0: 8, P2: 2}
    (tmp_path / "night.yaml").write_text(text.replace("group: private, action: hang", "group: privat, action: hang"))
    with pytest.raises(DrillError, match=r"phases\[1\]\.faults\[0\]\.group .*'privat' is none of private") as caught:
        read_plan(tmp_path / "night.yaml")
    assert str(caught.value).count("faults") == 1


def test_a_package_is_drilled_with_its_own_samples() -> None:
    inputs = [
        TensorSpec(name="IMAGE", dtype="FP32", shape=(-1, 2)),
        TensorSpec(name="SIZE", dtype="INT64", shape=(-1,)),
    ]
    sample = {"IMAGE": np.array([[0.5, 2.0]], np.float32), "SIZE": np.array([7])}
    workload = samples(inputs, [sample])
    image = {"name": "IMAGE", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 2.0]}
    size = {"name": "SIZE", "shape": [1], "datatype": "INT64", "data": [7]}
    assert json.loads(workload.body(3)) == {"inputs": [image, size]}
    answer = b'{"outputs": [{"data": %s}]}'
    workload.learn(0, answer % b"[0.0, 0.0]")
    assert [workload.problem(1, answer % data) for data in (b"[0.0, 0.0]", b"[1.0]")] == [
        "",
        "not the expected output of 2 values",
    ]


def test_latency_counts_from_the_time_a_request_was_due() -> None:
    gateway = FakeGateway()
    gateway.service_s = 0.2
    plan = DrillPlan("load", (Phase("baseline", 1.0),), {P0: 40.0})
    found = drill(gateway, plan).totals["P0"]
    assert found.lost == 0
    assert found.p50_ms == pytest.approx(203, abs=15), "an open loop does not wait for the answer before"


def test_everything_is_healed_when_a_fault_cannot_be_ordered() -> None:
    class Broken(FakeGateway):
        def fault(self, group: str, action: str, **options: float) -> None:
            super().fault(group, action, **options)
            if (group, action) == ("sagemaker", "kill"):
                raise RuntimeError("no such thing")

    gateway = Broken()
    faults = (Fault(Site.PRIVATE, "kill"), Fault(Site.SAGEMAKER, "kill"))
    with pytest.raises(DrillError, match="kill sagemaker: no such thing"):
        drill(gateway, DrillPlan("bad", (Phase("broken", 1.0, faults),), {P0: 5.0}))
    assert ("private", "start") in gateway.orders
    assert ("sagemaker", "start") in gateway.orders


def test_no_gateway_is_told_before_anything_is_broken() -> None:
    gateway = FakeGateway()
    target = DrillTarget("http://127.0.0.1:9", "minilm", sentences(), faults=gateway)
    with pytest.raises(DrillError, match="does not answer"):
        run_drill(target, find_plan("short"))
    assert gateway.orders == []


def test_faults_need_someone_who_makes_them() -> None:
    with pytest.raises(DrillError, match="give a plan without faults"):
        run_drill(DrillTarget("http://127.0.0.1:9", "minilm", sentences()), find_plan("full"))


def test_slots_plus_one_shows_who_answered_the_extra_one() -> None:
    gateway = FakeGateway()
    gateway.slots |= {"private": 2, "sagemaker": 2}
    gateway.service_s = 0.3
    with serve(gateway) as url:
        found = check_capacity(DrillTarget(url, "echo", EchoWorkload()), at_once=5)
    assert found.by_site == {"private": 2, "sagemaker": 2, "azure_ml": 1}
    assert found.problems == ()
    assert 0.3 <= found.slowest_s < 0.6


def test_arrivals_are_poisson_and_the_same_for_the_same_seed() -> None:
    first, again, other = (schedule({P0: 50.0}, 100.0, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == pytest.approx(5000, rel=0.06)
    gaps = [b.due_s - a.due_s for a, b in pairwise(first)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation / mean == pytest.approx(1.0, abs=0.08), "exponential gaps: deviation equals mean"


@pytest.mark.parametrize(
    ("latency", "lost", "on_time"), [(0.4, False, True), (0.6, False, False), (2.4, False, False), (2.6, True, False)]
)
def test_p0_is_late_after_half_a_second_and_lost_two_seconds_later(latency: float, lost: bool, on_time: bool) -> None:
    outcome = Outcome(0.0, P0, latency, 200, "private")
    assert (outcome.lost, outcome.on_time) == (lost, on_time)


def test_percentile_is_nearest_rank() -> None:
    values = [float(value) for value in range(1, 201)]
    assert percentile(values, 50) == 100.0
    assert percentile(values, 99) == 198.0
    assert percentile([7.0], 99) == 7.0
    assert percentile([], 99) is None


def test_report_is_one_file_without_scripts(tmp_path: Path) -> None:
    from rich.console import Console

    result = drill(FakeGateway(outage_s=0.5), brief_plan())
    write_html(result, tmp_path / "drill.html", {"stack": "spillway-<test>", "package": "minilm 1f0c"})
    page = (tmp_path / "drill.html").read_text()
    assert "<svg" in page
    assert "private killed" in page
    assert "<script" not in page
    assert "http://www" not in page
    assert "spillway-&lt;test&gt;" in page
    slowest = max(second.slowest_ms or 0.0 for second in result.timeline)
    assert f"At most {slowest:.0f} ms" in page
    console = Console(width=160, file=io.StringIO())
    console.print(render_table(result))
    assert "FAILED" in console.file.getvalue()  # type: ignore[attr-defined]
    assert json.loads(json.dumps(result.to_json()))["passed"] is False


@pytest.mark.parametrize("look", LOOKS)
def test_the_report_reads_well_on_every_screen(tmp_path: Path, look: Look) -> None:
    sent = [
        Outcome(at / 10, P0, 0.01 * (at % 40), 200, str(Site.PRIVATE) if at < 60 else "x", "none" if at == 70 else "")
        for at in range(100)
    ]
    plan = DrillPlan("brief", (Phase("a baseline", 5), Phase("private killed", 5, broken=(Site.PRIVATE,))))
    paid = bill([Sample(0.0, (Running(Site.SAGEMAKER, 1.408, 1),))], 10.0)
    result = summarise(plan, "http://127.0.0.1:1", "2026-11-30T00:00:00+00:00", [0.0, 5.0, 10.0], sent, paid)
    write_html(result, tmp_path / "drill.html", {"stack": "spillway-test", "package": "minilm 1f0c"})
    assert problems(tmp_path / "drill.html", look) == []


def test_the_short_drill_fits_in_a_minute() -> None:
    assert find_plan("short").duration_s <= 60
    # Of this process, whatever else the machine does.
    started = time.process_time()
    assert find_plan("full").arrivals()
    assert time.process_time() - started < 1
