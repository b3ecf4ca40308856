"""A stand-in server of the twin on loopback, and a driver that treats it as an engine does."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from spillway.twin.data_plane.processes.child import free_port
from spillway.twin.provider import ResourceState, StandIn
from tests.support.waiting import await_server

URN = "urn:pulumi:test::spillway::{type}::{name}"


@contextlib.contextmanager
def serve(kind: Literal["aws", "azure", "kubernetes"], state: Path, *more: str) -> Iterator[str]:
    """Run ``spillway.twin.<kind>.server`` and yield its address. ``more``: arguments of its own."""
    port = free_port()
    arguments = ["--port", str(port), "--state-dir", str(state), *more]
    server = subprocess.Popen([sys.executable, "-m", f"spillway.twin.{kind}.server", *arguments])
    url = f"http://127.0.0.1:{port}"
    try:
        await_server(server, f"{url}/_spillway/health")
        yield url
    finally:
        server.kill()
        server.wait(10)


class Driver:
    """Drives a stand-in as an engine does: check, then create, update, read or delete."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in

    def urn(self, type_: str, name: str) -> str:
        return URN.format(type=type_, name=name)

    def create(self, type_: str, name: str, inputs: dict[str, Any]) -> ResourceState:
        checked = self.stand_in.check(self.urn(type_, name), type_, None, inputs, b"seed")
        assert checked.failures == (), checked.failures
        return self.stand_in.create(self.urn(type_, name), type_, checked.inputs)

    def update(self, type_: str, name: str, old: ResourceState, inputs: dict[str, Any]) -> ResourceState:
        checked = self.stand_in.check(self.urn(type_, name), type_, old.inputs, inputs, b"seed")
        assert checked.failures == (), checked.failures
        return self.stand_in.update(self.urn(type_, name), type_, old, checked.inputs)

    def failures(self, type_: str, inputs: dict[str, Any]) -> list[str]:
        checked = self.stand_in.check(self.urn(type_, "thing"), type_, None, inputs, b"seed")
        return [f"{failure.path}: {failure.reason}" for failure in checked.failures]
