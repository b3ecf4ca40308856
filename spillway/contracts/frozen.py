"""The bases of every typed record: frozen, and strict about keys and types."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A record that two parts share. Unknown keys are refused; values never change after they are read."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=False, validate_default=True, use_attribute_docstrings=True
    )


class Settings(Frozen):
    """A part of the stack file."""
