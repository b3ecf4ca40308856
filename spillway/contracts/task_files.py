"""Files that a container task brings along in its definition: configuration only, never a secret."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping

LIMIT_BYTES = 48 * 1024
"""What packed files may take: an ECS task definition may have 64 KiB in all
(https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html)."""

FILES_VARIABLE = "SPILLWAY_FILES"
"""Packed files."""
SECRETS_VARIABLE = "SPILLWAY_SECRET_FILES"
"""JSON: path of a file -> the environment variable that holds its content."""
FOLDERS_VARIABLE = "SPILLWAY_FOLDERS"
"""JSON: folders that the owner may write to."""
OWNER_VARIABLE = "SPILLWAY_OWNER"
"""Numeric user and group that the files are for."""


def pack(files: Mapping[str, str]) -> str:
    """Path -> text, as one line of ASCII; the same files always give the same line. ``ValueError``: too large."""
    text = json.dumps(dict(sorted(files.items())))
    packed = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    if len(packed) > LIMIT_BYTES:
        raise ValueError(f"the gateway's configuration takes {len(packed)} bytes packed; a task holds {LIMIT_BYTES}")
    return packed


def unpack(packed: str) -> dict[str, str]:
    """What :func:`pack` was given."""
    return json.loads(gzip.decompress(base64.b64decode(packed)))
