"""Whose Azure the twin's is."""

from __future__ import annotations

from typing import Final

SUBSCRIPTION_ID: Final = "00000000-0000-0000-0000-000000000000"
TENANT_ID: Final = "11111111-1111-1111-1111-111111111111"
