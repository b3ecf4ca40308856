"""An engine with vLLM's queue and no model: so many answers at once, a fixed time to the first token and for each
further one. Time passes and no processor works, so three of them on two cores have the capacity that they say.

What it has of vLLM 0.30: at most ``max_num_seqs`` answers are made at once, the others wait by priority, then by age
(``--scheduling-policy priority``); above ``max_num_queued_reqs`` waiting and running it takes no more.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from pydantic import Field

from spillway.contracts.frozen import Frozen

_WORDS: Final = ("the", "next", "answer", "goes", "to", "where", "there", "is", "room", "for", "it", "now")
"""What answers are made of."""


class QueueOptions(Frozen):
    """How an engine is set."""

    max_num_seqs: int = Field(default=2, ge=1)
    """Answers made at once."""
    max_num_queued_reqs: int | None = Field(default=None, ge=1)
    """Waiting and running requests above which none is taken; ``None``: no limit."""
    kv_answers: int | None = Field(default=None, ge=1)
    """Answers whose tokens fill the KV cache; ``None``: it holds four times what is made at once, and so never matters.
    Above it nobody is thrown out."""
    render_s: float = Field(default=0.002, ge=0)
    """Seconds between the first look at the queue and a place in it: the prompt is made of the chat meanwhile."""
    first_token_s: float = Field(default=0.02, ge=0)
    """Seconds from the beginning of a request's turn to its first token."""
    token_s: float = Field(default=0.01, ge=0)
    """Seconds for each further token."""
    dies_after: int | None = Field(default=None, ge=0)
    """Tokens of an answer after which the engine is gone; ``None``: never."""
    pooling: bool = False
    """Whether it gives vectors and scores (``--runner pooling``) and not text."""


class QueueFullError(Exception):
    """There is no room to wait."""


class ServerGoneError(Exception):
    """It died over this answer: nothing more is said, and the connection is gone."""


@dataclass
class Counts:
    """What ``/metrics`` tells, in vLLM's words."""

    prompt_tokens: int = 0
    generation_tokens: int = 0
    rejected: int = 0
    late: int = 0
    """Of those, how many had been let in before and were one too many by the time they counted."""
    aborted: int = 0
    ended: int = 0
    """Answers that were made to their end."""


@dataclass(order=True)
class _Waiting:
    priority: int
    age: int
    turn: asyncio.Event = field(compare=False, default_factory=asyncio.Event)
    gone: bool = field(compare=False, default=False)


class ChatQueue:
    """Belongs to one event loop."""

    def __init__(self, options: QueueOptions) -> None:
        self.options = options
        self.counts = Counts()
        self.running = 0
        self._waiting: list[_Waiting] = []
        self._ages = itertools.count()

    @property
    def kv_share(self) -> float:
        """Of the KV cache in use."""
        return self.running / (self.options.kv_answers or 4 * self.options.max_num_seqs)

    @property
    def waiting(self) -> int:
        return sum(not each.gone for each in self._waiting)

    def admit(self) -> None:
        """Raises :class:`QueueFullError`, before anything of an answer goes out."""
        most = self.options.max_num_queued_reqs
        if most is not None and self.running + self.waiting >= most:
            self.counts.rejected += 1
            raise QueueFullError

    async def generate(self, prompt: str, count: int, priority: int, begin: int = 0) -> AsyncIterator[str]:
        """``count`` tokens, the same for the same prompt on every engine. ``begin``: how many of the answer are part of
        what was read.

        A request counts from here on, as in vLLM: of many at once, some find the queue full only now, and a stream of
        theirs has begun (github.com/vllm-project/vllm/issues/58192). Raises :class:`QueueFullError`.
        """
        try:
            self.admit()
        except QueueFullError:
            self.counts.late += 1
            raise
        await self._take_turn(priority)
        done = 0
        try:
            self.counts.prompt_tokens += tokens_in(prompt) + begin
            for index, token in enumerate(answer_to(prompt, begin + count)[begin:]):
                if index == self.options.dies_after:
                    raise ServerGoneError
                await asyncio.sleep(self.options.token_s if index else self.options.first_token_s)
                self.counts.generation_tokens += 1
                done += 1
                yield token
        finally:
            self.counts.aborted += done < count
            self.counts.ended += done == count
            self._next_turn()

    async def _take_turn(self, priority: int) -> None:
        if self.running < self.options.max_num_seqs and not self.waiting:
            self.running += 1
            return
        mine = _Waiting(priority, next(self._ages))
        heapq.heappush(self._waiting, mine)
        try:
            await mine.turn.wait()
        except asyncio.CancelledError:
            mine.gone = True
            if mine.turn.is_set():
                self._next_turn()
            raise

    def _next_turn(self) -> None:
        """Hands a place that is free to the next in the queue."""
        self.running -= 1
        while self._waiting:
            found = heapq.heappop(self._waiting)
            if not found.gone:
                self.running += 1
                found.turn.set()
                return


def tokens_in(text: str) -> int:
    """A token is a word or a sign here."""
    return len(re.findall(r"\w+|\S", text))


FIRST_WORD: Final = 256
"""Ids below are bytes of a prompt, those from here on words of an answer."""


def ids_of(prompt: str) -> list[int]:
    return list(prompt.encode())


def id_of(token: str) -> int:
    return FIRST_WORD + _WORDS.index(token.strip())


def read_ids(ids: list[int]) -> tuple[str, int]:
    """The prompt, and how many tokens of its answer follow it. Raises ``ValueError`` where they are not its."""
    prompt = bytes(each for each in ids if each < FIRST_WORD).decode()
    words = ids[len(ids_of(prompt)) :]
    if words != [id_of(token) for token in answer_to(prompt, len(words))]:
        raise ValueError("the ids are of no answer to this prompt")
    return prompt, len(words)


def answer_to(prompt: str, count: int) -> list[str]:
    """The greedy answer of the package, as it were."""
    dice = sha256(prompt.encode()).digest()
    return [f"{' ' if index else ''}{_WORDS[dice[index % 32] % len(_WORDS)]}" for index in range(count)]
