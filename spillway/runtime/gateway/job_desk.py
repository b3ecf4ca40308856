"""Where clients leave jobs and fetch their answers. Envoy has judged who asks, and for what, before it comes here."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from aiohttp import web
from botocore.exceptions import BotoCoreError, ClientError

from spillway.contracts.jobs import ATTEMPTS_HEADER, KEY_HEADER, PATH
from spillway.contracts.refusals import REASON_HEADER, Reason
from spillway.contracts.routing import RoutingTable
from spillway.runtime.gateway.aws import said
from spillway.runtime.gateway.job_store import Job, JobStore, Mark, OtherRequestError, Request

LOG = logging.getLogger("spillway.jobs")
HEAD_LENGTH: Final = "inference-header-content-length"
LONGEST_KEY: Final = 256
RETRY_AFTER: Final = {"Retry-After": "5"}
"""How soon it makes sense to ask again."""
_PART: Final = 1 << 16


class JobDesk:
    """The agent's routes for jobs."""

    def __init__(self, table: RoutingTable, store: JobStore) -> None:
        self._openai = table.server == "vllm"
        self._store = store

    def add_to(self, app: web.Application) -> None:
        app.router.add_get(PATH, self._fetch)
        app.router.add_post("/jobs/{path:.+}", self._submit)

    async def _submit(self, request: web.Request) -> web.Response:
        """``/jobs/`` and then the path that the client asked for."""
        path, key = f"/{request.match_info['path']}", request.headers.get(KEY_HEADER)
        if key is not None and not 0 < len(key) <= LONGEST_KEY:
            return self._refused(400, f"{KEY_HEADER} must have 1 to {LONGEST_KEY} characters")
        kind = self._store.site.with_head(
            request.headers.get("Content-Type", "application/json"), request.headers.get(HEAD_LENGTH)
        )
        job = Job.of(request.headers["x-spillway-client"], key)
        body = await request.read()
        try:
            is_new = await asyncio.to_thread(self._store.submit, job, Request(path, kind, body))
        except OtherRequestError:
            return self._refused(422, f"this {KEY_HEADER} was used for another request: give each its own")
        except (BotoCoreError, ClientError) as error:
            return self._unavailable(error)
        told = {"id": job.id, "state": "waiting", "new": is_new}
        headers = {"Location": PATH.format(job=job.id), "Preference-Applied": "respond-async", **RETRY_AFTER}
        return web.json_response(told, status=202, headers=headers)

    async def _fetch(self, request: web.Request) -> web.StreamResponse:
        job = Job(request.headers["x-spillway-client"], request.match_info["job"])
        try:
            mark = await asyncio.to_thread(self._store.mark, job)
            if mark is None and not await asyncio.to_thread(self._store.is_known, job):
                return self._refused(404, "there is no such job of this client, or it is too old")
            if mark and mark.answer and await asyncio.to_thread(self._store.is_answered, mark):
                return await self._answered(request, mark, mark.answer)
            if mark and mark.failure and await asyncio.to_thread(self._store.is_failed, mark):
                why = await asyncio.to_thread(self._store.failure, mark.failure)
                return self._refused(502, f"the job failed: {why}", {ATTEMPTS_HEADER: str(mark.attempts)})
        except (BotoCoreError, ClientError) as error:
            return self._unavailable(error)
        attempts = mark.attempts if mark else 0
        told = {"id": job.id, "state": "working" if mark else "waiting", "attempts": attempts}
        return web.json_response(told, status=202, headers=RETRY_AFTER)

    async def _answered(self, request: web.Request, mark: Mark, place: str) -> web.StreamResponse:
        kind, body = await asyncio.to_thread(self._store.answer, place)
        shown, head_length = self._store.site.without_head(kind)
        headers = {"Content-Type": shown, ATTEMPTS_HEADER: str(mark.attempts)}
        if head_length:
            headers[HEAD_LENGTH] = head_length
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        while part := await asyncio.to_thread(body.read, _PART):
            await response.write(part)
        await response.write_eof()
        return response

    def _unavailable(self, error: Exception) -> web.Response:
        LOG.warning("a job could not be kept or found: %s", said(error))
        return self._refused(503, "jobs are not available for now", {**RETRY_AFTER, REASON_HEADER: Reason.JOBS.value})

    def _refused(self, status: int, why: str, headers: dict[str, str] | None = None) -> web.Response:
        """In the form of the servers' own errors."""
        openai = {"message": why, "type": "gateway_error", "param": None, "code": status}
        told: dict[str, Any] = {"error": openai if self._openai else why}
        return web.json_response(told, status=status, headers=headers)
