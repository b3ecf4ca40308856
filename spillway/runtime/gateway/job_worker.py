"""Hands jobs on to the asynchronous endpoint, a few at a time, and lets go of each once it is answered.

The endpoint has a queue of its own, in which a request ends after six hours; in ours it waits as long as the queue
keeps it, also while the cost guard has its class closed. So no more is given away than the endpoint can take.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from botocore.exceptions import ClientError

from spillway.runtime.gateway.aws import said
from spillway.runtime.gateway.job_store import JobStore, Mark, Message

LOG = logging.getLogger("spillway.jobs")


@dataclass
class Held:
    """A job at the endpoint. ``look_at``: when to look for its answer; ``hide_at``: to keep its message hidden."""

    message: Message
    mark: Mark
    look_at: float
    hide_at: float


class JobWorker:
    """Of one agent. ``is_open``: whether the class may use the site now."""

    def __init__(self, store: JobStore, is_open: Callable[[], bool]) -> None:
        self.store = store
        self._is_open = is_open
        self.held: dict[str, Held] = {}
        """By the message's id."""
        self.handed = 0
        """Times that a job was handed on."""
        self.repeated = 0
        """Of these, times that it may have been before."""
        self.ended = 0
        """Messages of jobs that got their answer or their failure."""

    def work(self) -> None:
        """One look at the jobs at the endpoint, and at the queue where there is room for more."""
        for held in list(self.held.values()):
            self._look(held)
        room = self.store.queue.most_held - len(self.held)
        if room > 0 and self._is_open():
            for message in self.store.receive(room):
                self._take(message)

    def _look(self, held: Held) -> None:
        now, queue = time.time(), self.store.queue
        if now >= held.look_at:
            if self._is_over(held.mark):
                self._let_go(held.message)
                return
            # The longer it takes, the less it matters when the end is seen.
            held.look_at = now + max(queue.period_s, (now - held.mark.begun) / 20)
        if self.store.is_given_up(held.mark):
            LOG.warning("job %s has no answer after hours: it goes back to the queue", held.message.job.id)
            del self.held[held.message.id]
        elif now >= held.hide_at:
            self._hide(held, now)

    def _is_over(self, mark: Mark) -> bool:
        return self.store.is_answered(mark) or self.store.is_failed(mark)

    def _let_go(self, message: Message) -> None:
        self.store.forget(message.receipt)
        self.held.pop(message.id, None)
        self.ended += 1

    def _hide(self, held: Held, now: float) -> None:
        try:
            self.store.hide(held.message.receipt)
            held.hide_at = now + self.store.queue.hidden_s / 3
        except ClientError as error:
            # Hidden for too long (twelve hours at most), or given to another: whoever gets it next finds the mark.
            LOG.warning("job %s is let go: %s", held.message.job.id, said(error))
            del self.held[held.message.id]

    def _take(self, message: Message) -> None:
        mark = self.store.mark(message.job)
        if mark is None or (self.store.is_given_up(mark) and not self._is_over(mark)):
            mark = self._hand_on(message, mark)
        elif mark.answer is None:
            # Begun by somebody of whom nobody knows how far they came. Who is still at it gets the time for it.
            overdue = time.time() >= mark.begun + self.store.queue.hidden_s
            mark = self._hand_on(message, mark) if overdue else None
        if mark is not None:
            now = time.time()
            self.held[message.id] = Held(message, mark, now, now + self.store.queue.hidden_s / 3)

    def _hand_on(self, message: Message, before: Mark | None) -> Mark | None:
        begun = self.store.begin(message.job, before)
        if begun is None:
            return None
        mark = self.store.hand_on(message, begun)
        self.handed += 1
        if mark.attempts > 1:
            self.repeated += 1
            LOG.warning("job %s is handed on for the %d. time", message.job.id, mark.attempts)
        return mark

    def metrics(self) -> Iterator[str]:
        """Lines for Prometheus."""
        yield f"spillway_jobs_held {len(self.held)}"
        yield f"spillway_jobs_handed_on_total {self.handed}"
        yield f"spillway_jobs_repeated_total {self.repeated}"
        yield f"spillway_jobs_ended_total {self.ended}"
