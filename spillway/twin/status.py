"""How a twin stands: what the supervisor answers, and its handle returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class ProcessStatus:
    """``state``: running | stopped (SIGSTOP) | exited | killed (by a fault). ``log``: path of its log file."""

    name: str
    pid: int
    state: str
    ready: bool
    restarts: int
    port: int
    log: str


@dataclass(frozen=True)
class SiteStatus:
    """A place that serves requests. ``state``: ready | starting | absent | a fault's name. ``detail``: why."""

    name: str
    ready: bool
    state: str
    detail: str = ""

    @property
    def late(self) -> bool:
        """It was deployed, and does not serve."""
        return not self.ready and self.state != "absent"


@dataclass(frozen=True)
class TwinStatus:
    """``problems``: what was deployed and cannot be run here, one sentence each."""

    pid: int
    endpoints: dict[str, str]
    gateways: dict[str, str] = field(default_factory=dict)
    dns: str = ""
    sites: tuple[SiteStatus, ...] = ()
    processes: tuple[ProcessStatus, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether everything serves that was deployed."""
        return not self.problems and not any(site.late for site in self.sites)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> TwinStatus:
        return TwinStatus(
            pid=data["pid"],
            endpoints=data["endpoints"],
            gateways=data["gateways"],
            dns=data["dns"],
            sites=tuple(SiteStatus(**site) for site in data["sites"]),
            processes=tuple(ProcessStatus(**process) for process in data["processes"]),
            problems=tuple(data["problems"]),
        )
