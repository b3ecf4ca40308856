"""What a program shows on a terminal, and what is typed there."""

from __future__ import annotations

import os


def answered(terminal: int, answers: list[tuple[bytes, str]], ends: bytes = b":", enter: str = "\n") -> bytes:
    """What the terminal showed until each question came, and was answered. ``ends``: of a question."""
    shown = b""
    for question, answer in answers:
        seen = b""
        while not (question in seen and seen.rstrip().endswith(ends)):
            seen += os.read(terminal, 1024)
        os.write(terminal, f"{answer}{enter}".encode())
        shown += seen
    return shown


def rest(terminal: int) -> bytes:
    shown = b""
    try:
        while part := os.read(terminal, 1024):
            shown += part
    except OSError:
        """The other end is closed."""
    return shown
