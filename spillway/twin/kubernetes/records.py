"""What Helm writes down of a release: JSON, compressed and twice in base64, in a Secret of a type of its own."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable
from typing import Any, Final

RECORD: Final = "helm.sh/release.v1"
"""Type of the Secret."""


def packed(release: dict[str, Any]) -> str:
    """The value of the Secret's key ``release``."""
    text = base64.b64encode(gzip.compress(json.dumps(release, default=str).encode(), mtime=0))
    return base64.b64encode(text).decode()


def unpacked(secret: dict[str, Any]) -> dict[str, Any]:
    return json.loads(gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"]))))


def charts_of(secrets: Iterable[dict[str, Any]]) -> frozenset[str]:
    """Names of the charts that are installed, by the records among a cluster's Secrets."""
    return frozenset(unpacked(one)["chart"]["metadata"]["name"] for one in secrets if one.get("type") == RECORD)
