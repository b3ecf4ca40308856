"""Processes of a twin: started, watched, hurt, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from spillway.twin.data_plane.processes.child import MARK, ProcessSpec, end_leftovers, free_port
from spillway.twin.data_plane.processes.group import ProcessGroup
from spillway.twin.data_plane.processes.triton import gather_python
from spillway.twin.ports import Ports
from tests.support.waiting import eventually


def web_server(name: str, restart: bool = False) -> ProcessSpec:
    port = free_port()
    command = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port))
    return ProcessSpec(name, command, port=port, health=f"http://127.0.0.1:{port}/", restart=restart)


@asynccontextmanager
async def running(folder: Path, *specs: ProcessSpec) -> AsyncIterator[ProcessGroup]:
    group = ProcessGroup(str(folder), folder / "logs")
    watching = asyncio.create_task(group.watch())
    try:
        await group.apply(specs, scope=lambda _: True)
        assert await group.wait_ready([spec.name for spec in specs], 15) == []
        yield group
    finally:
        await group.close()
        watching.cancel()


def pid_of(group: ProcessGroup, name: str) -> int:
    return next(process.pid for process in group.status() if process.name == name)


async def soon(check: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.05)


def run(test: Awaitable[None]) -> None:
    asyncio.run(test)  # type: ignore[arg-type]


def test_apply_keeps_restarts_and_ends(tmp_path: Path) -> None:
    async def scenario() -> None:
        kept, changed, gone = web_server("a/kept"), web_server("b/changed"), web_server("c/gone")
        async with running(tmp_path, kept, changed, gone) as group:
            before = {name: pid_of(group, name) for name in ("a/kept", "b/changed", "c/gone")}
            await group.apply([kept, replace(changed, inputs="new package")], scope=lambda _: True)
            assert await group.wait_ready(["a/kept", "b/changed"], 15) == []
            assert pid_of(group, "a/kept") == before["a/kept"]
            assert pid_of(group, "b/changed") != before["b/changed"]
            assert not psutil.pid_exists(before["c/gone"])

    run(scenario())


def test_a_crash_is_restarted_only_where_the_platform_would(tmp_path: Path) -> None:
    async def scenario() -> None:
        pod, provider = web_server("site/pod", restart=True), web_server("control/aws")
        async with running(tmp_path, pod, provider) as group:
            first = pid_of(group, "site/pod")
            for name in ("site/pod", "control/aws"):
                os.kill(pid_of(group, name), signal.SIGKILL)
            await soon(lambda: pid_of(group, "site/pod") not in (0, first) and group.is_ready("site/pod"))
            states = {process.name: process.state for process in group.status()}
            assert states == {"site/pod": "running", "control/aws": "exited"}

    run(scenario())


def test_a_killed_group_stays_down_until_it_is_started(tmp_path: Path) -> None:
    async def scenario() -> None:
        specs = web_server("private/triton", restart=True), web_server("other/x", restart=True)
        async with running(tmp_path, *specs) as group:
            group.kill("private")
            # By the time that what crashed later is back, this would have been, too.
            crashed = pid_of(group, "other/x")
            os.kill(crashed, signal.SIGKILL)
            await soon(lambda: pid_of(group, "other/x") not in (0, crashed) and group.is_ready("other/x"))
            assert {p.name: p.state for p in group.status()} == {"private/triton": "killed", "other/x": "running"}
            group.start("private")
            assert await group.wait_ready(["private/triton"], 15) == []

    run(scenario())


def test_a_hung_group_answers_nothing_and_comes_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, web_server("private/triton", restart=True)) as group:
            pid = pid_of(group, "private/triton")
            group.hang("private")
            await soon(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
            assert not group.is_ready("private/triton")
            group.resume("private")
            await soon(lambda: group.is_ready("private/triton"))
            assert pid_of(group, "private/triton") == pid

    run(scenario())


def test_unknown_group_names_the_known_ones(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, web_server("private/triton")) as group:
            with pytest.raises(LookupError, match="there is private"):
                group.kill("privat")

    run(scenario())


OWNER = """
import asyncio, sys
from pathlib import Path
from spillway.twin.data_plane.processes.child import ProcessSpec
from spillway.twin.data_plane.processes.group import ProcessGroup
grandchild = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(300)'])"
async def main():
    group = ProcessGroup(sys.argv[1], Path(sys.argv[1]) / "logs")
    await group.apply([ProcessSpec("a/b", (sys.executable, "-c", grandchild))], scope=lambda _: True)
    print("started", flush=True)
    await asyncio.sleep(300)
asyncio.run(main())
"""


def marked(folder: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_children_die_with_a_killed_owner_and_grandchildren_are_found(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline().strip() == "started"
    eventually(lambda: len(marked(tmp_path)) == 2, what="the child and its own child run")
    owner.kill()
    owner.wait()
    eventually(lambda: len(marked(tmp_path)) == 1, what="the kernel ends the child; the child's own child is left")
    orphans = marked(tmp_path)
    ended = end_leftovers(str(tmp_path))
    assert [int(line.split()[0]) for line in ended] == orphans
    assert marked(tmp_path) == []


def test_ports_are_the_same_at_the_next_start(tmp_path: Path) -> None:
    first = Ports(tmp_path)
    chosen = [first.get("a"), first.get("b")]
    assert len(set(chosen)) == 2
    again = Ports(tmp_path)
    assert [again.get("a"), again.get("b")] == chosen


def test_what_tritons_python_finds_moves_with_the_clone_and_is_made_again_where_it_is_gone(tmp_path: Path) -> None:
    (tmp_path / "clone" / ".tools" / "triton-numpy" / "numpy").mkdir(parents=True)
    gather_python(tmp_path / "clone" / ".tools")
    (tmp_path / "clone").rename(tmp_path / "moved")
    tools = tmp_path / "moved" / ".tools"
    (link,) = (tools / f"triton-python-py3.{sys.version_info.minor}").rglob("numpy")
    assert link.resolve() == tools / "triton-numpy" / "numpy"
    link.unlink()
    link.symlink_to(tmp_path / "clone" / "gone")
    gather_python(tools)
    assert link.resolve() == tools / "triton-numpy" / "numpy"
