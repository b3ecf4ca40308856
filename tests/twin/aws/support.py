"""A real server on a free port, and what makes resources of samples."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import boto3
import pulumi

from spillway.twin.aws.row import Row
from spillway.twin.aws.sample import Sample, TextFile, Zip
from spillway.twin.aws.standin import AwsStandIn
from spillway.twin.data_plane.processes.child import free_port
from spillway.twin.provider import ResourceState, Secret
from tests.support.paths import ROOT
from tests.support.waiting import await_server

REFERENCE = re.compile(r"\$([a-z0-9-]+)\.(\w+)")


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


def start(state_dir: Path, port: int | None = None) -> Server:
    """Start a server and wait until it answers."""
    port = port or free_port()
    command = [sys.executable, "-m", "spillway.twin.aws.server", "--port", str(port), "--state-dir", str(state_dir)]
    server = Server(port, subprocess.Popen(command, cwd=ROOT))
    await_server(server.process, f"{server.endpoint}/_spillway/health")
    return server


def urn(type_: str, name: str) -> str:
    return f"urn:pulumi:test::spillway::{type_}::{name}"


def in_order(rows: Iterable[Row]) -> list[tuple[Row, Sample]]:
    """Every sample, after those that it refers to. The same order in every process, as pytest's workers need it."""
    found = {sample.name: (row, sample) for row in rows for sample in row.samples}
    needs = {
        name: sorted(_named([sample.inputs, sample.change]) | {*sample.after}) for name, (_, sample) in found.items()
    }
    return [found[name] for name in TopologicalSorter(needs).static_order()]


def _named(value: Any) -> set[str]:
    """The samples whose outputs a value refers to."""
    if isinstance(value, dict):
        return {name for inner in value.values() for name in _named(inner)}
    if isinstance(value, list):
        return {name for inner in value for name in _named(inner)}
    return {match[1] for match in REFERENCE.finditer(value)} if isinstance(value, str) else set()


def resolve(value: Any, made: dict[str, ResourceState]) -> Any:
    """Fill in references such as ``$vpc.id``, and make assets."""
    if isinstance(value, TextFile):
        return pulumi.StringAsset(value.text)
    if isinstance(value, Zip):
        return pulumi.AssetArchive({name: pulumi.StringAsset(text) for name, text in value.files.items()})
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

    return REFERENCE.sub(look_up, value)


def create(stand_in: AwsStandIn, type_: str, name: str, inputs: dict[str, Any], seed: bytes = b"seed") -> ResourceState:
    """Check and create."""
    checked = stand_in.check(urn(type_, name), type_, None, inputs, seed)
    assert not checked.failures, checked.failures
    return stand_in.create(urn(type_, name), type_, checked.inputs)
