"""Checkpoints that are not quantized as they say, by their headers alone.

The names are those of public checkpoints: DeepSeek-V3 (fp8), AWQ and GPTQ ones of Qwen, compressed-tensors' and
ModelOpt's NVFP4.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from model_packaging.language import quantized
from model_packaging.language.weights import StoredTensor, Weights
from spillway.contracts.manifest import PackageError

ATTENTION = "model.layers.0.self_attn.q_proj"
EXPERTS = [f"model.layers.0.mlp.experts.{number}.{name}" for number in (0, 1) for name in ("gate_proj", "down_proj")]
ROUTER = "model.layers.0.mlp.gate"
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
PACKED = {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"]}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": ["mlp.gate"]}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"-:.*shared_expert.*": {}}}
NVFP4 = {"quant_method": "modelopt_fp4", "quant_algo": "NVFP4", "ignore": ["*self_attn*", "lm_head"]}


def weights(*tensors: tuple[str, str, tuple[int, ...]]) -> Weights:
    found = {name: StoredTensor(name, Path("x"), dtype, shape, math.prod(shape)) for name, dtype, shape in tensors}
    return Weights(Path("folder"), found)


def fp8(name: str, scale: tuple[int, int] = (2, 3)) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(f"{name}.weight", "F8_E4M3", (256, 300)), (f"{name}.weight_scale_inv", "F32", scale)]


def packed(name: str) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(f"{name}.weight_packed", "I32", (256, 32)), (f"{name}.weight_scale", "BF16", (256, 2))]


def awq(name: str, *without: str) -> list[tuple[str, str, tuple[int, ...]]]:
    parts = {"qweight": ("I32", (256, 32)), "qzeros": ("I32", (2, 32)), "scales": ("F16", (2, 256))}
    return [(f"{name}.{part}", *entry) for part, entry in parts.items() if part not in without]


def plain(name: str, shape: tuple[int, ...] = (256, 300)) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(f"{name}.weight", "BF16", shape)]


COMMON = [*plain("model.embed_tokens"), *plain(ROUTER, (2, 300)), *plain("lm_head"), *plain("model.norm", (300,))]


@pytest.mark.parametrize(
    ("config", "layer", "words"),
    [
        (FP8, fp8, "fp8 blocks of 128 by 128, 5 layers, as it came"),
        (PACKED, packed, "compressed-tensors pack-quantized, 5 layers, as it came"),
        (AWQ, awq, "awq 4 bits, 5 layers, as it came"),
    ],
    ids=["fp8", "compressed-tensors", "awq"],
)
def test_whole_checkpoints_pass(config: dict[str, Any], layer: Any, words: str) -> None:
    """Routers, embeddings, norms and head are plain numbers in all of them, named or not."""
    stored = [part for name in (ATTENTION, *EXPERTS) for part in layer(name)]
    assert quantized.check(weights(*COMMON, *stored), config) == words


def test_other_forms_pass() -> None:
    gptq = [
        *awq(EXPERTS[0]),
        (f"{EXPERTS[0]}.g_idx", "I32", (256,)),
        *plain("model.layers.0.mlp.shared_expert.up_proj"),
    ]
    assert quantized.check(weights(*COMMON, *gptq), GPTQ) == "gptq 4 bits, 1 layers, as it came"
    nvfp4 = [(f"{EXPERTS[0]}.weight", "U8", (256, 150)), (f"{EXPERTS[0]}.weight_scale", "F8_E4M3", (256, 18))]
    assert quantized.check(weights(*COMMON, *plain(ATTENTION), *nvfp4), NVFP4).startswith("modelopt NVFP4, 1 layers")
    assert quantized.check(weights(*COMMON, *plain(ATTENTION)), None) == "not quantized"


@pytest.mark.parametrize("config", [FP8, PACKED, AWQ], ids=["fp8", "compressed-tensors", "awq"])
def test_experts_left_whole_are_half_a_quantization(config: dict[str, Any]) -> None:
    layer = {"fp8": fp8, "compressed-tensors": packed, "awq": awq}[config["quant_method"]]
    found = weights(*COMMON, *layer(ATTENTION), *(part for name in EXPERTS for part in plain(name)))
    with pytest.raises(
        PackageError, match=r"half quantized: model\.layers\.0\.mlp\.experts\.0\.gate_proj.* and 1 more"
    ):
        quantized.check(found, config)


def test_experts_of_one_tensor_are_half_a_quantization() -> None:
    """What transformers 5 holds in memory, and what a packager that writes names of its own would store."""
    fused = ("model.layers.0.mlp.experts.gate_up_proj", "BF16", (2, 512, 300))
    with pytest.raises(PackageError, match=r"half quantized: model\.layers\.0\.mlp\.experts\.gate_up_proj is stored"):
        quantized.check(weights(*COMMON, *packed(ATTENTION), fused), PACKED)


def test_layers_that_are_named_may_stay_whole() -> None:
    found = weights(*COMMON, *packed(ATTENTION), *(part for name in EXPERTS for part in plain(name)))
    assert quantized.check(found, {**PACKED, "ignore": ["re:.*experts.*"]}).endswith("1 layers, as it came")
    kept = weights(*COMMON, *fp8(EXPERTS[0]), *plain(ATTENTION))
    assert quantized.check(kept, {**FP8, "modules_to_not_convert": ["model.layers.0.self_attn"]})


@pytest.mark.parametrize(
    ("tensors", "config", "message"),
    [
        (fp8(ATTENTION), None, "F8_E4M3, and config.json has no quantization_config"),
        (fp8(ATTENTION)[:1], FP8, "has no weight_scale_inv"),
        (fp8(ATTENTION, (2, 2)), FP8, r"scales of shape \[2, 2\] .* expected \[2, 3\]"),
        (packed(ATTENTION)[:1], PACKED, "has no weight_scale"),
        (awq(ATTENTION, "qzeros", "scales"), AWQ, "has no qzeros, scales"),
        (awq(ATTENTION), GPTQ, "has no g_idx"),
        (packed(ATTENTION), {**PACKED, "ignore": [ATTENTION]}, "says that it would not be quantized"),
        (awq(ATTENTION), FP8, "this format keeps a layer in weight"),
        (packed(ATTENTION), {"quant_method": "bitsandbytes"}, "known here: compressed-tensors, fp8, awq"),
    ],
)
def test_numbers_that_would_be_read_wrongly(tensors: list[Any], config: dict[str, Any] | None, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        quantized.check(weights(*COMMON, *tensors), config)
