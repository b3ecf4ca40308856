"""What a package's ``model.sig`` says: which key signed, and whether it signed this very package.

The file is a Sigstore bundle around an in-toto statement, as OpenSSF's model-signing writes it. This module reads it
with nothing but the standard library, for those who ask "is it signed, and by whom does it say it is": policies, lists.
It does **not** check the cryptography; ``spillway package verify`` and ``model_packaging.registry.signing`` do.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from spillway.contracts.frozen import Frozen
from spillway.contracts.manifest import MANIFEST_NAME, SIGNATURE_NAME, PackageError, read_manifest, sha256_of_file
from spillway.contracts.trt_engines import PLAN_NAME, RECORD_NAME, REPOSITORY_NAME, read_record

_BUNDLE: Final = "application/vnd.dev.sigstore.bundle"
_PREDICATE: Final = "https://model_signing/signature/v1.0"


class Signature(Frozen):
    """A signature as it reads. ``key_sha256``: sha256 of the public key's PEM text (SubjectPublicKeyInfo)."""

    key_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    files: dict[str, str]
    """Path → sha256 of everything that was signed."""


def read_signature(folder: Path | str) -> Signature | None:
    """The signature beside a package or an engine, ``None`` where there is none.

    Raises :class:`PackageError` where it is no such signature, or contradicts itself.
    """
    path = Path(folder) / SIGNATURE_NAME
    try:
        bundle = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PackageError(f"{path}: cannot be read: {error}. Sign the package again.") from error
    try:
        return _parse(bundle)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise PackageError(
            f"{path}: is no signature of a package ({error}): it was changed or made by another tool. Sign the package "
            "again."
        ) from error


def signed_package(package_dir: Path | str) -> Signature | None:
    """As :func:`read_signature`, and the statement is about this package: its manifest and every file that it names.

    The files themselves are not read; ``verify_package`` compares them with the manifest.
    """
    root = Path(package_dir)
    signature = read_signature(root)
    if signature is None:
        return None
    wanted = {file.path: file.sha256 for file in read_manifest(root).files}
    wanted[MANIFEST_NAME] = sha256_of_file(root / MANIFEST_NAME)
    return _of(root, "package", signature, wanted)


def signed_engine(folder: Path | str) -> Signature | None:
    """As :func:`read_signature`, and the statement is about this engine: its record and the files that it describes.

    The files themselves are not read; ``verify_engine`` compares them with the record.
    """
    root = Path(folder)
    signature = read_signature(root)
    if signature is None:
        return None
    record = read_record(root)
    wanted = {RECORD_NAME: sha256_of_file(root / RECORD_NAME), PLAN_NAME: record.sha256}
    if record.repository_sha256:
        wanted[REPOSITORY_NAME] = record.repository_sha256
    return _of(root, "engine", signature, wanted)


def _of(root: Path, what: str, signature: Signature, wanted: Mapping[str, str]) -> Signature:
    """The signature, where it is of the files ``wanted``. Raises :class:`PackageError` otherwise."""
    differing = sorted(
        path for path in wanted.keys() | signature.files.keys() if wanted.get(path) != signature.files.get(path)
    )
    if differing:
        raise PackageError(
            f"{root / SIGNATURE_NAME}: was made for another {what}: {differing[0]} differs"
            f"{f' (and {len(differing) - 1} more)' if len(differing) > 1 else ''}. Sign this one."
        )
    return signature


def _parse(bundle: dict[str, Any]) -> Signature:
    if not str(bundle["mediaType"]).startswith(_BUNDLE):
        raise ValueError(f"media type {bundle['mediaType']}")
    envelope = bundle["dsseEnvelope"]
    if not envelope["signatures"][0]["sig"]:
        raise ValueError("no signature in the envelope")
    statement = json.loads(base64.b64decode(envelope["payload"], validate=True))
    if statement["predicateType"] != _PREDICATE:
        raise ValueError(f"predicate {statement['predicateType']}")
    resources = statement["predicate"]["resources"]
    if any(resource["algorithm"] != "sha256" for resource in resources):
        raise ValueError("a digest that is no sha256")
    # The statement's subject is one digest over those of all files, in their order.
    over_all = hashlib.sha256(b"".join(bytes.fromhex(resource["digest"]) for resource in resources)).hexdigest()
    if [subject["digest"]["sha256"] for subject in statement["subject"]] != [over_all]:
        raise ValueError("the statement's digest does not fit its files")
    return Signature(
        key_sha256=bundle["verificationMaterial"]["publicKey"]["hint"],
        files={resource["name"]: resource["digest"] for resource in resources},
    )
