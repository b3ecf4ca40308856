"""Spillway's program; what it deploys is in the stack files."""

import stacks.__main__  # noqa: F401
