"""An exported program: what ``torch.export.save`` wrote."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from model_packaging.sources.model import LoadedModel, Place, files_sha256
from model_packaging.sources.packages import model_file
from model_packaging.sources.samples import ARRAYS, read_arrays, read_whole_arrays
from model_packaging.sources.signatures import in_order
from spillway.contracts.frozen import Frozen
from spillway.contracts.manifest import PackageError, PackageSource

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram


class ExportedProgramSource(Frozen):
    """A ``.pt2`` file. Its own dynamic shapes decide: without a dynamic first axis it is served one by one."""

    kind: Literal["exported-program"]
    path: Path
    """The file: absolute or relative to model.yaml."""
    outputs: tuple[str, ...] = Field(default=("OUTPUT",), min_length=1)
    """Names of what the program returns, in order."""
    allow_pickle: bool = False
    """Load a program with pickled objects that torch's restricted unpickler refuses. They can run code."""
    licence: str
    origin: str = ""

    def files(self, place: Place) -> dict[str, Path]:
        return {"model": model_file(place, self.path, None, (".pt2",)), "samples": place.samples_file(ARRAYS)}

    def load(self, place: Place) -> LoadedModel:
        """Load it. Raises :class:`PackageError` when it is damaged, unsafe, or takes more than named tensors."""
        import torch

        files = self.files(place)
        if not zipfile.is_zipfile(files["model"]):
            raise PackageError(f"{files['model']}: no exported program: write it with torch.export.save.")
        if not self.allow_pickle:
            _refuse_pickles(files["model"])
        try:
            program = torch.export.load(files["model"])
        except Exception as error:
            raise PackageError(f"{files['model']}: torch cannot load it: {error}") from error
        inputs = tuple(str(name) for name in program.graph_signature.user_inputs)
        axes = _dynamic_axes(program, inputs)
        batched = all(0 in axes[name] for name in inputs) and len({axes[name][0] for name in inputs}) == 1
        read = read_arrays if batched else read_whole_arrays
        return LoadedModel(
            module=_by_name(program, inputs),
            samples=tuple(in_order(sample, inputs, self.path.name) for sample in read(files["samples"])),
            outputs=self.outputs,
            source=PackageSource(
                name=self.path.name, origin=self.origin, licence=self.licence, weights_sha256=files_sha256(files)
            ),
            dynamic_axes=axes,
            batched=batched,
            graph=program,
        )


def _refuse_pickles(path: Path) -> None:
    """Every pickle of the archive goes through torch's restricted unpickler first.

    ``torch.export.load`` reads them without it. What the restricted one accepts names no function that it does not know
    to be harmless, so reading the same bytes again without it is.
    """
    import torch

    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith(".pt")]
        for name in archive.namelist():
            if name.endswith("_config.json") and ("/weights/" in name or "/constants/" in name):
                entries = json.loads(archive.read(name)).get("config", {}).values()
                folder = name.rsplit("/", 1)[0]
                pickles += [f"{folder}/{entry['path_name']}" for entry in entries if entry.get("use_pickle")]
        for name in pickles:
            try:
                torch.load(io.BytesIO(archive.read(name)), weights_only=True)
            except Exception as error:
                raise PackageError(
                    f"{path}: {name} is a pickle that can run code when it is loaded ({str(error).splitlines()[0]}). "
                    "Export the program again without custom objects and example inputs, or set "
                    "source.allow_pickle: true if you trust where the file comes from."
                ) from None


def _dynamic_axes(program: ExportedProgram, inputs: tuple[str, ...]) -> dict[str, dict[int, str]]:
    """Input → axis → label, as the program was exported."""
    shapes = {
        node.name: node.meta["val"].shape
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in inputs and hasattr(node.meta.get("val"), "shape")
    }
    if missing := [name for name in inputs if name not in shapes]:
        raise PackageError(f"The program's input {missing[0]!r} is no tensor; take numbers and flags as tensors.")
    return {
        name: {axis: str(size) for axis, size in enumerate(shape) if not isinstance(size, int)}
        for name, shape in shapes.items()
    }


def _by_name(program: ExportedProgram, inputs: tuple[str, ...]) -> nn.Module:
    """The program as a module that takes its inputs by name, whichever were positional when it was exported."""
    import torch
    from torch import nn

    spec = program.call_spec.in_spec
    positional, named = (list(child.children()) for child in spec.children()) if spec else ([], [])
    if any(not child.is_leaf() for child in (*positional, *named)):
        raise PackageError("The program takes nested inputs; export one that takes plain tensors.")
    count = len(positional)
    keywords: list[Any] = list(spec.children()[1].context) if spec else []

    class ByName(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = program.module()

        def forward(self, **tensors: torch.Tensor) -> Any:
            ordered = [tensors[name] for name in inputs]
            return self.inner(*ordered[:count], **dict(zip(keywords, ordered[count:], strict=True)))

    return ByName()
