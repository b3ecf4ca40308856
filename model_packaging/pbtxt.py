"""Triton's ``config.pbtxt``: the ``ModelConfig`` message, to protocol buffers' text format and back.

The message is the one that Triton's own client ships (model_config.proto of triton-inference-server/common). A field
that is 0 or false is not written: Triton reads the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format, text_format
from google.protobuf.message import Message

from spillway.contracts.manifest import PackageError

if TYPE_CHECKING:

    class ModelConfig(Message):
        """Made when it is imported, so that no type checker sees its fields."""

        def __getattr__(self, name: str) -> Any: ...
else:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

CONFIG_NAME: Final = "config.pbtxt"


def message(values: Mapping[str, Any]) -> ModelConfig:
    """From nested values by the message's names; enums by name. Raises ``ParseError`` for what it does not have."""
    return json_format.ParseDict(dict(values), ModelConfig())


def to_pbtxt(config: ModelConfig) -> str:
    return text_format.MessageToString(config, use_short_repeated_primitives=True)


def read_pbtxt(path: Path) -> ModelConfig:
    """The configuration in a file. Raises :class:`PackageError` for one that Triton would not read."""
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise PackageError(
            f"{path}: cannot be read as a Triton configuration: {error}. Package the model again."
        ) from error
