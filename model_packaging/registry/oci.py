"""A package as an OCI image layout that follows CNCF ModelPack, so that any OCI registry can hold it, and back.

Sources: github.com/modelpack/model-spec docs/spec.md, docs/config.md, docs/annotations.md (media types, annotations,
configuration) and github.com/opencontainers/image-spec image-layout.md (folder). Every file is one raw layer, as the
specification recommends for weights, with its path in an annotation; equal files share a blob. The same package
folder gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from pydantic import ValidationError

from model_packaging.registry import builds
from spillway.contracts.manifest import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    Manifest,
    PackageError,
    PackageFile,
    parse_manifest,
    sha256_of_file,
    verify_package,
)
from spillway.contracts.trt_engines import engine_folders, verify_engines

ARTIFACT: Final = "application/vnd.cncf.model.manifest.v1+json"
CONFIG: Final = "application/vnd.cncf.model.config.v1+json"
IMAGE_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
IMAGE_INDEX: Final = "application/vnd.oci.image.index.v1+json"
PATH: Final = "org.cncf.model.filepath"
_FILE_METADATA: Final = "org.cncf.model.file.metadata+json"
_REFERENCE: Final = "org.opencontainers.image.ref.name"

_KINDS: Final = {
    ".onnx": "weight",
    ".data": "weight",
    ".safetensors": "weight",
    ".gguf": "weight",
    ".pt2": "weight",
    ".pt": "weight",
    ".plan": "weight",
    ".gz": "weight",
    ".py": "code",
    ".so": "code",
    ".pyi": "code",
    ".md": "doc",
}
"""By suffix; what is not here configures the weights."""
_DOCUMENTS: Final = ("license", "licence", "notice", "readme")
_FORMATS: Final = {"vllm": "safetensors", "triton": "onnx"}
_PRECISIONS: Final = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int8": "int8", "fp8": "float8_e4m3"}
"""What ModelPack calls the precisions that it knows."""


def export(package: Path, layout: Path, engines_for: Iterable[str] = ()) -> str:
    """Write ``package`` as the OCI image layout ``layout``, a new folder; returns the image manifest's digest.

    The signature goes along; so do the engines of the hardware keys ``engines_for``. Raises :class:`PackageError`.
    """
    manifest = verify_package(package)
    if layout.exists():
        raise PackageError(f"{layout} exists; name a folder that does not, nothing is overwritten.")
    files = [*manifest.files, *_beside(package, set(engines_for))]
    with builds.disk_errors(layout):
        layout.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{layout.name}-", dir=layout.parent))
        try:
            blobs = draft / "blobs" / "sha256"
            blobs.mkdir(parents=True)
            for file in files:
                if not (blobs / file.sha256).exists():
                    shutil.copyfile(package / file.path, blobs / file.sha256)
            digest = _describe(draft, manifest, files)
            draft.chmod(0o755)
            os.rename(draft, layout)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return digest


def import_layout(layout: Path, out: Path, reference: str = "") -> Path:
    """The package in an OCI image layout, checked, at ``<out>/<name>/<version>/``.

    ``reference``: which of several images, by its reference name. Raises :class:`PackageError`.
    """
    try:
        image = _image(layout, reference)
        files = [
            PackageFile(
                path=layer["annotations"][PATH],
                sha256=layer["digest"].removeprefix("sha256:"),
                size_bytes=layer["size"],
            )
            for layer in image["layers"]
        ]
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise PackageError(f"{layout}: is no ModelPack image: {error}") from error
    descriptions = [file for file in files if file.path == MANIFEST_NAME]
    if not descriptions:
        raise PackageError(f"{layout}: holds a model, but no {MANIFEST_NAME}: Spillway did not package it.")
    text = _blob(layout, descriptions[0].sha256).decode(errors="replace")
    manifest = parse_manifest(text, f"{layout}: {MANIFEST_NAME}")
    with builds.build_lock(out, manifest.name, lambda message: None), builds.workspace(out, manifest.name) as work:
        draft = work / "package"
        for file in files:
            target = draft / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(layout / "blobs" / "sha256" / file.sha256, target)
            except FileNotFoundError:
                raise PackageError(f"{layout}: the blob of {file.path} is missing.") from None
        sound = verify_package(draft)
        verify_engines(draft)
        return builds.place(out, draft, sound)


def _beside(package: Path, engines_for: set[str]) -> Iterator[PackageFile]:
    """What is no part of the content: the manifest, the signature, engines."""
    paths = [package / MANIFEST_NAME, package / SIGNATURE_NAME]
    for folder in engine_folders(package):
        if engines_for & {folder.parent.name, "all"}:
            paths += sorted(path for path in folder.iterdir() if path.is_file())
    for path in paths:
        if path.exists():
            relative = path.relative_to(package).as_posix()
            yield PackageFile(path=relative, sha256=sha256_of_file(path), size_bytes=path.stat().st_size)


def _describe(layout: Path, manifest: Manifest, files: list[PackageFile]) -> str:
    """Write the configuration, the image manifest, the index and the marker."""
    config = _write_blob(layout, CONFIG, _config(manifest, files))
    image = {
        "schemaVersion": 2,
        "mediaType": IMAGE_MANIFEST,
        "artifactType": ARTIFACT,
        "config": config,
        "layers": [_layer(file) for file in files],
        "annotations": {
            "org.opencontainers.image.title": manifest.name,
            "org.opencontainers.image.version": manifest.version,
            "org.opencontainers.image.licenses": manifest.source.licence,
        },
    }
    described = _write_blob(layout, IMAGE_MANIFEST, image)
    entry = {**described, "artifactType": ARTIFACT, "annotations": {_REFERENCE: manifest.version}}
    _write_json(layout / "index.json", {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [entry]})
    _write_json(layout / "oci-layout", {"imageLayoutVersion": "1.0.0"})
    return described["digest"]


def _config(manifest: Manifest, files: list[PackageFile]) -> dict[str, Any]:
    source, made = manifest.source, manifest.provenance
    descriptor = {
        "name": manifest.name,
        "version": manifest.version,
        "title": source.name,
        "licenses": [source.licence],
        "createdAt": made.built_at,
        "revision": made.git_commit,
        "sourceURL": source.origin if "://" in source.origin else "",
    }
    variants = set(manifest.served.values())
    # ModelPack has one precision for the whole model: none is named where the layouts differ.
    variant = variants.pop() if len(variants) == 1 else ""
    precision = variant.split("-")[0]
    model = {
        "format": _FORMATS[manifest.kind],
        "precision": _PRECISIONS.get(precision, ""),
        "quantization": "" if precision in ("fp32", "fp16", "bf16", "none") else variant,
    }
    return {
        "descriptor": {key: value for key, value in descriptor.items() if value},
        "config": {key: value for key, value in model.items() if value},
        "modelfs": {"type": "layers", "diffIds": [f"sha256:{file.sha256}" for file in files]},
    }


def _layer(file: PackageFile) -> dict[str, Any]:
    metadata = {
        "name": PurePosixPath(file.path).name,
        "mode": 0o644,
        "uid": 0,
        "gid": 0,
        "size": file.size_bytes,
        "mtime": "1970-01-01T00:00:00Z",
        "typeflag": ord("0"),
    }
    return {
        "mediaType": media_type(file.path),
        "digest": f"sha256:{file.sha256}",
        "size": file.size_bytes,
        "annotations": {PATH: file.path, _FILE_METADATA: json.dumps(metadata, sort_keys=True)},
    }


def media_type(path: str) -> str:
    """ModelPack's media type of a package's file, unarchived."""
    name = PurePosixPath(path)
    kind = "doc" if name.stem.lower() in _DOCUMENTS else _KINDS.get(name.suffix, "weight.config")
    return f"application/vnd.cncf.model.{kind}.v1.raw"


def _image(layout: Path, reference: str) -> dict[str, Any]:
    """The image manifest of the one ModelPack image, or of the one with this reference."""
    index = _json(layout / "index.json")
    models = [entry for entry in index["manifests"] if entry.get("artifactType", ARTIFACT) == ARTIFACT]
    names = [entry.get("annotations", {}).get(_REFERENCE, "") for entry in models]
    fitting = [entry for entry, name in zip(models, names, strict=True) if reference in ("", name)]
    if len(fitting) != 1:
        raise PackageError(
            f"{layout}: {len(fitting)} images fit {reference or 'any reference'}; there: {', '.join(names) or 'none'}."
        )
    image = json.loads(_blob(layout, fitting[0]["digest"].removeprefix("sha256:")))
    if image.get("artifactType") != ARTIFACT:
        raise PackageError(f"{layout}: the image is no ModelPack artifact, but {image.get('artifactType')!r}.")
    return image


def _blob(layout: Path, sha256: str) -> bytes:
    """A small blob, its digest checked."""
    path = layout / "blobs" / "sha256" / PurePosixPath(sha256).name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PackageError(f"{path}: cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise PackageError(f"{path}: the content is not what the digest says: it was changed or cut short.")
    return data


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PackageError(f"{path}: cannot be read: {error}. Is this an OCI image layout?") from error


def _write_blob(layout: Path, media: str, value: dict[str, Any]) -> dict[str, Any]:
    data = _encode(value)
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(data)
    return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data)}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_bytes(_encode(value))


def _encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
