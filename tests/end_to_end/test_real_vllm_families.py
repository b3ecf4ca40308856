"""Packages of tiny models with experts and latent attention in a real vLLM on the CPU: their greedy tokens.

The reference is transformers, on the checkpoint that the package was made of, in fp32. Skipped where no vLLM is named.
"""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from model_packaging.build import package
from model_packaging.config import parse_config
from tests.model_packaging import tiny_language
from tests.support.gateway_rig import MODEL
from tests.support.real_vllm import Vllm, started

PYTHON = os.environ.get("SPILLWAY_VLLM_PYTHON", "")
PROMPTS = tuple(list(range(first, first + 12)) for first in range(2, 162, 20))
TOKENS = 6

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not PYTHON, reason="SPILLWAY_VLLM_PYTHON names no environment with vLLM"),
    pytest.mark.timeout(1200),
]


def served(server: Vllm, prompt: list[int]) -> list[int]:
    asked = {"model": MODEL, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0}
    more = {"ignore_eos": True, "return_token_ids": True}
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/v1/completions",
        data=json.dumps({**asked, **more}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["choices"][0]["token_ids"]


def reference(folder: Path) -> list[list[int]]:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    settings = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}
    answers = []
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        answers.append(model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0, len(prompt) :].tolist())
    return answers


@pytest.mark.parametrize("family", ["mixtral", "qwen3-moe", "deepseek-v3"])
def test_greedy_tokens_are_those_of_the_reference(tmp_path: Path, family: str) -> None:
    folder = tiny_language.write_family(tmp_path / "model", family)
    variant = {"precision": "bf16", "max_perplexity_ratio": 1.05}
    settings = tiny_language.settings(folder, variants=[variant])
    built = package(parse_config(settings, base_dir=tmp_path), tmp_path / "store").path
    with started(PYTHON, built, tmp_path, {"max-num-seqs": 4}) as server:
        found = [served(server, prompt) for prompt in PROMPTS]
    assert found == reference(folder)
