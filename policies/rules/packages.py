"""Packages: what is deployed is what was built, is signed, and answers as its reference does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from policies.policy import Finding, Policy, PolicySettings
from policies.resource import Stack
from spillway.contracts.manifest import Manifest, PackageError, read_manifest


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
