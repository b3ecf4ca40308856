"""A whole twin: its supervisor, the emulated providers, and the processes made out of what is deployed there."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import psutil
import pytest
import yaml

from components.gateway.envoy_config import render
from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.routing import Anonymous, Cutoff, Heartbeat, Listen, Probe, RoutingTable, SiteRoute
from spillway.drill.plan import DrillPlan, Fault, Phase
from spillway.drill.run import run_drill
from spillway.drill.target import DrillTarget
from spillway.drill.workload import infer_body
from spillway.twin.data_plane.deployed import aws_client
from spillway.twin.data_plane.processes.backends.fixed_time import fixed_time_repository
from spillway.twin.handle import TwinError, TwinHandle, TwinRunningError, find_twin, start_twin, stop_twin
from tests.support.overflow import EchoWorkload, check_capacity
from tests.support.waiting import eventually
from tests.twin.data_plane.test_processes import marked

REGION = "eu-west-1"
SLOTS = 2


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("twin")


@pytest.fixture(scope="module")
def twin(state_dir: Path) -> Iterator[TwinHandle]:
    handle = start_twin(state_dir)
    yield handle
    handle.stop()
    assert marked(state_dir) == []


def kubernetes(twin: TwinHandle, api: str, namespace: str, plural: str, body: dict) -> None:
    url = f"{twin.endpoints['kubernetes']}/{api}/namespaces/{namespace}/{plural}"
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"content-type": "application/json"}, method="POST"
    )
    urllib.request.urlopen(request, timeout=10).close()


def namespace(twin: TwinHandle, name: str) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    url = f"{twin.endpoints['kubernetes']}/api/v1/namespaces"
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"content-type": "application/json"}, method="POST"
    )
    urllib.request.urlopen(request, timeout=10).close()


def deployment(name: str, where: str, containers: list[dict], annotations: dict | None = None) -> dict:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        # What the twin finds it by, whatever the stack's namespaces are called.
        "metadata": {"name": name, "namespace": where, "labels": {"app.kubernetes.io/name": name}},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations or {}},
                "spec": {"containers": containers},
            },
        },
    }


def archive(folder: Path, service_time_s: float) -> bytes:
    repository = fixed_time_repository(folder, name="echo", service_time_s=service_time_s, instances=SLOTS)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path in sorted(repository.iterdir()):
            tar.add(path, path.name)
    return buffer.getvalue()


def table() -> RoutingTable:
    health = {"kind": "active"}
    private = SiteRoute.model_validate(
        {"site": "private", "host": "model-server.internal", "port": 8000, "region": "on-prem", "slots": SLOTS,
         "health": health}
    )  # fmt: skip
    sagemaker = SiteRoute.model_validate(
        {"site": "sagemaker", "host": "runtime.sagemaker.eu-west-1.amazonaws.com", "port": 443, "region": REGION,
         "slots": SLOTS, "health": {"kind": "agent", "endpoint": "burst"},
         "auth": {"kind": "sigv4", "region": REGION},
         "tls": {"sni": "runtime.sagemaker.eu-west-1.amazonaws.com"},
         "paths": [{"client": "/v2/models/echo/infer", "upstream": "/endpoints/burst/invocations"}]}
    )  # fmt: skip
    return RoutingTable(
        model="echo",
        sites=(private, sagemaker),
        anonymous=Anonymous(max_class=RequestClass.P0),
        listen=Listen(),
        probe=Probe(path="/v2/models/echo/infer", body=infer_body("TEXT", "probe").decode()),
        cutoff=Cutoff(parameter="/spillway-test/spill-cutoff", region=REGION),
        heartbeat=Heartbeat(region=REGION),
    )


def deploy(twin: TwinHandle, tmp_path: Path, service_time_s: float) -> None:
    """What the program would: a model server, a SageMaker endpoint of the same package, and a gateway."""
    content = archive(tmp_path / "repository", service_time_s)
    aws = twin.endpoints["aws"]
    s3 = aws_client("s3", aws)
    s3.create_bucket(Bucket="models")
    s3.put_object(Bucket="models", Key="packages/echo/model.tar.gz", Body=content)
    uri = "s3://models/packages/echo/model.tar.gz"
    aws_client("ssm", aws, REGION).put_parameter(
        Name="/spillway-test/spill-cutoff", Type="String", Value=json.dumps({"closed": []})
    )
    role = aws_client("iam", aws).create_role(RoleName="serve", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    sagemaker = aws_client("sagemaker", aws, REGION)
    environment = {"SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": "echo"}
    container = {"Image": "triton", "ModelDataUrl": uri, "Environment": environment}
    sagemaker.create_model(ModelName="burst", PrimaryContainer=container, ExecutionRoleArn=role)
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "burst",
        "InitialInstanceCount": 1,
        "InstanceType": "ml.g5.xlarge",
    }
    sagemaker.create_endpoint_config(EndpointConfigName="burst-1", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="burst", EndpointConfigName="burst-1")
    for name in ("spillway-serving", "spillway-gateway", "spillway-system"):
        namespace(twin, name)
    notes = {
        "spillway.dev/package-sha256": sha256(content).hexdigest(),
        "spillway.dev/entry-model": "echo",
        "spillway.dev/kind": "triton",
    }
    triton = {"name": "triton", "image": "triton:1", "env": [{"name": "SPILLWAY_PACKAGE_URI", "value": uri}]}
    body = deployment("model-server", "spillway-serving", [triton], notes)
    kubernetes(twin, "apis/apps/v1", "spillway-serving", "deployments", body)
    routes = table()
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "gateway-config", "namespace": "spillway-gateway"},
        "data": {"envoy.yaml": yaml.safe_dump(render(routes)), "routing.json": routes.model_dump_json()},
    }
    kubernetes(twin, "api/v1", "spillway-gateway", "configmaps", config)
    body = deployment("gateway", "spillway-gateway", [{"name": "envoy", "image": "envoy:1"}])
    kubernetes(twin, "apis/apps/v1", "spillway-gateway", "deployments", body)
    body = deployment("redis", "spillway-system", [{"name": "redis", "image": "redis:1"}])
    kubernetes(twin, "apis/apps/v1", "spillway-system", "deployments", body)


def test_a_running_twin_is_found_and_not_started_twice(twin: TwinHandle, state_dir: Path) -> None:
    found = find_twin(state_dir)
    assert found == twin
    with pytest.raises(TwinRunningError):
        start_twin(state_dir)
    status = twin.status()
    assert {process.name for process in status.processes} == {"control/aws", "control/azure", "control/kubernetes"}
    assert all(process.ready for process in status.processes)
    assert [(site.state, site.detail[:7]) for site in status.sites] == [("absent", "not run")] * 3
    mode = stat.S_IMODE((state_dir / "twin.json").stat().st_mode)
    assert mode == 0o600


def test_orders_need_the_token_and_a_known_group(twin: TwinHandle) -> None:
    with pytest.raises(TwinError, match="token"):
        TwinHandle(twin.state_dir, twin.pid, twin.control, "guess", twin.endpoints).status()
    with pytest.raises(TwinError, match="take no faults"):
        twin.fault("control", "kill")
    with pytest.raises(TwinError, match="no group 'privat'"):
        twin.fault("privat", "kill")


def test_everything_listens_on_loopback_only(twin: TwinHandle, state_dir: Path) -> None:
    for pid in marked(state_dir):
        for connection in psutil.Process(pid).net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip.startswith("127.")


def test_nothing_is_left_after_the_supervisor_was_killed(tmp_path: Path) -> None:
    handle = start_twin(tmp_path)
    assert len(marked(tmp_path)) >= 4
    os.kill(handle.pid, signal.SIGKILL)
    eventually(lambda: find_twin(tmp_path) is None)
    stop_twin(tmp_path)
    assert marked(tmp_path) == []


@pytest.mark.heavy
def test_what_is_deployed_serves_and_survives_the_private_site(twin: TwinHandle, tmp_path: Path) -> None:
    deploy(twin, tmp_path, service_time_s=0.02)
    started = time.monotonic()
    status = twin.reconcile()
    took = time.monotonic() - started
    assert status.problems == ()
    states = {site.name: site.state for site in status.sites}
    assert states == {Site.PRIVATE: "ready", Site.SAGEMAKER: "ready", Site.AZURE_ML: "absent"}
    assert took < 45
    target = DrillTarget(status.gateways["private"], "echo", EchoWorkload(), faults=twin)
    plan = DrillPlan(
        "kill",
        (
            Phase("baseline", 4, min_availability={RequestClass.P0: 1.0}),
            Phase(
                "killed", 6, (Fault(Site.PRIVATE, "kill"),), (Site.PRIVATE,), min_availability={RequestClass.P0: 1.0}
            ),
            Phase("returns", 12, (Fault(Site.PRIVATE, "start"),), back_on=Site.PRIVATE),
        ),
        {RequestClass.P0: 6.0, RequestClass.P1: 4.0},
    )
    result = run_drill(target, plan)
    assert result.passed, [check for check in result.checks if not check.passed] + [result.reasons]
    assert result.phases[0].classes["P0"].answered["private"] > 0
    assert set(result.phases[1].classes["P0"].answered) >= {"sagemaker"}


@pytest.mark.heavy
def test_slots_and_one_more_spill_and_faults_are_seen(twin: TwinHandle) -> None:
    status = twin.reconcile(service_time_s=0.8)
    assert status.problems == ()
    target = DrillTarget(status.gateways["private"], "echo", EchoWorkload())
    found = check_capacity(target, SLOTS + 1)
    assert found.by_site == {"private": SLOTS, "sagemaker": 1}, found.problems
    again = twin.reconcile(service_time_s=0)
    before = {process.name: process.pid for process in again.processes}
    after = {process.name: process.pid for process in twin.reconcile().processes}
    assert after == before, "nothing changed, so nothing is restarted"
    assert {"redis/server", "gateway-private/envoy", "gateway-private/agent"} <= set(after)
