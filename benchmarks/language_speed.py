"""How fast vLLM answers by weight format: one shape and format in each call, appended as one row.

    python -m benchmarks.language_speed --out FILE --shape qwen2-7b --format fp8 [--gpus N] [--kernels|...]

Only a ``config.json`` is written and the weights are never read (``load_format: dummy``), so that only speed and memory
count. Always: output tokens a second, seconds to the first token (TTFT) and for each further one (TPOT), at 1, 32, 128
and 512 requests at once of 512 tokens in and 128 out, the better of two rounds after one to warm up.

``--kernels``  the GPU's time by kernel while 128 requests are answered
``--classes``  16 requests of class P0 sent behind 384 of P2, with the engine's priorities and without
``--prefix``   the first token after 8,192 known tokens: computed, from the GPU's cache, from the cache in RAM
``--disk FOLDER``  with ``--prefix``: from files there, too, written as a stack's ``model_server.kv_tiers`` has them
``--load``     how long real weights take from a folder on disk, by its log: random ones are written there first, in
               bf16, and from them by the packager in the format; the system forgets the files before they are read
``--gpus``     tensor parallel over so many
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import random
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final, cast

from components.model_server.kv_tiers import arguments
from components.model_server.settings import KvTiersSettings
from model_packaging.language.variants import SCHEMES

DEEPSEEK_V2_LITE: Final[dict[str, Any]] = {
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "vocab_size": 102400,
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "n_shared_experts": 2,
    "n_routed_experts": 64,
    "num_experts_per_tok": 6,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "topk_method": "greedy",
    "norm_topk_prob": False,
    "routed_scaling_factor": 1.0,
    "scoring_func": "softmax",
    "moe_layer_freq": 1,
    "kv_lora_rank": 512,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "attention_bias": False,
    "bos_token_id": 100000,
    "eos_token_id": 100001,
}
"""DeepSeek-V2-Lite's config.json (huggingface.co/deepseek-ai/DeepSeek-V2-Lite), its rope scaling left out."""
QWEN2_7B: Final[dict[str, Any]] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
}
"""Qwen2-7B's config.json (huggingface.co/Qwen/Qwen2-7B)."""
COMMON: Final[dict[str, Any]] = {
    "torch_dtype": "bfloat16",
    "hidden_act": "silu",
    "max_position_embeddings": 16384,
    "tie_word_embeddings": False,
}
QWEN2_72B: Final[dict[str, Any]] = {
    **QWEN2_7B,
    "hidden_size": 8192,
    "intermediate_size": 29568,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
}
"""Qwen2-72B's config.json (huggingface.co/Qwen/Qwen2-72B)."""
SHAPES: Final = {"deepseek-v2-lite": DEEPSEEK_V2_LITE, "qwen2-7b": QWEN2_7B, "qwen2-72b": QWEN2_72B}
LEFT_OUT: Final = ["lm_head", r"re:.*mlp\.gate$", r"re:.*kv_b_proj$"]
"""As the packager leaves them out, by pattern."""
INPUT_TOKENS, OUTPUT_TOKENS = 512, 128
AT_ONCE: Final = (1, 32, 128, 512)
PREFIX_TOKENS: Final = 8192


def quantization(name: str, shape: str) -> dict[str, Any]:
    """``quantization_config`` as the packager writes it."""
    scheme = SCHEMES[name]
    if scheme.weights is None:
        return {}
    latent = shape.startswith("deepseek")
    # 64 divides the first layer's 10944, and blocks of 128 do not: the packager leaves that one out.
    group = (64 if latent else 128) if scheme.weight_only else None
    first = [f"model.layers.0.mlp.{name}_proj" for name in ("gate", "up", "down")] if latent else []
    return {"quantization_config": scheme.config(group, ["lm_head", *first] if scheme.blocks else LEFT_OUT)}


def engine(folder: Path, shape: str, name: str, more: dict[str, Any]) -> Any:
    from vllm import LLM

    chosen = {"max_model_len": 1024, "max_num_seqs": 512, "enable_prefix_caching": False, **more}
    if "load_format" in chosen:
        config = {**COMMON, **SHAPES[shape], **quantization(name, shape)}
        (folder / "config.json").write_text(json.dumps(config))
    return LLM(
        model=str(folder),
        dtype="bfloat16",
        skip_tokenizer_init=True,
        disable_log_stats=False,
        scheduling_policy="priority",
        **chosen,
    )


def prompts(count: int, length: int, draw: random.Random) -> list[dict[str, Any]]:
    return [{"prompt_token_ids": [draw.randrange(5, 100_000) for _ in range(length)]} for _ in range(count)]


def sampling(tokens: int) -> Any:
    from vllm import SamplingParams

    return SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)


def first_token_s(answer: Any) -> float:
    return answer.metrics.first_token_latency


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def rate(llm: Any, count: int, draw: random.Random) -> dict[str, float]:
    best: dict[str, float] = {"tokens_per_s": 0.0}
    for _ in range(3):
        asked = prompts(count, INPUT_TOKENS, draw)
        start = time.perf_counter()
        answers = llm.generate(asked, sampling(OUTPUT_TOKENS), use_tqdm=False)
        tokens_per_s = count * OUTPUT_TOKENS / (time.perf_counter() - start)
        if tokens_per_s < best["tokens_per_s"]:
            continue
        firsts = [first_token_s(answer) for answer in answers]
        each = [
            (answer.metrics.last_token_ts - answer.metrics.first_token_ts) / (OUTPUT_TOKENS - 1) for answer in answers
        ]
        best = {
            "tokens_per_s": round(tokens_per_s, 1),
            "ttft_p50_s": round(statistics.median(firsts), 4),
            "ttft_p99_s": round(percentile(firsts, 0.99), 4),
            "tpot_p50_ms": round(1000 * statistics.median(each), 3),
            "tpot_p99_ms": round(1000 * percentile(each, 0.99), 3),
        }
    return best


def kernels(llm: Any, draw: random.Random) -> list[dict[str, Any]]:
    """The twenty kernels that take the most of the GPU's time, with their calls and milliseconds."""
    from torch.profiler import ProfilerActivity, profile

    asked = prompts(128, INPUT_TOKENS, draw)
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        llm.generate(asked, sampling(OUTPUT_TOKENS), use_tqdm=False)
    rows = [row for row in found.key_averages() if row.self_device_time_total > 0]
    total = sum(row.self_device_time_total for row in rows)
    rows.sort(key=lambda row: -row.self_device_time_total)
    return [
        {
            "kernel": row.key[:160],
            "calls": row.count,
            "ms": round(row.self_device_time_total / 1000, 2),
            "share": round(row.self_device_time_total / total, 4),
        }
        for row in rows[:20]
    ]


def classes(llm: Any, draw: random.Random) -> dict[str, float]:
    """Sixteen of P0 behind 384 of P2: when the first tokens of P0 come and when its last request is done, in seconds.
    The engine takes 128 at once, so most wait in its queue."""
    found: dict[str, float] = {}
    for name, urgent in (("with", 0), ("without", 2)):
        asked = prompts(400, INPUT_TOKENS, draw)
        priorities = [2] * 384 + [urgent] * 16
        answers = llm.generate(asked, sampling(OUTPUT_TOKENS), priority=priorities, use_tqdm=False)[384:]
        firsts = [first_token_s(answer) for answer in answers]
        lasts = [
            first + answer.metrics.last_token_ts - answer.metrics.first_token_ts
            for first, answer in zip(firsts, answers, strict=True)
        ]
        found |= {f"{name}_ttft_p50_s": round(statistics.median(firsts), 3), f"{name}_done_s": round(max(lasts), 3)}
    return found


def prefix(llm: Any, draw: random.Random, disk: Path | None) -> dict[str, float]:
    """Seconds to the first token of one request with 8,192 tokens of prompt, the median of five."""
    found: dict[str, list[float]] = {}
    for _ in range(6):
        (asked,) = prompts(1, PREFIX_TOKENS, draw)
        for place in ("computed", "gpu", "ram", *(["disk"] if disk else [])):
            if place == "disk":
                # Others push it out of RAM, which is small then.
                llm.generate(prompts(8, PREFIX_TOKENS, draw), sampling(2), use_tqdm=False)
            if place in ("ram", "disk"):
                # The GPU forgets; the connector's copies stay.
                llm.reset_prefix_cache()
            (answer,) = llm.generate([asked], sampling(2), use_tqdm=False)
            found.setdefault(f"{place}_ttft_s", []).append(first_token_s(answer))
            found.setdefault(f"{place}_cached_tokens", []).append(answer.num_cached_tokens or 0)
    return {place: round(statistics.median(values[1:]), 4) for place, values in found.items()}


def tiers(disk: Path | None) -> dict[str, Any]:
    """Options for KV beside the GPU's: with a disk in so little RAM that three prompts fill it."""
    memory = KvTiersSettings(memory="1536Mi" if disk else "16Gi", disk="100Gi" if disk else None)
    config = arguments(memory)["kv-transfer-config"]
    for tier in config["kv_connector_extra_config"].get("secondary_tiers", ()):
        tier["root_dir"] = str(disk)
    return {"max_model_len": 9216, "enable_prefix_caching": True, "kv_transfer_config": config}


def write_weights(folder: Path, shape: str, name: str) -> Path:
    """A folder of random weights in the format; those in bf16, which the others are made of, stay for the next call."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from model_packaging.language import checkpoint
    from model_packaging.language.source import LanguageModel
    from model_packaging.language.variants.plan import plan
    from model_packaging.language.variants.settings import LanguageVariant
    from model_packaging.language.weights import open_weights

    plain = folder / f"{shape}-bf16"
    if not plain.is_dir():
        settings = {**COMMON, **SHAPES[shape]}
        config = AutoConfig.for_model(**settings)
        with torch.device("cuda"):
            module = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        module.save_pretrained(plain)
        (plain / "config.json").write_text(json.dumps(settings))
        del module
        torch.cuda.empty_cache()
    target = folder / f"{shape}-{name}"
    if not target.is_dir():
        settings = json.loads((plain / "config.json").read_text())
        weights = open_weights(plain)
        group = 128 if SCHEMES[name].weight_only else None
        recipe = plan(LanguageVariant(precision=name, group_size=group, max_perplexity_ratio=99), weights, settings)
        model = LanguageModel(plain, weights, cast("Any", None), settings, cast("Any", None))
        checkpoint.write(model, recipe, "bfloat16", target)
    return target


def forget(folder: Path) -> int:
    """Have the system drop the files from its memory, so that they come from the disk. Their bytes."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        total += path.stat().st_size
    return total


class Told(logging.Handler):
    """The seconds that vLLM says it took to load weights."""

    seconds: float | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if found := re.search(r"Loading weights took ([\d.]+) seconds", record.getMessage()):
            self.seconds = float(found[1])


def load(folder: Path, shape: str, name: str) -> dict[str, Any]:
    """Seconds of loading the weights from disk, and again with the files in memory; bytes."""
    # It takes away the handlers that its loggers have when it is imported.
    import vllm  # noqa: F401  # pyright: ignore[reportUnusedImport, reportMissingImports]

    started = time.perf_counter()
    target = write_weights(folder, shape, name)
    found: dict[str, Any] = {"written_s": round(time.perf_counter() - started, 1), "bytes": forget(target)}
    told = Told()
    logging.getLogger("vllm").addHandler(told)
    for place in ("disk", "memory"):
        # One that neither compiles nor captures: only the weights are looked at.
        llm = engine(target, shape, name, {"enforce_eager": True, "gpu_memory_utilization": 0.3})
        found[f"{place}_s"] = told.seconds
        llm.generate(prompts(1, 16, random.Random(0)), sampling(2), use_tqdm=False)
        del llm
        gc.collect()
    return found


def measured(folder: Path, args: argparse.Namespace, draw: random.Random) -> dict[str, Any]:
    """What one engine without weights shows."""
    more: dict[str, Any] = {"load_format": "dummy", "tensor_parallel_size": args.gpus}
    if args.gpus > 1:
        # Its kernel uses NVLink's multicast, which not every host lets a program use.
        more |= {"compilation_config": {"pass_config": {"fuse_allreduce_rms": False}}}
    if args.prefix:
        more |= tiers(args.disk)
    if args.classes:
        more |= {"max_num_seqs": 128}
    start = time.perf_counter()
    llm = engine(folder, args.shape, args.format, more)
    row: dict[str, Any] = {"start_s": round(time.perf_counter() - start, 1)}
    used = llm.collective_rpc(lambda worker: worker.model_runner.model_memory_usage)
    row["weights_gib"] = round(sum(used) / 2**30, 2)
    if args.classes:
        classes(llm, draw)
        row["classes"] = classes(llm, draw)
    elif args.prefix:
        row["prefix"] = prefix(llm, draw, args.disk)
    else:
        row["rates"] = {str(count): rate(llm, count, draw) for count in AT_ONCE}
        if args.kernels:
            row["kernels"] = kernels(llm, draw)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shape", choices=tuple(SHAPES), required=True)
    parser.add_argument("--format", choices=tuple(SCHEMES), required=True)
    for name in ("kernels", "classes", "prefix"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--load", type=Path, metavar="FOLDER")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--disk", type=Path)
    args = parser.parse_args()
    # The engine in this process: its memory can be read and its kernels watched.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    # The workers of several GPUs are told what to read as a pickled function.
    os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"
    draw = random.Random(0)
    row: dict[str, Any] = {"shape": args.shape, "format": args.format, "gpus": args.gpus}
    if args.load:
        row["load"] = load(args.load, args.shape, args.format)
    else:
        with tempfile.TemporaryDirectory() as folder:
            row |= measured(Path(folder), args, draw)
    with args.out.open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)
    # Some vLLM threads outlive the engine.
    os._exit(0)


if __name__ == "__main__":
    main()
