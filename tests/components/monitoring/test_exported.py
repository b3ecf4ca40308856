"""Every metric that something names is exported, by the version that a stack runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import pytest

from components.gateway.settings import GatewaySettings
from components.monitoring.exported import (
    AGENT,
    AMD,
    DCGM,
    ENVOY,
    EXPORTED,
    KUBE_STATE,
    PROMETHEUS,
    TRITON,
    VLLM,
    Exporter,
)
from components.monitoring.queries import adapter_rules
from components.private_cluster.chart_settings import AmdOperatorSettings, NvidiaOperatorSettings
from spillway.contracts.names import CANARY, MODEL_SERVER
from spillway.contracts.routing import Cutoff
from spillway.contracts.targets import CONTAINERS
from spillway.contracts.vllm_options import engine_version
from spillway.twin.data_plane.processes.backends.fixed_time import fixed_time_repository
from tests.components.monitoring.test_kubernetes import build, recordings, rules
from tests.runtime.gateway.test_canary import on_trial
from tests.support.gateway_rig import Rig
from tests.support.recording import of_type
from tests.support.triton import serving
from tests.support.waiting import eventually

SERIES = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{")


def asked(kind: Literal["triton", "vllm"], accelerator: Any) -> Iterator[str]:
    """Every question of such a stack's private site."""
    found = build(kind=kind, accelerator=accelerator, servers=(MODEL_SERVER, CANARY))
    yield from (rule["expr"] for rule in rules(found))
    (config,) = of_type(found, "kubernetes:core/v1:ConfigMap")
    for panel in json.loads(config.inputs["data"]["spillway.json"])["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    adapter: Any = adapter_rules(accelerator, 15)
    for rule in (*adapter["custom"], *adapter["external"]):
        # The query names its own series by a placeholder.
        yield rule["seriesQuery"]
        yield rule["metricsQuery"]


def test_the_table_has_what_is_asked_for_and_nothing_else() -> None:
    named = {
        name
        for kind in ("triton", "vllm")
        for accelerator in ("nvidia", "amd")
        for query in asked(kind, accelerator)
        for name in SERIES.findall(query)
    }
    assert named - {rule["record"] for rule in recordings(build(kind="vllm"))} == set(EXPORTED)


def of(exporter: Exporter) -> set[str]:
    return {name for name, who in EXPORTED.items() if who is exporter}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What a gateway that tries a release tells Prometheus, after some requests; it has no rights to read a cut-off."""
    folder = tmp_path_factory.mktemp("gateway")
    cutoff = Cutoff(parameter="/spillway-test/spill-cutoff", region="eu-west-1")
    with Rig(folder, lambda table: on_trial(table).model_copy(update={"cutoff": cutoff})) as rig:
        rig.at_once(4)
        routing = folder / "routing.json"
        routing.write_text(rig.table.model_dump_json())
        command = [sys.executable, "-m", "spillway.runtime.gateway.agent", "--routing", str(routing)]
        base = f"http://127.0.0.1:{rig.table.listen.metrics_port}"

        def page(path: str) -> str:
            answer = rig.http.request("GET", base + path)
            return answer.data.decode() if answer.status == 200 else ""

        agent = subprocess.Popen(command, env={**os.environ, "AWS_EC2_METADATA_DISABLED": "true"})
        try:
            eventually(lambda: page("/agent/metrics"), 20, "the agent answers")
            # Histograms come with the next flush.
            eventually(lambda: "envoy_http_downstream_rq_time_bucket" in page("/metrics"), 20, "Envoy has counted")
            yield {path: page(path) for path in ("/metrics", "/agent/metrics")}
        finally:
            agent.terminate()
            agent.wait(10)


@pytest.mark.heavy
def test_envoy_and_the_agent_export_theirs(pages: dict[str, str]) -> None:
    for path, exporter in (("/metrics", ENVOY), ("/agent/metrics", AGENT)):
        assert of(exporter) <= set(SERIES.findall(pages[path]))


@pytest.mark.heavy
def test_the_questions_labels_are_envoys_own(pages: dict[str, str]) -> None:
    """One that Envoy does not give would match nothing; namespaces are Prometheus' own, a pod's phase and condition
    Kubernetes'."""
    wanted = set(re.findall(r'(\w+)=~?"', " ".join(asked("triton", "nvidia"))))
    given = set(re.findall(r'(\w+)="', " ".join(pages.values())))
    assert wanted - {"namespace", "pod", "phase", "condition"} <= given


@pytest.mark.heavy
def test_triton_exports_its(tmp_path: Path) -> None:
    repository = fixed_time_repository(tmp_path / "models", name="m", service_time_s=0.01, instances=1)
    with serving(repository, tmp_path / "triton.log") as ports:
        request = urllib.request.urlopen(f"http://127.0.0.1:{ports.metrics}/metrics", timeout=5)
        page = request.read().decode()
    assert of(TRITON) <= set(SERIES.findall(page))


def test_the_versions_are_the_pinned_ones() -> None:
    charts = files("spillway.conformance.services.kubernetes").joinpath("charts.json").read_text(encoding="utf-8")
    pinned = json.loads(charts)
    assert GatewaySettings.model_fields["image"].default.endswith(f"v{ENVOY.version}")
    assert CONTAINERS["ngc-triton-24.10"].triton == TRITON.version
    assert engine_version() == VLLM.version
    assert AmdOperatorSettings().version == AMD.version
    assert NvidiaOperatorSettings().version in DCGM.pinned
    assert any(DCGM.version in source for source in pinned["dcgm-exporter"]["sources"])
    assert pinned["kube-prometheus-stack"]["version"] in PROMETHEUS.pinned
    chart = KUBE_STATE.pinned.rpartition(" ")[2]
    assert any(f"kube-state-metrics-{chart} " in source for source in pinned["kube-prometheus-stack"]["sources"])
