"""Who used the machine while something was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import psutil

BUSIEST: Final = 0.70
"""Share of its cores above which what sends the load is what is measured."""
STRANGERS: Final = 0.10
"""Share of the machine that others may take."""


def cpu_times() -> tuple[float, float]:
    """Seconds that the machine's cores worked, and all of theirs."""
    now = psutil.cpu_times()._asdict()
    everything = sum(now.values()) - now["guest"] - now["guest_nice"]
    return everything - now["idle"] - now["iowait"], everything


@dataclass
class Watch:
    """Of this process and its children, which have ``cores`` of them, beside ``servers``, told by their process ids."""

    servers: Sequence[int]
    cores: int
    _before: tuple[float, float, float, float] = field(default=(0.0, 0.0, 0.0, 0.0), init=False)

    def begin(self) -> None:
        self._before = self._read()

    def end(self) -> dict[str, float]:
        """Shares since the beginning: of ``cores`` by this process and its children, of the machine by the servers and
        by others."""
        own, server, worked, passed = (now - then for then, now in zip(self._before, self._read(), strict=True))
        machine = psutil.cpu_count() or 1
        return {
            "load_cpu": own / passed * machine / self.cores,
            "server_cpu": server / passed,
            "others_cpu": (worked - own - server) / passed,
        }

    def _read(self) -> tuple[float, float, float, float]:
        theirs = {each for pid in self.servers for each in _tree(psutil.Process(pid))}
        ours = set(_tree(psutil.Process())) - theirs
        return _used(ours), _used(theirs), *cpu_times()


def void(shares: dict[str, float]) -> str:
    """Why what was measured says nothing; empty where it does."""
    if shares["load_cpu"] > BUSIEST:
        return f"load and gateway took {shares['load_cpu']:.0%} of their cores"
    if shares["others_cpu"] > STRANGERS:
        return f"others took {shares['others_cpu']:.0%} of the machine"
    return ""


def _tree(root: psutil.Process) -> list[psutil.Process]:
    return [root, *root.children(recursive=True)]


def _used(processes: set[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)
