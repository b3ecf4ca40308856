"""The options of vLLM: what each site is given, and what is refused before a server is."""

from __future__ import annotations

from typing import Any

import pytest

from spillway.contracts import vllm_options

ARGUMENTS = {
    "max-model-len": 8192,
    "enable-auto-tool-choice": True,
    "enable-prefix-caching": False,
    "speculative-config": {"method": "ngram", "num_speculative_tokens": 4},
    "lora-modules": [{"name": "sql", "path": "{folder}/adapters/sql"}],
}


def test_the_command_line_is_vllms() -> None:
    """As argparse reads it: vLLM's booleans are ``BooleanOptionalAction``, its objects ``json.loads``."""
    assert vllm_options.command_line(ARGUMENTS, "/cache/repository") == [
        "--max-model-len",
        "8192",
        "--enable-auto-tool-choice",
        "--no-enable-prefix-caching",
        "--speculative-config",
        '{"method":"ngram","num_speculative_tokens":4}',
        "--lora-modules",
        '{"name":"sql","path":"/cache/repository/adapters/sql"}',
    ]


def test_sagemakers_variables_make_the_same_command_line() -> None:
    """AWS's entry point: prefix off, lower case, dashes; ``true`` is a bare option, ``false`` would be left out."""
    words: list[str] = []
    for name, value in vllm_options.sagemaker_environment(ARGUMENTS, "/cache/repository").items():
        words.append("--" + name.removeprefix("SM_VLLM_").lower().replace("_", "-"))
        words += [] if value == "true" else [value]
    assert words == vllm_options.command_line(ARGUMENTS, "/cache/repository")


def test_a_variable_holds_one_word() -> None:
    with pytest.raises(ValueError, match="lora-modules: 2 values"):
        vllm_options.sagemaker_environment({"lora-modules": ["a=b", "c=d"]})


def test_the_engine_alone_gets_no_options_of_the_http_server() -> None:
    found = vllm_options.engine_arguments(ARGUMENTS, "/models")
    assert set(found) == {"max_model_len", "enable_prefix_caching", "speculative_config"}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("max-modellen", 1, "did you mean max-model-len"),
        ("max-model-len", "long", "takes int"),
        ("max-model-len", True, "takes int"),
        ("enforce-eager", 1, "takes bool"),
        ("dtype", "int8", "allowed: auto, half"),
        ("port", 8080, "each site's"),
        ("trust-remote-code", True, "runs code of the model's"),
        ("enforce-eager", True, None),
        ("max-lora-rank", 16, None),
        ("gpu-memory-utilization", 1, None),
        ("speculative-config", {"method": "ngram"}, None),
    ],
)
def test_options_are_those_of_the_pinned_version(name: str, value: Any, problem: str | None) -> None:
    found = vllm_options.option_problem(name, value)
    assert found is None if problem is None else problem in str(found)


def test_what_is_refused_exists() -> None:
    """An option that vLLM has given up would be refused for the wrong reason."""
    known = vllm_options.table()["options"]
    assert not [name for name in (*vllm_options.SET_ELSEWHERE, *vllm_options.UNSAFE) if name not in known]
