"""What Triton's dynamic batching gains, and what it costs in queue: one model with it and without, in turns.

``PYTHONPATH=. python benchmarks/traffic_batching.py [--seconds 4] [--clients 32]``

A real Triton and ONNX Runtime on the CPU, and clients that ask again as soon as they are answered. The model is two
layers of 4096 by 4096: its weights are read from memory once for each batch, as a GPU's are. How long requests waited
in Triton's queue is told by its metrics, and how many went together by its statistics (``batch_stats``:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import onnx
import psutil

from spillway.drill.http import Client
from spillway.twin.data_plane.processes.triton import TritonPorts
from tests.support.triton import serving

WIDTH, LAYERS, INPUT = 4096, 2, 16
MOST: Final = 32
DELAY_US: Final = 2000
MODELS: Final = {"single": "", "batched": f"dynamic_batching {{ max_queue_delay_microseconds: {DELAY_US} }}"}
ROUNDS: Final = 3
BODY: Final = json.dumps(
    {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, INPUT], "data": [0.5] * INPUT}]}
).encode()
_CONFIG: Final = """name: "{name}"
backend: "onnxruntime"
max_batch_size: {most}
input [ {{ name: "X" data_type: TYPE_FP32 dims: [ {width} ] }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: [ 1 ] }} ]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
{batching}
"""


@dataclass(frozen=True)
class Batching:
    """``queue_ms``: that a request waited on average; ``histogram``: executions by batch size. ``cpu``: of the
    machine."""

    requests_per_s: float
    p50_ms: float
    queue_ms: float
    requests_per_execution: float
    histogram: dict[int, int]
    cpu: float


def repository(folder: Path) -> Path:
    dice = np.random.default_rng(1)
    widths = (INPUT, *(WIDTH,) * (LAYERS + 1), 1)
    shapes = list(pairwise(widths))
    weights = [
        onnx.numpy_helper.from_array(dice.standard_normal(shape, np.float32) / shape[0], f"W{number}")
        for number, shape in enumerate(shapes)
    ]
    names = ["X", *(f"H{number}" for number in range(len(shapes) - 1)), "Y"]
    nodes = [
        onnx.helper.make_node("MatMul", [names[number], f"W{number}"], [names[number + 1]])
        for number in range(len(shapes))
    ]
    kind = onnx.TensorProto.FLOAT
    edge = [onnx.helper.make_tensor_value_info(name, kind, ["b", width]) for name, width in (("X", INPUT), ("Y", 1))]
    graph = onnx.helper.make_graph(nodes, "layers", edge[:1], edge[1:], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    for name, batching in MODELS.items():
        (folder / name / "1").mkdir(parents=True)
        onnx.save(model, folder / name / "1" / "model.onnx")
        config = _CONFIG.format(name=name, most=MOST, width=INPUT, batching=batching)
        (folder / name / "config.pbtxt").write_text(config)
    return folder


async def ask(port: int, model: str, clients: int, seconds: float) -> list[float]:
    """Seconds of each answer."""
    client, ends, took = Client(f"http://127.0.0.1:{port}"), time.perf_counter() + seconds, []

    async def again() -> None:
        while (began := time.perf_counter()) < ends:
            reply = await client.post(f"/v2/models/{model}/infer", {"content-type": "application/json"}, BODY)
            assert reply.status == 200, reply.body
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(again() for _ in range(clients)))
    await client.close()
    return took


def told(ports: TritonPorts, model: str) -> tuple[dict[str, float], dict[int, int]]:
    """Triton's counters of the model, and its executions by batch size."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ports.metrics}/metrics", timeout=10) as answer:
        found = re.findall(rf'^nv_inference_(\w+){{model="{model}",version="1"}} (\S+)$', answer.read().decode(), re.M)
    with urllib.request.urlopen(f"http://127.0.0.1:{ports.http}/v2/models/{model}/stats", timeout=10) as answer:
        stats: list[dict[str, Any]] = json.load(answer)["model_stats"][0]["batch_stats"]
    return {name: float(value) for name, value in found}, {
        each["batch_size"]: each["compute_infer"]["count"] for each in stats
    }


def measure(seconds: float, clients: int) -> dict[str, Batching]:
    """Each model ``ROUNDS`` times for ``seconds``, in turns."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with serving(repository(folder / "models"), folder / "triton.log") as ports:
            took: dict[str, list[float]] = {name: [] for name in MODELS}
            busy: dict[str, list[float]] = {name: [] for name in MODELS}
            for name in MODELS:
                asyncio.run(ask(ports.http, name, clients, 0.5))
            before = {name: told(ports, name) for name in MODELS}
            for name in list(MODELS) * ROUNDS:
                psutil.cpu_percent()
                took[name] += asyncio.run(ask(ports.http, name, clients, seconds))
                busy[name].append(psutil.cpu_percent() / 100)
            return {
                name: _found(took[name], seconds * ROUNDS, before[name], told(ports, name), max(busy[name]))
                for name in MODELS
            }


def _found(took: list[float], seconds: float, before: Any, after: Any, cpu: float) -> Batching:
    grown = {name: value - before[0].get(name, 0.0) for name, value in after[0].items()}
    sizes = {size: count - before[1].get(size, 0) for size, count in sorted(after[1].items())}
    return Batching(
        requests_per_s=len(took) / seconds,
        p50_ms=sorted(took)[len(took) // 2] * 1000,
        queue_ms=grown["queue_duration_us"] / grown["request_success"] / 1000,
        requests_per_execution=grown["count"] / grown["exec_count"],
        histogram={size: count for size, count in sizes.items() if count},
        cpu=cpu,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=cast("str", __doc__).partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each of three turns")
    parser.add_argument("--clients", type=int, default=MOST)
    args = parser.parse_args()
    for name, found in measure(args.seconds, args.clients).items():
        print(json.dumps({"model": name, **asdict(found)}))


if __name__ == "__main__":
    main()
