"""The gateway's rule once more, in plain Python, to hold the compiled simulation against.

Written from docs/explanation/overflow.md ("Gates: who may fill a site") and from how the servers are documented: Triton
serves its priority levels in order, each instance one request at a time or a batch; vLLM plans every iteration anew,
prompts first come within the most urgent class, at most ``max-num-batched-tokens`` of them, one token for each answer.
Every iteration is an event here; nothing is shared with ``spillway.planner.kernel``. Each site is one server.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple


class Asked(NamedTuple):
    """One request: when it is sent, its class (0 is P0), tokens of its prompt, and seconds or tokens of its answer."""

    at: float
    klass: int
    prompt: int
    answer: float


class Fate(NamedTuple):
    """What became of it. ``site`` is ``None`` where it was refused."""

    asked: Asked
    site: int | None
    begun: float
    first: float
    done: float


@dataclass
class Site:
    """``slots`` at once in the server; gates as in the routing table. ``read_s``: seconds to read so many at once.

    ``token_s``: 0 for a server without tokens. ``pause_s``: how long a batch waits to fill.
    """

    slots: int
    batch_slots: int
    headroom: int
    read_s: Callable[[float], float] = lambda _: 0.0
    most_read: int = 8192
    token_s: float = 0.0
    stretch: float = 0.0
    pause_s: float = 0.0
    through: Counter[str] = field(default_factory=Counter)
    waiting: list[list[Asked]] = field(default_factory=lambda: [[], [], []])
    since: dict[Asked, float] = field(default_factory=dict)
    gates: dict[Asked, tuple[str, ...]] = field(default_factory=dict)
    begun: dict[Asked, float] = field(default_factory=dict)
    first: dict[Asked, float] = field(default_factory=dict)
    left: dict[Asked, float] = field(default_factory=dict)
    answers: dict[Asked, float] = field(default_factory=dict)
    busy: bool = False

    def lets_in(self, gates: Sequence[str]) -> bool:
        limits = {
            "batch": self.batch_slots,
            "interactive": self.slots,
            "open": self.slots + self.headroom,
        }
        return all(self.through[gate] < limits[gate] for gate in gates)

    @property
    def running(self) -> int:
        return len(self.left) + len(self.answers)

    def pop(self) -> Asked | None:
        return next((queue.pop(0) for queue in self.waiting if queue), None)


class Reference:
    """Sites in spill order. :meth:`fates` runs requests through them."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self.sites = sites
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.turn = count()
        self.now = 0.0
        self.found: list[Fate] = []

    def fates(self, requests: Sequence[Asked]) -> list[Fate]:
        for one in requests:
            self._at(one.at, lambda one=one: self._arrive(one))
        while self.events:
            self.now, _, happen = heapq.heappop(self.events)
            happen()
        return self.found

    def _at(self, time: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self.events, (time, next(self.turn), happen))

    def _arrive(self, one: Asked) -> None:
        pools = (("interactive", "open"), ("interactive", "open"), ("batch", "interactive", "open"))
        rounds = [pools[one.klass], ("open",)] if one.klass == 0 else [pools[one.klass]]
        for gates in rounds:
            for site in self.sites:
                if site.lets_in(gates):
                    site.through.update(gates)
                    site.gates[one] = gates
                    site.since[one] = self.now
                    site.waiting[one.klass].append(one)
                    self._look(site)
                    return
        self.found.append(Fate(one, None, self.now, self.now, self.now))

    def _look(self, site: Site) -> None:
        if site.token_s:
            if not site.busy:
                self._iterate(site)
        elif site.pause_s or site.read_s(1.0):
            self._batch(site)
        else:
            while site.running < site.slots and (one := site.pop()):
                site.begun[one] = self.now
                site.answers[one] = one.answer
                self._at(self.now + one.answer, lambda one=one: self._done(site, one))

    def _done(self, site: Site, one: Asked) -> None:
        site.answers.pop(one, None)
        for gate in site.gates.pop(one):
            site.through[gate] -= 1
        number = next(n for n, known in enumerate(self.sites) if known is site)
        self.found.append(Fate(one, number, site.begun[one], site.first.get(one, self.now), self.now))
        if not site.busy:
            self._look(site)

    def _batch(self, site: Site) -> None:
        """Triton's dynamic batcher: the largest batch that there is, after at most ``pause_s``."""
        queued = [one for queue in site.waiting for one in queue]
        if site.busy or not queued:
            return
        due = min(site.since[one] for one in queued) + site.pause_s
        if len(queued) < site.most_read and self.now < due:
            self._at(due, lambda: self._batch(site))
            return
        batch = [one for _ in range(min(site.most_read, site.slots)) if (one := site.pop())]
        for one in batch:
            site.begun[one] = self.now
        site.busy = True

        def end() -> None:
            for one in batch:
                site.first[one] = self.now
                self._done(site, one)
            site.busy = False
            self._batch(site)

        self._at(self.now + site.read_s(len(batch)), end)

    def _iterate(self, site: Site) -> None:
        """One iteration of an engine with continuous batching and chunked prompts."""
        answering = len(site.answers)
        budget = site.most_read - answering
        chunk: dict[Asked, float] = {}
        for one in list(site.left):
            chunk[one] = min(budget, site.left[one])
            budget -= chunk[one]
        while budget > 0 and site.running < site.slots and (one := site.pop()):
            site.begun[one] = self.now
            site.left[one] = one.prompt
            chunk[one] = min(budget, one.prompt)
            budget -= chunk[one]
        if not chunk and not answering:
            site.busy = False
            return
        site.busy = True
        load = (answering - 1) / max(1, site.slots - 1)
        lasts = site.token_s * (1 + site.stretch * load)
        if chunk:
            lasts = site.read_s(sum(chunk.values()) + answering)
            for one, read in chunk.items():
                # Chunk after chunk a prompt takes at least as long as all at once: later tokens look at earlier ones.
                if before := one.prompt - site.left[one]:
                    lasts += max(0.0, site.read_s(before + read) - site.read_s(before) - site.read_s(read))
            lasts *= 1.1 if answering else 1.0
        self._at(self.now + lasts, lambda: self._iterated(site, chunk))

    def _iterated(self, site: Site, chunk: dict[Asked, float]) -> None:
        for one in list(site.answers):
            site.answers[one] -= 1
            if site.answers[one] <= 0:
                self._done(site, one)
        for one, read in chunk.items():
            site.left[one] -= read
            if site.left[one] <= 0:
                del site.left[one]
                site.first[one] = self.now
                if one.answer > 0:
                    site.answers[one] = one.answer
                else:
                    self._done(site, one)
        self._iterate(site)
