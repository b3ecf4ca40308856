"""What stands between the gateway and a burst site's model server in the twin: the cloud's checks and answers.

``python -m spillway.twin.data_plane.processes.burst_front --kind sagemaker|azure_ml --port N --upstream http://127.0.0.1:P
--config file.json [--tls-cert F --tls-key F]``. ``GET /_spillway/health`` answers 200 while it runs.

SageMaker (InvokeEndpoint, https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html):
signature, service, region, host, endpoint and payload hash are verified as AWS does; an error of the container is 424
``ModelError`` with ``OriginalStatusCode`` and ``OriginalMessage``. InvokeEndpointWithResponseStream is the same with
another path, and its answer comes in frames (:mod:`.event_stream`). The OpenAI path takes a bearer token and no
signature, and gives the container's answer as it comes
(https://docs.aws.amazon.com/sagemaker/latest/dg/realtime-endpoints-openai-compatible.html). Payload and time limits of
real-time endpoints
(25 MB, 6 MB before 2025; 60 s: https://docs.aws.amazon.com/sagemaker/latest/dg/realtime-endpoints.html) are settings.

Azure ML (https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints): key or token (an
endpoint takes one of the two, .../azure/machine-learning/how-to-authenticate-online-endpoint), host and path are
checked; any answer of the container but 200 is 424 with ``ms-azureml-model-error-statuscode``; more than twice
``max_concurrent_requests_per_instance`` times the instances is 429; a model slower than the request timeout is 408.
Its quota page gives no payload limit; ``max_body_bytes`` is a setting.
"""

from __future__ import annotations

import argparse
import hmac
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
from aiohttp import web
from pydantic import Field

from spillway.contracts.azure_calls import SCORING_AUDIENCE
from spillway.contracts.frozen import Frozen
from spillway.contracts.routing import ROUTE_HEADER
from spillway.twin.data_plane.processes import event_stream
from spillway.twin.data_plane.processes.aws_signatures import RefusalError, Verifier
from spillway.twin.tokens import TokenError, check, claims_of

MEGABYTE = 1 << 20
NO_STATUS = 0
"""What SageMaker gives as the status of a container that gave none: ``Received server error (0) from …``."""
FORWARDED = ("Content-Type", "Accept", "Inference-Header-Content-Length")
RETURNED = ("Content-Type", "Inference-Header-Content-Length")
MOST_ATTRIBUTES = 1024
"""Characters of ``CustomAttributes``."""
CONTAINER_TYPE = "x-Amzn-SageMaker-Content-Type"
"""What the container called a streamed answer, whose own type is the frames'."""


class SageMakerFront(Frozen):
    """How the SageMaker front checks and limits."""

    endpoint: str
    """Name of the endpoint it answers for."""
    region: str
    host: str
    """The ``Host`` that clients have to use, e.g. ``runtime.sagemaker.eu-west-1.amazonaws.com``."""
    access_keys: dict[str, str]
    """Secret key by access key id."""
    service: str = "sagemaker"
    max_concurrent: int = Field(default=8, ge=1)
    """Requests at once above which 429 ``ThrottlingException`` is answered."""
    max_body_bytes: int = 25 * MEGABYTE
    timeout_s: float = 60.0
    clock_skew_s: float = 300.0


class Callers(Frozen):
    """Of an endpoint with ``authMode: AADToken``."""

    tenant: str
    keys: dict[str, Any]
    """What Entra signs with, as JSON Web Keys."""
    callers: tuple[str, ...]
    """Object ids of those whose roles let them score."""

    def admit(self, token: str) -> None:
        """Azure's refusal is the same, whatever is wrong."""
        try:
            claims = claims_of(token)
            check(token, self.keys)
        except TokenError as error:
            raise RefusalError(401, "Unauthorized", f"The token is in the wrong format: {error}") from None
        if claims.get("aud") != SCORING_AUDIENCE or claims.get("tid") != self.tenant:
            raise RefusalError(401, "Unauthorized", f"The token is for {claims.get('aud')}, not for this endpoint")
        if float(claims.get("exp", 0)) < time.time():
            raise RefusalError(401, "Unauthorized", "The token is expired")
        if claims.get("oid") not in self.callers:
            raise RefusalError(401, "Unauthorized", "You don't have permission to do the requested action: score")


class AzureMlFront(Frozen):
    """How the Azure ML front checks and limits."""

    host: str
    """The scoring host, e.g. ``<endpoint>.westeurope.inference.ml.azure.com``."""
    keys: tuple[str, ...] = ()
    """Keys that are accepted (Azure has a primary and a secondary one)."""
    callers: Callers | None = None
    """Whose tokens are accepted, and then no key is."""
    path_prefix: str = "/v2"
    """Paths that the deployment serves."""
    max_concurrent_per_instance: int = Field(default=1, ge=1)
    instances: int = Field(default=1, ge=1)
    max_body_bytes: int = 10 * MEGABYTE
    timeout_s: float = 5.0


class BurstFront:
    """One front: checks, counts, forwards, and answers in the cloud's form."""

    def __init__(self, settings: SageMakerFront | AzureMlFront, upstream: str) -> None:
        self._settings = settings
        self._upstream = upstream.rstrip("/")
        self._in_flight = 0
        self._session: aiohttp.ClientSession | None = None
        self._boot_id = str(uuid4())

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=1 << 30)
        app.cleanup_ctx.append(self._client)
        app.router.add_get("/_spillway/health", self._health)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _client(self, _: web.Application):
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2)
        # Bodies pass as they are: a packed one that is unpacked here would not have the length it was announced with.
        plain = {"Accept-Encoding": "identity"}
        self._session = aiohttp.ClientSession(
            timeout=timeout, connector=aiohttp.TCPConnector(limit=0), headers=plain, auto_decompress=False
        )
        yield
        await self._session.close()

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"boot_id": self._boot_id})

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        answer = self._sagemaker if isinstance(self._settings, SageMakerFront) else self._azure_ml
        try:
            return await answer(request)
        except RefusalError as refusal:
            return self._refused(refusal)

    def _refused(self, refusal: RefusalError) -> web.Response:
        headers = {"x-amzn-RequestId" if self._is_sagemaker else "x-ms-request-id": str(uuid4()), **refusal.headers}
        if self._is_sagemaker:
            headers["x-amzn-ErrorType"] = refusal.kind
            return web.json_response({"message": refusal.message}, status=refusal.status, headers=headers)
        return web.json_response(
            {"error": {"code": refusal.kind, "message": refusal.message}}, status=refusal.status, headers=headers
        )

    @property
    def _is_sagemaker(self) -> bool:
        return isinstance(self._settings, SageMakerFront)

    async def _sagemaker(self, request: web.Request) -> web.StreamResponse:
        front = self._settings
        assert isinstance(front, SageMakerFront)
        body = await request.read()
        if request.host.partition(":")[0] != front.host:
            raise RefusalError(404, "UnknownOperationException", "There is no such service on this host")
        verifier = Verifier(front.region, front.service, front.access_keys, front.clock_skew_s)
        chat = request.path == f"/endpoints/{front.endpoint}/openai/v1/chat/completions"
        if chat:
            verifier.verify_token(request)
        else:
            verifier.verify(request, body)
        if len(body) > front.max_body_bytes:
            raise RefusalError(413, "ValidationException", f"Request body is over {front.max_body_bytes} bytes")
        invocations = f"/endpoints/{front.endpoint}/invocations"
        framed = request.path == f"{invocations}-response-stream"
        if request.method != "POST" or not (chat or framed or request.path == invocations):
            raise RefusalError(400, "ValidationError", "Endpoint not found in this account and region.")
        if len(request.headers.get(ROUTE_HEADER, "")) > MOST_ATTRIBUTES:
            raise RefusalError(400, "ValidationError", f"CustomAttributes is over {MOST_ATTRIBUTES} characters")
        if self._in_flight >= front.max_concurrent:
            raise RefusalError(429, "ThrottlingException", "Rate exceeded")
        extra = {"x-Amzn-Invoked-Production-Variant": "AllTraffic", "x-amzn-RequestId": str(uuid4())}
        path = "/v1/chat/completions" if chat else "/invocations"
        return await self._forward(request, path, body, extra, self._sagemaker_model_error, framed)

    async def _azure_ml(self, request: web.Request) -> web.StreamResponse:
        front = self._settings
        assert isinstance(front, AzureMlFront)
        body = await request.read()
        if request.host.partition(":")[0] != front.host:
            raise RefusalError(404, "NotFound", "There is no endpoint on this host")
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise RefusalError(401, "Unauthorized", "Provide a key or a token")
        if front.callers:
            front.callers.admit(key)
        elif not any(hmac.compare_digest(key.encode(), known.encode()) for known in front.keys):
            raise RefusalError(403, "AccessDenied", "Access token is not valid for this endpoint")
        if not request.path.startswith(front.path_prefix):
            raise RefusalError(404, "NotFound", "The deployment does not serve this path")
        if len(body) > front.max_body_bytes:
            raise RefusalError(413, "PayloadTooLarge", f"Request body is over {front.max_body_bytes} bytes")
        if self._in_flight >= 2 * front.max_concurrent_per_instance * front.instances:
            raise RefusalError(429, "TooManyRequests", "Too many pending requests")
        extra = {"x-ms-request-id": str(uuid4()), "azureml-model-deployment": "spillway"}
        return await self._forward(request, request.raw_path, body, extra, self._azure_model_error)

    async def _forward(
        self,
        request: web.Request,
        path: str,
        body: bytes,
        extra: dict[str, str],
        model_error: Callable[[int, bytes], web.Response],
        framed: bool = False,
    ) -> web.StreamResponse:
        self._in_flight += 1
        try:
            return await self._ask(request, path, body, extra, model_error, framed)
        except TimeoutError:
            return self._timed_out()
        except aiohttp.ClientConnectorError:
            return model_error(503, b"the container is not reachable")
        except aiohttp.ClientError:
            return self._crashed()
        finally:
            self._in_flight -= 1

    async def _ask(
        self,
        request: web.Request,
        path: str,
        body: bytes,
        extra: dict[str, str],
        model_error: Callable[[int, bytes], web.Response],
        framed: bool,
    ) -> web.StreamResponse:
        assert self._session is not None
        forwarded = (*FORWARDED, ROUTE_HEADER) if self._is_sagemaker else FORWARDED
        headers = {name: request.headers[name] for name in forwarded if name in request.headers}
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s, sock_connect=2)
        url = self._upstream + path
        async with self._session.request(request.method, url, data=body, headers=headers, timeout=timeout) as answer:
            if answer.status != 200:
                return model_error(answer.status, await answer.read())
            kept = {name: answer.headers[name] for name in RETURNED if name in answer.headers}
            if framed:
                kept = {"Content-Type": event_stream.TYPE, CONTAINER_TYPE: kept.get("Content-Type", "")}
            response = web.StreamResponse(headers={**kept, **extra})
            response.content_length = None if framed else answer.content_length
            await response.prepare(request)
            await self._stream(request, answer, response, framed)
            return response

    async def _stream(
        self, request: web.Request, answer: aiohttp.ClientResponse, response: web.StreamResponse, framed: bool
    ) -> None:
        try:
            async for chunk in answer.content.iter_any():
                await response.write(event_stream.part(chunk) if framed else chunk)
            await response.write_eof()
        except (TimeoutError, aiohttp.ClientError):
            if framed:
                await response.write(event_stream.broken())
                await response.write_eof()
            elif request.transport:
                # The status has gone out: a broken connection is the only way left to say that this is not all.
                request.transport.abort()

    def _timed_out(self) -> web.Response:
        if self._is_sagemaker:
            # In AWS' own words: https://github.com/aws/sagemaker-python-sdk/issues/1119.
            said = b"Your invocation timed out while waiting for a response from container primary."
            return self._sagemaker_model_error(NO_STATUS, said)
        return self._refused(RefusalError(408, "RequestTimeout", "The model took longer than the request timeout"))

    def _crashed(self) -> web.Response:
        """The container took the request and was gone."""
        if self._is_sagemaker:
            return self._sagemaker_model_error(NO_STATUS, b"the model process exited")
        return self._refused(RefusalError(502, "BadGateway", "The container was gone before it answered"))

    def _sagemaker_model_error(self, status: int, body: bytes) -> web.Response:
        text = body.decode(errors="replace")
        side = "client" if 400 <= status < 500 else "server"
        error = {
            "ErrorCode": "CLIENT_ERROR_FROM_MODEL" if side == "client" else "INTERNAL_FAILURE_FROM_MODEL",
            "LogStreamArn": "",
            "Message": f'Received {side} error ({status}) from primary with message "{text}".',
            "OriginalMessage": text,
            "OriginalStatusCode": status,
        }
        headers = {"x-amzn-ErrorType": "ModelError", "x-amzn-RequestId": str(uuid4())}
        return web.json_response(error, status=424, headers=headers)

    def _azure_model_error(self, status: int, body: bytes) -> web.Response:
        headers = {
            "ms-azureml-model-error-statuscode": str(status),
            "ms-azureml-model-error-reason": "model_error",
            "x-ms-request-id": str(uuid4()),
            "Content-Type": "application/json",
        }
        return web.Response(status=424, body=body, headers=headers)


def load(kind: str, text: str) -> SageMakerFront | AzureMlFront:
    """The front's settings from JSON."""
    model = {"sagemaker": SageMakerFront, "azure_ml": AzureMlFront}[kind]
    return model.model_validate(json.loads(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kind", required=True, choices=["sagemaker", "azure_ml"])
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--upstream", required=True, help="the model server, http://127.0.0.1:PORT")
    parser.add_argument("--config", required=True, type=Path, help="SageMakerFront or AzureMlFront as JSON")
    parser.add_argument("--tls-cert")
    parser.add_argument("--tls-key")
    args = parser.parse_args()
    context = None
    if args.tls_cert:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(args.tls_cert, args.tls_key)
    front = BurstFront(load(args.kind, args.config.read_text()), args.upstream)
    web.run_app(front.app(), host="127.0.0.1", port=args.port, ssl_context=context, access_log=None, print=None)


if __name__ == "__main__":
    main()
