"""A real server on a free port, and what makes resources of samples."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from spillway.twin.aws.standin import AwsStandIn
from spillway.twin.standin import ResourceState, Secret

ROOT = Path(__file__).parents[2]


@dataclass
class Server:
    """A running AWS server."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.endpoint}{path}", timeout=10) as answer:
            return json.load(answer)

    def client(self, service: str, region: str = "eu-west-1") -> Any:
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.endpoint,
            aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
            aws_secret_access_key="x",
        )

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(state_dir: Path, port: int | None = None) -> Server:
    """Start a server and wait until it answers."""
    port = port or free_port()
    command = [sys.executable, "-m", "spillway.twin.aws.server", "--port", str(port), "--state-dir", str(state_dir)]
    server = Server(port, subprocess.Popen(command, cwd=ROOT))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise RuntimeError(f"the server ended with {server.process.returncode}")
        try:
            server.get("/_spillway/health")
            return server
        except OSError:
            time.sleep(0.1)
    server.stop()
    raise TimeoutError("the server did not come up")


def urn(type_: str, name: str) -> str:
    return f"urn:pulumi:test::spillway::{type_}::{name}"


def resolve(value: Any, made: dict[str, ResourceState]) -> Any:
    """Fill in references such as ``$vpc.id``."""
    if isinstance(value, dict):
        return {k: resolve(v, made) for k, v in value.items()}
    if isinstance(value, list):
        return [resolve(v, made) for v in value]
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        state = made[match[1]]
        found = state.id if match[2] == "id" else state.outputs[match[2]]
        return str(found.value if isinstance(found, Secret) else found)

    return re.sub(r"\$([a-z0-9-]+)\.(\w+)", look_up, value)


def create(stand_in: AwsStandIn, type_: str, name: str, inputs: dict[str, Any], seed: bytes = b"seed") -> ResourceState:
    """Check and create."""
    checked = stand_in.check(urn(type_, name), type_, None, inputs, seed)
    assert not checked.failures, checked.failures
    return stand_in.create(urn(type_, name), type_, checked.inputs)
