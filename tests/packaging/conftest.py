"""A packaged MiniLM, made once per test session (a cache hit when the working folder has it)."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MINILM = ROOT / "model_packaging" / "examples" / "minilm" / "model.yaml"


@pytest.fixture(scope="session")
def minilm_package() -> Path:
    from model_packaging.build import package
    from model_packaging.config import load_config

    return package(load_config(MINILM), ROOT / ".spillway" / "packages").path
