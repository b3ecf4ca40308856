"""JSON Schema of a stack file: editors complete and check with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from spillway.contracts.names import SECRETS_NAMESPACE
from spillway.contracts.problems import key_of
from stacks.settings import StackSettings

SCHEMA_FILE: Final = Path(__file__).parent / "config" / "stack-file.schema.json"


def json_schema() -> dict[str, Any]:
    """JSON Schema of a stack file (``Pulumi.<stack>.yaml``), for editors."""
    schema = StackSettings.model_json_schema(ref_template="#/$defs/{model}")
    definitions = schema.pop("$defs", {})
    required = [key_of(key) for key in schema.get("required", [])]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Spillway stack file",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "properties": {key_of(key): value for key, value in schema["properties"].items()},
                "patternProperties": {
                    f"^{SECRETS_NAMESPACE}:": {
                        "type": "object",
                        "properties": {"secure": {"type": "string"}},
                        "required": ["secure"],
                        "additionalProperties": False,
                    },
                    "^(aws|azure-native|kubernetes|pulumi):": {},
                },
                "required": required,
                "additionalProperties": False,
            },
            "encryptionsalt": {"type": "string"},
            "secretsprovider": {"type": "string"},
            "encryptedkey": {"type": "string"},
        },
        "required": ["config"],
        "$defs": definitions,
    }


def schema_text() -> str:
    """The file's text."""
    return json.dumps(json_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
