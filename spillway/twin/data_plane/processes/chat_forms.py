"""What vLLM 0.30 answers on OpenAI's routes: whole, and as the events of a stream.

Read from its ``vllm/entrypoints/openai/{chat_completion,completion,responses}`` and ``vllm/entrypoints/pooling``.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, ClassVar, Final, Protocol

from spillway.twin.data_plane.processes.chat_queue import id_of

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One answer's form. ``asked``: the request; ``prompt``: tokens in it; ``ids``: theirs, where ids are wanted
    (``return_token_ids``)."""

    id: str
    created: int
    model: str
    asked: Json
    prompt: int
    ids: Sequence[int] | None = None
    tells_refusals: ClassVar[bool] = True
    """Whether a stream that has begun says that there is no room, or ends without a word."""

    def usage(self, done: int) -> Json:
        """``done``: tokens generated."""
        return {"prompt_tokens": self.prompt, "completion_tokens": done, "total_tokens": self.prompt + done}

    def whole(self, tokens: Sequence[str]) -> Json:
        """All of it, in one piece."""
        raise NotImplementedError

    def events(self, tokens: AsyncIterator[str]) -> AsyncIterator[str]:
        """As a stream's events."""
        raise NotImplementedError


class _Chunked(Answer):
    """Chats and completions: chunks without a name, the usage in a last one of its own where it is wanted, or in each
    (``continuous_usage_stats``)."""

    whole_object: ClassVar[str]
    part_object: ClassVar[str]
    greets: ClassVar[bool] = False
    """Whether a chunk without text goes before the first token."""

    def _about(self) -> Json:
        return {"id": self.id, "created": self.created, "model": self.model}

    def _part(self, text: str | None, first: bool) -> Json:
        raise NotImplementedError

    def _all(self, text: str) -> Json:
        raise NotImplementedError

    def whole(self, tokens: Sequence[str]) -> Json:
        choice = {"index": 0, **self._all("".join(tokens)), "finish_reason": "length"}
        return {**self._about(), "object": self.whole_object, "choices": [choice], "usage": self.usage(len(tokens))}

    async def events(self, tokens: AsyncIterator[str]) -> AsyncIterator[str]:
        options = self.asked.get("stream_options") or {}
        wanted = bool(options.get("include_usage"))
        each = wanted and bool(options.get("continuous_usage_stats"))
        done = 0

        begun = False

        def event(choices: list[Json], with_usage: bool) -> str:
            nonlocal begun
            more = {"usage": self.usage(done)} if with_usage else {}
            ids = {"prompt_token_ids": list(self.ids)} if self.ids is not None and not begun else {}
            begun = True
            return _data({**self._about(), "object": self.part_object, "choices": choices, **ids, **more})

        def choice(text: str | None, first: bool = False) -> list[Json]:
            finish = "length" if text is None else None
            ids = {"token_ids": [id_of(text)]} if text and self.ids is not None else {}
            return [{"index": 0, **self._part(text, first), "logprobs": None, "finish_reason": finish, **ids}]

        async for token in tokens:
            if self.greets and not done:
                yield event(choice("", first=True), each)
            done += 1
            yield event(choice(token), each)
        yield event(choice(None), each)
        if wanted:
            yield event([], with_usage=True)
        yield "data: [DONE]\n\n"


class _Chat(_Chunked):
    whole_object, part_object, greets = "chat.completion", "chat.completion.chunk", True

    def _part(self, text: str | None, first: bool) -> Json:
        return {"delta": ({"role": "assistant"} if first else {}) | ({} if text is None else {"content": text})}

    def _all(self, text: str) -> Json:
        return {"message": {"role": "assistant", "content": text, "tool_calls": []}}


class _Text(_Chunked):
    whole_object = part_object = "text_completion"

    def _part(self, text: str | None, first: bool) -> Json:
        del first
        return {"text": text or ""}

    def _all(self, text: str) -> Json:
        return {"text": text}


class _Response(Answer):
    """OpenAI's responses: named events, and the usage in the response that the last one carries. Of what goes wrong
    vLLM's stream tells ``GenerationError`` alone; anything else ends the connection."""

    tells_refusals = False

    def usage(self, done: int) -> Json:
        return {
            "input_tokens": self.prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": done,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.prompt + done,
        }

    def _item(self, text: str, status: str) -> Json:
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": None}
        content = [part] if status == "completed" else []
        return {"id": "msg_0", "type": "message", "role": "assistant", "status": status, "content": content}

    def _response(self, status: str, output: list[Json], usage: Json | None) -> Json:
        settings = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "background": False}
        about = {"id": self.id, "created_at": self.created, "model": self.model, "object": "response"}
        about["instructions"] = self.asked.get("instructions")
        return {**about, **settings, "status": status, "output": output, "usage": usage}

    def whole(self, tokens: Sequence[str]) -> Json:
        return self._response("completed", [self._item("".join(tokens), "completed")], self.usage(len(tokens)))

    async def events(self, tokens: AsyncIterator[str]) -> AsyncIterator[str]:
        number = 0

        def event(kind: str, **fields: Any) -> str:
            nonlocal number
            number += 1
            return f"event: {kind}\n{_data({'type': kind, 'sequence_number': number - 1, **fields})}"

        yield event("response.created", response=self._response("in_progress", [], None))
        yield event("response.in_progress", response=self._response("in_progress", [], None))
        said: list[str] = []
        place = {"output_index": 0, "content_index": 0, "item_id": "msg_0"}
        async for token in tokens:
            if not said:
                yield event("response.output_item.added", output_index=0, item=self._item("", "in_progress"))
            said.append(token)
            yield event("response.output_text.delta", **place, delta=token, logprobs=[])
        yield event("response.output_text.done", **place, text="".join(said), logprobs=[])
        yield event("response.output_item.done", output_index=0, item=self._item("".join(said), "completed"))
        yield event("response.completed", response=self.whole(said))


def _data(value: Json) -> str:
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n"


class _Made(Protocol):
    def __call__(
        self, id: str, created: int, model: str, asked: Json, prompt: int, ids: Sequence[int] | None, /
    ) -> Answer: ...


@dataclass(frozen=True)
class Form:
    """One route's. ``limits``: names of the most tokens in a request, the first that is there counts."""

    answer: _Made
    prefix: str
    limits: tuple[str, ...]


CHAT: Final = Form(_Chat, "chatcmpl-", ("max_completion_tokens", "max_tokens"))
TEXT: Final = Form(_Text, "cmpl-", ("max_tokens",))
RESPONSE: Final = Form(_Response, "resp_", ("max_output_tokens",))
POOLED: Final = ("/v1/embeddings", "/v1/rerank", "/v1/score")
"""Routes of models that give vectors and scores."""


def pooled(path: str, body: Mapping[str, Any]) -> tuple[Json, list[str]]:
    """What a pooling model answers on a route, without the usage, and the words that it read."""
    if path == "/v1/embeddings":
        texts = list(_texts(body.get("input")))
        data = [{"object": "embedding", "index": at, "embedding": _vector(text)} for at, text in enumerate(texts)]
        return {"object": "list", "data": data}, _words(texts)
    if path == "/v1/rerank":
        query, documents = str(body.get("query")), list(_texts(body.get("documents")))
        fits = sorted(((_fit(query, each), at) for at, each in enumerate(documents)), reverse=True)
        results = [{"index": at, "document": {"text": documents[at]}, "relevance_score": fit} for fit, at in fits]
        return {"results": results}, _words([query, *documents])
    first, second = list(_texts(body.get("text_1"))), list(_texts(body.get("text_2")))
    data = [{"index": at, "object": "score", "score": _fit(first[0], each)} for at, each in enumerate(second)]
    return {"object": "list", "data": data}, _words([*first, *second])


def _texts(value: Any) -> Iterator[str]:
    yield from (value if isinstance(value, list) else [value])


def _words(texts: Sequence[str]) -> list[str]:
    return " ".join(texts).split()


def _vector(text: str) -> list[float]:
    return [byte / 255 for byte in sha256(text.encode()).digest()[:8]]


def _fit(one: str, other: str) -> float:
    return len(set(_words([one])) & set(_words([other]))) / max(1, len(set(_words([one]))))
