"""The processes of a twin as one set: start, watch, restart, and hurt on purpose.

Names are ``<group>/<part>`` (``private/triton``); faults act on a whole group. Everything runs on the supervisor's
event loop, in its main thread.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from spillway.twin.data_plane.processes.child import Child, ProcessSpec
from spillway.twin.status import ProcessStatus

_WATCH_S: Final = 0.25
_PROBE_TIMEOUT_S: Final = 2.0
_BACK_OFF_S: Final = (0.2, 1.0, 2.0, 5.0, 10.0)
"""Pauses before the first, second, ... restart in a row; kubelet's are of this shape."""
_SETTLED_S: Final = 30.0
"""A process that ran this long starts again at the first pause."""


@dataclass
class _Member:
    spec: ProcessSpec
    child: Child | None = None
    ready: bool = False
    restarts: int = 0
    failures: int = 0
    restart_at: float = 0.0
    fault: str = ""
    started: float = field(default_factory=time.monotonic)


class ProcessGroup:
    """Owns the children. ``mark``: what they carry in their environment; ``logs``: the folder of their logs."""

    def __init__(self, mark: str, logs: Path) -> None:
        self._mark = mark
        self._logs = logs
        self._members: dict[str, _Member] = {}
        self._closing = False

    async def apply(self, specs: Iterable[ProcessSpec], scope: Callable[[str], bool]) -> None:
        """Make the processes whose name is in ``scope`` equal ``specs``: start new, restart changed, end others."""
        wanted = {spec.name: spec for spec in specs}
        gone = [name for name, member in self._members.items() if scope(name) and member.spec != wanted.get(name)]
        await asyncio.gather(*(self._drop(name) for name in gone))
        for name, spec in wanted.items():
            if name not in self._members:
                self._members[name] = _Member(spec)
                self._start(self._members[name])

    async def wait_ready(self, names: Iterable[str], timeout_s: float) -> list[str]:
        """Wait until all of them are ready; returns the names of those that were not in time. Held ones are skipped."""
        names = list(names)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            late = [name for name in names if self._is_awaited(name)]
            if not late:
                return []
            await asyncio.sleep(0.05)
        return late

    async def watch(self) -> None:
        """Probe and restart until cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PROBE_TIMEOUT_S)) as session:
            while not self._closing:
                await asyncio.gather(*(self._look(member, session) for member in list(self._members.values())))
                await asyncio.sleep(_WATCH_S)

    def members(self, group: str) -> list[str]:
        return [name for name in self._members if name.split("/")[0] == group]

    def is_ready(self, name: str) -> bool:
        return name in self._members and self._members[name].ready

    def _is_awaited(self, name: str) -> bool:
        member = self._members.get(name)
        return member is not None and not member.ready and not member.fault

    def kill(self, group: str) -> None:
        """SIGKILL, and held down until :meth:`start`."""
        for member in self._of(group):
            member.fault, member.ready = "killed", False
            if member.child:
                member.child.kill()

    def start(self, group: str) -> None:
        for member in self._of(group):
            if member.child is None or member.child.exit_code is not None:
                member.fault = ""
                self._start(member)

    def hang(self, group: str) -> None:
        """SIGSTOP: connections are accepted by the kernel, nothing answers."""
        for member in self._of(group):
            member.fault, member.ready = "hung", False
            if member.child:
                member.child.signal_group(signal.SIGSTOP)

    def resume(self, group: str) -> None:
        for member in self._of(group):
            member.fault = ""
            if member.child:
                member.child.signal_group(signal.SIGCONT)

    def status(self) -> tuple[ProcessStatus, ...]:
        return tuple(self._describe(member) for _, member in sorted(self._members.items()))

    async def close(self) -> None:
        self._closing = True
        await asyncio.gather(*(self._drop(name) for name in list(self._members)))

    def _of(self, group: str) -> list[_Member]:
        found = [self._members[name] for name in self.members(group)]
        if not found:
            known = sorted({name.split("/")[0] for name in self._members})
            raise LookupError(f"no group {group!r} runs here; there is {', '.join(known)}")
        return found

    def _start(self, member: _Member) -> None:
        member.ready = False
        member.child = Child(member.spec, self._mark, self._logs / f"{member.spec.name.replace('/', '-')}.log")
        member.started = time.monotonic()

    async def _drop(self, name: str) -> None:
        member = self._members.pop(name)
        if member.child:
            await asyncio.to_thread(member.child.stop)

    async def _look(self, member: _Member, session: aiohttp.ClientSession) -> None:
        if member.fault or member.child is None:
            return
        if member.child.exit_code is not None:
            member.ready = False
            self._restart_later(member)
            return
        ready = await _answers(member.spec, session)
        # It may have been hurt or replaced while the probe was under way.
        if not member.fault and member.child.exit_code is None:
            member.ready = ready

    def _restart_later(self, member: _Member) -> None:
        now = time.monotonic()
        if not member.spec.restart or self._closing:
            return
        if not member.restart_at:
            member.failures = 0 if now - member.started > _SETTLED_S else member.failures + 1
            member.restart_at = now + _BACK_OFF_S[min(member.failures, len(_BACK_OFF_S) - 1)]
        elif now >= member.restart_at:
            member.restart_at = 0.0
            member.restarts += 1
            self._start(member)

    def _describe(self, member: _Member) -> ProcessStatus:
        child = member.child
        exited = child is None or child.exit_code is not None
        state = {"killed": "killed", "hung": "stopped"}.get(member.fault) or ("exited" if exited else "running")
        return ProcessStatus(
            name=member.spec.name,
            pid=child.pid if child and not exited else 0,
            state=state,
            ready=member.ready,
            restarts=member.restarts,
            port=member.spec.port,
            log=str(child.log) if child else "",
        )


async def _answers(spec: ProcessSpec, session: aiohttp.ClientSession) -> bool:
    try:
        if spec.health:
            async with session.get(spec.health, ssl=False) as answer:
                return answer.status == 200
        if spec.port:
            _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", spec.port), _PROBE_TIMEOUT_S)
            writer.close()
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False
    return True
