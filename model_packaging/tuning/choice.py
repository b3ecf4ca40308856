"""What was found, as keys of a model.yaml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from model_packaging.errors import ModelConfigError
from model_packaging.tensors.config import TensorConfig
from model_packaging.tuning.search import Trial
from spillway.contracts.manifest import PackageError
from spillway.contracts.targets import Layout


def serving_keys(config: TensorConfig, trial: Trial) -> dict[str, Any]:
    """What a model.yaml says to serve like this: in the layouts that were tuned; the others keep their variant."""
    choice, before, tuned = trial.choice, config.serve_by_layout(), config.tuned_layouts()
    after = {layout.value: choice.variant if layout in tuned else variant for layout, variant in before.items()}
    serving = {"intra_op_threads": choice.threads}
    if Layout.ONNX_RUNTIME not in tuned:
        # Neither says anything of onnxruntime's server, and written for it they would stop Triton from batching.
        serving |= {"max_batch_size": choice.batch_size, "instances": choice.instances}
    return {"serve": choice.variant if set(after.values()) == {choice.variant} else after, "serving": serving}


def check_target(model: Path, target: Path) -> None:
    """Refuse, before a long search, a ``target`` that :func:`write_choice` could not write. Relative paths mean
    model.yaml's own folder, so it must be the same. Raises :class:`ModelConfigError`."""
    folder = target.resolve().parent
    if folder != model.resolve().parent:
        raise ModelConfigError(f"--write {target}: choose a file beside {model}; its relative paths start there.")
    if not os.access(folder, os.W_OK):
        raise ModelConfigError(f"--write {target}: nothing can be written to {folder}.")


def write_choice(model: Path, config: TensorConfig, chosen: Trial, target: Path) -> Path:
    """model.yaml with the choice in it, at ``target``, whole or not at all; comments are not kept.

    Raises :class:`PackageError` where it cannot be written.
    """
    values = yaml.safe_load(model.read_text(encoding="utf-8"))
    keys = serving_keys(config, chosen)
    values["serve"] = keys["serve"]
    values["serving"] = {**(values.get("serving") or {}), **keys["serving"]}
    place = target.resolve()
    draft = place.with_name(f".{place.name}.new")
    try:
        draft.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        draft.replace(place)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise PackageError(f"--write {target}: it cannot be written: {error.strerror}.") from error
    return target
