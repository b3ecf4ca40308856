"""A node whose kubelet is here: each of its pods is a real Triton at an address of its own, told to end as a kubelet
tells it. And the cluster's DNS, which says what the control plane's EndpointSlices say.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Final, Self

from dnslib import QTYPE, RR, A, DNSRecord
from dnslib.server import BaseResolver, DNSServer

from spillway.twin.data_plane.processes.child import free_port
from spillway.twin.data_plane.processes.triton import TritonPorts, remove_shared_memory, triton_command
from spillway.twin.kubernetes.real.nodes import Machine, nodes
from tests.kubernetes.api import Api, Object, RefusedError
from tests.support.triton import TOOLS, wait_ready

KEEPER: Final = "here"
"""Nobody's whom kwok knows, so it leaves the node and its pods alone."""
TTL_S: Final = 30
"""Of CoreDNS as Kubernetes configures it (https://kubernetes.io/docs/tasks/administer-cluster/dns-custom-nameservers/)."""
_LOOK_AGAIN_S: Final = 0.1
_HEARTBEAT_S: Final = 10.0
_NAMED, _HERE = "10.77.0.", "127.77.0."
"""A pod's address as the cluster knows it, since slices hold no loopback addresses, and where it really listens."""


class TritonNode:
    """Use as a context manager. ``port``: of every server. ``ended``: by pod, what Triton ended with."""

    def __init__(self, api: Api, machine: Machine, repository: Path, folder: Path) -> None:
        (self._node,) = nodes(machine, 1, "triton", KEEPER)
        self.name: str = self._node["metadata"]["name"]
        self.port = free_port()
        self.ended: dict[str, int] = {}
        self._api, self._repository, self._folder = api, repository, folder
        self._seen: set[str] = set()
        self._pods: list[threading.Thread] = []
        self._over = threading.Event()
        self._kubelet = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Self:
        self._api.create(self._node)
        self._kubelet.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in (self._kubelet, *self._pods):
            thread.join(60)

    def _keep(self) -> None:
        beat = 0.0
        while not self._over.is_set():
            if time.monotonic() - beat > _HEARTBEAT_S:
                beat = time.monotonic()
                ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": _now()}
                self._api.patch(f"/api/v1/nodes/{self.name}/status", {"status": {"conditions": [ready]}})
            for pod in self._api.list("/api/v1/pods"):
                uid = pod["metadata"]["uid"]
                if pod["spec"].get("nodeName") == self.name and uid not in self._seen:
                    self._seen.add(uid)
                    self._pods.append(threading.Thread(target=self._live, args=(pod, len(self._seen)), daemon=True))
                    self._pods[-1].start()
            self._over.wait(_LOOK_AGAIN_S)

    def _live(self, pod: Object, number: int) -> None:
        """From its start to its end, by what its spec says."""
        (container,) = pod["spec"]["containers"]
        ports = TritonPorts(self.port, free_port())
        exit_timeout = next(word for word in container["command"] if word.startswith("--exit-timeout-secs="))
        command, environment = triton_command(TOOLS, self._repository, ports)
        changed = {"--http-address": f"{_HERE}{number}", "--exit-timeout-secs": exit_timeout.partition("=")[2]}
        command = [_with(word, changed) for word in command]
        # Servers of one port would share its regions.
        region = f"spillway_triton_{ports.metrics}_"
        command = [word.replace(ports.shared_memory_prefix, region) for word in command]
        log = self._folder / f"{pod['metadata']['name']}.log"
        with log.open("w") as stream:
            server = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream, start_new_session=True)
        try:
            path = container["readinessProbe"]["httpGet"]["path"]
            wait_ready(f"http://{_HERE}{number}:{self.port}{path}", server, log)
            self._say_ready(pod, f"{_NAMED}{number}")
            self._end(pod, container, server)
        finally:
            _stop(server)
            remove_shared_memory(TritonPorts(ports.metrics, ports.metrics))

    def _say_ready(self, pod: Object, address: str) -> None:
        conditions = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "ContainersReady", "Ready")]
        told = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
        self._api.patch(f"{self._api.path(_typed(pod))}/status", {"status": told})

    def _end(self, pod: Object, container: Object, server: subprocess.Popen[bytes]) -> None:
        """Its hook, then SIGTERM, within its grace; then it is gone."""
        path = self._api.path(_typed(pod))
        while "deletionTimestamp" not in ((self._api.get(path) or _GONE)["metadata"]):
            if self._over.wait(_LOOK_AGAIN_S):
                return
        sleep, asked = container["lifecycle"]["preStop"]["exec"]["command"]
        assert sleep == "sleep"
        told = time.monotonic()
        if self._over.wait(float(asked)):
            return
        server.terminate()
        left = pod["spec"]["terminationGracePeriodSeconds"] - (time.monotonic() - told)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.ended[pod["metadata"]["name"]] = server.wait(left)
        self._api.delete(path, grace_s=0)


class ClusterDns(BaseResolver):
    """Answers a headless Service's name with its ready endpoints, as old as CoreDNS' cache lets them be. Use as a
    context manager."""

    def __init__(self, api: Api, namespace: str, service: str) -> None:
        self._slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        self._labels = f"kubernetes.io/service-name={service}"
        self._api = api
        self._kept: tuple[float, list[str]] = (0.0, [])
        self._server = DNSServer(self, address="127.0.0.1", port=0, logger=_Silent())
        self.port: int = self._server.server.server_address[1]

    def __enter__(self) -> Self:
        self._server.start_thread()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._server.server.server_close()

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        reply = request.reply()
        if request.q.qtype == QTYPE.A:
            age = time.monotonic() - self._kept[0]
            if age >= TTL_S:
                self._kept, age = (time.monotonic(), self._ready()), 0.0
            for address in self._kept[1]:
                reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(address), ttl=int(TTL_S - age)))
        return reply

    def _ready(self) -> list[str]:
        with contextlib.suppress(RefusedError):
            slices = self._api.list(self._slices, self._labels)
            found = [one for part in slices for one in part.get("endpoints") or () if one["conditions"]["ready"]]
            return [one["addresses"][0].replace(_NAMED, _HERE) for one in found]
        return []


class _Silent:
    """Of a DNS server: nobody reads it."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def _stop(server: subprocess.Popen[bytes]) -> None:
    """With the processes of its models, which would outlive it."""
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait(20)


_GONE: Final[Object] = {"metadata": {"deletionTimestamp": "it is gone"}}


def _typed(pod: Object) -> Object:
    """Lists leave out what their items are."""
    return {"apiVersion": "v1", "kind": "Pod", **pod}


def _with(word: str, changed: dict[str, str]) -> str:
    name, _, _ = word.partition("=")
    return f"{name}={changed[name]}" if name in changed else word


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
