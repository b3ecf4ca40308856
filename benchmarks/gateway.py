"""What the gateway itself costs: ours, a plain Envoy and no proxy at all before one server, in turns within one run.

``PYTHONPATH=. python benchmarks/gateway.py [--pairs 10] [--json FILE] [--litellm PYTHON]``, in under four minutes. The
server answers each request with its own body (the identity model), so what is slow is in between. In each of the pairs
every system has its block, one after the other, so that whatever else the machine does falls on all of them: what is
compared is one pair's blocks, and the median over the pairs is printed.

* ``open``: 500 requests a second of 1 KiB at their own times; a request that waits for its turn waits in its latency.
* ``closed``: one connection, one request at a time, as JSON and with a binary tensor, up to 5 MB.

``plain`` is Envoy with a route and nothing else: it holds no body, tries nothing twice and knows no client. CPU is that
of the proxy's processes (of ours the agent's, too) from the kernel's counters. ``--litellm``: the interpreter of an
environment of its own that has ``litellm[proxy]``; its proxy and our gateway for language models then pass the same
chats.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import yaml

from components.gateway.envoy_config import render
from components.gateway.envoy_parts import one_endpoint, socket_address
from spillway.contracts.classes import Site
from spillway.contracts.routing import ActiveCheck, Client, Listen, RoutingTable, SiteRoute, hash_key
from spillway.contracts.server_routes import ServerKind
from spillway.drill.http import Client as HttpClient
from spillway.twin.data_plane.processes.child import free_port

ROOT: Final = Path(__file__).resolve().parents[1]
ENVOY: Final = next(Path(sys.prefix).glob("lib/python*/site-packages/envoy/_bin/envoy"))
KEY: Final = "benchmark-key"
INFER, CHAT = "/v2/models/identity/infer", "/v1/chat/completions"
RATE: Final = 500
OPEN_S, CLOSED_S = 1.6, 0.35
SIZES: Final = {"1 KiB": 1 << 10, "100 KB": 100_000, "1 MB": 1_000_000, "5 MB": 5_000_000}
LIMIT: Final = 6 << 20
SLOTS: Final = 256


class Identity(asyncio.Protocol):
    """Answers a request with its own body, a chat with the same few words, and anything else with nothing."""

    said: Final = json.dumps(
        {
            "id": "chat", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
    ).encode()  # fmt: skip

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.parts: list[bytes] = []
        self.missing = 0
        self.head = b""

    def data_received(self, data: bytes) -> None:
        if self.missing:
            self.parts.append(data)
            self.missing -= len(data)
        else:
            self.head, _, rest = data.partition(b"\r\n\r\n")
            lengths = [line[15:] for line in self.head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            self.missing = int(lengths[0]) - len(rest) if lengths else 0
            self.parts = [rest]
        if not self.missing:
            self._answer()

    def _answer(self) -> None:
        parts = [self.said] if CHAT.encode() in self.head[:80] else self.parts
        length = sum(map(len, parts))
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % length
        self.transport.writelines([head, *parts])


async def serve_identity(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Identity, "127.0.0.1", port)
    await server.serve_forever()


@dataclass
class System:
    """Something that a request can be sent to. ``processes``: whose CPU and memory it costs."""

    name: str
    port: int
    headers: dict[str, str] = field(default_factory=dict)
    processes: list[psutil.Process] = field(default_factory=list)

    def cpu_s(self) -> float:
        times = [each.cpu_times() for each in self.processes]
        return sum(each.user + each.system for each in times)

    def peak_mib(self) -> dict[str, float]:
        """By process, the most that it ever had (``VmHWM``, KiB)."""
        return {each.name(): round(_peak_kib(each.pid) / 1024, 1) for each in self.processes}


def _peak_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@dataclass(frozen=True)
class Load:
    """What is sent. ``rate``: requests a second; none: one after the other."""

    name: str
    path: str
    body: bytes
    headers: dict[str, str]
    rate: int | None = None


@dataclass(frozen=True)
class Block:
    """One system's turn."""

    latencies_s: tuple[float, ...]
    """Of those that were answered with 200."""
    lost: int
    cpu_s: float

    @property
    def p50_ms(self) -> float:
        return statistics.median(self.latencies_s) * 1e3

    @property
    def p99_ms(self) -> float:
        return sorted(self.latencies_s)[int(len(self.latencies_s) * 0.99)] * 1e3

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / len(self.latencies_s) * 1e6


def tensor(size: int) -> bytes:
    """A request of JSON, about ``size`` bytes."""
    number = "0.12345678,"
    data = (number * (size // len(number)))[:-1]
    inputs = f'{{"name":"x","shape":[{size // len(number)}],"datatype":"FP32","data":[{data}]}}'
    return f'{{"inputs":[{inputs}]}}'.encode()


def binary_tensor(size: int) -> tuple[bytes, dict[str, str]]:
    """The same with the numbers as they are in memory, and the header that says where they begin."""
    shape = {"name": "x", "shape": [size], "datatype": "UINT8", "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [shape]}).encode()
    return head + bytes(range(256)) * (size // 256) + bytes(size % 256), {
        "inference-header-content-length": str(len(head))
    }


def loads() -> list[Load]:
    kind = {"content-type": "application/json"}
    found = [Load("open 1 KiB json", INFER, tensor(1 << 10), kind, RATE)]
    found += [Load(f"closed {name} json", INFER, tensor(size), kind) for name, size in SIZES.items()]
    for name, size in list(SIZES.items())[1:]:
        body, headers = binary_tensor(size)
        found.append(Load(f"closed {name} binary", INFER, body, {**kind, **headers}))
    return found


def chat() -> Load:
    messages = [{"role": "user", "content": "one two three " * 70}]
    body = json.dumps({"model": "m", "messages": messages}).encode()
    return Load("closed 1 KiB chat", CHAT, body, {"content-type": "application/json"})


def closed_loop(system: System, load: Load) -> list[float]:
    """One request at a time, for a moment or ten of them."""
    lines = {"host": "benchmark", "content-length": str(len(load.body)), **load.headers, **system.headers}
    head = f"POST {load.path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    message = head.encode() + b"\r\n" + load.body
    found: list[float] = []
    with socket.create_connection(("127.0.0.1", system.port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ends = time.perf_counter() + CLOSED_S
        while time.perf_counter() < ends or len(found) < 10:
            started = time.perf_counter()
            connection.sendall(message)
            _read_answer(connection)
            found.append(time.perf_counter() - started)
    return found[1:]


def _read_answer(connection: socket.socket) -> None:
    got = connection.recv(1 << 16)
    while b"\r\n\r\n" not in got:
        got += connection.recv(1 << 16)
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    missing = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]) - len(body)
    while missing:
        missing -= len(connection.recv(min(missing, 1 << 20)))


async def open_loop(system: System, load: Load) -> list[float]:
    """Requests at their own times, whether the ones before are answered or not."""
    client = HttpClient(f"http://127.0.0.1:{system.port}")
    started = time.perf_counter() + 0.05
    found: list[float] = []

    async def one(due: float) -> None:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        reply = await client.post(load.path, {**load.headers, **system.headers}, load.body)
        if reply.status == 200:
            found.append(time.perf_counter() - due)

    assert load.rate
    await asyncio.gather(*(one(started + index / load.rate) for index in range(int(load.rate * OPEN_S))))
    await client.close()
    return found


def block(system: System, load: Load) -> Block:
    before = system.cpu_s()
    found = asyncio.run(open_loop(system, load)) if load.rate else closed_loop(system, load)
    lost = int(load.rate * OPEN_S) - len(found) if load.rate else 0
    return Block(tuple(found), lost, system.cpu_s() - before)


def measure(systems: Sequence[System], load: Load, pairs: int) -> dict[str, list[Block]]:
    """Every system's blocks. Who begins changes from pair to pair."""
    blocks: dict[str, list[Block]] = {system.name: [] for system in systems}
    for system in systems:
        closed_loop(system, load)
    for pair in range(pairs):
        for offset in range(len(systems)):
            system = systems[(pair + offset) % len(systems)]
            blocks[system.name].append(block(system, load))
    return blocks


def figures(blocks: dict[str, list[Block]]) -> dict[str, dict[str, float]]:
    """Of each system, medians over the pairs; what is added is so within each pair."""

    def median(value: Callable[[int], float]) -> float:
        return round(statistics.median(map(value, range(len(blocks["direct"])))), 3)

    def of(name: str) -> dict[str, float]:
        mine, direct, plain = blocks[name], blocks["direct"], blocks.get("plain", blocks["direct"])
        row = {
            "requests": float(sum(len(each.latencies_s) for each in mine)),
            "lost": float(sum(each.lost for each in mine)),
            "p50_ms": median(lambda i: mine[i].p50_ms),
            "p99_ms": median(lambda i: mine[i].p99_ms),
            "added_p50_ms": median(lambda i: mine[i].p50_ms - direct[i].p50_ms),
            "p99_to_direct": median(lambda i: mine[i].p99_ms / direct[i].p99_ms),
            "cpu_us": round(sum(each.cpu_s for each in mine) / sum(len(each.latencies_s) for each in mine) * 1e6, 1),
        }
        if "plain" in blocks:
            row["p50_to_plain"] = median(lambda i: mine[i].p50_ms / plain[i].p50_ms)
        return row

    rows = {name: of(name) for name in blocks}
    for row in rows.values():
        if "plain" in rows:
            row["cpu_to_plain"] = round(row["cpu_us"] / rows["plain"]["cpu_us"], 3)
    return rows


def plain_envoy(port: int, admin_port: int, server_port: int) -> dict[str, Any]:
    """A listener, a route, a cluster."""
    api = "type.googleapis.com/envoy.extensions.filters"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "server", "timeout": "0s"}}
    manager = {
        "@type": f"{api}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "plain",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{api}.http.router.v3.Router"}}
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    cluster = {"name": "server", "type": "STATIC", "load_assignment": one_endpoint("server", "127.0.0.1", server_port)}
    return {
        "admin": {"address": socket_address("127.0.0.1", admin_port)},
        "static_resources": {
            "listeners": [{"address": socket_address("127.0.0.1", port), "filter_chains": [chain]}],
            "clusters": [cluster],
        },
    }


def routing(server: ServerKind, server_port: int, folder: Path) -> RoutingTable:
    """Our gateway before one private server, with room for all that comes."""
    ports = dict.fromkeys(name for name in Listen.model_fields if name.endswith("port"))
    listen = Listen.model_validate({"address": "127.0.0.1", **{name: free_port() for name in ports}})
    private = SiteRoute(
        site=Site.PRIVATE, host="127.0.0.1", port=server_port, region="here", slots=SLOTS, health=ActiveCheck()
    )  # fmt: skip
    return RoutingTable(
        model="identity", server=server, sites=(private,), body_limit_bytes=LIMIT, listen=listen,
        clients=(Client(name="benchmark", key_sha256=hash_key(KEY)),), runtime_dir=str(folder / server),
    )  # fmt: skip


class Processes:
    """What was started, and its folder; ended together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *command: str | Path, ready: str) -> psutil.Process:
        with (self.folder / f"{name}.log").open("wb") as log:
            # LiteLLM's prices are in its package, too.
            environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
            process = subprocess.Popen([*map(str, command)], stdout=log, stderr=log, cwd=ROOT, env=environment)
        self.started.append(process)
        _wait_for(ready, process, self.folder / f"{name}.log")
        return psutil.Process(process.pid)

    def envoy(self, name: str, config: dict[str, Any]) -> psutil.Process:
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config))
        admin = config["admin"]["address"]["socket_address"]["port_value"]
        command = (ENVOY, "-c", path, "--disable-hot-restart", "--concurrency", "1", "-l", "error")
        return self.start(name, *command, ready=f"http://127.0.0.1:{admin}/ready")

    def gateway(self, server: ServerKind, server_port: int) -> System:
        table = routing(server, server_port, self.folder)
        file = self.folder / f"{server}.json"
        file.write_text(table.model_dump_json())
        module = (sys.executable, "-m", "spillway.runtime.gateway.agent", "--routing", file)
        agent = self.start(f"agent-{server}", *module, ready=f"http://127.0.0.1:{table.listen.agent_port}/healthz")
        envoy = self.envoy(f"ours-{server}", render(table))
        healthy = f"http://127.0.0.1:{table.listen.port}/v2/health/ready"
        _wait_for(healthy if server == "triton" else healthy.replace("/v2/health/ready", "/health"))
        return System("ours", table.listen.port, {"x-spillway-key": KEY}, [envoy, agent])

    def litellm(self, python: str, server_port: int) -> System:
        """Its own proxy, before the same server as an engine of OpenAI's kind."""
        port = free_port()
        model = {"model": "openai/m", "api_base": f"http://127.0.0.1:{server_port}/v1", "api_key": "none"}
        config = self.folder / "litellm.yaml"
        key = f"sk-{secrets.token_hex(16)}"
        models = [{"model_name": "m", "litellm_params": model}]
        config.write_text(yaml.safe_dump({"model_list": models, "general_settings": {"master_key": key}}))
        program = Path(python).with_name("litellm")
        ready = f"http://127.0.0.1:{port}/health/liveliness"
        process = self.start(
            "litellm", program, "--config", config, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1",
            ready=ready,
        )  # fmt: skip
        return System("litellm", port, {"authorization": f"Bearer {key}"}, [process])

    def end(self) -> None:
        for process in reversed(self.started):
            process.terminate()
        for process in self.started:
            process.wait(30)


def _wait_for(url: str, process: subprocess.Popen[bytes] | None = None, log: Path | None = None) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        assert process is None or process.poll() is None, log and log.read_text()[-2000:]
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise TimeoutError(f"{url} does not answer: {log and log.read_text()[-2000:]}")


@contextlib.contextmanager
def running() -> Iterator[tuple[Processes, int]]:
    """The folder's processes, and the server's port."""
    with tempfile.TemporaryDirectory() as folder:
        processes = Processes(Path(folder))
        port = free_port()
        try:
            command = (sys.executable, __file__, "--serve", str(port))
            processes.start("server", *command, ready=f"http://127.0.0.1:{port}/health")
            yield processes, port
        finally:
            processes.end()


def run(pairs: int, litellm: str | None) -> dict[str, Any]:
    with running() as (processes, port):
        direct = System("direct", port)
        plain_port, admin_port = free_port(), free_port()
        plain = processes.envoy("plain", plain_envoy(plain_port, admin_port, port))
        systems = [direct, System("plain", plain_port, processes=[plain]), processes.gateway("triton", port)]
        found = {load.name: figures(measure(systems, load, pairs)) for load in loads()}
        memory = {system.name: system.peak_mib() for system in systems[1:]}
        if litellm:
            load = chat()
            chats = [direct, processes.gateway("vllm", port), processes.litellm(litellm, port)]
            found[load.name] = figures(measure(chats, load, pairs))
            memory["litellm"] = chats[-1].peak_mib()
        return {"pairs": pairs, "loads": found, "peak_mib": memory}


def table_of(result: dict[str, Any]) -> str:
    columns = (
        "requests",
        "lost",
        "p50_ms",
        "p99_ms",
        "added_p50_ms",
        "p99_to_direct",
        "p50_to_plain",
        "cpu_us",
        "cpu_to_plain",
    )
    lines = [f"| load | system | {' | '.join(columns)} |", "|" + " --- |" * (len(columns) + 2)]
    for load, rows in result["loads"].items():
        for name, row in rows.items():
            lines.append(f"| {load} | {name} | {' | '.join(f'{row[c]:.2f}' if c in row else '' for c in columns)} |")
    return "\n".join([*lines, "", f"peak memory, MiB: {result['peak_mib']}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--json", type=Path, help="where the figures go, too")
    parser.add_argument("--litellm", help="the interpreter of an environment that has litellm[proxy]")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve_identity(arguments.serve))
        return
    result = run(arguments.pairs, arguments.litellm)
    print(table_of(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
