"""What ``spillway package push``, ``pull``, ``list``, … do and show."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

    from model_packaging.registry.registry import Registry, StoredVersion
    from model_packaging.registry.stages import StageRecord
    from spillway.contracts.manifest import Manifest

PASSWORD_VARIABLE: Final = "SPILLWAY_SIGNING_PASSWORD"
DEFAULT_STAGE: Final = "production"


def open_registry(url: str | None) -> Registry:
    """``url``: what was asked for, else the project's own folder."""
    from model_packaging.registry.registry import Registry
    from spillway.cli.stack import project_root

    return Registry.open(url or str(project_root() / ".spillway" / "registry"))


def split_reference(text: str) -> tuple[str, str]:
    """``NAME[@VERSION or STAGE]`` → name and reference; without one, what is in production."""
    name, _, reference = text.partition("@")
    return name, reference or DEFAULT_STAGE


def key_password(ask: bool) -> bytes | None:
    """Never from an argument: arguments are seen by every process of the machine."""
    given = os.environ.get(PASSWORD_VARIABLE)
    if given is None and ask:
        given = click.prompt("Password of the private key", hide_input=True, err=True)
    return given.encode() if given is not None else None


def version_json(stored: StoredVersion) -> dict[str, Any]:
    manifest = stored.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "digest": manifest.digest,
        "stages": list(stored.stages),
        "kind": manifest.kind,
        "served": manifest.served,
        "size_bytes": sum(file.size_bytes for file in manifest.files),
        "built_at": manifest.provenance.built_at,
        "git_commit": manifest.provenance.git_commit,
        "engines": list(stored.engines),
        "signed": stored.signed,
    }


def versions_text(found: list[StoredVersion]) -> Iterator[RenderableType]:
    from rich.table import Table

    if not found:
        yield "The registry has no such package."
        return
    table = Table()
    for column in ("package", "version", "stages", "served", "MB", "built", "engines", "signed"):
        # A version is copied into the next command.
        table.add_column(column, justify="right" if column == "MB" else "left", no_wrap=column == "version")
    for stored in found:
        row = version_json(stored)
        table.add_row(
            row["name"],
            row["version"],
            ", ".join(row["stages"]) or "–",
            _served(stored.manifest),
            f"{row['size_bytes'] / 1e6:.1f}",
            row["built_at"] or "–",
            "\n".join(row["engines"]) or "–",
            "yes" if row["signed"] else "no",
        )
    yield table


def _served(manifest: Manifest) -> str:
    """The variant, or where each one is."""
    variants = sorted(set(manifest.served.values()))
    if len(variants) == 1:
        return variants[0]
    return "\n".join(f"{variant}: {', '.join(manifest.layouts_of(variant))}" for variant in variants)


def history_json(records: Iterable[tuple[str, StageRecord]]) -> list[dict[str, Any]]:
    return [{"stage": stage, **record.model_dump(exclude={"token"})} for stage, record in records]


def history_text(records: list[tuple[str, StageRecord]]) -> Iterator[RenderableType]:
    from rich.table import Table

    table = Table("stage", "#", "action", "version", "at", "note")
    for stage, record in records:
        table.add_row(stage, str(record.number), record.action, record.version, record.at, record.note)
    yield table
