"""Examples of a resource type, beside its row: the tests make each on a real server, read, change and delete it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

OWNED: Final = {"owner": "platform", "stack": "test"}
"""Tags."""

ALLOW: Final = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::x/*"}],
    }
)
"""A policy."""


@dataclass(frozen=True)
class Sample:
    """``name``: its own among all samples. Strings such as ``$vpc.id`` refer to an output of another one.

    ``change``: inputs of an update; ``None`` takes one away. ``replace``: an input whose change needs a new resource.
    ``after``: samples that have to be there before, although no input names them.
    """

    name: str
    inputs: Mapping[str, Any]
    change: Mapping[str, Any] = field(default_factory=dict)
    replace: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextFile:
    """A file with this text, where the provider takes an asset."""

    text: str


@dataclass(frozen=True)
class Zip:
    """An archive of files with these texts, by name."""

    files: Mapping[str, str]
