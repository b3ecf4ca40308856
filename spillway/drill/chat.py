"""Chats as the drill sends them: streamed, timed token by token.

A chat is lost where its first token comes later than its class allows, where it is refused, or where its stream is cut
before it ends; how long the answer is counts for nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

from spillway.contracts.classes import PROMISES, SITE_HEADER
from spillway.drill.http import Client, HttpError
from spillway.drill.load import Arrival, Outcome
from spillway.drill.target import DrillTarget

ANSWER_S: Final = 60.0
"""Seconds in which a whole answer has to be there after its first token; a stream that stands still is cut, too."""
PROMPTS: Final = (
    "Who has room for one more?",
    "Say in a sentence what overflow is.",
    "Warum wird eine Antwort nicht zweimal erzeugt?",
    "Count to twenty, slowly.",
)
_PREFIX: Final = b"data: "
_END: Final = b"[DONE]"


@dataclass(frozen=True)
class ChatWorkload:
    """``tokens``: of each answer, at most."""

    model: str
    tokens: int = 24
    prompts: Sequence[str] = PROMPTS

    def body(self, index: int) -> bytes:
        messages = [{"role": "user", "content": self.prompts[index % len(self.prompts)]}]
        asked = {"model": self.model, "messages": messages, "max_tokens": self.tokens, "temperature": 0}
        usage = {"include_usage": True, "continuous_usage_stats": True}
        return json.dumps({**asked, "stream": True, "stream_options": usage}).encode()

    def problem(self, index: int, body: bytes) -> str:
        """Of a whole answer."""
        stream = Stream()
        stream.take(body, 0.0)
        return "" if stream.ended else "the stream was cut"


@dataclass
class Stream:
    """An answer as it arrives: server-sent events, as OpenAI's libraries read them."""

    tokens: list[float] = field(default_factory=list)
    """When each came."""
    ended: bool = False
    count: int = 0
    """Tokens of the answer so far: as its usage says, since not every token has a text of its own."""
    _rest: bytes = b""

    def take(self, part: bytes, at: float) -> None:
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            if line.startswith(_PREFIX):
                self._event(line.removeprefix(_PREFIX).strip(), at)

    def _event(self, text: bytes, at: float) -> None:
        if text == _END:
            self.ended = True
            return
        with suppress(ValueError, LookupError, TypeError):
            event: dict[str, Any] = json.loads(text)
            choices: list[dict[str, Any]] = event["choices"]
            if choices and choices[0]["delta"].get("content"):
                self.tokens.append(at)
            usage = event.get("usage") or {}
            self.count = max(self.count, len(self.tokens), usage.get("completion_tokens", 0))


@dataclass(frozen=True)
class ChatOutcome(Outcome):
    """``latency_s``: to the first token. ``times``: of the texts that came, from the time the chat was due. ``tokens``:
    how many came. ``cut``: the stream began and did not end."""

    times: tuple[float, ...] = ()
    tokens: int = 0
    cut: bool = False

    @property
    def token_s(self) -> float | None:
        """Seconds for each token after the first."""
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1) if len(self.times) > 1 else None


async def send_chat(
    target: DrillTarget, client: Client, arrival: Arrival, started: float, until: float = inf
) -> ChatOutcome:
    """Send one chat now and follow its answer. ``started``: of the load, on ``time.perf_counter``'s clock. ``until``:
    when it is given up."""
    due = started + arrival.due_s
    stream, site, status = Stream(), "", 0

    def take(part: bytes) -> None:
        stream.take(part, time.perf_counter() - due)

    try:
        longest = due + PROMISES[arrival.request_class].lost_after_s + ANSWER_S
        patience = min(longest, until) - time.perf_counter()
        async with asyncio.timeout(max(patience, 0.0)):
            headers, body = target.headers(arrival.request_class), target.workload.body(arrival.index)
            reply = await client.post(target.path, headers, body, take)
        site, status = reply.headers.get(SITE_HEADER, ""), reply.status
        problem = "" if status == 200 and stream.ended else f"status {status}"
        problem = "the stream was cut" if status == 200 and not stream.ended else problem
    except TimeoutError:
        problem = "no answer in time"
    except HttpError as error:
        problem = str(error)
    times = tuple(stream.tokens)
    latency = times[0] if times else time.perf_counter() - due
    cut = bool(times) and not stream.ended
    return ChatOutcome(arrival.due_s, arrival.request_class, latency, status, site, problem, times, stream.count, cut)
