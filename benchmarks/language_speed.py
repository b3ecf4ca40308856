"""How fast vLLM answers on one GPU by weight format: one shape and format in each call, appended as one row.

    python -m benchmarks.language_speed --out FILE --shape qwen2-7b --format fp8 [--kernels] [--classes] [--prefix]

Only a ``config.json`` is written and the weights are never read (``load_format: dummy``), so that only speed and memory
count. Always: output tokens a second, seconds to the first token (TTFT) and for each further one (TPOT), at 1, 32, 128
and 512 requests at once of 512 tokens in and 128 out, the better of two rounds after one to warm up.

``--kernels``  the GPU's time by kernel while 128 requests are answered
``--classes``  16 requests of class P0 sent behind 384 of P2, with the engine's priorities and without
``--prefix``   the first token after 8,192 known tokens: computed, from the GPU's cache, from the cache in RAM
``--disk FOLDER``  with ``--prefix``: from files there, too, written as a stack's ``model_server.kv_tiers`` has them
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

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
SHAPES: Final = {"deepseek-v2-lite": DEEPSEEK_V2_LITE, "qwen2-7b": QWEN2_7B}
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

    config = {**COMMON, **SHAPES[shape], **quantization(name, shape)}
    (folder / "config.json").write_text(json.dumps(config))
    chosen = {"max_model_len": 1024, "max_num_seqs": 512, "enable_prefix_caching": False, **more}
    return LLM(
        model=str(folder),
        load_format="dummy",
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shape", choices=tuple(SHAPES), required=True)
    parser.add_argument("--format", choices=tuple(SCHEMES), required=True)
    for name in ("kernels", "classes", "prefix"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--disk", type=Path)
    args = parser.parse_args()
    # The engine in this process: its memory can be read and its kernels watched.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    draw = random.Random(0)
    row: dict[str, Any] = {"shape": args.shape, "format": args.format}
    more: dict[str, Any] = {}
    if args.prefix:
        more = tiers(args.disk)
    if args.classes:
        more = {"max_num_seqs": 128}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        llm = engine(Path(folder), args.shape, args.format, more)
        row["start_s"] = round(time.perf_counter() - start, 1)
        (used,) = llm.collective_rpc(lambda worker: worker.model_runner.model_memory_usage)
        row["weights_gib"] = round(used / 2**30, 2)
        if args.classes:
            classes(llm, draw)
            row["classes"] = classes(llm, draw)
        elif args.prefix:
            row["prefix"] = prefix(llm, draw, args.disk)
        else:
            row["rates"] = {str(count): rate(llm, count, draw) for count in AT_ONCE}
            if args.kernels:
                row["kernels"] = kernels(llm, draw)
    with args.out.open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)
    # Some vLLM threads outlive the engine.
    os._exit(0)


if __name__ == "__main__":
    main()
