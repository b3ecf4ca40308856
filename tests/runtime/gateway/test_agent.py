"""The production agent against a moto server and the twin's burst fronts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.live_instances import FRESH_S, LiveCount, to_json
from spillway.contracts.routing import DEFAULT_CLASSES, AgentCheck, Cutoff, Heartbeat, LiveInstances, RoutingTable
from spillway.runtime.gateway.cutoff_watch import CutoffError, CutoffWatch, parse
from spillway.runtime.gateway.eds import endpoint_files, write_endpoints
from spillway.runtime.gateway.health import Hysteresis
from tests.support.gateway_rig import ACCESS_KEY, ALPHA, AZURE_KEY, SECRET_KEY, Rig, free_port
from tests.support.waiting import eventually

ORDER = (RequestClass.P2, RequestClass.P1, RequestClass.P0)
PARAMETER = "/spillway-test/spill-cutoff"
LIVE = "/spillway-test/live-instances"
REGION = "eu-west-1"


def test_verdict_needs_results_in_a_row() -> None:
    verdict = Hysteresis(unhealthy_after=2, healthy_after=3)
    assert [verdict.add(good) for good in (False, True, False)] == [False, False, False]
    assert verdict.add(False)
    assert not verdict.healthy
    assert [verdict.add(True) for _ in range(3)] == [False, False, True]
    assert verdict.healthy


@pytest.mark.parametrize(
    ("text", "closed"),
    [('{"closed": []}', set()), ('{"closed": ["P2"]}', {"P2"}), ('{"closed": ["P1"], "reason": "x"}', {"P2", "P1"})],
)
def test_cutoff_closes_in_order(text: str, closed: set[str]) -> None:
    assert parse(text, ORDER) == closed


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"closed": ["P7"]}', '{"closed": null}'])
def test_what_is_no_cutoff_is_refused_and_the_last_one_stays(text: str, tmp_path: Path) -> None:
    texts = iter(['{"closed": ["P1"]}', text])
    watch = CutoffWatch(Cutoff(parameter=PARAMETER, region=REGION), lambda _: next(texts), tmp_path / "cutoff.json")
    assert watch.check()
    with pytest.raises(CutoffError):
        watch.check()
    assert watch.closed == {"P2", "P1"}


@pytest.mark.parametrize(
    ("order", "kept", "closed"),
    [
        (ORDER, None, {"P2"}),
        ((RequestClass.P0,), None, set()),
        (ORDER, '{"closed": ["P2", "P1"]}', {"P2", "P1"}),
        (ORDER, '{"closed": []}', set()),
        (ORDER, "half a fi", {"P2"}),
    ],
)
def test_an_agent_that_begins_without_ssm_goes_by_what_the_one_before_it_read(
    order: tuple[RequestClass, ...], kept: str | None, closed: set[str], tmp_path: Path
) -> None:
    def away(name: str) -> str:
        raise TimeoutError(name)

    file = tmp_path / "cutoff.json"
    if kept is not None:
        file.write_text(kept)
    watch = CutoffWatch(Cutoff(parameter=PARAMETER, region=REGION, order=order), away, file)
    with pytest.raises(TimeoutError):
        watch.check()
    assert watch.closed == closed


def test_what_an_agent_read_is_there_for_the_next_one(tmp_path: Path) -> None:
    cutoff, file = Cutoff(parameter=PARAMETER, region=REGION), tmp_path / "run" / "cutoff.json"
    for text, closed in (('{"closed": []}', set()), ('{"closed": ["P1"]}', {"P2", "P1"})):
        CutoffWatch(cutoff, lambda _, text=text: text, file).check()
        assert CutoffWatch(cutoff, lambda _: None, file).closed == closed


def test_endpoint_files_close_a_site_for_a_class_only(tmp_path: Path) -> None:
    table = Rig(tmp_path).table
    files = endpoint_files(table, lambda site, c: site != Site.SAGEMAKER or c == "P0")
    states = {}
    for path, text in files.items():
        entries = json.loads(text)["resources"][0]["endpoints"]
        states[path.stem] = [entry["lb_endpoints"][0]["health_status"] for entry in entries]
    assert states["P1-private-sagemaker-azure_ml"] == ["HEALTHY", "UNHEALTHY", "HEALTHY"]
    assert states["P0-private-sagemaker-azure_ml"] == ["HEALTHY"] * 6
    assert states["P0-private"] == ["HEALTHY"] * 2
    assert write_endpoints(table, lambda site, c: True) == len(files)
    assert write_endpoints(table, lambda site, c: True) == 0


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)
    yield endpoint
    server.stop()


def quick(table: RoutingTable) -> RoutingTable:
    check = AgentCheck(interval_s=0.3, timeout_s=0.5)
    sites = tuple(s.model_copy(update={"health": check}) if s.site != Site.PRIVATE else s for s in table.sites)
    classes = tuple(c.model_copy(update={"try_timeout_s": 1.0}) for c in DEFAULT_CLASSES)
    return table.model_copy(
        update={
            "sites": sites,
            "classes": classes,
            "cutoff": Cutoff(parameter=PARAMETER, region=REGION, poll_s=0.3),
            "heartbeat": Heartbeat(region=REGION, period_s=0.5),
        }
    )


def close(*classes: str) -> None:
    value = json.dumps({"closed": classes})
    boto3.client("ssm").put_parameter(Name=PARAMETER, Value=value, Type="String", Overwrite=True)


@pytest.mark.heavy
def test_agent_drives_a_real_envoy(tmp_path: Path, aws: str) -> None:
    cloudwatch = boto3.client("cloudwatch")
    close()
    with Rig(tmp_path, quick) as rig:
        routing = tmp_path / "routing.json"
        routing.write_text(rig.table.model_dump_json())
        log = (tmp_path / "agent.log").open("w")
        command = [sys.executable, "-m", "spillway.runtime.gateway.agent", "--routing", str(routing)]
        agent = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=os.environ)
        base = f"http://127.0.0.1:{rig.table.listen.agent_port}"

        def status(class_: str) -> int:
            return rig.post(class_=class_, headers={"x-spillway-key": ALPHA}).status

        def state() -> dict:
            try:
                return json.loads(rig.http.request("GET", f"{base}/healthz").data)
            except Exception:
                return {}

        try:
            eventually(lambda: state().get("failing", "none yet") is None, 15, "the agent starts")
            eventually(lambda: all(rig.servers[s].seen for s in rig.fronts), 6, "probes arrive signed and keyed")

            def beats() -> int:
                return len(cloudwatch.list_metrics(Namespace="Spillway", MetricName="GatewayHeartbeat")["Metrics"])

            eventually(lambda: beats() == 1, 6, "a heartbeat")

            rig.servers[Site.SAGEMAKER].status = 500
            eventually(lambda: state()["sites"]["sagemaker"] is False, 6, "SageMaker is judged")
            rig.servers[Site.SAGEMAKER].status = 200
            eventually(lambda: state()["sites"]["sagemaker"] is True, 6, "SageMaker is back")

            rig.servers[Site.PRIVATE].status = 500
            assert rig.post(headers={"x-spillway-key": ALPHA}).site == "sagemaker"
            close("P1")
            took = eventually(lambda: status("P1") != 200, 6, "P1 is closed")
            assert took < 1.0
            assert status("P0") == 200
            close()
            eventually(lambda: status("P1") == 200, 6, "P1 is open")

            rig.servers[Site.PRIVATE].ready = False
            eventually(lambda: state()["failing"] is not None, 6, "the heartbeat stops")

            metrics = rig.http.request("GET", f"http://127.0.0.1:{rig.table.listen.metrics_port}/agent/metrics").data
            assert b'spillway_site_open{site="sagemaker",class="P0"} 1' in metrics
        finally:
            agent.terminate()
            assert agent.wait(10) == 0
            log.close()
    text = (tmp_path / "agent.log").read_text()
    assert "Traceback" not in text
    for secret in (AZURE_KEY, SECRET_KEY):
        assert secret not in text


def deploy(endpoint: str, instances: int) -> None:
    client = boto3.client("sagemaker")
    role = "arn:aws:iam::123456789012:role/r"
    client.create_model(ModelName="m", ExecutionRoleArn=role, PrimaryContainer={"Image": "i"})
    variant = {"VariantName": "primary", "ModelName": "m", "InstanceType": "ml.g4dn.xlarge"}
    client.create_endpoint_config(
        EndpointConfigName="c", ProductionVariants=[{**variant, "InitialInstanceCount": instances}]
    )
    client.create_endpoint(EndpointName=endpoint, EndpointConfigName="c")


def scale(endpoint: str, instances: int) -> None:
    wanted = [{"VariantName": "primary", "DesiredInstanceCount": instances}]
    boto3.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName=endpoint, DesiredWeightsAndCapacities=wanted
    )


@contextmanager
def admitting(rig: Rig, folder: Path, site: Site) -> Iterator[Callable[[], int]]:
    """With the agent as a process, and a private site that fails: how many of twelve at once a slow site answers."""
    routing = folder / "routing.json"
    routing.write_text(rig.table.model_dump_json())
    command = [sys.executable, "-m", "spillway.runtime.gateway.agent", "--routing", str(routing)]
    agent = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ)
    rig.servers[Site.PRIVATE].status = 500
    rig.servers[site].delay_s = 1.0
    try:
        yield lambda: rig.sites_of(rig.at_once(12, headers={"x-spillway-key": ALPHA})).get(site, 0)
    finally:
        agent.terminate()
        agent.wait(10)


@pytest.mark.heavy
def test_slots_follow_the_endpoints_instances_up_and_down(tmp_path: Path, aws: str) -> None:
    """Two instances with one slot each, then eight."""

    def only_sagemaker(table: RoutingTable) -> RoutingTable:
        check = AgentCheck(endpoint="burst", interval_s=0.3, timeout_s=3)
        grown = {"health": check, "slots": 2, "instances": 2, "batch_slots": 0, "capacity": "endpoint", "headroom": 0}
        site = table.site(Site.SAGEMAKER).model_copy(update=grown)
        return table.model_copy(update={"sites": (table.site(Site.PRIVATE), site)})

    deploy("burst", 2)
    rig = Rig(tmp_path, only_sagemaker)
    front = rig.front_settings[Site.SAGEMAKER]
    # Room for the agent's own probe beside the eight: the front's bound is not what is measured.
    rig.front_settings[Site.SAGEMAKER] = front.model_copy(update={"max_concurrent": 16})
    with rig, admitting(rig, tmp_path, Site.SAGEMAKER) as admitted:
        eventually(lambda: admitted() == 2, 60, "one for each of two instances")
        scale("burst", 8)
        eventually(lambda: admitted() == 8, 60, "four times as many")
        scale("burst", 2)
        eventually(lambda: admitted() == 2, 60, "and back")


def publish(instances: float, age_s: float = 0.0) -> None:
    value = to_json({"azure_ml": LiveCount(instances, time.time() - age_s)})
    boto3.client("ssm").put_parameter(Name=LIVE, Value=value, Type="String", Overwrite=True)


@pytest.mark.heavy
def test_slots_follow_what_the_cost_signal_publishes(tmp_path: Path, aws: str) -> None:
    """Two instances with one slot each, then six; when nobody counts any more, as many as the table was made for."""

    def only_azure(table: RoutingTable) -> RoutingTable:
        check = AgentCheck(interval_s=0.3, timeout_s=3)
        grown = {"health": check, "slots": 2, "instances": 2, "batch_slots": 0, "capacity": "published", "headroom": 0}
        site = table.site(Site.AZURE_ML).model_copy(update=grown)
        live = LiveInstances(parameter=LIVE, region=REGION, poll_s=0.3)
        return table.model_copy(update={"sites": (table.site(Site.PRIVATE), site), "live": live})

    with Rig(tmp_path, only_azure) as rig, admitting(rig, tmp_path, Site.AZURE_ML) as admitted:
        eventually(lambda: admitted() == 2, 60, "one for each of two instances")
        publish(6)
        eventually(lambda: admitted() == 6, 60, "three times as many")
        publish(6, age_s=2 * FRESH_S)
        eventually(lambda: admitted() == 2, 60, "and back, since nobody knows")


@pytest.mark.heavy
def test_once_writes_the_files_and_honours_the_cutoff(tmp_path: Path, aws: str) -> None:
    """The same where SSM is away afterwards: another agent of the pod begins with what this one read."""
    close("P2")
    table = quick(Rig(tmp_path).table)
    routing = tmp_path / "routing.json"
    routing.write_text(table.model_dump_json())
    command = [sys.executable, "-m", "spillway.runtime.gateway.agent", "--routing", str(routing), "--once"]
    for address in (aws, f"http://127.0.0.1:{free_port()}"):
        subprocess.run(command, check=True, timeout=60, env={**os.environ, "AWS_ENDPOINT_URL": address})
        text = (tmp_path / "run/eds/P2-private-sagemaker-azure_ml.json").read_text()
        assert text.count('"UNHEALTHY"') == 2
        assert "UNHEALTHY" not in (tmp_path / "run/eds/P1-private-sagemaker-azure_ml.json").read_text()
        shutil.rmtree(tmp_path / "run/eds")


def test_the_agent_knows_no_pulumi() -> None:
    code = "import sys, spillway.runtime.gateway.agent; sys.exit(any(m.startswith('pulumi') for m in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


@pytest.mark.heavy
def test_cutoff_that_cannot_be_read_leaves_the_files_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    table = quick(Rig(tmp_path).table)
    write_endpoints(table, lambda site, c: c != "P2")
    kept, missing = (tmp_path / f"run/eds/{c}-private-sagemaker-azure_ml.json" for c in ("P2", "P1"))
    missing.unlink()
    routing = tmp_path / "routing.json"
    routing.write_text(table.model_dump_json())
    command = [sys.executable, "-m", "spillway.runtime.gateway.agent", "--routing", str(routing), "--once"]
    subprocess.run(command, check=True, timeout=30, env=os.environ)
    assert "UNHEALTHY" in kept.read_text()
    assert "UNHEALTHY" not in missing.read_text()


@pytest.mark.heavy
def test_cloud_names_are_resolved_as_one_endpoint(tmp_path: Path) -> None:
    def logical(table: RoutingTable) -> RoutingTable:
        return table.model_copy(update={"sites": tuple(s.model_copy(update={"dns": "logical"}) for s in table.sites)})

    with Rig(tmp_path, logical) as rig:
        assert rig.post(headers={"x-spillway-key": ALPHA}).site == "private"
