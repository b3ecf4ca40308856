"""Stages of a package: which version is the candidate, the canary, the one in production, and which ones were.

A stage is a row of numbered records, ``stages/<stage>/<number>.json``; the highest number counts. A change is the
creation of the next number, which of several writers only one can do, so a promotion that rests on an old view fails
instead of undoing another one. Nothing is overwritten: the row is the history. Clocks play no part in the order.
"""

from __future__ import annotations

import datetime
import uuid
from typing import Final, Literal

from pydantic import Field, ValidationError

from model_packaging.registry.objects import Objects, RegistryError
from spillway.contracts.frozen import Frozen

STAGES: Final = ("candidate", "canary", "production")


class StageRecord(Frozen):
    """One change of a stage."""

    number: int = Field(ge=1)
    """Counts the changes of this stage; the highest is the one that holds."""
    action: Literal["promote", "rollback"]
    """``promote``: the version was given the stage; ``rollback``: it got it back from the one that came after it."""
    version: str
    """The version that has the stage from here on."""
    at: str
    """UTC by the writer's clock, RFC 3339, whole seconds: for people to read, not for ordering."""
    note: str = ""
    """Why, in the writer's words."""
    token: str = ""
    """Unique to the writer, so that it can tell whether the record there is its own."""


class Stages:
    """The stages of one package name."""

    def __init__(self, objects: Objects, name: str) -> None:
        self._objects = objects
        self._name = name

    def history(self, stage: str) -> list[StageRecord]:
        """Oldest first."""
        folder = self._folder(stage)
        return [self._read(f"{folder}/{name}") for name in self._objects.names(folder) if name.endswith(".json")]

    def current(self, stage: str) -> str | None:
        """The version that has this stage."""
        folder = self._folder(stage)
        numbers = [name for name in self._objects.names(folder) if name.endswith(".json")]
        return self._read(f"{folder}/{numbers[-1]}").version if numbers else None

    def promote(self, stage: str, version: str, note: str = "", expected: str | None = None) -> bool:
        """Give ``version`` the stage; ``False`` where it has it already.

        ``expected``: the version that must have it now. Raises :class:`RegistryError` when another one has.
        """
        history = self.history(stage)
        current = history[-1].version if history else None
        if expected is not None and current != expected:
            raise RegistryError(
                f"{self._name}: {stage} is {current or 'nothing'}, not {expected}: it was changed. Look at it, and "
                "promote again."
            )
        if current == version:
            return False
        self._append(stage, history, "promote", version, note)
        return True

    def rollback(self, stage: str, note: str = "") -> tuple[str, str]:
        """Give the stage back to the version that had it before; (from, to). Again goes one further back."""
        history = self.history(stage)
        earlier = _stack(history)
        if len(earlier) < 2:
            now = f"{earlier[0]} is the first that had it" if earlier else "nothing has it"
            raise RegistryError(f"{self._name}: {stage} cannot be rolled back: {now}. Promote a version instead.")
        self._append(stage, history, "rollback", earlier[-2], note)
        return earlier[-1], earlier[-2]

    def _append(
        self,
        stage: str,
        history: list[StageRecord],
        action: Literal["promote", "rollback"],
        version: str,
        note: str,
    ) -> None:
        number = history[-1].number + 1 if history else 1
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        record = StageRecord(number=number, action=action, version=version, at=now, note=note, token=uuid.uuid4().hex)
        key = f"{self._folder(stage)}/{number:08d}.json"
        try:
            self._objects.create(key, (record.model_dump_json(indent=2) + "\n").encode())
            # A store that does not know conditional writes takes the later of two silently: then one finds out here.
            lost = self._read(key).token != record.token
        except FileExistsError:
            lost = True
        if lost:
            raise RegistryError(
                f"{self._name}: somebody else changed {stage} at the same time, to {self.current(stage)}. Look at it, "
                "and try again if you still want to."
            )

    def _read(self, key: str) -> StageRecord:
        try:
            return StageRecord.model_validate_json(self._objects.read(key))
        except FileNotFoundError:
            raise RegistryError(f"registry {self._objects.url}: {key} has just vanished; try again.") from None
        except ValidationError as error:
            raise RegistryError(
                f"registry {self._objects.url}: {key} is damaged ({error.errors()[0]['msg']}). Restore it, or delete "
                "it: the record before it then counts."
            ) from error

    def _folder(self, stage: str) -> str:
        if stage not in STAGES:
            raise RegistryError(f"stage {stage!r} is unknown; there are {', '.join(STAGES)}.")
        return f"packages/{self._name}/stages/{stage}"


def _stack(history: list[StageRecord]) -> list[str]:
    """The versions that a stage came through: a promotion adds one, a roll-back takes the last one away."""
    stack: list[str] = []
    for record in history:
        if record.action == "promote":
            stack.append(record.version)
        elif len(stack) > 1:
            stack.pop()
    return stack
