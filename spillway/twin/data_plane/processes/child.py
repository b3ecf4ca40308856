"""One process of a twin: started so that it cannot outlive its supervisor, and found again after a crash.

Every process carries the twin's mark in its environment, which its own children inherit. That mark, and not a process
id from a file, decides what :func:`end_leftovers` may end: ids are reused, environments are not.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import random
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

MARK: Final = "SPILLWAY_TWIN"
"""Environment variable that every process of a twin carries: the twin's state folder."""

_PORTS: Final = range(20_000, 30_000)
"""Below those that Linux gives to whoever asks for any: until its process listens, nothing takes a port by chance."""
_turn = itertools.count(random.randrange(len(_PORTS)))

_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class ProcessSpec:
    """What to run. ``health``: URL that answers 200 once it is ready; or ``port`` alone, that accepts a connection.

    ``restart``: started again when it exits, as its platform would in production. ``inputs``: a digest of the files it
    reads at its start, so that new contents mean a new process. ``shared_memory``: what the names of its shared-memory
    regions start with; a killed process leaves these behind.
    """

    name: str
    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    port: int = 0
    health: str = ""
    restart: bool = False
    inputs: str = ""
    shared_memory: str = ""


class Child:
    """A running :class:`ProcessSpec`. Not thread-safe: the supervisor's loop owns it.

    Start it from the supervisor's main thread: the kernel ends the child when the *thread* that started it ends.
    """

    def __init__(self, spec: ProcessSpec, mark: str, log: Path) -> None:
        self.spec = spec
        self.log = log
        self.started = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        if spec.shared_memory:
            remove_shared_memory(spec.shared_memory)
        supervisor = os.getpid()
        with log.open("ab") as output:
            output.write(f"--- {time.strftime('%H:%M:%S')} {spec.name}\n".encode())
            output.flush()
            self._process = subprocess.Popen(
                spec.command,
                env={**os.environ, **spec.env, MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: _die_with(supervisor),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs."""
        return self._process.poll()

    def signal_group(self, number: int) -> None:
        """To the process and everything it started."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    def kill(self) -> None:
        self.signal_group(signal.SIGKILL)
        self._process.wait(timeout=10)

    def stop(self, grace_s: float = 5.0) -> None:
        """Ask, wait ``grace_s``, then kill. The whole group is gone afterwards."""
        # A stopped process takes no SIGTERM.
        self.signal_group(signal.SIGCONT)
        self.signal_group(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=grace_s)
        self.kill()


def end_leftovers(mark: str, spare: frozenset[int] = frozenset()) -> list[str]:
    """End every process that carries ``mark`` except ``spare``; returns their command lines' first words."""
    found = [process for process in psutil.process_iter() if process.pid not in spare and _carries(process, mark)]
    names = [_describe(process) for process in found]
    for process in found:
        # psutil compares the start time first: a reused id is left alone.
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(found, timeout=5)
    return names


def remove_shared_memory(prefix: str) -> None:
    for region in Path("/dev/shm").glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


def free_port(host: str = "127.0.0.1", wanted: int = 0) -> int:
    """``wanted`` when it is free, else a free TCP port that this process has not given out before."""
    others = (_PORTS[next(_turn) % len(_PORTS)] for _ in _PORTS)
    for port in itertools.chain([wanted] if wanted else [], others):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError(f"no port from {_PORTS[0]} to {_PORTS[-1]} is free on {host}")


def _die_with(supervisor: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The supervisor may have died between fork and prctl.
    if os.getppid() != supervisor:
        os._exit(1)


def _carries(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False


def _describe(process: psutil.Process) -> str:
    try:
        command = process.cmdline()
    except psutil.Error:
        return str(process.pid)
    return f"{process.pid} {' '.join(command[:3])}"
