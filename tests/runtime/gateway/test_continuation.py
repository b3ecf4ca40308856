"""What of a broken chat goes on elsewhere. The events are those of vLLM's chat and completion routes with
``return_token_ids``; with a real Envoy: tests/components/gateway/test_envoy_resume.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spillway.runtime.gateway.continuation import BrokenError, Chat, is_exact

REQUEST: dict[str, Any] = {"model": "m", "messages": [], "temperature": 0, "stream": True, "max_tokens": 10}


def part(content: str | None, ids: list[int], **more: Any) -> str:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None, "token_ids": ids, **more}
    return json.dumps({"id": "1", "created": 2, "model": "m", "choices": [choice]})


def begun(**request: Any) -> Chat:
    chat = Chat({**REQUEST, **request}, exact=True)
    first = {"id": "1", "created": 2, "model": "m", "choices": [], "prompt_token_ids": [7, 8]}
    usage = {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2}
    taken = json.loads(chat.take(json.dumps({**first, "usage": usage})))
    assert "prompt_token_ids" not in taken
    return chat


def test_the_prompt_of_the_rest_is_every_token_that_was_said() -> None:
    chat = begun(priority=0, user="u")
    assert "token_ids" not in json.loads(chat.take(part("Hel", [1])))["choices"][0]
    chat.take(part("lo", [2, 3]))
    rest = chat.rest()
    assert rest["prompt"] == [7, 8, 1, 2, 3]
    assert rest["max_tokens"] == 7
    assert (rest["model"], rest["temperature"], rest["priority"], rest["user"]) == ("m", 0, 0, "u")
    assert "messages" not in rest


def test_tokens_that_gave_no_text_yet_are_made_again() -> None:
    """The first bytes of a character: the site that goes on would hold their text back for ever."""
    chat = begun()
    chat.take(part("a", [1]))
    chat.take(part("", [2]))
    assert chat.rest()["prompt"] == [7, 8, 1]
    chat.take_completion(json.dumps({"choices": [{"text": "é", "token_ids": [2, 3], "finish_reason": None}]}))
    assert chat.ids == [1, 2, 3]


def test_what_goes_on_has_the_form_of_what_began() -> None:
    chat = begun()
    chat.take(part("a", [1]))
    chat.rest()
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    event = {"id": "cmpl", "choices": [{"index": 0, "text": "b", "token_ids": [2], "finish_reason": "stop"}]}
    made = json.loads(chat.take_completion(json.dumps({**event, "usage": usage})))
    assert (made["id"], made["object"]) == ("1", "chat.completion.chunk")
    assert made["choices"][0]["delta"] == {"content": "b"}
    assert made["choices"][0]["finish_reason"] == "stop"
    assert made["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}


def test_without_a_limit_the_rest_has_none() -> None:
    """vLLM makes 16 tokens of a completion that says nothing, and as many as fit of one that says null."""
    chat = begun(max_tokens=None)
    chat.take(part("a", [1]))
    assert chat.rest()["max_tokens"] is None


@pytest.mark.parametrize(
    "delta", [{"reasoning": "hm"}, {"reasoning_content": "hm"}, {"tool_calls": [{"index": 0}]}], ids=str
)
def test_what_is_not_plain_text_does_not_go_on(delta: dict[str, Any]) -> None:
    chat = begun()
    chat.take(part(None, [1], delta=delta))
    with pytest.raises(BrokenError, match="reasoning or a call"):
        chat.rest()


def test_where_only_the_end_is_missing_it_is_added() -> None:
    chat = begun()
    chat.take(part("a", [1]))
    assert chat.end() == []
    chat.take(part("", [], finish_reason="stop"))
    usage, done = chat.end()
    assert json.loads(usage)["usage"]["completion_tokens"] == 1
    assert done == "[DONE]"


def test_an_answer_of_its_full_length_is_not_asked_for_more() -> None:
    chat = begun(max_tokens=1)
    chat.take(part("a", [1]))
    finish, _, done = chat.end()
    assert json.loads(finish)["choices"][0]["finish_reason"] == "length"
    assert done == "[DONE]"


@pytest.mark.parametrize("more", [{"n": 2}, {"temperature": 0.1}, {"logprobs": True}, {"some_new_option": 1}], ids=str)
def test_what_is_not_known_to_be_exact_is_not(more: dict[str, Any]) -> None:
    assert is_exact(REQUEST)
    assert not is_exact({**REQUEST, **more})
