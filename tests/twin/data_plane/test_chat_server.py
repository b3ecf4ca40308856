"""The stand-in for vLLM: its queue, its order, its refusals, its end."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from spillway.contracts.vllm_options import table
from spillway.twin.data_plane.deployed import Served, from_variables, from_words
from spillway.twin.data_plane.language import server_of
from spillway.twin.data_plane.packages import PackageFetchError
from spillway.twin.data_plane.processes.chat_queue import ChatQueue, QueueFullError, QueueOptions
from spillway.twin.data_plane.processes.chat_server import ChatServer
from spillway.twin.data_plane.processes.child import free_port
from tests.support.waiting import eventually

CHAT = "/v1/chat/completions"
QUICK = QueueOptions(max_num_seqs=1, first_token_s=0.01, token_s=0.005)


def body(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4, **more}


def test_waiting_requests_go_by_priority_then_by_age() -> None:
    async def run() -> list[int]:
        queue, order = ChatQueue(QUICK), list[int]()

        async def one(number: int, priority: int) -> None:
            async for _ in queue.generate("p", 2, priority):
                pass
            order.append(number)

        tasks = []
        for number, priority in enumerate((2, 2, 1, 0)):
            tasks.append(asyncio.create_task(one(number, priority)))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(run()) == [0, 3, 2, 1]


def test_one_that_gives_up_waiting_leaves_no_hole() -> None:
    async def run() -> tuple[int, int]:
        queue = ChatQueue(QUICK)

        async def one() -> int:
            return len([token async for token in queue.generate("p", 2, 0)])

        first, second, third = (asyncio.create_task(one()) for _ in range(3))
        await asyncio.sleep(0.005)
        second.cancel()
        await asyncio.gather(first, third)
        return queue.running, queue.waiting

    assert asyncio.run(run()) == (0, 0)


def test_waiting_and_running_count_against_the_limit() -> None:
    """``max_num_queued_reqs``: vllm/v1/engine/async_llm.py, check_admission."""

    async def run() -> None:
        queue = ChatQueue(QUICK.model_copy(update={"max_num_queued_reqs": 2}))
        tokens = [queue.generate("p", 2, 0) for _ in range(2)]
        waiting = [asyncio.ensure_future(anext(each)) for each in tokens]
        await asyncio.sleep(0)
        assert (queue.running, queue.waiting) == (1, 1)
        with pytest.raises(QueueFullError):
            queue.admit()
        for task in waiting:
            task.cancel()

    asyncio.run(run())


REFUSED: dict[str, tuple[Any, int, str]] = {
    "no JSON": (b"{", 400, "BadRequestError"),
    "no object": (b"[]", 400, "BadRequestError"),
    "no messages": ({"model": "m"}, 400, "BadRequestError"),
    "no tokens": (body(max_tokens=-1), 400, "BadRequestError"),
    "another model": (body(model="other"), 404, "NotFoundError"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_errors_have_vllms_form(name: str) -> None:
    sent, status, kind = REFUSED[name]

    async def run() -> None:
        async with TestClient(TestServer(ChatServer("m", QUICK).app())) as client:
            data = sent if isinstance(sent, bytes) else json.dumps(sent)
            answer = await client.post(CHAT, data=data)
            error = (await answer.json())["error"]
            assert (answer.status, error["type"], error["code"]) == (status, kind, status)

    asyncio.run(run())


def test_a_full_queue_answers_before_any_header_of_a_stream() -> None:
    async def run() -> None:
        options = QUICK.model_copy(update={"max_num_queued_reqs": 1, "token_s": 0.1})
        async with TestClient(TestServer(ChatServer("m", options).app())) as client:
            running = await client.post(CHAT, json=body(stream=True))
            await running.content.readline()
            refused = await client.post(CHAT, json=body(stream=True))
            assert refused.status == 503
            assert refused.content_type == "application/json"
            assert (await refused.json())["error"]["type"] == "Service Unavailable"
            text = await (await client.get("/metrics")).text()
            assert 'vllm:admission_rejections_total{model_name="m",engine="0"} 1' in text
            assert (await running.read()).endswith(b"data: [DONE]\n\n")

    asyncio.run(run())


def test_of_many_at_once_some_streams_begin_with_the_refusal() -> None:
    """https://github.com/vllm-project/vllm/issues/58192, and seen on vLLM 0.32 on a CPU."""

    async def run() -> None:
        options = QUICK.model_copy(update={"max_num_queued_reqs": 1, "token_s": 0.05, "render_s": 0.2})
        async with TestClient(TestServer(ChatServer("m", options).app())) as client:
            answers = await asyncio.gather(*(client.post(CHAT, json=body(stream=True)) for _ in range(3)))
            texts = [await answer.text() for answer in answers]
        assert [answer.status for answer in answers] == [200] * 3
        late = [text for text in texts if text.startswith('data: {"error"')]
        assert len(late) == 2
        assert json.loads(late[0].splitlines()[0].removeprefix("data: "))["error"]["code"] == 503

    asyncio.run(run())


def test_the_end_of_the_process_lets_streams_run_to_done(tmp_path: Path) -> None:
    (tmp_path / "options.json").write_text(QUICK.model_copy(update={"token_s": 0.1}).model_dump_json())
    port = free_port()
    module = "spillway.twin.data_plane.processes.chat_server"
    arguments = ["--port", str(port), "--model", "m", "--options", str(tmp_path / "options.json"), "--drain-s", "10"]
    process = subprocess.Popen([sys.executable, "-m", module, *arguments])

    async def run() -> tuple[bytes, int]:
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession() as session:
            answer = await session.post(url + CHAT, json=body(stream=True, max_tokens=6))
            await answer.content.readline()
            process.send_signal(signal.SIGTERM)
            while (late := await session.post(url + CHAT, json=body())).status == 200:
                await asyncio.sleep(0.01)
            return await answer.read(), late.status

    def up() -> bool:
        try:
            asyncio.run(_health(port))
        except aiohttp.ClientError:
            return False
        return True

    try:
        eventually(up, within_s=20)
        text, late = asyncio.run(run())
        assert text.endswith(b"data: [DONE]\n\n")
        assert late == 503
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


async def _health(port: int) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/health") as answer:
        answer.raise_for_status()


DEPLOYED = {"max-num-seqs": "8", "max-num-queued-reqs": "16", "scheduling-policy": "priority"}


def test_options_are_read_in_each_sites_form() -> None:
    words = ["vllm", "serve", "/model", "--max-num-seqs", "8", "--max-num-queued-reqs=16"]
    words += ["--scheduling-policy", "priority", "--disable-fastapi-docs"]
    assert from_words(words) == {**DEPLOYED, "disable-fastapi-docs": "true"}
    variables = {f"SM_VLLM_{name.upper().replace('-', '_')}": value for name, value in DEPLOYED.items()}
    assert from_variables({**variables, "HF_HUB_OFFLINE": "1"}) == DEPLOYED


def test_the_stand_in_takes_the_limits_that_were_deployed() -> None:
    found = server_of(Served("private", "s3://b/k/", model="m", options={**DEPLOYED, "shutdown-timeout": "60"}))  # pyright: ignore[reportArgumentType]
    assert (found.queue.max_num_seqs, found.queue.max_num_queued_reqs, found.drain_s) == (8, 16, 60.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({**DEPLOYED, "max-queue": "1"}, f"vLLM {table()['version']} has no --max-queue"),
        ({"max-num-seqs": "8"}, "without --scheduling-policy priority"),
    ],
)
def test_what_vllm_refuses_the_twin_refuses(options: dict[str, str], words: str) -> None:
    with pytest.raises(PackageFetchError, match=words):
        server_of(Served("private", "s3://b/k/", model="m", options=options))  # pyright: ignore[reportArgumentType]
