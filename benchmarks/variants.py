"""MiniLM on one thread: torch in fp32 against each variant of ours and what other packagers make, all in one run.

    .venv/bin/python benchmarks/variants.py [--peers-python PATH] [--rounds 15] [--save]

The peers live in an environment of their own (``pip install -r requirements/benchmark-peers.txt``); without it they are
left out. Rounds run every row once, so that a busy moment of the machine hits all of them; ratios are of medians, to
the faster of torch's two ways to compute attention.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import importlib.metadata
import json
import platform
import subprocess
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "model_packaging" / "examples" / "minilm" / "model.yaml"
RESULTS = ROOT / "benchmarks" / "results"
LENGTHS = (16, 32, 64, 128)
FUSED = "torch, fused attention"
EVERY = ("fp32", "fp16", "int8-dynamic", "int8-static", "int8-weights", "int4-weights")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", type=Path, help="interpreter of the peers' environment")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--save", action="store_true", help=f"write the result into {RESULTS.relative_to(ROOT)}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), options.peers_python, options.rounds)
    print_table(result)
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        # int8 depends on what the processor can do, so two machines of one day are two results.
        vnni = "vnni" if "vnni" in result["cpu"] else "no-vnni"
        path = RESULTS / f"variants-{result['date'][:10]}-{platform.machine()}-{vnni}.json"
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(f"written: {path.relative_to(ROOT)}")


def measure(folder: Path, peers_python: Path | None, rounds: int) -> dict[str, Any]:
    from model_packaging.config import load_config
    from model_packaging.tensors import checks
    from model_packaging.tensors.config import TensorConfig
    from model_packaging.tensors.reference import make_reference
    from model_packaging.tensors.source import load

    config = load_config(MODEL)
    assert isinstance(config, TensorConfig)
    model = load(config)
    files, notes = ours(config, folder / "ours")
    if peers_python is not None:
        files |= peers(peers_python, files["fp32"], folder / "peers", notes)
    reference = make_reference(model)
    torch_size = sum(tensor.numel() * tensor.element_size() for tensor in model.module.state_dict().values())
    # The reference computes attention by the plain formula; torch is as fast as the better of its two ways.
    baselines = {model.reference: model.module, FUSED: with_fused_attention(model.module)}
    rows: dict[str, dict[str, Any]] = {name: {"size_mb": round(torch_size / 1e6, 1)} for name in baselines}
    runners = {name: checks.torch_runner(model, module) for name, module in baselines.items()}
    for name, path in files.items():
        figure = checks.parity(name, checks.onnx_runner(path), reference, 0.99)
        size = path.stat().st_size
        rows[name] = {
            "size_mb": round(size / 1e6, 1),
            "smaller_percent": round(100 * (1 - size / torch_size), 1),
            "min_cosine": figure.min_cosine,
            "mean_cosine": figure.mean_cosine,
        }
        runners[name] = checks.onnx_runner(path, threads=1)
    for length in LENGTHS:
        settings = config.latency.model_copy(update={"sequence_length": length, "repeats": rounds, "threads": 1})
        figures = checks.latency(runners, model, settings)
        base: dict[int, float] = {}
        for item in figures:
            if item.variant in baselines:
                base[item.batch_size] = min(base.get(item.batch_size, item.p50_ms), item.p50_ms)
        for item in figures:
            key = f"batch {item.batch_size}, {length} tokens"
            ratio = round(base[item.batch_size] / item.p50_ms, 2)
            rows[item.variant][key] = {"p50_ms": item.p50_ms, "p99_ms": item.p99_ms, "times_as_fast": ratio}
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "cpu": cpu(),
        "threads": 1,
        "rounds": rounds,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "onnxruntime", "transformers")},
        "notes": notes,
        "rows": rows,
    }


def with_fused_attention(module: Any) -> Any:
    from transformers import PreTrainedModel

    fused = copy.deepcopy(module)
    for part in fused.modules():
        if isinstance(part, PreTrainedModel):
            part.set_attn_implementation("sdpa")
    return fused


def ours(config: Any, store: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The example's variants and the others with no bound, so that the table shows what each bound costs."""
    from model_packaging.build import package
    from model_packaging.tensors.variants.settings import Variant

    asked = {variant.precision: variant for variant in config.variants}
    variants = tuple(asked.get(name) or Variant(precision=name, min_cosine=0.01) for name in EVERY)
    changed = config.model_copy(update={"variants": variants, "keep": EVERY, "targets": ("ngc-triton-25.09",)})
    result = package(changed, store, lambda message: print(f"  {message}", flush=True))
    files = {path.parent.name: path for path in sorted((result.path / "variants").glob("*/model.onnx"))}
    return files, {item.name: item.reason or item.detail for item in result.manifest.variants}


def peers(python: Path, source: Path, folder: Path, notes: dict[str, str]) -> dict[str, Path]:
    folder.mkdir()
    command = [str(python), str(Path(__file__).with_name("variants_peers.py")), str(source), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the peers' environment failed: {done.stderr.strip()[-500:]}")
    notes |= json.loads(done.stdout.strip().splitlines()[-1])
    return {path.stem: path for path in sorted(folder.glob("*.onnx"))}


def cpu() -> str:
    """The processor's name and what it has for integer products."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    values = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
    values = {key.strip(): value.strip() for key, value in values.items()}
    flags = set(values.get("flags", "").split()) & {"avx2", "avx_vnni", "avx512_vnni", "avx512f", "amx_int8"}
    return f"{values.get('model name', platform.processor())} ({', '.join(sorted(flags))})"


def print_table(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = [f"batch {batch}, {length} tokens" for length in LENGTHS for batch in (1, 8)]
    table = Table(title=f"MiniLM, one thread, {result['cpu']}: times as fast as torch eager fp32")
    for column in ("", "MB", "smaller %", "cosine, worst", "mean", *(key.replace(" tokens", "") for key in shown)):
        table.add_column(column)
    for name, row in result["rows"].items():
        figures = [row.get(key, "–") for key in ("size_mb", "smaller_percent", "min_cosine", "mean_cosine")]
        figures += [f"{row[key]['times_as_fast']:.2f} ({row[key]['p50_ms']:.1f} ms)" for key in shown]
        table.add_row(name, *map(str, figures))
    console = Console(width=220)
    console.print(table)
    for name, note in result["notes"].items():
        console.print(f"{name}: {note}" if note else f"{name}: as exported")


if __name__ == "__main__":
    main()
