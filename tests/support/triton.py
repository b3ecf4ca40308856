"""The real Triton server, on a repository of a test's own."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spillway.twin.data_plane.processes.triton import TritonPorts, remove_shared_memory, triton_command
from tests.support.paths import ROOT

TOOLS = ROOT / ".tools"
BINARY = TOOLS / "triton" / "pytriton" / "tritonserver" / "bin" / "tritonserver"


@contextmanager
def serving(
    repository: Path, log: Path, *, sagemaker_model: str | None = None, cache_bytes: int = 0
) -> Iterator[TritonPorts]:
    """A Triton as the twin starts it, ready to serve all of ``repository``."""
    sockets = [socket.socket() for _ in range(3)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    ports = TritonPorts(*(item.getsockname()[1] for item in sockets))
    for item in sockets:
        item.close()
    argv, env = triton_command(TOOLS, repository, ports, sagemaker_model=sagemaker_model, cache_bytes=cache_bytes)
    with log.open("w") as stream:
        process = subprocess.Popen(argv, env=env, stdout=stream, stderr=stream)
    try:
        wait_ready(f"http://127.0.0.1:{ports.http}/v2/health/ready", process, log)
        # Triton opens these ports after it says that it is ready.
        wait_ready(f"http://127.0.0.1:{ports.metrics}/metrics", process, log)
        if sagemaker_model:
            wait_ready(f"http://127.0.0.1:{ports.sagemaker}/ping", process, log)
        yield ports
    finally:
        process.terminate()
        process.wait(20)
        remove_shared_memory(ports)


def wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"Triton stopped: {log.read_text()[-3000:]}")
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"Triton is not ready: {log.read_text()[-3000:]}")
