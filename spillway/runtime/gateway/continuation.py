"""How a chat's stream goes on elsewhere after it broke: by the ids of its tokens, so that the text is the one that an
unbroken stream gives.

The ids of the prompt and of what was said become the prompt of a completion, at a site that serves the same weights.
That is exact for greedy answers of which nothing but the tokens before decides the next: no tools, no schema, no
penalties, no stop words (their text is held back), one choice. A seed does not help: a sampler has a state that cannot
be handed on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Json = dict[str, Any]

COMPLETION_PATH: Final = "/v1/completions"
SHARED: Final = ("model", "temperature", "top_p", "top_k", "min_p", "seed", "user", "priority", "ignore_eos")
"""Members that mean the same in a chat and in a completion."""
UNDERSTOOD: Final = {*SHARED, "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n"}


class BrokenError(Exception):
    """The stream is over without its end, and cannot go on. The message says why."""


def is_exact(request: Mapping[str, Any]) -> bool:
    """Whether the answer can go on elsewhere byte for byte. What is not known here is taken for what cannot."""
    greedy = request.get("temperature") == 0 and request.get("n") in (None, 1)
    return greedy and set(request) <= UNDERSTOOD


def with_ids(request: Mapping[str, Any]) -> Json:
    """The request, asking for the ids of the tokens (vLLM's ``return_token_ids``)."""
    return {**request, "return_token_ids": True}


@dataclass
class Chat:
    """One chat's stream, as far as it came."""

    request: Mapping[str, Any]
    exact: bool
    """:func:`is_exact` of it. Events of one that is not pass as they are."""
    head: Json = field(default_factory=dict)
    """What every chunk says of the answer."""
    prompt: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    """Of the tokens whose text was sent."""
    unsaid: list[int] = field(default_factory=list)
    """Of those behind them, which gave no text yet: parts of a character. They are made again."""
    prompt_tokens: int | None = None
    carried: int = 0
    """Tokens of the sites before this one."""
    plain: bool = True
    """Whether all that was said is text of the answer; a reasoning is not."""
    finished: bool = False
    done: bool = False

    def take(self, event: str) -> str:
        """An event of a chat, as the client gets it. Raises :class:`BrokenError` for one that says that it broke."""
        chunk = self._read(event)
        if chunk is None or not self.exact:
            return event
        self.head = self.head or {key: chunk[key] for key in ("id", "created", "model") if key in chunk}
        self.prompt = chunk.pop("prompt_token_ids", None) or self.prompt
        self.prompt_tokens = (chunk.get("usage") or {}).get("prompt_tokens", self.prompt_tokens)
        for choice in chunk.get("choices", ()):
            self._note(choice, choice.get("delta") or {})
        return _written(chunk)

    def _read(self, event: str) -> Json | None:
        """What an event holds; ``None`` for the last, which holds nothing."""
        if event == "[DONE]":
            self.done = True
            return None
        if not self.exact and not event.startswith('{"error"'):
            return {}
        chunk = json.loads(event)
        if "error" in chunk:
            raise BrokenError(str((chunk["error"] or {}).get("message")))
        return chunk

    def take_completion(self, event: str) -> str:
        """An event of the completion by which it goes on, as one of the chat's."""
        chunk = self._read(event)
        if chunk is None:
            return event
        made = self._made()
        for choice in chunk.get("choices", ()):
            delta = {"content": choice.get("text") or ""}
            self._note(choice, delta)
            reason = choice.get("finish_reason")
            made["choices"].append({"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason})
        if usage := chunk.get("usage"):
            made["usage"] = self._usage(self.carried + usage["completion_tokens"])
        return _written(made)

    def _made(self) -> Json:
        return {**self.head, "object": "chat.completion.chunk", "choices": []}

    def _usage(self, done: int) -> Json:
        prompt = self.prompt_tokens or 0
        return {"prompt_tokens": prompt, "completion_tokens": done, "total_tokens": prompt + done}

    def _note(self, choice: Json, delta: Mapping[str, Any]) -> None:
        self.unsaid += choice.pop("token_ids", None) or []
        self.plain = self.plain and all(key in ("role", "content") for key, value in delta.items() if value)
        self.finished = self.finished or choice.get("finish_reason") is not None
        if delta.get("content"):
            self.ids += self.unsaid
            self.unsaid = []

    def end(self) -> list[str]:
        """The events that are missing where all of the text is there; none where some is not."""
        most = self._most()
        if not self.finished and not (most and len(self.ids) >= most):
            return []
        self.done = True
        usage = {**self._made(), "usage": self._usage(len(self.ids) + len(self.unsaid))}
        last = {"index": 0, "delta": {"content": ""}, "logprobs": None, "finish_reason": "length"}
        finish = [] if self.finished else [_written({**self._made(), "choices": [last]})]
        return [*finish, _written(usage), "[DONE]"]

    def _most(self) -> int | None:
        return self.request.get("max_completion_tokens") or self.request.get("max_tokens")

    def rest(self) -> Json:
        """The completion that says what is missing. Raises :class:`BrokenError` where it would not be the same."""
        if not self.exact or not self.prompt:
            raise BrokenError("only a greedy answer without tools, schema, penalties and stop words can")
        if not self.plain:
            raise BrokenError("a reasoning or a call of a tool cannot")
        self.carried, self.unsaid = len(self.ids), []
        most = self._most()
        shared = {name: self.request[name] for name in SHARED if name in self.request}
        return {
            **shared,
            "prompt": [*self.prompt, *self.ids],
            # Without a number vLLM makes 16; null is as many as there is room for, as in a chat.
            "max_tokens": most and most - len(self.ids),
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            "return_token_ids": True,
        }


def _written(chunk: Json) -> str:
    return json.dumps(chunk, separators=(",", ":"), ensure_ascii=False)


def broken_event(why: str) -> str:
    """What OpenAI's libraries raise."""
    message = f"the stream broke and does not go on elsewhere: {why}"
    return json.dumps({"error": {"message": message, "type": "gateway_error", "param": None, "code": 502}})
