"""SmolLM2-135M from its GGUF file, end to end."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model_packaging.build import PackageResult, package
from model_packaging.config import load_config
from model_packaging.language.config import LanguageConfig
from spillway.contracts.manifest import verify_package
from tests.model_packaging.tiny_language import EXAMPLE

# What a real model loses by rounding; the small ones in test_build go the same way in seconds.
pytestmark = [pytest.mark.heavy, pytest.mark.soak]


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> PackageResult:
    """The example with the two of its variants that need no data, on less text: the whole example takes minutes."""
    config = load_config(EXAMPLE / "model.yaml")
    assert isinstance(config, LanguageConfig)
    wanted = tuple(variant for variant in config.variants if variant.name in ("w8a16", "w4a16"))
    checks = config.checks.model_copy(update={"tokens": 512, "new_tokens": 8})
    return package(config.model_copy(update={"variants": wanted, "checks": checks}), tmp_path_factory.mktemp("store"))


def test_int8_holds_and_plain_int4_does_not(smollm2: PackageResult) -> None:
    manifest = verify_package(smollm2.path)
    assert manifest.served == {"vllm": "w8a16"}
    assert manifest.source.licence == "Apache-2.0"
    figures = {figure.variant: figure for figure in manifest.language_figures}
    reference = figures["torch-fp32"]
    assert reference.perplexity is not None
    assert 20 < reference.perplexity < 90
    assert figures["w8a16"].perplexity_ratio == pytest.approx(1, abs=0.02)
    assert figures["w8a16"].top1 > 0.95
    assert not figures["w4a16"].passed
    left_out = {variant.name: variant for variant in manifest.variants}["w4a16"]
    assert left_out.rank is None
    assert "perplexity" in left_out.reason
    size = (smollm2.path / "vllm" / "model.safetensors").stat().st_size
    assert 150e6 < size < 170e6


def test_what_was_stored_answers_a_question(smollm2: PackageResult) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = smollm2.path / "vllm"
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    module = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = module.generate(**prompt, max_new_tokens=10, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :])


def test_a_changed_weight_is_noticed_by_the_checksums(smollm2: PackageResult, tmp_path: Path) -> None:
    import subprocess

    folder = Path(shutil.copytree(smollm2.path / "vllm", tmp_path / "vllm"))
    check = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=folder, check=False).returncode == 0
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x5a")
    assert subprocess.run(check, cwd=folder, check=False, capture_output=True).returncode != 0
