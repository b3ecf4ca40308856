"""Who used the machine while something was measured."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

import psutil

BUSIEST: Final = 0.70
"""Share of its cores above which what sends the load is what is measured."""
STRANGERS: Final = 0.10
"""Share of the servers' cores that others may take."""
LATE_S: Final = 0.05
"""Seconds after which a request is sent too late for its times to mean something."""


def cpu_times(cores: Collection[int] = ()) -> tuple[float, float]:
    """Seconds that these ``cores`` worked, and all of theirs; without, of those that this process may use."""
    each = psutil.cpu_times(percpu=True)
    chosen = [each[core]._asdict() for core in cores or os.sched_getaffinity(0)]
    everything = sum(sum(now.values()) - now["guest"] - now["guest_nice"] for now in chosen)
    return everything - sum(now["idle"] + now["iowait"] for now in chosen), everything


@dataclass
class Watch:
    """Of this process and its children, which have so many ``cores``, beside ``servers``, told by their process ids,
    which have ``server_cores``."""

    servers: Sequence[int]
    cores: int
    server_cores: Collection[int]
    _before: tuple[float, ...] = field(default=(), init=False)

    def begin(self) -> None:
        self._before = self._read()

    def end(self) -> dict[str, float]:
        """Shares since the beginning: of its cores by this process and its children; of the servers' cores by them and
        by others."""
        own, server, worked, passed = (now - then for then, now in zip(self._before, self._read(), strict=True))
        if not set(range(psutil.cpu_count() or 1)) - set(self.server_cores):
            worked -= own
        load = own / passed * len(self.server_cores) / self.cores
        return {"load_cpu": load, "server_cpu": server / passed, "others_cpu": (worked - server) / passed}

    def _read(self) -> tuple[float, ...]:
        theirs = {each for pid in self.servers for each in _tree(psutil.Process(pid))}
        ours = set(_tree(psutil.Process())) - theirs
        return _used(ours), _used(theirs), *cpu_times(self.server_cores)


def void(found: dict[str, float]) -> str:
    """Why what was measured says nothing; empty where it does."""
    if found["load_cpu"] > BUSIEST:
        return f"load and gateway took {found['load_cpu']:.0%} of their cores"
    if found["others_cpu"] > STRANGERS:
        return f"others took {found['others_cpu']:.0%} of the servers' cores"
    if found["sent_late_p99_s"] > LATE_S:
        return f"requests were sent {found['sent_late_p99_s']:.2f} s late"
    return ""


def _tree(root: psutil.Process) -> list[psutil.Process]:
    return [root, *root.children(recursive=True)]


def _used(processes: set[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)
