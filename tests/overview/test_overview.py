"""What is seen of a stack: CloudWatch (moto's server) as the agents and the cost function fill it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from spillway.contracts import metrics
from spillway.contracts.usage import UsageMetrics
from spillway.drill.report import write_json
from spillway.drill.run import run_drill
from spillway.drill.target import DrillTarget
from spillway.drill.workload import sentences
from spillway.overview.overview import Clients, Overview, Place, read_overview
from spillway.overview.overview_page import page_of
from spillway.page.page import render
from spillway.planner.history import aws_client
from spillway.planner.showback import Whose
from spillway.runtime.functions.cost_signal import Value
from spillway.runtime.functions.cost_signal import publish as publish_cost
from spillway.runtime.gateway.usage_report import UsageReport
from spillway.twin.status import SiteStatus, TwinStatus
from tests.drill.gateway import FakeGateway, serve
from tests.drill.test_drill import brief_plan
from tests.support.browser import LOOKS, Look, problems

# The emulated account is the process's: other tests have a stack of the usual name there.
PREFIX = "spillway-overview"
REGION = "us-east-1"
SITES = ("private", "sagemaker", "azure_ml")
CALLERS = tuple(Whose("drill", class_, "echo", site) for class_ in ("P0", "P1", "P2") for site in (*SITES, "cache"))


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    made = (aws_client(service, REGION, f"http://{host}:{port}") for service in ("cloudwatch", "ssm"))
    yield Clients(*made)
    server.stop()


@pytest.fixture(scope="module")
def place(clients: Clients, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Thirty answers, six of them spilled, and ten of the cache; one of two alarms rings; P2 may not spill."""
    told = {("drill", "P0", "private", "echo", "answers"): 24.0, ("drill", "P0", "sagemaker", "echo", "answers"): 6.0}
    told["drill", "P1", "cache", "echo", "answers"] = 10.0
    put = clients.cloudwatch.put_metric_data
    UsageReport(UsageMetrics(region=REGION, stack=PREFIX), told).publish(put)
    costs = [
        Value(metrics.BURST_USD_PER_HOUR, 2.816),
        Value(metrics.BURST_USD_PER_HOUR, 2.816, {metrics.SITE: "sagemaker"}),
        Value(metrics.USD_PER_GPU_HOUR, 1.1, {metrics.SITE: metrics.BLENDED}),
        Value(metrics.USD_PER_GPU_HOUR, 0.9, {metrics.SITE: "private"}),
    ]
    publish_cost(clients.cloudwatch, PREFIX, costs)
    servers = {"MetricName": metrics.PRIVATE_SERVERS, "Value": 2.0}
    put(
        Namespace=metrics.NAMESPACE,
        MetricData=[{**servers, "Dimensions": [{"Name": metrics.GATEWAY, "Value": PREFIX}]}],
    )
    for name, state in (("burst-ceiling", "ALARM"), ("blended", "OK")):
        alarm(clients.cloudwatch, f"{PREFIX}-{name}", state)
    said = json.dumps({"closed": ["P2"], "reason": "dear", "since": "2026-11-30T12:00:00+00:00"})
    clients.ssm.put_parameter(Name=f"/{PREFIX}/spill-cutoff", Value=said, Type="String")
    drill = tmp_path_factory.mktemp("drill") / "drill.json"
    return Place("overview", PREFIX, SITES, CALLERS, drill)


def alarm(cloudwatch: Any, name: str, state: str) -> None:
    asked = {"Namespace": metrics.NAMESPACE, "MetricName": metrics.BURST_USD_PER_HOUR, "Statistic": "Maximum"}
    rule = {"Period": 60, "EvaluationPeriods": 1, "Threshold": 2.0, "ComparisonOperator": "GreaterThanThreshold"}
    cloudwatch.put_metric_alarm(AlarmName=name, **asked, **rule)
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason=f"it is {state}")


def twin(*, ready: bool = True) -> TwinStatus:
    states = (SiteStatus(site, ready, "ready" if ready else "killed") for site in SITES)
    return TwinStatus(1, {}, sites=tuple(states))


def test_a_deployed_stack_is_seen_by_its_metrics_alone(clients: Clients, place: Place) -> None:
    seen = read_overview(place, clients, None)
    assert seen.answers["P0"] == {"private": 24.0, "sagemaker": 6.0}
    assert seen.answers["P1"] == {"cache": 10.0}
    # What the cache answers was asked of no site.
    assert seen.spill_share == pytest.approx(0.2)
    assert (seen.usd_per_gpu_hour, seen.burst_usd_per_hour) == (1.1, 2.816)
    assert seen.closed == ("P2",)
    assert [(one.name, one.state, one.reason) for one in seen.alarms] == [
        ("burst-ceiling", "ALARM", "it is ALARM"),
        ("blended", "OK", "it is OK"),
    ]
    states = {site.name: (site.state, site.detail, site.answers) for site in seen.sites}
    assert states == {
        "private": ("serving", "model servers up: 2", 24.0),
        "sagemaker": ("serving", "2.82 $/h", 6.0),
        "azure_ml": ("unknown", "the cost function said nothing of it", 0.0),
    }
    assert not seen.well
    assert seen.problems == ()


def test_a_twins_sites_are_its_own_word(clients: Clients, place: Place) -> None:
    whole, broken = (read_overview(place, clients, twin(ready=ready)) for ready in (True, False))
    assert [(site.state, site.well) for site in whole.sites] == [("ready", True)] * 3
    assert [(site.state, site.well) for site in broken.sites] == [("killed", False)] * 3
    assert whole.spill_share == broken.spill_share == pytest.approx(0.2)
    assert whole.well
    assert not broken.well


def test_a_stack_that_said_nothing_is_not_made_up(clients: Clients, place: Place) -> None:
    seen = read_overview(replace(place, prefix="spillway-other"), clients, None)
    assert (seen.spill_share, seen.usd_per_gpu_hour, seen.burst_usd_per_hour, seen.alarms) == (None, None, None, ())
    assert [site.state for site in seen.sites] == ["silent", "unknown", "unknown"]


def test_a_cloud_that_does_not_answer_is_a_problem_and_no_failure(place: Place) -> None:
    nowhere = Clients(*(aws_client(service, REGION, "http://127.0.0.1:9") for service in ("cloudwatch", "ssm")))
    seen = read_overview(place, nowhere, twin())
    assert [site.state for site in seen.sites] == ["ready"] * 3
    (problem,) = seen.problems
    assert "127.0.0.1:9" in problem
    assert not seen.well


@pytest.fixture(scope="module")
def drilled(clients: Clients, place: Place) -> Overview:
    """After a drill, whose result lies where ``spillway drill`` leaves it."""
    gateway, plan = FakeGateway(), brief_plan()
    brief = replace(plan, phases=tuple(replace(phase, duration_s=0.6) for phase in plan.phases))
    with serve(gateway) as url:
        result = run_drill(DrillTarget(url, "minilm", sentences(), faults=gateway), brief)
    write_json(result, place.drill)
    seen = read_overview(place, clients, twin())
    assert seen.drill == result
    assert seen.to_json()["drill"] == {"plan": "brief", "started_at": result.started_at, "passed": result.passed}
    return seen


def test_the_page_shows_sites_classes_cost_alarms_and_the_last_drill(drilled: Overview) -> None:
    page = render(page_of(drilled, {"stack": PREFIX}, 2.0))
    for said in ("all is well", "20.0%", "1.10 $/GPU-hour", "it is ALARM", "private killed", "“brief”"):
        assert said in page, said
    assert page.count("<svg") == 2


@pytest.mark.heavy
@pytest.mark.parametrize("look", LOOKS)
def test_everybody_can_read_it(drilled: Overview, look: Look, tmp_path: Path) -> None:
    """Of a file, so that nothing answers it: what it says then is on the page, too."""
    path = tmp_path / "status.html"
    path.write_text(render(page_of(drilled, {"stack": PREFIX}, 2.0)), encoding="utf-8")
    assert problems(path, look) == []
