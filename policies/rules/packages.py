"""Packages and their engines: what is deployed is what was built, is signed, and answers as its reference does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack
from spillway.contracts.manifest import AS_IS, ENGINES, Manifest, PackageError, read_manifest
from spillway.contracts.signature import signed_engine, signed_package
from spillway.contracts.targets import Layout
from spillway.contracts.trt_engines import read_record, verify_engine


class SignatureSettings(PolicySettings):
    """Whose signature counts."""

    key_sha256: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = ()
    """sha256 of the public keys (PEM) that may sign; empty: any key. What the signature says is compared; the
    cryptographic check is `spillway package verify`."""


class ParitySettings(PolicySettings):
    """How near to the reference a package has to be."""

    min_cosine: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Smallest cosine to the fp32 reference over all samples; by default the bound that each one was made with."""


def _manifest(stack: Stack) -> Manifest | None:
    if stack.context.package is None:
        return None
    try:
        return read_manifest(stack.context.package)
    except PackageError:
        return None


def _engines(stack: Stack) -> Iterator[tuple[str, Path]]:
    """The engines that sites serve: name and folder."""
    if stack.context.package is not None:
        for name in stack.context.engines:
            yield name, stack.context.package / ENGINES / name


def _sound(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    if stack.context.package is not None and _manifest(stack) is None:
        yield Finding(None, "the package's manifest is missing, was changed, or is of another version of Spillway")
    for name, folder in _engines(stack):
        try:
            verify_engine(folder)
        except PackageError:
            yield Finding(None, f"the engine {name} is missing, was changed, or was compiled from another package")


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
    for name, folder in _engines(stack):
        try:
            own = signed_engine(folder)
        except PackageError:
            own = None
        if own is None:
            yield Finding(None, f"the engine {name} is not signed, or its signature was made for another one")
        elif settings.key_sha256 and own.key_sha256 not in settings.key_sha256:
            yield Finding(None, f"the engine {name} is signed with a key that is not among key_sha256")


def _parity(stack: Stack, settings: ParitySettings) -> Iterator[Finding]:
    manifest = _manifest(stack)
    if manifest is None:
        return
    if manifest.kind == "vllm":
        yield from _language_parity(manifest)
    elif not manifest.parity:
        yield Finding(None, f"the package {manifest.name} was never compared with its reference")
    for figure in manifest.parity:
        bound = figure.bound_min_cosine if settings.min_cosine is None else settings.min_cosine
        ranked = any(v.name == figure.variant and v.rank is not None for v in manifest.variants)
        if ranked and (not figure.passed or figure.min_cosine < bound):
            yield Finding(None, f"the variant {figure.variant} of the package {manifest.name} fails its parity bound")
    for name, folder in _engines(stack):
        yield from _engine_parity(name, folder, settings)


def _language_parity(manifest: Manifest) -> Iterator[Finding]:
    """A language model is judged by its text; a checkpoint that is served as it came has no other reference."""
    served = manifest.served[Layout.VLLM]
    if served == AS_IS:
        return
    figures = [figure for figure in manifest.language_figures if figure.variant == served]
    if not figures:
        yield Finding(None, f"the package {manifest.name} was never compared with its reference")
    elif not figures[0].passed:
        yield Finding(None, f"the variant {served} of the package {manifest.name} fails its parity bound")


def _engine_parity(name: str, folder: Path, settings: ParitySettings) -> Iterator[Finding]:
    try:
        parity = read_record(folder).parity
    except PackageError:
        return
    if parity is None:
        yield Finding(None, f"the engine {name} was built ahead of time and never compared with the model")
        return
    bound = parity.bound_min_cosine if settings.min_cosine is None else settings.min_cosine
    if parity.min_cosine < bound:
        yield Finding(None, f"the engine {name} fails its parity bound")


POLICIES = (
    Policy(
        "package-signed",
        "The package that is deployed, and each engine of it, carries a signature of a known key, made for it.",
        "Sign it: `spillway package sign PACKAGE --key KEY`.",
        _signed,
        SignatureSettings,
        level="advisory",
        severity="high",
        whole_stack=True,
    ),
    Policy(
        "package-sound",
        "The package that is deployed has a whole and unchanged manifest, and each engine of it was compiled from it.",
        "Package the model again with `spillway package`.",
        _sound,
        severity="critical",
        whole_stack=True,
    ),
    Policy(
        "package-parity",
        "The package was compared with its reference, and every variant in it and every engine of it passed.",
        "Package the model again; a variant that fails is left out by `spillway package`.",
        _parity,
        ParitySettings,
        severity="critical",
        whole_stack=True,
    ),
)
