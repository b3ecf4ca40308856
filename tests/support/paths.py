"""Where this repository lies."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
MINILM = ROOT / "model_packaging" / "examples" / "minilm" / "model.yaml"
