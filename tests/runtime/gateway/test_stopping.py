"""A gateway's pod ends: SIGTERM for the agent at once, for Envoy when its preStop hook is over."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from spillway.contracts.classes import Site
from tests.support.gateway_rig import INFER, Rig
from tests.support.waiting import eventually

pytestmark = pytest.mark.heavy


@contextmanager
def agent_beside(rig: Rig) -> Iterator[subprocess.Popen[bytes]]:
    routing = rig.folder / "routing.json"
    routing.write_text(rig.table.model_dump_json())
    command = [sys.executable, "-m", "spillway.runtime.gateway.agent", "--routing", str(routing), "--until-envoy-ends"]
    agent = subprocess.Popen(command, env={**os.environ, "AWS_EC2_METADATA_DISABLED": "true"})
    try:
        eventually(lambda: health(rig, rig.table.listen.agent_port) == 200, 20, "the agent answers")
        yield agent
    finally:
        agent.kill()
        agent.wait(10)


def health(rig: Rig, port: int) -> int:
    try:
        return rig.http.request("GET", f"http://127.0.0.1:{port}/healthz", timeout=2).status
    except Exception:
        return 0


def ask(connection: http.client.HTTPConnection) -> tuple[int, str | None]:
    """Status, and what the answer says of the connection."""
    connection.request("POST", INFER, b'{"inputs":[]}', {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers.get("connection")


def test_what_is_in_flight_is_answered_and_connections_are_given_up(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig, agent_beside(rig) as agent, ThreadPoolExecutor(1) as pool:
        kept = http.client.HTTPConnection("127.0.0.1", rig.table.listen.port, timeout=10)
        assert ask(kept) == (200, None)
        server = rig.servers[Site.PRIVATE]
        server.delay_s = 1.0
        slow = pool.submit(rig.post)
        eventually(lambda: server.running == 1, 5, "a request is in flight")

        agent.terminate()
        eventually(lambda: health(rig, rig.table.listen.port) == 503, 5, "the load balancer is told")

        # What comes until it has taken note is served, and the connection is not kept.
        server.delay_s = 0.0
        assert ask(kept) == (200, "close")
        assert slow.result(10).status == 200
        assert agent.poll() is None, "it keeps Envoy company"

        rig.envoy.terminate()
        assert agent.wait(10) == 0


def test_an_agent_that_starts_anew_calls_the_end_off(tmp_path: Path) -> None:
    """Its container alone was ended: the gateway goes on."""
    with Rig(tmp_path) as rig:
        with agent_beside(rig) as agent:
            agent.terminate()
            eventually(lambda: health(rig, rig.table.listen.port) == 503, 5, "the gateway was to end")
        with agent_beside(rig):
            eventually(lambda: health(rig, rig.table.listen.port) == 200, 5, "the gateway goes on")
