"""The three stand-in servers, started for a test, and the stand-ins that talk to them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from spillway.twin.aws.standin import AwsStandIn
from spillway.twin.azure.standin import AzureStandIn
from spillway.twin.data_plane.processes.child import free_port
from spillway.twin.kubernetes.standin import KubernetesStandIn
from spillway.twin.provider import StandIn
from tests.stacks.files import ROOT
from tests.support.waiting import await_server

STAND_INS = ("aws", "azure", "kubernetes")


def stand_ins(endpoints: dict[str, str], *, delegates: bool = False, rights_after_s: float = 0.0) -> list[StandIn]:
    aws, azure, kubernetes = (endpoints[name] for name in STAND_INS)
    return [
        AwsStandIn(aws, delegates=delegates),
        AzureStandIn(azure, aws, rights_after_s),
        KubernetesStandIn(kubernetes),
    ]


class Servers:
    """Working files are in ``folder``. Ends only the processes that it started.

    ``delegates``: somebody delegates to new zones at once. ``rights_after_s``: seconds until Azure's role assignments
    are in force.
    """

    def __init__(self, folder: Path, *, delegates: bool = False, rights_after_s: float = 0.0) -> None:
        self._folder = folder
        self._delegates, self._rights_after_s = delegates, rights_after_s
        self._ports = {name: free_port() for name in STAND_INS}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.endpoints = {name: f"http://127.0.0.1:{port}" for name, port in self._ports.items()}

    def start(self, *names: str) -> None:
        """Start these, all if none is named, and wait until they answer."""
        for name in names or self._ports:
            command = [sys.executable, "-m", f"spillway.twin.{name}.server", "--port", str(self._ports[name])]
            command += ["--rights-after", str(self._rights_after_s)] if name == "azure" else []
            state = self._folder / name
            state.mkdir(parents=True, exist_ok=True)
            with (self._folder / f"{name}.log").open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    [*command, "--state-dir", str(state)], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
                )
        for name in names or self._ports:
            await_server(self._processes[name], f"{self.endpoints[name]}/_spillway/health")

    def stop(self, *names: str) -> None:
        for name in names or tuple(self._processes):
            process = self._processes.pop(name)
            process.kill()
            process.wait(10)

    def stand_ins(self) -> list[StandIn]:
        return stand_ins(self.endpoints, delegates=self._delegates, rights_after_s=self._rights_after_s)
