"""The gateway's rule once more, in plain Python, to hold the compiled simulation against.

Written from docs/explanation/overflow.md ("Gates: who may fill a site", "Deadlines") and from how the servers are
documented: Triton serves its priority levels in order, each instance one request at a time or a batch, and works on
where its client has gone (https://github.com/triton-inference-server/server/issues/7077); vLLM plans every iteration
anew, prompts first come within the most urgent class, at most ``max-num-batched-tokens`` of them, one token for each
answer, and none for who has gone. Every iteration is an event here; nothing is shared with ``spillway.planner.kernel``.
Each site is one server.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import NamedTuple


class Asked(NamedTuple):
    """One request: when it is sent, its class (0 is P0), tokens of its prompt, and seconds or tokens of its answer."""

    at: float
    klass: int
    prompt: int
    answer: float


class Fate(NamedTuple):
    """What became of it. ``site`` is ``None`` where nobody answered."""

    asked: Asked
    site: int | None
    begun: float
    first: float
    done: float


@dataclass(eq=False)
class Try:
    """A request at a site. ``row``: of the class's ways. ``gone``: cut by the gateway."""

    asked: Asked
    row: int
    gates: tuple[str, ...]
    since: float
    begun: float = -1.0
    first: float = -1.0
    gone: bool = False
    over: bool = False


@dataclass
class Site:
    """``slots`` at once in the server; gates as in the routing table. ``read_s``: seconds to read so many at once.

    ``token_s``: 0 for a server without tokens. ``pause_s``: how long a batch waits to fill. ``in_a_row``, ``back`` and
    ``times``: of Envoy's outlier detection.
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
    waiting: list[list[Try]] = field(default_factory=lambda: [[], [], []])
    left: dict[Try, float] = field(default_factory=dict)
    answers: dict[Try, float] = field(default_factory=dict)
    busy: bool = False
    in_a_row: int = 0
    back: float = 0.0
    times: float = 0.0

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

    def pop(self) -> Try | None:
        return next((queue.pop(0) for queue in self.waiting if queue), None)

    def failed(self, now: float) -> None:
        """A try was cut: the third in a row takes the host out until a look after 3 s, 6 s, … 15 s."""
        self.in_a_row += 1
        if self.in_a_row == 3 and self.back <= now:
            quiet = math.floor(now) - self.back
            self.in_a_row, self.times = 0, min(6.0, max(0.0, self.times - quiet) + 1)
            self.back = math.ceil(now + min(15.0, 3.0 * self.times))


class Reference:
    """Sites in spill order. :meth:`fates` runs requests through them. ``tries``: seconds of one try, and of the whole
    request, by class."""

    def __init__(self, sites: Sequence[Site], tries: Mapping[int, tuple[float, float]] | None = None) -> None:
        self.sites = sites
        self.tries = tries or {}
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.turn = count()
        self.now = 0.0
        self.found: list[Fate] = []

    def fates(self, requests: Sequence[Asked]) -> list[Fate]:
        for one in requests:
            self._at(one.at, lambda one=one: self._send(one, 0))
        while self.events:
            self.now, _, happen = heapq.heappop(self.events)
            happen()
        return self.found

    def _at(self, time: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self.events, (time, next(self.turn), happen))

    def _ways(self, klass: int) -> list[tuple[Site, tuple[str, ...]]]:
        pool = ("batch", "interactive", "open") if klass == 2 else ("interactive", "open")
        rounds = [pool, ("open",)] if klass == 0 else [pool]
        return [(site, gates) for gates in rounds for site in self.sites]

    def _send(self, one: Asked, first: int) -> None:
        each, whole = self.tries.get(one.klass, (math.inf, math.inf))
        if self.now < one.at + whole - 1e-6:
            for row, (site, gates) in list(enumerate(self._ways(one.klass)))[first:]:
                if site.back <= self.now and site.lets_in(gates):
                    tried = Try(one, row, gates, self.now)
                    site.in_a_row = 0
                    site.through.update(gates)
                    site.waiting[one.klass].append(tried)
                    if each < math.inf:
                        self._at(min(self.now + each, one.at + whole), partial(self._cut, site, tried))
                    self._look(site)
                    return
        self.found.append(Fate(one, None, self.now, self.now, self.now))

    def _cut(self, site: Site, tried: Try) -> None:
        """The time of a try is over: of a stream that has begun it does not count."""
        if tried.over or (site.token_s and tried.first >= 0):
            return
        tried.gone = True
        site.failed(self.now)
        site.through.subtract(tried.gates)
        if site.token_s and tried.begun < 0:
            site.waiting[tried.asked.klass].remove(tried)
        self._send(tried.asked, tried.row + 1)

    def _look(self, site: Site) -> None:
        if site.token_s:
            if not site.busy:
                self._iterate(site)
        elif site.pause_s or site.read_s(1.0):
            self._batch(site)
        else:
            while site.running < site.slots and (one := site.pop()):
                one.begun = self.now
                site.answers[one] = one.asked.answer
                self._at(self.now + one.asked.answer, lambda one=one: self._done(site, one))

    def _done(self, site: Site, one: Try) -> None:
        site.answers.pop(one, None)
        one.over = True
        if not one.gone:
            site.through.subtract(one.gates)
            number = next(n for n, known in enumerate(self.sites) if known is site)
            first = one.first if one.first >= 0 else self.now
            self.found.append(Fate(one.asked, number, one.begun, first, self.now))
        if not site.busy:
            self._look(site)

    def _batch(self, site: Site) -> None:
        """Triton's dynamic batcher: the largest batch that there is, after at most ``pause_s``."""
        queued = [one for queue in site.waiting for one in queue]
        if site.busy or not queued:
            return
        due = min(one.since for one in queued) + site.pause_s
        if len(queued) < site.most_read and self.now < due:
            self._at(due, lambda: self._batch(site))
            return
        batch = [one for _ in range(min(site.most_read, site.slots)) if (one := site.pop())]
        for one in batch:
            one.begun = self.now
        site.busy = True

        def end() -> None:
            for one in batch:
                one.first = self.now
                self._done(site, one)
            site.busy = False
            self._batch(site)

        self._at(self.now + site.read_s(len(batch)), end)

    def _iterate(self, site: Site) -> None:
        """One iteration of an engine with continuous batching and chunked prompts."""
        answering = len(site.answers)
        budget = site.most_read - answering
        chunk: dict[Try, float] = {}
        for one in list(site.left):
            chunk[one] = min(budget, site.left[one])
            budget -= chunk[one]
        while budget > 0 and site.running < site.slots and (one := site.pop()):
            one.begun = self.now
            site.left[one] = one.asked.prompt
            chunk[one] = min(budget, one.asked.prompt)
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
                if before := one.asked.prompt - site.left[one]:
                    lasts += max(0.0, site.read_s(before + read) - site.read_s(before) - site.read_s(read))
            lasts *= 1.1 if answering else 1.0
        self._at(self.now + lasts, lambda: self._iterated(site, chunk))

    def _iterated(self, site: Site, chunk: dict[Try, float]) -> None:
        for one in list(site.answers):
            site.answers[one] -= 1
            if site.answers[one] <= 0:
                self._done(site, one)
        for one, read in chunk.items():
            site.left[one] -= read
            if one.gone:
                del site.left[one]
            elif site.left[one] <= 0:
                del site.left[one]
                one.first = self.now
                if one.asked.answer > 0:
                    site.answers[one] = one.asked.answer
                else:
                    self._done(site, one)
        self._iterate(site)
