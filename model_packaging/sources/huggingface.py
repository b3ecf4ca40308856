"""A Hugging Face folder with a sentence encoder or a sequence classifier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from model_packaging.errors import no_such_folder
from model_packaging.sources.model import LoadedModel, Place, files_sha256
from model_packaging.sources.samples import read_sentences
from model_packaging.sources.sentence_encoder import Pooled, load_encoder, module_folders, transformer_folder
from model_packaging.sources.text_model import Computation, pretrained, text_model, tokens_of, tool
from spillway.contracts.frozen import Frozen
from spillway.contracts.manifest import PackageError, PackageSource

if TYPE_CHECKING:
    import torch
    from torch import nn

Task = Literal["embedding", "classification"]
Pooling = Literal["mean", "cls"]

_MODEL_FILES: Final = ("config.json", "tokenizer.json")
_READ: Final = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""What transformers and sentence-transformers read of a folder, pickled weights aside."""
_PICKLED: Final = "pytorch_model*.bin"
_SENTENCES: Final = "a text file of real sentences, one a line"
_CUT_AT: Final = 256


class HuggingFaceSource(Frozen):
    """A Hugging Face folder: ``config.json``, ``tokenizer.json`` and safetensors weights.

    Its reference is what the library computes that it is made for, of each sample alone: transformers, or
    sentence-transformers where there is a ``modules.json``.
    """

    kind: Literal["huggingface"]
    path: Path
    """The folder, absolute or relative to model.yaml."""
    task: Task = "embedding"
    """``embedding``: one vector a text (AutoModel, pooled). ``classification``: AutoModelForSequenceClassification."""
    pooling: Pooling | None = None
    """How the tokens of a text become one vector, where no ``modules.json`` says it."""
    normalise: bool | None = None
    """Whether vectors are brought to length 1, where no ``modules.json`` says it."""
    max_length: int | None = Field(default=None, ge=8, le=8192)
    """Tokens; longer texts are cut. By default as sentence-transformers cuts them, else 256."""
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
        source = PackageSource(
            name=_name_of(transformer_folder(folder) / "config.json") or folder.name,
            origin=self.origin,
            licence=self.licence,
            weights_sha256=files_sha256(files),
        )
        sentences = read_sentences(files["samples"])
        if self.task == "classification":
            return load_classifier(folder, source, sentences, self.max_length or _CUT_AT)
        return load_encoder(folder, source, sentences, self.max_length, Pooled(self.pooling, self.normalise))

    def _folder(self, place: Place) -> Path:
        folder = place.resolve(self.path)
        if not folder.is_dir():
            raise no_such_folder("source.path", self.path, folder)
        return folder


def model_files(folder: Path, *, allow_pickle: bool = False) -> dict[str, Path]:
    """The files of a model folder by relative name. Raises :class:`PackageError` when one is missing or unsafe."""
    # Its modules are found where links lead.
    folder = folder.resolve()
    transformer = transformer_folder(folder)
    for name in _MODEL_FILES:
        if not (transformer / name).is_file():
            raise PackageError(
                f"{transformer / name}: no such file; a Hugging Face folder holds {', '.join(_MODEL_FILES)}."
            )
    found: set[Path] = set()
    for place in {folder, *module_folders(folder)}:
        found |= {path for pattern in _READ for path in place.glob(pattern) if path.is_file()}
        found |= _pickled(place, allow_pickle=allow_pickle)
    if not any(path.parent == transformer and path.suffix in (".safetensors", ".bin") for path in found):
        raise PackageError(f"{transformer}: no .safetensors file: save the model with save_pretrained.")
    return {path.relative_to(folder).as_posix(): path for path in sorted(found)}


def _name_of(path: Path) -> str:
    """What the configuration calls the model. Raises :class:`PackageError` for a file that is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return str(values.get("_name_or_path") or "")
    except (ValueError, AttributeError, RecursionError) as error:
        raise PackageError(
            f"{path}: no configuration of a model: {error}. Save the model with save_pretrained."
        ) from None


def _pickled(folder: Path, *, allow_pickle: bool) -> set[Path]:
    """Pickled weights that would be read, since there are no others. Raises :class:`PackageError`."""
    pickled = sorted(folder.glob(_PICKLED))
    if not pickled or list(folder.glob("*.safetensors")):
        return set()
    if not allow_pickle:
        raise PackageError(
            f"{folder}: the weights are pickled ({pickled[0].name}). Pickles can run code when they are loaded and are "
            "not read: save the model as safetensors (save_pretrained does), or set source.allow_pickle: true if you "
            "trust where the file comes from."
        )
    return set(pickled)


def load_classifier(folder: Path, source: PackageSource, sentences: tuple[str, ...], max_length: int) -> LoadedModel:
    """A sequence classifier: LOGITS, FP32 [texts, classes], before softmax or sigmoid."""
    classifier = pretrained("AutoModelForSequenceClassification", folder)
    names = classifier.config.id2label
    tokens = tokens_of(folder, max_length)
    return text_model(
        _classifier_module(classifier),
        folder / "tokenizer.json",
        source,
        sentences,
        max_length,
        Computation(tool("transformers"), tokens, lambda text: classifier(**tokens(text)).logits, _pad_id(classifier)),
        "LOGITS",
        tuple(str(names[index]) for index in sorted(names)),
    )


def _pad_id(classifier: Any) -> int:
    """What fills texts up. A decoder's head looks for it, to find the last word: any other id moves its answer.
    transformers, modeling_layers.py, GenericForSequenceClassification."""
    found = classifier.config.get_text_config().pad_token_id
    if found is None:
        raise PackageError(
            "config.json: no pad_token_id. transformers then takes one text at a time, and a server pads: write the id "
            "of the tokenizer's padding token there, with which the classifier was trained."
        )
    return found


def _classifier_module(classifier: nn.Module) -> nn.Module:
    from torch import nn

    class SequenceClassifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = classifier

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.classifier(input_ids=input_ids, attention_mask=attention_mask).logits

    return SequenceClassifier()
