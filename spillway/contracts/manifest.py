"""A package's ``manifest.json``: what is in the package, what it was made for, and how it is checked.

A package is a folder: ``manifest.json``, and a layout for each kind of container that it was made for: ``triton/``,
``sagemaker/model.tar.gz``, ``azureml/``, ``onnxruntime/``. Each holds a variant of its own. The manifest carries two
hashes.

``digest`` addresses the *content*: the name, kind, signature, source, serving figures and every file. Two builds from
the same inputs have the same digest on any day. What was measured (``parity``, ``latency``, ``variants``),
``provenance`` and ``version``, which derives from the digest, are left out of it. So are compiled engines, which stand
beside the content under ``engines/`` with records of their own (:mod:`spillway.contracts.engines`).

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

from spillway.contracts.classes import Site
from spillway.contracts.settings import Settings
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
"""Compiled engines, beside the content: no file of the manifest (:mod:`spillway.contracts.engines` checks them)."""

SCHEMA_VERSION: Final = 1
VERSION_LENGTH: Final = 16
"""Hex digits of the digest that make a version."""

SIGNATURE_NAME: Final = "model.sig"
"""The signature, beside the content: signing changes neither the digest nor the seal."""

NOT_CONTENT: Final = ("version", "digest", "seal", "parity", "latency", "variants", "provenance", "language_figures")
"""Fields of the manifest that are no part of the digest."""

SITE_LAYOUTS: Final = {Site.PRIVATE: Layout.TRITON, Site.SAGEMAKER: Layout.SAGEMAKER, Site.AZURE_ML: Layout.AZURE_ML}
"""Which layout of a Triton package each site serves."""
_SITE_FOLDERS: Final = {Layout.AZURE_ML: f"{AZURE_ML_MODEL}/", Layout.VLLM: f"{VLLM_FOLDER}/"}
"""Layouts that a site reads as a folder, not as an archive: which one it is told to read."""
_CHUNK_BYTES: Final = 1 << 20
_SETTLED_S: Final = 2.0
"""A file that was changed later than this may change again within the same tick of the file system's clock."""


class PackageError(Exception):
    """A package is missing, incomplete, changed or of an unknown schema. The message names the file."""


class PackageFile(Settings):
    """One file of the package; ``path`` is relative to the package folder, with forward slashes."""

    path: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)

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


class TensorSpec(Settings):
    """One input or output of the entry model, in Triton's terms: ``dtype`` BYTES, FP32, INT64, …; -1 is any size."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class PackageSource(Settings):
    """Where the model comes from. ``weights_sha256`` is over all of the source's files."""

    name: str
    origin: str
    licence: str
    weights_sha256: str = ""
    reference: str = "torch-fp32"
    """What parity is measured against: the model in torch, or the source's own ONNX file where that is all there is."""


class CalibrationData(Settings):
    """Data that a quantization was calibrated on. ``sha256`` is over the samples as they were fed in."""

    name: str
    samples: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Provenance(Settings):
    """When and from what a package was made. It is no part of the digest: the same content may be built twice."""

    built_at: str = ""
    """UTC, RFC 3339, whole seconds."""
    git_commit: str = ""
    """Commit of the checkout that holds model.yaml; empty where there is none."""
    git_modified: bool = False
    """Whether tracked files of that checkout differed from the commit."""
    calibration: tuple[CalibrationData, ...] = ()


class OutputParity(Settings):
    """One output against the reference, over all samples and batch sizes."""

    min_cosine: float
    mean_cosine: float
    max_abs: float
    max_relative: float


class ParityFigure(Settings):
    """A variant against the fp32 reference over all samples and batch sizes: the worst, and the mean cosine.

    With several outputs the figures are those of the worst one, and ``outputs`` has each."""

    variant: str
    samples: int
    min_cosine: float
    mean_cosine: float
    max_abs: float
    max_relative: float
    top1: float | None = None
    """Share of rows whose highest score is the reference's; for classifiers, and where a bound asks for it."""
    bound_min_cosine: float
    bound_min_top1: float | None = None
    passed: bool
    outputs: dict[str, OutputParity] = Field(default_factory=dict)


class LatencyFigure(Settings):
    """Milliseconds per batch and size of one variant, on the machine that packaged it."""

    variant: str
    batch_size: int
    sequence_length: int
    p50_ms: float
    p99_ms: float
    throughput_per_s: float = 0.0
    """Samples a second at the median: ``1000 · batch_size / p50_ms``."""
    threads: int


class VariantFigure(Settings):
    """One variant as ranked: ``rank`` 1 is the fastest that passed; ``None`` where it was left out, for ``reason``."""

    name: str
    precision: str
    rank: int | None = None
    size_bytes: int = 0
    peak_memory_bytes: int | None = None
    """Most resident memory of a process that serves the largest timed batch, the runtime included."""
    detail: str = ""
    reason: str = ""


class LanguageServing(Settings):
    """What a vLLM server of a language model is started with; it derives from the weights, so it is content."""

    max_model_len: int = Field(ge=1)
    """Tokens of prompt and answer together."""
    max_num_seqs: int = Field(ge=1)
    tensor_parallel_size: int = Field(ge=1)
    """GPUs that share one copy."""
    dtype: Literal["bfloat16", "float16"]
    """Of what is not quantized, and of the computation."""
    quantization: Literal["compressed-tensors", "none"]
    scheme: str
    """The quantization in words: weights, scales, inputs."""
    tokenizer: str
    vocabulary: int
    chat_template: bool
    """Whether chat routes can be answered; without one only completions are."""


class LanguageFigure(Settings):
    """One variant of a language model, loaded back from its files by transformers, against the fp32 reference.

    ``perplexity`` is over ``tokens`` tokens of the text with ``text_sha256``; ``None`` where it was not a number.
    ``top1``: share of positions with the reference's likeliest token. ``*_cosine``: of the logits at the last
    positions of the text. ``greedy_match``: share of ``greedy_tokens`` before an answer first differs.
    ``prefill_ms`` (a whole window) and ``token_ms``: medians of transformers on the CPU of the packaging machine, with
    weights unpacked to fp32: they say nothing about vLLM on a GPU.
    """

    variant: str
    perplexity: float | None
    perplexity_ratio: float | None
    tokens: int
    text_sha256: str
    top1: float
    min_cosine: float
    mean_cosine: float
    greedy_match: float
    greedy_tokens: int
    prefill_ms: float
    token_ms: float
    token_p99_ms: float
    bound_perplexity_ratio: float | None = None
    bound_top1: float | None = None
    bound_greedy_match: float | None = None
    passed: bool = True


class Serving(Settings):
    """What a server of this package can take.

    ``slots``: requests that one server works on at once; the gateway spills the next one.
    ``max_concurrency``: requests that a server accepts, waiting ones included.
    """

    max_batch_size: int = Field(default=32, ge=1)
    max_concurrency: int = Field(default=64, ge=1)
    request_timeout_s: float = Field(default=30.0, gt=0)
    slots: int = Field(default=32, ge=1)


class Manifest(Settings):
    """``manifest.json``."""

    schema_version: Literal[1] = SCHEMA_VERSION
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
    """Of the entry model."""
    outputs: tuple[TensorSpec, ...]
    """Of the entry model."""
    source: PackageSource
    tools: dict[str, str] = Field(default_factory=dict)
    """Versions of what made the package."""
    containers: tuple[str, ...] = ()
    """Names of rows of :data:`spillway.contracts.targets.CONTAINERS` that the package was made for."""
    variants: tuple[VariantFigure, ...] = ()
    """Every variant that was tried: its rank, or why it was left out."""
    parity: tuple[ParityFigure, ...] = ()
    """How far each variant is from the reference."""
    latency: tuple[LatencyFigure, ...] = ()
    """On the machine that packaged it."""
    serving: Serving = Serving()
    language: LanguageServing | None = None
    """Of packages of kind ``vllm``."""
    language_figures: tuple[LanguageFigure, ...] = ()
    provenance: Provenance = Provenance()

    def layout(self, site: Site) -> Layout:
        """The layout that this site serves, there or not."""
        return Layout.VLLM if self.kind == "vllm" else SITE_LAYOUTS[site]

    def delivery(self, site: Site) -> Delivery:
        """What this site fetches. Raises :class:`PackageError` where the package has no layout for it."""
        layout = self.layout(site)
        if layout not in self.served:
            raise PackageError(
                f"{self.name} {self.version} was made for {', '.join(sorted(self.served))}, and the site {site} serves "
                f"{layout}: name a target of that layout in model.yaml and package the model again."
            )
        if folder := _SITE_FOLDERS.get(layout):
            inside = tuple(file for file in self.files if file.path.startswith(f"{layout}/"))
            return Delivery(folder, self._file(VLLM_CHECKSUMS).sha256 if layout is Layout.VLLM else "", inside)
        own = site is Site.PRIVATE and any(file.path == TRITON_ARCHIVE for file in self.files)
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
