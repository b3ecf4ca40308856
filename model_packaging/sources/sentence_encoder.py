"""Sentence encoders: one vector a text, as sentence-transformers makes it where the folder has its ``modules.json``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from model_packaging.errors import ModelConfigError
from model_packaging.sources.model import LoadedModel
from model_packaging.sources.text_model import Computation, pretrained, text_model, tokens_of, tool
from spillway.contracts.manifest import PackageError, PackageSource

if TYPE_CHECKING:
    import torch
    from torch import nn

_MODULES: Final = "modules.json"
_AFTER_THE_TRANSFORMER: Final = ("Pooling", "Dense", "Normalize", "LayerNorm", "Dropout")
"""Modules of sentence-transformers that make one vector of the tokens' vectors and the mask, and nothing else."""
_CUT_AT: Final = 256

Pool = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""Vectors of tokens [texts, tokens, width] and mask → one vector a text."""


@dataclass(frozen=True)
class Pooled:
    """What model.yaml says of the way from tokens to one vector; ``None``: nothing."""

    pooling: str | None = None
    normalise: bool | None = None


def module_folders(folder: Path) -> tuple[Path, ...]:
    """The folders that ``modules.json`` names; none where there is no such file. Raises :class:`PackageError`."""
    return tuple((folder / row["path"]).resolve() for row in _modules(folder))


def transformer_folder(folder: Path) -> Path:
    """Where ``config.json``, tokenizer and weights are."""
    return next(iter(module_folders(folder)), folder)


def load_encoder(
    folder: Path, source: PackageSource, sentences: tuple[str, ...], max_length: int | None, said: Pooled
) -> LoadedModel:
    """A sentence encoder: EMBEDDING, FP32 [texts, width]. Raises :class:`PackageError`, and
    :class:`ModelConfigError` where nothing says how texts become vectors, or model.yaml says it otherwise."""
    make = _sentence_transformer if _modules(folder) else _pooled_as_said
    return make(folder, source, sentences, max_length, said)


def _modules(folder: Path) -> list[dict[str, str]]:
    path = folder / _MODULES
    if not path.is_file():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        first, *others = [(row["type"], row["path"]) for row in rows]
        if not all(isinstance(part, str) for pair in (first, *others) for part in pair):
            raise TypeError("type and path are texts")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise PackageError(
            f"{path}: no list of modules with type and path: {error}. Save the model with sentence-transformers again."
        ) from error
    for kind, place in (first, *others):
        name = kind.rpartition(".")[2]
        allowed = ("Transformer",) if (kind, place) == first else _AFTER_THE_TRANSFORMER
        if not kind.startswith("sentence_transformers.") or name not in allowed:
            raise PackageError(
                f"{path}: {kind} cannot be packaged; a Transformer and then {', '.join(_AFTER_THE_TRANSFORMER)} can. "
                "Package it with a Python entry (source.kind: python)."
            )
        if not (folder / place).resolve().is_relative_to(folder.resolve()):
            raise PackageError(f"{path}: path {place!r} leads out of the folder.")
    return rows


def _sentence_transformer(
    folder: Path, source: PackageSource, sentences: tuple[str, ...], max_length: int | None, said: Pooled
) -> LoadedModel:
    """sentence-transformers is the reference, with its own encoder; its modules behind the encoder are packaged."""
    import torch

    library = _library(folder)
    _check_said(folder, library, said)
    if library.default_prompt_name:
        raise PackageError(
            f"{folder}: sentence-transformers puts the prompt {library.default_prompt_name!r} before each text "
            "(config_sentence_transformers.json), and servers do not: set default_prompt_name to null there, and let "
            "clients send the prompt."
        )
    length = max_length or library.max_seq_length or _CUT_AT
    library.max_seq_length = length
    modules = torch.nn.ModuleList(list(library)[1:])

    def pool(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        # 32 bits: ONNX Runtime has no ArgMax of 64.
        features = {"token_embeddings": hidden, "attention_mask": mask.to(torch.int32)}
        for module in modules:
            features = module(features)
        return features["sentence_embedding"]

    place = transformer_folder(folder)
    encoder = pretrained("AutoModel", place)
    computation = Computation(
        tool("sentence-transformers"),
        tokens_of(place, length),
        lambda text: library.encode([text], convert_to_tensor=True, show_progress_bar=False),
        _pad_id(encoder),
    )
    module = _module(encoder, pool, modules)
    return text_model(module, place / "tokenizer.json", source, sentences, length, computation, "EMBEDDING")


def _library(folder: Path) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(
            str(folder),
            device="cpu",
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"attn_implementation": "eager", "dtype": torch.float32},
        ).eval()
    except Exception as error:
        raise PackageError(f"{folder}: sentence-transformers cannot load it: {error}") from error


def _check_said(folder: Path, library: Any, said: Pooled) -> None:
    """model.yaml may repeat what ``modules.json`` says, and not contradict it. Raises :class:`ModelConfigError`."""
    names = [type(module).__name__ for module in library]
    pooling = next((module.pooling_mode for module in library if type(module).__name__ == "Pooling"), None)
    for key, given, found in (
        ("pooling", said.pooling, pooling),
        ("normalise", said.normalise, "Normalize" in names),
    ):
        if given is not None and given != found:
            raise ModelConfigError(
                f"source.{key}: {given}, and {folder / _MODULES} says {found} ({', '.join(names)}): leave the key out; "
                "the folder is packaged as sentence-transformers computes it."
            )


def _pooled_as_said(
    folder: Path, source: PackageSource, sentences: tuple[str, ...], max_length: int | None, said: Pooled
) -> LoadedModel:
    """A plain encoder; model.yaml says how its tokens become one vector."""
    import torch

    if said.pooling is None or said.normalise is None:
        raise ModelConfigError(
            f"source.{'pooling' if said.pooling is None else 'normalise'}: {folder} has no {_MODULES} that says how "
            "tokens become one vector: give pooling (mean or cls) and normalise (true or false), as it was trained."
        )

    def pool(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if said.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            weight = mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(pooled, dim=-1) if said.normalise else pooled

    length = max_length or _CUT_AT
    encoder = pretrained("AutoModel", folder)
    tokens = tokens_of(folder, length)

    def answer(text: str) -> torch.Tensor:
        hidden = encoder(**tokens(text)).last_hidden_state
        return pool(hidden, torch.ones(hidden.shape[:2], dtype=torch.int64))

    computation = Computation(tool("transformers"), tokens, answer, _pad_id(encoder))
    module = _module(encoder, pool)
    return text_model(module, folder / "tokenizer.json", source, sentences, length, computation, "EMBEDDING")


def _pad_id(encoder: Any) -> int:
    """What fills texts up. Where the model names none, any id will do: the mask hides it."""
    found = encoder.config.get_text_config().pad_token_id
    return 0 if found is None else found


def _module(encoder: nn.Module, pool: Pool, modules: nn.Module | None = None) -> nn.Module:
    """The encoder and what follows it, so that the graph's output is what clients get."""
    from torch import nn

    class SentenceEncoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.modules_behind = modules

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return pool(hidden, attention_mask)

    return SentenceEncoder()
