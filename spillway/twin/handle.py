"""Start, find, steer and stop a twin from another process (the command line, tests, the drill).

The twin itself is a daemon, :mod:`spillway.twin.supervisor`; this module only needs the standard library and psutil.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import psutil

from spillway.twin.data_plane.processes.child import MARK, end_leftovers
from spillway.twin.status import TwinStatus

TWIN_FILE: Final = "twin.json"
LOCK_EXIT_CODE: Final = 3
"""The supervisor's exit code when another one holds the state folder."""


KubernetesKind = Literal["stand-in", "real"]
"""What a twin's cluster is: emulated, or a real control plane whose nodes alone are not."""
_START_S: Final[dict[KubernetesKind, float]] = {"stand-in": 60.0, "real": 240.0}


class TwinError(Exception):
    """The twin could not be started, reached or stopped."""


class TwinRunningError(TwinError):
    """A twin already runs in this state folder."""


@dataclass(frozen=True)
class TwinHandle:
    """A running twin. ``endpoints``: base URL of each emulated provider (``aws``, ``azure``, ``kubernetes``)."""

    state_dir: Path
    pid: int
    control: str
    token: str
    endpoints: dict[str, str]
    kubernetes: KubernetesKind = "stand-in"

    def __repr__(self) -> str:
        return f"TwinHandle({self.state_dir}, pid {self.pid})"

    def status(self) -> TwinStatus:
        return TwinStatus.from_json(self._call("GET", "/status"))

    def reconcile(self, timeout_s: float = 90.0, service_time_s: float | None = None) -> TwinStatus:
        """Make processes out of what is deployed now, and wait until they are ready; see ``problems`` for what is not.

        ``service_time_s``: serve a model with this fixed service time in place of each package; 0: the packages again.
        """
        wanted = {"timeout_s": timeout_s, "service_time_s": service_time_s}
        body = self._call("POST", "/reconcile", wanted, timeout_s + 30)
        return TwinStatus.from_json(body)

    def fault(self, group: str, action: str, **options: float) -> None:
        """Do something to a site (``private``, ``sagemaker``, ``azure_ml``), a gateway (``gateway-private``), to
        ``redis``, or to the ``spill`` of all classes.

        ``kill`` | ``start`` | ``hang`` (SIGSTOP) | ``resume``; of a site besides ``slow`` (``delay_s``) | ``fail``
        (``status``, ``share`` of the requests) | ``heal``; of the spill only ``close`` | ``open``
        """
        self._call("POST", f"/groups/{group}/{action}", options)

    def stop(self) -> None:
        """End every process of the twin; its state on disk stays."""
        stop_twin(self.state_dir)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None, timeout_s: float = 30.0) -> Any:
        request = urllib.request.Request(
            self.control + path,
            data=json.dumps(body or {}).encode() if method == "POST" else None,
            headers={"authorization": f"Bearer {self.token}", "content-type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise TwinError(error.read().decode(errors="replace") or str(error)) from None
        except OSError as error:
            raise TwinError(f"the twin in {self.state_dir} does not answer: {error}") from None


def find_twin(state_dir: Path) -> TwinHandle | None:
    """The twin that runs in ``state_dir``, or ``None``."""
    state_dir = state_dir.resolve()
    try:
        recorded = json.loads((state_dir / TWIN_FILE).read_text())
    except (OSError, ValueError):
        return None
    if not _is_supervisor(recorded["pid"], state_dir):
        return None
    names = ("pid", "control", "token", "endpoints", "kubernetes")
    return TwinHandle(state_dir, **{name: recorded[name] for name in names})


def start_twin(
    state_dir: Path,
    *,
    progress: Callable[[str], None] | None = None,
    kubernetes: KubernetesKind = "stand-in",
) -> TwinHandle:
    """Start the supervisor and the three emulated providers; returns once these answer.

    Raises :class:`TwinRunningError` when a twin runs there, :class:`TwinError` with the log's end when it does not come
    up.
    """
    state_dir = state_dir.resolve()
    if find_twin(state_dir):
        raise TwinRunningError(f"a twin already runs in {state_dir}")
    (state_dir / "logs").mkdir(parents=True, exist_ok=True)
    if progress:
        progress("starting the emulated AWS, Azure and Kubernetes")
    daemon = _launch(state_dir, kubernetes)
    try:
        return _await_ready(daemon, state_dir, _START_S[kubernetes])
    except BaseException:
        # Ctrl-C while it starts, too: nothing may be left half up.
        if daemon.poll() != LOCK_EXIT_CODE:
            _end(daemon)
        raise


def stop_twin(state_dir: Path) -> list[str]:
    """End the twin of ``state_dir``, also after its supervisor crashed. Returns what had to be ended by force."""
    state_dir = state_dir.resolve()
    twin = find_twin(state_dir)
    if twin:
        supervisor = psutil.Process(twin.pid)
        supervisor.send_signal(signal.SIGTERM)
        psutil.wait_procs([supervisor], timeout=20)
    leftovers = end_leftovers(str(state_dir), frozenset({os.getpid()}))
    (state_dir / TWIN_FILE).unlink(missing_ok=True)
    return leftovers


def _launch(state_dir: Path, kubernetes: KubernetesKind) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "spillway.twin.supervisor", "--state-dir", str(state_dir)]
    command += ["--kubernetes", kubernetes]
    with _supervisor_log(state_dir).open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, MARK: str(state_dir)},
            start_new_session=True,
        )


def _await_ready(daemon: subprocess.Popen[bytes], state_dir: Path, timeout_s: float) -> TwinHandle:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        twin = find_twin(state_dir)
        if twin and twin.pid == daemon.pid:
            return twin
        if daemon.poll() is not None:
            if daemon.returncode == LOCK_EXIT_CODE or twin:
                raise TwinRunningError(f"another start is under way in {state_dir}")
            raise TwinError(f"the twin did not start:\n{_log_end(state_dir)}")
        time.sleep(0.05)
    raise TwinError(f"the twin was not ready after {timeout_s:.0f} s:\n{_log_end(state_dir)}")


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(timeout=20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _is_supervisor(pid: int, state_dir: Path) -> bool:
    try:
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and process.environ().get(MARK) == str(state_dir)
    except (psutil.Error, OSError):
        return False


def _supervisor_log(state_dir: Path) -> Path:
    return state_dir / "logs" / "supervisor.log"


def _log_end(state_dir: Path, lines: int = 15) -> str:
    try:
        return "\n".join(_supervisor_log(state_dir).read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"
