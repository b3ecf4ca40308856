"""An answer as it is kept: without the id, which is one request's, and with a sum that tells whether it is whole."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from spillway.runtime.cache.question import HEADER_LENGTH

_KEPT: Final = ("content-type", HEADER_LENGTH)
_SUM_BYTES: Final = 32


@dataclass(frozen=True)
class Answer:
    """``headers``: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def without_id(self, identifier: str) -> Answer | None:
        """To be kept; ``None`` where it is no answer, or does not bring back the id at its beginning as Triton does."""
        if self.status != 200 or not self.body.startswith(b"{"):
            return None
        kept = {name: self.headers[name] for name in _KEPT if name in self.headers}
        begins = f'{{"id":{identifier},'.encode() if identifier else b""
        if not self.body.startswith(begins) or (not identifier and self.body.startswith(b'{"id":')):
            return None
        body = b"{" + self.body[len(begins) :] if begins else self.body
        return Answer(200, _moved(kept, len(body) - len(self.body)), body)

    def with_id(self, identifier: str) -> Answer:
        if not identifier:
            return self
        body = f'{{"id":{identifier},'.encode() + self.body[1:]
        return Answer(200, _moved(self.headers, len(body) - len(self.body)), body)

    def packed(self, key: str) -> bytes:
        content = json.dumps(self.headers).encode() + b"\n" + self.body
        return _sum(key, content) + content


def unpacked(key: str, kept: bytes) -> Answer | None:
    """``None`` where it is not what was kept under this key."""
    told, content = kept[:_SUM_BYTES], kept[_SUM_BYTES:]
    if told != _sum(key, content):
        return None
    head, _, body = content.partition(b"\n")
    return Answer(200, json.loads(head), body)


def _sum(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()


def _moved(headers: dict[str, str], grown: int) -> dict[str, str]:
    length = headers.get(HEADER_LENGTH)
    return {**headers, HEADER_LENGTH: str(int(length) + grown)} if length else headers
