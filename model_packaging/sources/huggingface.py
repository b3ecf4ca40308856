"""A Hugging Face folder with a sentence encoder or a sequence classifier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from model_packaging.errors import ModelConfigError
from model_packaging.sources.model import LoadedModel, Place, TextCodec, files_sha256
from model_packaging.sources.samples import read_sentences
from spillway.contracts.frozen import Frozen
from spillway.contracts.manifest import PackageError, PackageSource

if TYPE_CHECKING:
    import torch
    from torch import nn

Task = Literal["embedding", "classification"]
Pooling = Literal["mean", "cls"]

_MODEL_FILES: Final = ("config.json", "tokenizer.json")
_PICKLED: Final = ("pytorch_model*.bin",)
_SENTENCES: Final = "a text file of real sentences, one a line"


class HuggingFaceSource(Frozen):
    """A Hugging Face folder: ``config.json``, ``tokenizer.json`` and safetensors weights."""

    kind: Literal["huggingface"]
    path: Path
    """The folder, absolute or relative to model.yaml."""
    task: Task = "embedding"
    """``embedding``: one vector a text (AutoModel, pooled). ``classification``: AutoModelForSequenceClassification."""
    pooling: Pooling = "mean"
    normalise: bool = True
    max_length: int = Field(default=256, ge=8, le=8192)
    """Tokens; longer texts are cut."""
    allow_pickle: bool = False
    """Read pickled weights (``pytorch_model.bin``) where there are no safetensors. torch's restricted unpickler reads
    them (``weights_only``); still, name it only for files from a source that you trust."""
    licence: str
    origin: str = ""
    """Where the folder was had from, for the manifest."""

    def files(self, place: Place) -> dict[str, Path]:
        """Every file that the build reads. Raises :class:`ModelConfigError` or :class:`PackageError`."""
        folder = self._folder(place)
        return {"samples": place.samples_file(_SENTENCES), **model_files(folder, allow_pickle=self.allow_pickle)}

    def load(self, place: Place) -> LoadedModel:
        """Load it with transformers. Raises :class:`PackageError` when it does not load."""
        folder = self._folder(place)
        files = self.files(place)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        source = PackageSource(
            name=config.get("_name_or_path") or folder.name,
            origin=self.origin,
            licence=self.licence,
            weights_sha256=files_sha256(files),
        )
        sentences = read_sentences(files["samples"])
        if self.task == "classification":
            return load_classifier(folder, source, sentences, self.max_length)
        return load_encoder(folder, source, sentences, self.max_length, self.pooling, self.normalise)

    def _folder(self, place: Place) -> Path:
        folder = place.resolve(self.path)
        if not folder.is_dir():
            raise ModelConfigError(f"source.path: {folder}: no such folder.")
        return folder


def model_files(folder: Path, *, allow_pickle: bool = False) -> dict[str, Path]:
    """The files of a model folder by relative name. Raises :class:`PackageError` when one is missing or unsafe."""
    for name in _MODEL_FILES:
        if not (folder / name).is_file():
            raise PackageError(f"{folder / name}: no such file; a Hugging Face folder holds {', '.join(_MODEL_FILES)}.")
    patterns = ["*.json", "*.safetensors"]
    if not list(folder.glob("*.safetensors")):
        pickled = [path for pattern in _PICKLED for path in folder.glob(pattern)]
        if not pickled:
            raise PackageError(f"{folder}: no .safetensors file: save the model with save_pretrained.")
        if not allow_pickle:
            raise PackageError(
                f"{folder}: the weights are pickled ({pickled[0].name}). Pickles can run code when they are loaded and "
                "are not read: save the model as safetensors (save_pretrained does), or set source.allow_pickle: true "
                "if you trust where the file comes from."
            )
        patterns += _PICKLED
    found = {path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()}
    return {path.relative_to(folder).as_posix(): path for path in sorted(found)}


def load_encoder(
    folder: Path, source: PackageSource, sentences: tuple[str, ...], max_length: int, pooling: Pooling, normalise: bool
) -> LoadedModel:
    """A sentence encoder: EMBEDDING, FP32 [texts, width], pooled and (if asked) of length 1."""
    encoder = _pretrained("AutoModel", folder)
    return _text_model(_encoder_module(encoder, pooling, normalise), folder, source, sentences, max_length, "EMBEDDING")


def load_classifier(folder: Path, source: PackageSource, sentences: tuple[str, ...], max_length: int) -> LoadedModel:
    """A sequence classifier: LOGITS, FP32 [texts, classes], before softmax or sigmoid."""
    classifier = _pretrained("AutoModelForSequenceClassification", folder)
    names = classifier.config.id2label
    labels = tuple(str(names[index]) for index in sorted(names))
    return _text_model(_classifier_module(classifier), folder, source, sentences, max_length, "LOGITS", labels)


def _text_model(
    module: nn.Module,
    folder: Path,
    source: PackageSource,
    sentences: tuple[str, ...],
    max_length: int,
    output: str,
    labels: tuple[str, ...] = (),
) -> LoadedModel:
    text = TextCodec(folder / "tokenizer.json", max_length)
    try:
        samples = tuple(text.encode([sentence]) for sentence in sentences)
    except Exception as error:
        raise PackageError(f"{text.tokenizer_json}: the tokenizer cannot be used: {error}") from error
    return LoadedModel(
        module=module.eval(),
        samples=samples,
        outputs=(output,),
        source=source,
        text=text,
        dynamic_axes={name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")},
        labels=labels,
    )


def _pretrained(auto_class: str, folder: Path) -> Any:
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
    return model


def _encoder_module(encoder: nn.Module, pooling: Pooling, normalise: bool) -> nn.Module:
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


def _classifier_module(classifier: nn.Module) -> nn.Module:
    from torch import nn

    class SequenceClassifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = classifier

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.classifier(input_ids=input_ids, attention_mask=attention_mask).logits

    return SequenceClassifier()
