"""Errors of the packager that are the user's to mend."""

import re
from pathlib import Path


class ModelConfigError(Exception):
    """``model.yaml`` cannot be used. Says which key, what was given, what is allowed and how to mend it."""


def no_such_folder(key: str, given: Path, folder: Path) -> ModelConfigError:
    """``given``: as the file has it, which may be meant as a name on a hub."""
    hint = ""
    if re.fullmatch(r"[\w.-]*\w[\w.-]*/[\w.-]+", str(given)):
        hint = f" A hub's name is not taken: `hf download {given} --local-dir FOLDER`, and give FOLDER."
    return ModelConfigError(f"{key}: {folder}: no such folder.{hint}")
