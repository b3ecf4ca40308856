"""The frames of ``InvokeEndpointWithResponseStream``: parts of an answer, or the exception that ends it.

Names and members are those of botocore's model of the call; the form is that of every event stream of AWS's, which
botocore's ``eventstream`` reads.
"""

from __future__ import annotations

import json
import struct
from binascii import crc32
from typing import Final

TYPE: Final = "application/vnd.amazon.eventstream"
STRING: Final = 7
"""A header's value that is text."""


def part(payload: bytes) -> bytes:
    """One ``PayloadPart``."""
    kind = {":event-type": "PayloadPart", ":content-type": "application/octet-stream", ":message-type": "event"}
    return _frame(kind, payload)


def broken() -> bytes:
    """``ModelStreamError`` of a container that ended before its answer did."""
    kind = {":exception-type": "ModelStreamError", ":content-type": "application/json", ":message-type": "exception"}
    said = {"Message": "Your model primary sent an inference response that broke off", "ErrorCode": "StreamBroken"}
    return _frame(kind, json.dumps(said).encode())


def _frame(headers: dict[str, str], payload: bytes) -> bytes:
    head = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", STRING, len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(head) + len(payload), len(head))
    whole = prelude + struct.pack("!I", crc32(prelude)) + head + payload
    return whole + struct.pack("!I", crc32(whole))
