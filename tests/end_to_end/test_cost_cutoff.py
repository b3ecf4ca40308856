"""Burst gets too dear: alarm, cut-off by the real gateway, an update in the middle, and open again. One twin, in order.

The twin's minute is shortened: schedules and alarm periods wait less, and everything else takes the time it takes. Its
small package holds another model for each site, and first each has to serve its own.
"""

from __future__ import annotations

import json
import signal as signal_number
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from spillway.contracts.classes import CLASS_HEADER, CLIENT_KEY_HEADER, OPERATOR_KEY_HEADER, SITE_HEADER, Site
from spillway.contracts.function_config import CostConfig, CutoffConfig
from spillway.drill.workload import first_output, infer_body
from spillway.runtime.functions import azure as azure_api
from spillway.twin.clock import VARIABLE, real_seconds
from spillway.twin.data_plane.live_capacity import running
from tests.end_to_end.signed_package import package_of_three
from tests.end_to_end.site import Answer, LocalSite, make_project, post, standing
from tests.support.waiting import eventually

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]

MINUTE_S = 6
PARAMETER = "/spillway-local/spill-cutoff"
LIVE = "/spillway-local/live-instances"
CEILING, REOPEN_AFTER_S = 6.0, 8


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSite]:
    package = package_of_three(tmp_path_factory.mktemp("package"))
    project = make_project(tmp_path_factory.mktemp("site"))
    path = project / "config" / "Pulumi.local.yaml"
    stack = yaml.safe_load(path.read_text())
    stack["config"]["spillway:gateway"]["cutoff_poll_s"] = 0.2
    stack["config"]["spillway:cost_guard"] |= {
        "max_burst_usd_per_hour": CEILING,
        "max_forecast_usd": 100_000,
        # What is too dear stays, so that only the update could open anything.
        "cutoff": {"escalate_after_s": 10, "reopen_after_s": REOPEN_AFTER_S, "scale_to_minimum": False},
    }
    stack["config"]["spillway:package"] = {"path": str(package)}
    path.write_text(yaml.safe_dump(stack))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(MINUTE_S))
        with standing(project) as local:
            yield local


def ask(site: LocalSite, class_: str) -> Answer:
    headers = {CLIENT_KEY_HEADER: site.client_key, CLASS_HEADER: class_, "content-type": "application/json"}
    return post(f"{site.gateway}/v2/models/echo/infer", infer_body("TEXT", "Short."), headers)


def signal(site: LocalSite, metric: str, **dimensions: str) -> float | None:
    """The newest value, as CloudWatch has it."""
    listed = [{"Name": n, "Value": v} for n, v in {"Stack": "spillway-local", **dimensions}.items()]
    named = {"Namespace": "Spillway", "MetricName": metric, "Dimensions": listed}
    query = {"Id": "v", "MetricStat": {"Metric": named, "Period": 1, "Stat": "Maximum"}}
    now = datetime.now(UTC).timestamp()
    answer = site.aws("cloudwatch").get_metric_data(
        MetricDataQueries=[query], StartTime=now - 60, EndTime=now + 1, ScanBy="TimestampDescending"
    )
    values = answer["MetricDataResults"][0]["Values"]
    return values[0] if values else None


def value(site: LocalSite, metric: str, **dimensions: str) -> float:
    found = signal(site, metric, **dimensions)
    assert found is not None, metric
    return found


def alarm(site: LocalSite, name: str) -> dict[str, Any]:
    (found,) = site.aws("cloudwatch").describe_alarms(AlarmNames=[site.up["outputs"]["alarms"][name]])["MetricAlarms"]
    return found


def closed(site: LocalSite) -> list[str]:
    return json.loads(parameter(site))["closed"]


def scale(site: LocalSite, instances: int) -> None:
    """Capacity of SageMaker, as its autoscaling or a person would change it."""
    client = site.aws("sagemaker")
    name = site.up["outputs"]["endpoints"]["sagemaker"]
    variant = client.describe_endpoint(EndpointName=name)["ProductionVariants"][0]["VariantName"]
    wanted = [{"VariantName": variant, "DesiredInstanceCount": instances}]
    client.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=wanted)


def instances(site: LocalSite) -> int:
    name = site.up["outputs"]["endpoints"]["sagemaker"]
    return site.aws("sagemaker").describe_endpoint(EndpointName=name)["ProductionVariants"][0]["CurrentInstanceCount"]


def test_gateways_are_told_of_azures_instances(site: LocalSite) -> None:
    def told() -> dict[str, Any]:
        return json.loads(site.aws("ssm").get_parameter(Name=LIVE)["Parameter"]["Value"])

    eventually(lambda: told().get("azure_ml", {}).get("instances") == 1, 30, "the signal tells them")


def test_each_site_answers_with_its_own_model(site: LocalSite) -> None:
    for place in Site:
        headers = {OPERATOR_KEY_HEADER: site.operator_key, SITE_HEADER: place, "content-type": "application/json"}
        answer = post(f"{site.gateway}/v2/models/echo/infer", infer_body("TEXT", "Hello"), headers)
        assert (answer.status, answer.site) == (200, place)
        assert first_output(answer.body) == [f"Hello by {place}"]


def test_the_functions_run_and_publish_the_live_cost(site: LocalSite) -> None:
    eventually(lambda: signal(site, "BurstDollarsPerHour") is not None, within_s=60)
    # One ml.g5.xlarge for each SageMaker endpoint and one Standard_NC4as_T4_v3, at their list prices.
    burst = 2 * 1.408 + 0.526
    assert signal(site, "BurstDollarsPerHour") == pytest.approx(burst)
    # The private GPU counts once its model server is up, and the gateway says that with its next heartbeat.
    blended = pytest.approx((0.9 + burst) / 4)
    eventually(lambda: signal(site, "DollarsPerGpuHour", Site="blended") == blended, within_s=60)
    assert signal(site, "DollarsPerMillionTokens", Site="private") is None
    eventually(lambda: alarm(site, "burst-ceiling")["StateValue"] == "OK", within_s=20)
    assert closed(site) == []


def test_the_report_finds_what_the_functions_published(site: LocalSite) -> None:
    told = site.spillway("report", "--days", "1")
    assert (told["stack"], told["burst_usd_per_hour"]) == ("spillway-local", pytest.approx(2 * 1.408 + 0.526))


@contextmanager
def page(site: LocalSite) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``spillway status --web`` and its address."""
    command = [sys.executable, "-m", "spillway.cli.main", "status", "--web"]
    with subprocess.Popen(command, cwd=site.project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout is not None
            yield run, run.stdout.readline().split()[0]
        finally:
            run.kill()


def test_the_page_shows_the_twin_until_it_is_interrupted(site: LocalSite) -> None:
    assert ask(site, "P0").status == 200
    with page(site) as (run, address):

        def shown() -> dict[str, Any]:
            with urllib.request.urlopen(f"{address}status.json", timeout=30) as answer:
                return json.load(answer)

        eventually(lambda: shown()["answers"]["P0"].get("private", 0) > 0, within_s=60)
        seen = shown()
        assert {one["name"]: one["state"] for one in seen["sites"]} == dict.fromkeys(Site, "ready")
        assert seen["burst_usd_per_hour"] == pytest.approx(2 * 1.408 + 0.526)
        assert {"cost-burst-ceiling", "cost-blended"} <= {one["name"] for one in seen["alarms"]}
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert "all is well" in answer.read().decode()
        run.send_signal(signal_number.SIGINT)
        assert run.communicate(timeout=60)[1] == "Error: Interrupted.\n"
        assert run.returncode == 130
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(address, timeout=5)
    assert site.spillway("status")["overview"].keys() == seen.keys()


def test_cheap_capacity_lowers_the_blended_price_and_not_what_drives_the_cutoff(site: LocalSite) -> None:
    before = value(site, "BurstDollarsPerHour"), value(site, "DollarsPerGpuHour", Site="blended")
    azure_capacity(site, 3)
    eventually(lambda: signal(site, "BurstDollarsPerHour") != before[0], within_s=4 * MINUTE_S)
    after = value(site, "BurstDollarsPerHour"), value(site, "DollarsPerGpuHour", Site="blended")
    assert after[0] == pytest.approx(before[0] + 2 * 0.526)
    assert after[1] < before[1]
    azure_capacity(site, 1)
    eventually(lambda: signal(site, "BurstDollarsPerHour") == pytest.approx(before[0]), within_s=4 * MINUTE_S)


def azure_capacity(site: LocalSite, count: int) -> None:
    azure(site, deployment_path(site), {"sku": {"capacity": count}})


def azure(site: LocalSite, path: str, body: dict[str, Any] | None = None) -> Any:
    """Resource Manager's own API: a resource, or a change of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPILLWAY_AZURE_ENDPOINT_URL", site.twin.endpoints["azure"])
        return azure_api.call(path, "", body)


def deployment_path(site: LocalSite) -> str:
    (machines,) = CostConfig.from_environment(environment(site, "signal")).sites["azure_ml"].asked["machines"]
    return machines["url"]


def autoscale_path(site: LocalSite) -> str:
    targets = CutoffConfig.from_environment(environment(site, "cutoff")).targets
    (address,) = [one.asked["autoscale_url"] for one in targets if "autoscale_url" in one.asked]
    return address


def environment(site: LocalSite, function: str) -> dict[str, str]:
    found = site.aws("lambda").get_function_configuration(FunctionName=f"spillway-local-cost-{function}")
    return found["Environment"]["Variables"]


def parameter(site: LocalSite) -> str:
    return site.aws("ssm").get_parameter(Name=PARAMETER)["Parameter"]["Value"]


def test_dear_capacity_closes_spill_within_a_second_of_the_alarm(site: LocalSite) -> None:
    site.twin.fault(Site.PRIVATE, "kill")
    eventually(lambda: ask(site, "P2").site == Site.SAGEMAKER, within_s=10)
    added = time.time()
    scale(site, 8)
    # Asked all the while: what is measured is when the gateway refuses, not when somebody looks.
    eventually(lambda: ask(site, "P2").status == 503, within_s=2 * MINUTE_S + 10, pause_s=0.02)
    refused = time.time()
    p0 = ask(site, "P0")
    alarmed = alarm(site, "burst-ceiling")["StateUpdatedTimestamp"].timestamp()
    assert (p0.status, p0.site) == (200, Site.SAGEMAKER)
    assert alarm(site, "blended")["Threshold"] == 1.2
    assert value(site, "DollarsPerGpuHour", Site="blended") > 1.2
    # Two minutes of twin time, and what the functions themselves take.
    assert alarmed - added < real_seconds_of(2)
    print(
        f"alarm after {alarmed - added:.2f} s ({(alarmed - added) / MINUTE_S:.2f} twin minutes), "
        f"obeyed {refused - alarmed:.2f} s later"
    )
    assert refused - alarmed < 1.0
    assert closed(site)[0] == "P2"


def real_seconds_of(minutes: float) -> float:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(MINUTE_S))
        return real_seconds(minutes * 60)


def test_a_refresh_and_an_up_do_not_open_it(site: LocalSite) -> None:
    eventually(lambda: closed(site) == ["P2", "P1"], within_s=60)
    site.twin.fault(Site.PRIVATE, "start")
    before = parameter(site)
    done = site.spillway("up", "--refresh")
    assert done["ok"], done["problems"]
    assert parameter(site) == before
    assert instances(site) == 8, "an update keeps what runs"
    site.twin.fault(Site.PRIVATE, "kill")
    eventually(lambda: ask(site, "P0").site == Site.SAGEMAKER, within_s=10)
    assert (ask(site, "P1").status, ask(site, "P2").status) == (503, 503)


def test_p0_keeps_what_answers_until_it_is_closed_itself(site: LocalSite) -> None:
    def close(*classes: str) -> None:
        state = {**json.loads(parameter(site)), "closed": classes, "scale_to_minimum": True}
        site.aws("ssm").put_parameter(Name=PARAMETER, Value=json.dumps(state), Type="String", Overwrite=True)

    azure_capacity(site, 2)
    close("P2", "P1")
    eventually(lambda: is_held(site, "async"), within_s=4 * MINUTE_S)
    assert (instances(site), is_held(site, "burst")) == (8, False), "P0 still uses them"
    assert azure(site, deployment_path(site))["sku"]["capacity"] == 2
    assert ask(site, "P0").site == Site.SAGEMAKER
    close("P2", "P1", "P0")
    eventually(lambda: instances(site) == 1, within_s=4 * MINUTE_S)
    eventually(lambda: azure(site, deployment_path(site))["sku"]["capacity"] == 1, within_s=4 * MINUTE_S)
    assert azure(site, autoscale_path(site))["properties"]["enabled"] is False


def is_held(site: LocalSite, part: str) -> bool:
    """Whether the endpoint with ``part`` in its name may not grow."""
    found = site.aws("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    [held] = [
        one.get("SuspendedState", {}).get("DynamicScalingOutSuspended", False)
        for one in found["ScalableTargets"]
        if ("async" in one["ResourceId"]) == (part == "async")
    ]
    return held


def test_it_opens_again_class_by_class_once_it_is_calm(site: LocalSite) -> None:
    seen = [closed(site)]

    def is_open() -> bool:
        if closed(site) != seen[-1]:
            seen.append(closed(site))
        return seen[-1] == []

    eventually(is_open, within_s=90)
    assert seen == [["P2", "P1", "P0"], ["P2", "P1"], ["P2"], []]
    assert alarm(site, "burst-calm")["StateValue"] == "OK"
    eventually(lambda: ask(site, "P1").site == Site.SAGEMAKER, within_s=5)
    eventually(lambda: azure(site, autoscale_path(site))["properties"]["enabled"], within_s=4 * MINUTE_S)
    site.twin.fault(Site.PRIVATE, "start")
    eventually(lambda: ask(site, "P1").site == Site.PRIVATE, within_s=60)


def test_the_drills_meter_reads_what_runs(site: LocalSite) -> None:
    found = {(one.site, one.usd_per_hour, one.instances) for one in running(site.twin.endpoints, "us-east-1")}
    assert {("private", 0.9, 1), ("azure_ml", 0.526, 1), ("sagemaker", 1.408, 1)} <= found
