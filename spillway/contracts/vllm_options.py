"""How vLLM is told what to do: one map of options, in the form that each site takes it.

A package's manifest holds the map (``language.arguments``): options of ``vllm serve`` without their dashes. The table
beside this module says which options, parsers and models that version of vLLM knows; ``scripts/vllm_options.py`` reads
it from the wheel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

FOLDER: Final = "{folder}"
"""Stands in a value for the folder that holds the package's ``vllm/`` files, which each site mounts elsewhere."""

SET_ELSEWHERE: Final[dict[str, str]] = {
    **dict.fromkeys(("model", "served-model-name"), "the package's own name and files"),
    **dict.fromkeys(("host", "port", "uds", "download-dir", "shutdown-timeout", "disable-fastapi-docs"), "each site's"),
    **dict.fromkeys(("config", "api-key", "ssl-keyfile", "ssl-certfile"), "each site's"),
    **dict.fromkeys(("root-path", "nnodes", "node-rank", "master-addr", "master-port", "headless"), "each site's"),
    "quantization": "in config.json, where vLLM reads it",
}
"""Options that nobody writes into a package, and whose they are."""

UNSAFE: Final[dict[str, str]] = {
    **dict.fromkeys(("trust-remote-code", "tool-parser-plugin", "reasoning-parser-plugin"), "runs code of the model's"),
    **dict.fromkeys(("middleware", "logits-processors", "worker-cls", "worker-extension-cls"), "runs code by its name"),
    **dict.fromkeys(("allowed-local-media-path", "enable-tokenizer-info-endpoint"), "shows callers the server's files"),
    **dict.fromkeys(("trust-request-chat-template", "enable-prompt-embeds"), "trusts what callers send"),
    **dict.fromkeys(
        ("hf-token", "revision", "tokenizer-revision", "code-revision"), "fetches from outside the package"
    ),
    **dict.fromkeys(("model-class-overrides", "hf-config-path", "tool-server"), "reads from outside the package"),
}
"""Options that no package asks for, and why."""

_TABLE: Final = Path(__file__).with_suffix(".json")


@cache
def table() -> Mapping[str, Any]:
    """``version``, ``options``, ``tool_parsers``, ``reasoning_parsers``, ``kv_cache_dtypes``, ``speculative_methods``,
    ``architectures``."""
    return json.loads(_TABLE.read_text(encoding="utf-8"))


def engine_version() -> str:
    """The vLLM that packages are made for."""
    return table()["version"]


def command_line(arguments: Mapping[str, Any], folder: str) -> list[str]:
    """The options of ``vllm serve``: ``true`` is the bare option, ``false`` its ``--no-`` form, objects are JSON."""
    words: list[str] = []
    for name, value in resolved(arguments, folder).items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, list):
            words += [f"--{name}", *map(_text, value)]
        else:
            words += [f"--{name}", _text(value)]
    return words


def sagemaker_environment(arguments: Mapping[str, Any], folder: str = "/opt/ml/model") -> dict[str, str]:
    """The same for AWS's vLLM container, which makes ``--max-model-len 4096`` of ``SM_VLLM_MAX_MODEL_LEN=4096``, a bare
    option of ``true`` and nothing of ``false`` (https://aws.github.io/deep-learning-containers/vllm/configuration/).

    Raises ``ValueError`` for a list of several: a variable is one word.
    """
    found: dict[str, str] = {}
    for name, value in resolved(arguments, folder).items():
        if isinstance(value, list) and len(value) != 1:
            raise ValueError(f"{name}: {len(value)} values do not go into one variable; give them as one JSON list")
        single = value[0] if isinstance(value, list) else value
        word = f"no-{name}" if single is False else name
        found[f"SM_VLLM_{word.upper().replace('-', '_')}"] = "true" if isinstance(single, bool) else _text(single)
    return found


def engine_arguments(arguments: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """The same for those who construct the engine, as Triton's backend does: names with underscores, and without what
    only the HTTP server takes."""
    options = table()["options"]
    return {
        name.replace("-", "_"): value
        for name, value in resolved(arguments, folder).items()
        if not options.get(name, {}).get("front")
    }


def resolved(arguments: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """The map with the package's folder put in."""
    text = json.dumps(dict(arguments))
    return json.loads(text.replace(FOLDER, json.dumps(folder)[1:-1]))


def option_problem(name: str, value: Any) -> str | None:
    """What is wrong with an option: unknown to this vLLM, of the wrong type, or not the giver's to say."""
    known: Mapping[str, Mapping[str, Any]] = table()["options"]
    if name not in known:
        from spillway.contracts.problems import nearest

        return f"vLLM {engine_version()} has no --{name}; {nearest(name, known)}write it as vLLM does, without dashes"
    if name in SET_ELSEWHERE:
        return f"--{name} is {SET_ELSEWHERE[name]}; leave it out"
    if name in UNSAFE:
        return f"--{name} {UNSAFE[name]}; leave it out"
    choices = known[name].get("choices")
    if choices and str(value) not in choices:
        return f"allowed: {', '.join(choices)}"
    wanted = _TYPES.get(known[name]["type"])
    fits = wanted is None or (isinstance(value, wanted) and (bool in wanted) == isinstance(value, bool))
    return None if fits or choices else f"--{name} takes {known[name]['type']}"


_TYPES: Final[dict[str, tuple[type, ...]]] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
