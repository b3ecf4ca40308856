"""Ports of a twin: chosen free, and the same again at the next start when they still are."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Final

from spillway.twin.data_plane.processes.child import free_port

FILE: Final = "ports.json"
GATEWAY: Final = "gateway"
"""The port of both gateways, on addresses of their own."""


class PortError(Exception):
    """A port that was asked for cannot be had."""


def known_ports(state_dir: Path) -> dict[str, int]:
    """By name, as they were last."""
    try:
        return json.loads((state_dir / FILE).read_text())
    except (OSError, ValueError):
        return {}


def choose_gateway_port(state_dir: Path, port: int, running: bool) -> None:
    """Let the gateways' next start take ``port``. Raises :class:`PortError` where a process has it, and where the twin
    is ``running`` with another."""
    known = known_ports(state_dir)
    if running and GATEWAY in known:
        if known[GATEWAY] != port:
            raise PortError(f"--port {port}: the twin's gateways run at port {known[GATEWAY]}; `spillway down` first")
        return
    if free_port(wanted=port) != port:
        raise PortError(f"--port {port}: it is taken; choose another")
    state_dir.mkdir(parents=True, exist_ok=True)
    (state_dir / FILE).write_text(json.dumps({**known, GATEWAY: port}, indent=2))


class Ports:
    """Ports by name, kept in the twin's folder. Callable from any thread."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE
        self._lock = threading.Lock()
        self._chosen: dict[str, int] = {}
        self._earlier = known_ports(state_dir)

    def get(self, name: str) -> int:
        """The port of ``name``, chosen at the first call."""
        with self._lock:
            if name not in self._chosen:
                self._chosen[name] = self._choose(self._earlier.get(name, 0))
                draft = self._path.with_suffix(".draft")
                draft.write_text(json.dumps({**self._earlier, **self._chosen}, indent=2))
                draft.replace(self._path)
            return self._chosen[name]

    def _choose(self, wanted: int) -> int:
        taken = set(self._chosen.values())
        port = free_port(wanted=0 if wanted in taken else wanted)
        while port in taken:
            port = free_port()
        return port
