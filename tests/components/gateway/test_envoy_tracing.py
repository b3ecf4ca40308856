"""Traces of real Envoy and real Triton, as a collector gets them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from components.monitoring.settings import MonitoringSettings
from spillway.contracts.classes import Site
from spillway.contracts.routing import RoutingTable
from spillway.contracts.traces import Traces
from spillway.twin.data_plane.processes.backends.fixed_time import fixed_time_repository
from spillway.twin.data_plane.processes.child import free_port
from spillway.twin.data_plane.processes.trace_collector import Span, app
from spillway.twin.data_plane.processes.triton import TritonPorts, remove_shared_memory, triton_command
from tests.support.gateway_rig import ALPHA, INFER, Rig
from tests.support.triton import BINARY, TOOLS, wait_ready
from tests.support.waiting import eventually

pytestmark = pytest.mark.heavy

CLUSTERS_NAME = "collector.observability"
TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED, UNSAMPLED = f"00-{TRACE}-b7ad6b7169203331-01", f"00-{TRACE}-b7ad6b7169203331-00"


class Collector:
    """The twin's, on a loop of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self.spans: list[Span] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        runner = web.AppRunner(app(self.spans.append))

        async def start() -> None:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self.port).start()

        asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)

    def trace(self, id_: str, spans: int) -> list[Span]:
        """The spans of a trace, once there are so many; the first one first."""
        eventually(lambda: len(self._of(id_)) >= spans, 30, f"{spans} spans of {id_}")
        return self._of(id_)

    def _of(self, id_: str) -> list[Span]:
        return sorted((span for span in list(self.spans) if span.trace == id_), key=lambda span: -span.ms)


class TracedRig(Rig):
    """Its collector stands on loopback, whatever it is called in the cluster."""

    def __init__(self, folder: Path, collector: Collector, percent: float = 100.0) -> None:
        self.collector = collector
        traces = Traces(collector=f"http://{CLUSTERS_NAME}:{collector.port}", percent=percent)

        def traced(table: RoutingTable) -> RoutingTable:
            return table.model_copy(update={"traces": traces})

        super().__init__(folder, traced)

    def config(self) -> dict[str, Any]:
        config = json.loads(json.dumps(super().config()).replace(CLUSTERS_NAME, "127.0.0.1"))
        # At once; by itself Envoy waits for five spans or five seconds.
        soon = {"name": "soon", "static_layer": {"tracing.opentelemetry.min_flush_spans": 1}}
        config["layered_runtime"]["layers"].insert(0, soon)
        return config


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    with made.running():
        yield made


def test_a_request_that_spilled_is_one_trace_that_says_why(tmp_path: Path, collector: Collector) -> None:
    with TracedRig(tmp_path, collector) as rig:
        rig.servers[Site.PRIVATE].status = 503
        headers = {"traceparent": SAMPLED, "x-spillway-key": ALPHA}
        answer = rig.post(class_="P0", headers=headers, path=f"{INFER}?token=hush")
        assert (answer.status, answer.site) == (200, "sagemaker")
        spans = collector.trace(TRACE, 9)
    first, *rest = spans
    assert first.parent == "b7ad6b7169203331"
    said = {"spillway.class": "P0", "spillway.client": "alpha", "spillway.site": "sagemaker", "spillway.tries": "2"}
    assert said.items() <= first.tags.items()
    assert {span.service for span in spans} == {"spillway-gateway"}
    # Each span belongs to another one of the trace, and the two tries to the front's.
    ids = {span.id for span in spans}
    assert all(span.parent in ids for span in rest)
    tries = {span.tags["spillway.tries"]: span.tags["http.status_code"] for span in spans if span.parent == first.id}
    assert tries == {"1": "503", "2": "200"}
    told = json.dumps([span.tags for span in spans])
    assert "hush" not in told
    assert ALPHA not in told


def test_a_try_that_found_the_site_full_says_so(tmp_path: Path, collector: Collector) -> None:
    with TracedRig(tmp_path, collector) as rig:
        rig.servers[Site.PRIVATE].delay_s = 0.5
        answers = rig.at_once(3)
        assert {answer.status for answer in answers} == {200}
        assert "sagemaker" in rig.sites_of(answers)
        eventually(
            lambda: any(
                span.tags.get("response_flags") == "UO" and span.tags["upstream_cluster.name"].startswith("private")
                for span in list(collector.spans)
            ),
            30,
            "a span of a level of the private site that was full",
        )


def test_what_is_not_traced_is_not_told_to_a_server(tmp_path: Path, collector: Collector) -> None:
    """Triton would keep its part of it, as the test below says."""
    with TracedRig(tmp_path, collector) as rig:
        for headers in ({"traceparent": UNSAMPLED}, {}):
            assert rig.post(headers=headers).status == 200
        eventually(lambda: collector.spans, 30, "spans of the second request")
        heard = ["traceparent" in seen.headers for seen in rig.servers[Site.PRIVATE].seen]
    assert heard == [False, True]
    assert TRACE not in {span.trace for span in collector.spans}


def test_the_gateway_decides_alone_how_many_are_traced(tmp_path: Path, collector: Collector) -> None:
    with TracedRig(tmp_path, collector, percent=0.0001) as rig:
        assert rig.post(headers={"traceparent": SAMPLED}).status == 200
        assert "traceparent" not in rig.servers[Site.PRIVATE].seen[-1].headers


@pytest.mark.skipif(not BINARY.is_file(), reason="Triton is not unpacked under .tools (the set-up does it)")
def test_triton_goes_on_with_the_gateways_trace(tmp_path: Path, collector: Collector) -> None:
    repository = fixed_time_repository(tmp_path / "repository", service_time_s=0.05, instances=1)
    ports = TritonPorts(free_port(), free_port())
    url = f"http://127.0.0.1:{collector.port}/v1/traces"
    command, environment = triton_command(TOOLS, repository, ports, traces_url=url)
    log = tmp_path / "triton.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        wait_ready(f"http://127.0.0.1:{ports.http}/v2/health/ready", process, log)
        body = {"inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": ["echo"]}]}
        for headers in ({}, {"traceparent": SAMPLED}):
            asked = urllib.request.Request(
                f"http://127.0.0.1:{ports.http}/v2/models/slow/infer", json.dumps(body).encode(), headers=headers
            )
            with urllib.request.urlopen(asked) as answer:
                assert answer.status == 200
        spans = collector.trace(TRACE, 3)
    finally:
        process.terminate()
        process.wait(20)
        remove_shared_memory(ports)
    assert [span.name for span in spans] == ["InferRequest", "slow", "compute"]
    assert spans[0].parent == "b7ad6b7169203331"
    # What came without a context began none.
    assert {span.trace for span in collector.spans} == {TRACE}


@pytest.mark.parametrize("collector", ["otel:4318", "https://otel.example.com/v1/traces", "http://otel.monitoring:0"])
def test_a_collector_is_one_of_the_cluster(collector: str) -> None:
    with pytest.raises(ValidationError, match=r"give http://SERVICE\.NAMESPACE:PORT"):
        MonitoringSettings.model_validate({"traces": {"collector": collector}})
