"""Ports of a twin: chosen free, and the same again at the next start when they still are."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from spillway.twin.data_plane.processes.child import free_port


class Ports:
    """Ports by name, kept in ``path``. Callable from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._chosen: dict[str, int] = {}
        try:
            self._earlier: dict[str, int] = json.loads(path.read_text())
        except (OSError, ValueError):
            self._earlier = {}

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
