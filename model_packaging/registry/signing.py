"""Sign and verify packages with OpenSSF's model-signing and an elliptic-curve key (P-256, P-384 or P-521, PEM).

``model.sig`` stands beside the content, so that signing changes no digest. It covers the manifest and every file; each
compiled engine has one of its own, as engines are added later. Any tool that reads OpenSSF model signatures can check
them: ``model_signing verify key --no-ignore-git-paths --signature model.sig --public_key key.pub <package>``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from spillway.contracts.manifest import ENGINES, SIGNATURE_NAME, PackageError, verify_package
from spillway.contracts.signature import read_signature, signed_package
from spillway.contracts.trt_engines import engine_folders, verify_engine

if TYPE_CHECKING:
    from model_signing import hashing


def sign(package: Path, private_key: Path, password: bytes | None = None) -> str:
    """Sign a sound package and its engines; returns the sha256 of the public key's PEM text.

    ``password`` is of an encrypted key. Raises :class:`PackageError`; then no signature was written or replaced.
    """
    verify_package(package)
    engines = list(engine_folders(package))
    for folder in engines:
        verify_engine(folder)
    for folder in (*engines, package):
        _sign_folder(folder, private_key, password)
    signature = signed_package(package)
    assert signature is not None
    return signature.key_sha256


def verify(package: Path, public_key: Path) -> str:
    """Check that the holder of ``public_key``'s private half signed this package and every engine beside it.

    Returns the key's sha256. Raises :class:`PackageError` for a package that is unsigned, signed by another key,
    or changed since.
    """
    for folder in (*engine_folders(package), package):
        _verify_folder(folder, public_key)
    signature = signed_package(package)
    assert signature is not None
    return signature.key_sha256


def _sign_folder(folder: Path, private_key: Path, password: bytes | None) -> None:
    from model_signing import signing

    # A draft within the folder would be signed as well.
    draft = folder.parent / f".{folder.name}.{SIGNATURE_NAME}.{os.getpid()}"
    try:
        # model-signing annotates the password as text and hands it on to a function that wants bytes.
        signer = signing.Config().use_elliptic_key_signer(private_key=private_key, password=password)  # pyright: ignore[reportArgumentType]
        signer.set_hashing_config(_hashing()).sign(folder, draft)
        draft.replace(folder / SIGNATURE_NAME)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise PackageError(
            f"{folder} cannot be signed with {private_key}: {error}. The key must be a private key on P-256, P-384 or "
            "P-521 in PEM, as `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes one."
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _verify_folder(folder: Path, public_key: Path) -> None:
    from cryptography.exceptions import InvalidSignature
    from model_signing import verifying

    if read_signature(folder) is None:
        raise PackageError(
            f"{folder} is not signed. `spillway package sign PACKAGE --key KEY` signs it, with a key that you trust."
        )
    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
        verifier.set_hashing_config(_hashing()).verify(folder, folder / SIGNATURE_NAME)
    except InvalidSignature:
        raise PackageError(f"{folder}: the signature was not made with the private half of {public_key}.") from None
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise PackageError(f"{folder}: the signature does not hold against {public_key}: {error}") from error


def _hashing() -> hashing.Config:
    from model_signing import hashing

    # model-signing leaves out git's files by default; a package may hold a .gitattributes, and then it counts.
    return hashing.Config().set_ignored_paths(paths=[SIGNATURE_NAME, ENGINES], ignore_git_paths=False)
