"""Make ``images_table.json`` from the SageMaker SDK's own tables, so that a preview need not import that SDK.

`make docs` does, where ``sagemaker-core`` is installed.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SOURCES = {"triton": "sagemaker-tritonserver", "vllm": "vllm-server"}
"""Kind of package → the SDK's name of the container that serves it."""


def sdk_tables() -> Path:
    """The SDK's ``image_uri_config`` folder. Raises ``ModuleNotFoundError`` where the SDK is not installed."""
    spec = find_spec("sagemaker.core")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("sagemaker-core is not installed; install it to generate the table")
    return Path(next(iter(spec.submodule_search_locations))) / "image_uri_config"


def read_container(tables: Path, name: str) -> dict[str, Any]:
    """One container's versions, newest first, each with its repository, tag and account per region."""
    versions: dict[str, Any] = json.loads((tables / f"{name}.json").read_text(encoding="utf-8"))["versions"]
    newest_first = sorted(versions, key=lambda text: [int(part) for part in text.split(".")], reverse=True)
    return {
        number: {
            "repository": versions[number]["repository"],
            "tag": "-".join((versions[number]["tag_prefix"], *versions[number].get("container_version", {}).values())),
            "accounts": dict(sorted(versions[number]["registries"].items())),
        }
        for number in newest_first
    }


def renewed(current: str) -> str:
    """The file's text. ``current``: the text that it has, whose date stays where nothing else changes."""
    tables = sdk_tables()
    found = {
        "source": f"sagemaker-core {version('sagemaker-core')}, image_uri_config",
        "containers": {kind: read_container(tables, name) for kind, name in SOURCES.items()},
    }
    dated = {"generated": datetime.now(UTC).date().isoformat(), **found}
    return current if json.loads(current) | found == json.loads(current) else json.dumps(dated, indent=1) + "\n"
