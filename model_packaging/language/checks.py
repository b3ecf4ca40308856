"""A variant, loaded back from its files, against the fp32 reference: perplexity, logits, greedy answers, times.

What is judged is what was stored: transformers loads the folder, unpacks the weights and computes in fp32, inputs
quantized where the scheme says so. Rounding of the server's own arithmetic (bf16, fp16) comes on top.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from model_packaging.errors import ModelConfigError
from model_packaging.language.config import LanguageChecks
from model_packaging.language.variants.settings import LanguageVariant
from model_packaging.language.weights import open_weights
from spillway.contracts.manifest import LanguageFigure, PackageError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

REFERENCE: Final = "torch-fp32"
_COMPARED_POSITIONS: Final = 64
"""Last positions of the first window whose whole logits are compared; a vocabulary wide each, so not all."""
_SLICE: Final = 128
"""Positions whose log-probabilities are taken at once."""
_FIRST_STEPS_DROPPED: Final = 1


@dataclass(frozen=True)
class Reading:
    """What a model made of the text and the prompts. ``logits``: fp32 [positions, vocabulary]."""

    perplexity: float
    top1: torch.Tensor
    logits: torch.Tensor
    answers: tuple[tuple[int, ...], ...]
    prefill_ms: float
    step_ms: tuple[float, ...]


@dataclass(frozen=True)
class Task:
    """What every variant reads. ``windows``: INT64 [windows, tokens]; ``prompts``: INT64 [1, tokens] each."""

    windows: torch.Tensor
    prompts: tuple[torch.Tensor, ...]
    text_sha256: str
    settings: LanguageChecks
    end_tokens: frozenset[int]


def make_task(
    settings: LanguageChecks,
    text: str,
    prompts: str,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
) -> Task:
    """Tokenize once. ``folder``: of the model. Raises :class:`ModelConfigError` for a text too short for one window."""
    windows = text_windows(text, tokenizer, settings.window, settings.tokens, "checks.text")
    lines = [line.strip() for line in prompts.splitlines() if line.strip()]
    return Task(
        windows,
        tuple(_prompt(line, tokenizer) for line in lines),
        hashlib.sha256(text.encode()).hexdigest(),
        settings,
        _end_tokens(folder),
    )


def _end_tokens(folder: Path) -> frozenset[int]:
    """As transformers finds them: in generation_config.json, else in config.json."""
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            end = json.loads((folder / name).read_text(encoding="utf-8")).get("eos_token_id")
            if end is not None:
                return frozenset(end if isinstance(end, list) else [end])
    return frozenset()


def text_windows(text: str, tokenizer: Any, window: int, tokens: int, key: str) -> torch.Tensor:
    """The first ``tokens`` tokens of a text in whole windows, INT64 [windows, window]."""
    import torch

    ids = tokenizer(text, add_special_tokens=False)["input_ids"][:tokens]
    count = len(ids) // window
    if count == 0:
        raise ModelConfigError(f"{key}: holds {len(ids)} tokens, and one window has {window}: give more text.")
    return torch.tensor(ids[: count * window], dtype=torch.int64).reshape(count, window)


def read(module: PreTrainedModel, task: Task) -> Reading:
    """Let a model read the task, one thread count for all of them."""
    import torch

    with torch.no_grad(), torch_threads(task.settings.threads):
        nll, top1, logits, prefill = 0.0, [], None, []
        for window in task.windows:
            start = time.perf_counter()
            found = module(input_ids=window.unsqueeze(0), use_cache=False).logits[0]
            prefill.append(_ms_since(start))
            nll += _negative_log_likelihood(found[:-1], window[1:])
            top1.append(found[:-1].argmax(-1))
            logits = found[-_COMPARED_POSITIONS:].float().clone() if logits is None else logits
        assert logits is not None
        answers, steps = [], []
        for prompt in task.prompts:
            answer, times = _greedy(module, prompt, task.settings.new_tokens, task.end_tokens)
            answers.append(answer)
            steps += times
    positions = sum(len(part) for part in top1)
    mean = nll / positions
    perplexity = math.exp(mean) if math.isfinite(mean) and mean < _LARGEST_EXPONENT else math.inf
    # The first window pays for unpacking the weights.
    times = prefill[_FIRST_STEPS_DROPPED:] or prefill
    return Reading(perplexity, torch.cat(top1), logits, tuple(answers), statistics.median(times), tuple(steps))


@contextmanager
def loaded(folder: Path, work: Path, memory_gib: float | None, dequantize: bool = False) -> Iterator[PreTrainedModel]:
    """What transformers makes of a folder, in fp32, as long as it is looked at.

    What does not fit into ``memory_gib`` stays on disk, below ``work``, and is read layer by layer. ``dequantize``:
    unpack the weights as they are loaded, experts included; inputs are not rounded then. Raises :class:`PackageError`
    when it does not load.
    """
    import torch
    from transformers import AutoModelForCausalLM

    offload = work / f"{folder.name}-unpacked"
    try:
        module = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            **_placement(folder, offload, memory_gib),
            **_unpacking(folder, dequantize),
        )
    except Exception as error:
        raise PackageError(
            f"{folder}: transformers cannot load it as a causal language model: {type(error).__name__}: {error}"
        ) from error
    if dequantize and fits(folder, memory_gib):
        # What DeepSeek's form leaves unquantized is loaded as it is stored.
        module = module.float()
    try:
        yield module.eval()
    finally:
        del module
        # compressed-tensors ties layers into cycles: without this the models would pile up in memory.
        gc.collect()
        shutil.rmtree(offload, ignore_errors=True)


def _placement(folder: Path, offload: Path, memory_gib: float | None) -> dict[str, Any]:
    """Where transformers and accelerate put the layers: nothing to say for a model that fits into memory."""
    if fits(folder, memory_gib):
        return {}
    return {"device_map": "auto", "max_memory": {"cpu": _memory_budget(memory_gib)}, "offload_folder": offload}


def fits(folder: Path, memory_gib: float | None) -> bool:
    """Whether the model in fp32 may be in memory whole."""
    return _unpacked_bytes(folder) <= _memory_budget(memory_gib)


def _memory_budget(memory_gib: float | None) -> int:
    """Bytes that the weights of a model may take: what is asked for, else half of what is free."""
    return round(memory_gib * 2**30) if memory_gib else psutil.virtual_memory().available // 2


def _unpacked_bytes(folder: Path) -> int:
    """Bytes of the model in fp32, seen from its files: packed numbers count by the width that they say."""
    weights = open_weights(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("quantization_config") or {}
    bits = {group["weights"]["num_bits"] for group in (config.get("config_groups") or {}).values()}
    per_byte = 4 * 8 / min(bits, default=8)
    wide = {"F64": 0.5, "F32": 1.0, "F16": 2.0, "BF16": 2.0}
    return round(sum(t.size_bytes * wide.get(t.dtype, per_byte) for t in weights.tensors.values()))


def _unpacking(folder: Path, dequantize: bool) -> dict[str, Any]:
    if not dequantize:
        return {}
    from transformers import CompressedTensorsConfig, FineGrainedFP8Config

    config = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("quantization_config")
    if config is None:
        return {}
    if config["quant_method"] == "fp8":
        return {"quantization_config": FineGrainedFP8Config(**_without_method(config), dequantize=True)}
    return {"quantization_config": CompressedTensorsConfig(**_without_method(config), dequantize=True)}


def _without_method(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in ("quant_method", "fmt")}


def reference_figure(reading: Reading, task: Task) -> LanguageFigure:
    """The reference as a figure, so that every table has a line to compare with."""
    if not math.isfinite(reading.perplexity):
        raise PackageError("The fp32 reference answers NaN or infinity to the text: nothing can be compared with that.")
    return _figure(REFERENCE, reading, reading, task)


def figure(variant: LanguageVariant, reading: Reading, reference: Reading, task: Task) -> LanguageFigure:
    """Compare and judge."""
    found = _figure(variant.name, reading, reference, task)
    return found.model_copy(
        update={
            "bound_perplexity_ratio": variant.max_perplexity_ratio,
            "bound_top1": variant.min_top1,
            "bound_greedy_match": variant.min_greedy_match,
            "passed": not shortcomings(variant, found),
        }
    )


def shortcomings(variant: LanguageVariant, found: LanguageFigure) -> str:
    """What a variant misses, in words; empty when it holds its bounds."""
    ratio = found.perplexity_ratio
    missed = []
    if ratio is None:
        missed.append("perplexity is not a number")
    elif ratio > variant.max_perplexity_ratio:
        missed.append(f"perplexity {ratio} times the reference's is above {variant.max_perplexity_ratio}")
    if found.top1 < variant.min_top1:
        missed.append(f"top-1 agreement {found.top1} is below {variant.min_top1}")
    if found.greedy_match < variant.min_greedy_match:
        missed.append(f"greedy match {found.greedy_match} is below {variant.min_greedy_match}")
    return "; ".join(missed)


def _figure(name: str, reading: Reading, reference: Reading, task: Task) -> LanguageFigure:
    import torch

    sound = math.isfinite(reading.perplexity)
    cosine = torch.nn.functional.cosine_similarity(reading.logits.double(), reference.logits.double(), dim=-1)
    cosine = torch.nan_to_num(cosine, nan=-1.0)
    matched, total = _matched(reading.answers, reference.answers)
    steps = sorted(reading.step_ms)
    return LanguageFigure(
        variant=name,
        perplexity=round(reading.perplexity, 4) if sound else None,
        perplexity_ratio=round(reading.perplexity / reference.perplexity, 5) if sound else None,
        tokens=task.windows.numel(),
        text_sha256=task.text_sha256,
        top1=round(float((reading.top1 == reference.top1).float().mean()), 5),
        min_cosine=round(float(cosine.min()), 6),
        mean_cosine=round(float(cosine.mean()), 6),
        greedy_match=round(matched / total, 5),
        greedy_tokens=total,
        prefill_ms=round(reading.prefill_ms, 2),
        token_ms=round(statistics.median(steps), 2) if steps else 0.0,
        token_p99_ms=round(steps[min(len(steps) - 1, int(len(steps) * 0.99))], 2) if steps else 0.0,
    )


def _matched(answers: tuple[tuple[int, ...], ...], expected: tuple[tuple[int, ...], ...]) -> tuple[int, int]:
    """Tokens before the first difference, and tokens of the reference, over all prompts."""
    matched = 0
    for answer, wanted in zip(answers, expected, strict=True):
        for got, want in zip(answer, wanted, strict=False):
            if got != want:
                break
            matched += 1
    return matched, sum(len(wanted) for wanted in expected)


def _prompt(line: str, tokenizer: Any) -> torch.Tensor:
    """As a chat, where the model has a template, else plain."""
    import torch

    if tokenizer.chat_template:
        messages = [{"role": "user", "content": line}]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    else:
        ids = tokenizer(line)["input_ids"]
    return torch.tensor([ids], dtype=torch.int64)


def _greedy(
    module: PreTrainedModel, prompt: torch.Tensor, new_tokens: int, ends: frozenset[int]
) -> tuple[tuple[int, ...], list[float]]:
    """The likeliest token again and again, and how long each one after the first took, in milliseconds."""
    ids, past, answer, times = prompt, None, [], []
    while len(answer) < new_tokens and not (answer and answer[-1] in ends):
        start = time.perf_counter()
        found = module(input_ids=ids, past_key_values=past, use_cache=True)
        ids, past = found.logits[:, -1:].argmax(-1), found.past_key_values
        answer.append(int(ids))
        times.append(_ms_since(start))
    return tuple(answer), times[_FIRST_STEPS_DROPPED:]


def _negative_log_likelihood(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """Sum over positions, in nats; in slices, since log-probabilities are a vocabulary wide."""
    import torch

    return sum(
        float(torch.nn.functional.cross_entropy(part.float(), wanted, reduction="sum"))
        for part, wanted in zip(logits.split(_SLICE), targets.split(_SLICE), strict=True)
    )


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Torch with this many threads, inside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000


_LARGEST_EXPONENT: Final = 700.0
"""e to a little more than this is no double any more."""
