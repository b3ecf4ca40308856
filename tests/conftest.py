"""What all tests share: how they are spread over workers, and one packaged MiniLM."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.paths import ROOT
from tests.support.workers import FilesByWorker, judges_by_the_clock, put_in_order

# Shells start background jobs with Ctrl-C ignored, and children inherit that: tests that press it would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's affair, and each run draws the same ones.
settings.register_profile("any machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What collecting imports stays until the end: the garbage collector need not walk it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesByWorker:
    config.option.loadscopereorder = False
    return FilesByWorker(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if is_worker(config):
        put_in_order(items)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What judges by the clock goes before the work of the other workers."""
    if is_worker(item.config) and not judges_by_the_clock(item.nodeid):
        os.setpriority(os.PRIO_PROCESS, 0, 10)


def is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@pytest.fixture(scope="session")
def minilm_package() -> Path:
    """The packaged example, where the stack files look for it: made once, for all tests and for the user."""
    done = subprocess.run(
        [sys.executable, "-m", "spillway.cli.main", "package", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr
    assert not re.search("KernelPreference|Loading weights", done.stderr), "libraries talk to who packages"
    return Path(json.loads(done.stdout)["path"])
