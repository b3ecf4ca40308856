"""Packages: what is deployed is what was built, is signed, and answers as its reference does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack
from spillway.contracts.manifest import Manifest, PackageError, read_manifest
from spillway.contracts.signature import signed_package


class SignatureSettings(PolicySettings):
    """Whose signature counts."""

    key_sha256: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = ()
    """sha256 of the public keys (PEM) that may sign; empty: any key. The deployment's own check is cryptographic."""


class ParitySettings(PolicySettings):
    """How near to the reference a package has to be."""

    min_cosine: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Smallest cosine to the fp32 reference over all samples; by default each variant's own bound counts."""


def _manifest(stack: Stack) -> Manifest | None:
    if stack.context.package is None:
        return None
    try:
        return read_manifest(stack.context.package)
    except PackageError:
        return None


def _sound(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    if stack.context.package is not None and _manifest(stack) is None:
        yield Finding(None, "the package's manifest is missing, was changed, or is of another version of Spillway")


def _signed(stack: Stack, settings: SignatureSettings) -> Iterator[Finding]:
    manifest = _manifest(stack)
    if manifest is None or stack.context.package is None:
        return
    try:
        signature = signed_package(stack.context.package)
    except PackageError:
        yield Finding(None, f"the signature of the package {manifest.name} is none, or was made for another package")
        return
    if signature is None:
        yield Finding(None, f"the package {manifest.name} is not signed")
    elif settings.key_sha256 and signature.key_sha256 not in settings.key_sha256:
        yield Finding(None, f"the package {manifest.name} is signed with a key that is not among key_sha256")


def _parity(stack: Stack, settings: ParitySettings) -> Iterator[Finding]:
    manifest = _manifest(stack)
    if manifest is None:
        return
    if not manifest.parity:
        yield Finding(None, f"the package {manifest.name} was never compared with its reference")
    for figure in manifest.parity:
        bound = figure.bound_min_cosine if settings.min_cosine is None else settings.min_cosine
        ranked = any(v.name == figure.variant and v.rank is not None for v in manifest.variants)
        if ranked and (not figure.passed or figure.min_cosine < bound):
            yield Finding(None, f"the variant {figure.variant} of the package {manifest.name} fails its parity bound")


POLICIES = (
    Policy(
        "package-signed",
        "The package that is deployed carries a signature of a known key, made for this very package.",
        "Sign it: `spillway package sign`.",
        _signed,
        SignatureSettings,
        level="advisory",
        severity="high",
        whole_stack=True,
    ),
    Policy(
        "package-sound",
        "The manifest of the package that is deployed is whole and unchanged.",
        "Package the model again with `spillway package`.",
        _sound,
        severity="critical",
        whole_stack=True,
    ),
    Policy(
        "package-parity",
        "The package was compared with its reference, and every variant in it passed.",
        "Package the model again; a variant that fails is left out by `spillway package`.",
        _parity,
        ParitySettings,
        severity="critical",
        whole_stack=True,
    ),
)
