"""The emulated AWS, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spillway.twin.data_plane.processes.child import free_port
from tests.support.waiting import await_server


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a fresh one."""
    folder: Path = tmp_path_factory.mktemp("aws")
    port = free_port()
    command = [sys.executable, "-m", "spillway.twin.aws.server", "--port", str(port), "--state-dir", str(folder)]
    process = subprocess.Popen(command)
    try:
        await_server(process, f"http://127.0.0.1:{port}/_spillway/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)
