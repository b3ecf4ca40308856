"""The emulated AWS, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from spillway.twin.processes.child import free_port


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a fresh one."""
    folder: Path = tmp_path_factory.mktemp("aws")
    port = free_port()
    command = [sys.executable, "-m", "spillway.twin.aws.server", "--port", str(port), "--state-dir", str(folder)]
    process = subprocess.Popen(command)
    try:
        wait_for(f"http://127.0.0.1:{port}/_spillway/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def wait_for(url: str, timeout_s: float = 40.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            assert time.monotonic() < deadline, f"{url} never answered"
            time.sleep(0.1)
