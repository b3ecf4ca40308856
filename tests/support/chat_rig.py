"""A real Envoy before three stand-ins for vLLM, asked by the ``openai`` library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import openai
from aiohttp import web
from multidict import CIMultiDict

from components.burst.azure_ml.route import paths as azure_paths
from components.burst.sagemaker.route import paths as sagemaker_paths
from spillway.contracts.classes import CLASS_HEADER, OPERATOR_KEY_HEADER, SITE_HEADER, Site, SiteName
from spillway.contracts.credentials import AwsToken
from spillway.contracts.routing import ActiveCheck, Probe, RoutingTable
from spillway.runtime.gateway.agent import Agent
from spillway.runtime.gateway.tokens import write_token
from spillway.twin.data_plane.processes.burst_front import AzureMlFront, SageMakerFront
from spillway.twin.data_plane.processes.chat_queue import QueueOptions
from spillway.twin.data_plane.processes.chat_server import ChatServer
from tests.support.gateway_rig import ALPHA, ENDPOINT, MODEL, OPERATOR_KEY, ModelServer, Rig, Seen

CHAT = "/v1/chat/completions"
POISON = "drink this"
"""A request with these words takes its server down."""


@dataclass
class ChatBackend(ModelServer):
    """A stand-in for vLLM whose behaviour a test sets. ``hang``: nothing is answered, health neither."""

    options: QueueOptions = field(default_factory=lambda: QueueOptions(first_token_s=0.01, token_s=0.002))

    async def start(self) -> None:
        self.chat = ChatServer(MODEL, self.options)
        app = self.chat.app()
        app.middlewares.append(self._behave)
        self.runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()

    def set(self, **options: Any) -> None:
        """Other times or limits, from the next request on."""
        self.chat.queue.options = self.chat.queue.options.model_copy(update=options)

    @web.middleware
    async def _behave(self, request: web.Request, handler: Any) -> web.StreamResponse:
        while self.hang:
            await asyncio.sleep(0.02)
        if request.method == "GET":
            return await handler(request)
        body = await request.read()
        self.seen.append(Seen(request.path, CIMultiDict(request.headers), body))
        if POISON.encode() in body and request.transport:
            request.transport.abort()
            return web.Response()
        if self.status != 200:
            error = {"message": "an engine's error", "type": "InternalServerError", "param": None, "code": self.status}
            return web.json_response({"error": error}, status=self.status)
        return await handler(request)


class ChatRig(Rig):
    """As :class:`Rig`, for a package for vLLM."""

    model_server = ChatBackend

    def __init__(self, folder: Path, change: Callable[[RoutingTable], RoutingTable] = lambda table: table) -> None:
        super().__init__(folder, lambda table: change(_chat_table(table, folder)))
        sagemaker, azure = self.front_settings[Site.SAGEMAKER], self.front_settings[Site.AZURE_ML]
        assert isinstance(sagemaker, SageMakerFront)
        assert isinstance(azure, AzureMlFront)
        roomy = {"path_prefix": "/v1", "max_concurrent_per_instance": 64, "timeout_s": 60.0}
        self.front_settings = {
            Site.SAGEMAKER: sagemaker.model_copy(update={"max_concurrent": 64}),
            Site.AZURE_ML: azure.model_copy(update=roomy),
        }
        write_token(self.table, self.table.site(Site.SAGEMAKER))

    def backend(self, site: Site) -> ChatBackend:
        found = self.servers[site]
        assert isinstance(found, ChatBackend)
        return found

    def client(self, class_: str = "P1", key: str = ALPHA, site: SiteName | None = None) -> openai.OpenAI:
        """OpenAI's library, as a client sets it up."""
        headers = {CLASS_HEADER: class_}
        if site:
            headers |= {SITE_HEADER: site, OPERATOR_KEY_HEADER: OPERATOR_KEY}
        return openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.table.listen.port}/v1",
            api_key=key,
            default_headers=headers,
            max_retries=0,
        )


class AgentRig(ChatRig):
    """With the agent beside Envoy, as a table that ``change`` made wants it."""

    def __init__(self, folder: Path, change: Callable[[RoutingTable], RoutingTable]) -> None:
        super().__init__(folder, change)
        self.agent = Agent(self.table)

    def __enter__(self) -> Self:
        super().__enter__()
        self._serving = asyncio.run_coroutine_threadsafe(self.agent.serve(), self.loop).result(10)
        return self

    def __exit__(self, *exception: object) -> None:
        self.wait(self._serving.cleanup())
        super().__exit__(*exception)


class WorkingRig(AgentRig):
    """With all else that the agent does meanwhile."""

    def __enter__(self) -> Self:
        ChatRig.__enter__(self)
        self._stop = asyncio.Event()
        self._work = asyncio.run_coroutine_threadsafe(self.agent.run(self._stop), self.loop)
        return self

    def __exit__(self, *exception: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._work.result(30)
        ChatRig.__exit__(self, *exception)


def _chat_table(table: RoutingTable, folder: Path) -> RoutingTable:
    private, sagemaker, azure = table.sites
    token = AwsToken(region="eu-west-1", credentials_file=str(folder / "aws"))
    sites = (
        private.model_copy(update={"health": ActiveCheck(path="/health", interval_s=0.2, timeout_s=1.0)}),
        sagemaker.model_copy(update={"auth": token, "paths": sagemaker_paths("vllm", MODEL, ENDPOINT)}),
        azure.model_copy(update={"paths": azure_paths("vllm", MODEL)}),
    )
    probe = Probe(path=CHAT, body=json.dumps({"model": MODEL, "messages": [], "max_tokens": 1}))
    return table.model_copy(update={"server": "vllm", "sites": sites, "probe": probe})
