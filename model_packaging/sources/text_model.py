"""Text models beside what their own library computes: of one text alone, without padding."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_packaging.sources.model import Batch, LoadedModel, TextCodec
from spillway.contracts.manifest import PackageError, PackageSource

if TYPE_CHECKING:
    import torch
    from torch import nn

Tokens = Callable[[str], Batch]
"""What a library's own tokenizer makes of one text: everything that the model is given."""


@dataclass(frozen=True)
class Computation:
    """How the library that a folder is made for answers one text. ``name``: library and version. ``answer``: FP32
    [1, width]. ``pad_id``: what it fills texts up with."""

    name: str
    tokens: Tokens
    answer: Callable[[str], torch.Tensor]
    pad_id: int


def text_model(
    module: nn.Module,
    tokenizer_json: Path,
    source: PackageSource,
    sentences: tuple[str, ...],
    max_length: int,
    library: Computation,
    output: str,
    labels: tuple[str, ...] = (),
) -> LoadedModel:
    """``module`` takes the ids and the mask of ``tokenizer.json``, which is what servers have of the folder's
    tokenizer. Raises :class:`PackageError` where that reads a text otherwise than the library does."""
    import torch

    text = TextCodec(tokenizer_json, max_length, pad_id=library.pad_id)
    try:
        samples = tuple(text.encode([sentence]) for sentence in sentences)
    except Exception as error:
        raise PackageError(f"{tokenizer_json}: the tokenizer cannot be used: {error}") from error
    expected: list[Batch] = []
    for sentence, sample in zip(sentences, samples, strict=True):
        try:
            with torch.no_grad():
                theirs, answer = library.tokens(sentence)["input_ids"][0].tolist(), library.answer(sentence).float()
        except Exception as error:
            told = f"{tokenizer_json.parent}: {library.name} cannot answer {sentence[:60]!r}"
            raise PackageError(f"{told}: {type(error).__name__}: {error}") from error
        _check_tokens(tokenizer_json, library, sentence, sample["input_ids"][0].tolist(), theirs)
        expected.append({output: answer})
    return LoadedModel(
        module=module.eval(),
        samples=samples,
        outputs=(output,),
        source=source,
        text=text,
        dynamic_axes={name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")},
        reference=library.name,
        expected=tuple(expected),
        labels=labels,
    )


def tool(distribution: str) -> str:
    """Name and version of an installed library."""
    return f"{distribution} {importlib.metadata.version(distribution)}"


def tokens_of(folder: Path, max_length: int) -> Tokens:
    """transformers' own tokenizer of a folder, texts cut as it cuts them. Raises :class:`PackageError`."""
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise PackageError(f"{folder}: transformers cannot load the tokenizer: {error}") from error
    return lambda text: dict(tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt"))


def pretrained(auto_class: str, folder: Path) -> Any:
    """A model in fp32 for evaluation, as transformers loads it. Raises :class:`PackageError`."""
    import torch
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model, report = getattr(transformers, auto_class).from_pretrained(
            str(folder),
            dtype=torch.float32,
            # The plain formula exports to plain operators; fused attention does not.
            attn_implementation="eager",
            use_safetensors=bool(list(folder.glob("*.safetensors"))),
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise PackageError(f"{folder}: transformers cannot load it: {error}") from error
    # transformers fills weights that a file lacks with random numbers. A pooler that no output reads may be missing.
    if missing := sorted(name for name in report["missing_keys"] if "pooler" not in name):
        raise PackageError(
            f"{folder}: the weights lack {missing[0]}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + f", so this is no trained {auto_class}: check source.task and that every shard is there."
        )
    return model.eval()


def _check_tokens(
    tokenizer_json: Path, library: Computation, sentence: str, ours: list[int], theirs: list[int]
) -> None:
    if theirs != ours:
        raise PackageError(
            f"{tokenizer_json} reads {sentence[:60]!r} as the tokens {_few(ours)}, and {library.name} as "
            f"{_few(theirs)}: servers have that file alone. Write what transformers uses into it: "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)."
        )


def _few(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:8])) + (f" … ({len(ids)})" if len(ids) > 8 else "")
