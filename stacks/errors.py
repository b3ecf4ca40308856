"""What is wrong with a stack file, said so that it can be mended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from spillway.contracts.names import STACK_NAMESPACE
from spillway.contracts.problems import Problem
from spillway.contracts.validation import Names, place
from stacks.former_keys import FORMER_KEYS

NAMES: Final = Names(f"{STACK_NAMESPACE}:", STACK_NAMESPACE, FORMER_KEYS)
"""Of a stack file's keys."""


class StackConfigError(Exception):
    """The stack file cannot be deployed. Nothing has been created."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))

    def about(self, file: str, lines: Mapping[str, int] | None = None) -> str:
        """The whole message, with the file's path. ``lines``: of its keys, each by its full name, where known."""
        said = [f"{problem.key}{place(problem.key, lines or {})}: {problem.said}" for problem in self.problems]
        return "\n".join([f"the stack file {file} cannot be deployed:", *said])
