"""A function of your own that returns the module and its samples."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from model_packaging.errors import ModelConfigError
from model_packaging.sources.model import Batch, LoadedModel, Place, dynamic_batch, files_sha256
from model_packaging.sources.own_code import files_read, own_modules
from spillway.contracts.frozen import Frozen
from spillway.contracts.manifest import PackageError, PackageSource

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Entry:
    """What a Python entry returns.

    ``module``: takes the inputs by name and returns a tensor, or a tuple or dict of tensors. ``samples``: named inputs
    with a batch axis of any size first, on real data; parity is measured on them. ``output``: the output's name, or
    the names of all of them in order. ``dynamic_axes``: input → axis → label, for axes besides the batch that vary.
    ``batched``: False for a model that has no batch axis; Triton then runs its requests one at a time.
    """

    module: nn.Module
    samples: Sequence[Batch]
    output: str | Sequence[str] = "OUTPUT"
    dynamic_axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    batched: bool = True


class PythonSource(Frozen):
    """A function of your own. It runs when the package is made: point it at code you trust."""

    kind: Literal["python"]
    entry: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """``module:function``; it returns a :class:`model_packaging.sources.Entry`."""
    search_path: Path = Path()
    """Folder that is put on the import path, absolute or relative to model.yaml."""
    data: tuple[Path, ...] = ()
    """Files that the function reads (weights, samples), and folders of them: they are hashed, so that a change makes a
    new package. One that Python opens and that is not here is refused; those that native code opens (safetensors) are
    not noticed. Modules beside the entry's are hashed without being named."""
    licence: str
    origin: str = ""

    def files(self, place: Place) -> dict[str, Path]:
        """The modules of the entry and the data it reads. Raises :class:`ModelConfigError` for one that is missing."""
        module = self.entry.split(":")[0]
        folder = place.resolve(self.search_path)
        with _import_path(folder):
            try:
                spec = importlib.util.find_spec(module)
            except ImportError:
                spec = None
        if spec is None or spec.origin is None:
            raise ModelConfigError(
                f"source.entry: module {module!r} is found neither in {folder} nor in the environment; set "
                "source.search_path to the folder that holds it."
            )
        files = {f"entry/{name}": path for name, path in own_modules(module, spec, folder).items()}
        for path in self.data:
            whole = place.resolve(path)
            if not whole.exists():
                raise ModelConfigError(f"source.data: {whole}: no such file.")
            inside = sorted(item for item in whole.rglob("*") if item.is_file()) if whole.is_dir() else [whole]
            files |= {f"data/{(path / item.relative_to(whole)).as_posix()}": item for item in inside}
        return files

    def load(self, place: Place) -> LoadedModel:
        """Run the function. Raises :class:`PackageError` with what it raised."""
        files = self.files(place)
        with files_read(place.base_dir.resolve()) as read:
            entry = self._run(place.resolve(self.search_path))
        if unnamed := sorted(str(path) for path in read - {path.resolve() for path in files.values()}):
            raise ModelConfigError(
                f"source.data: the entry reads {', '.join(unnamed[:3])}{' and more' if unnamed[3:] else ''}, which "
                "data does not name: a change of it would go unseen. Name it, or its folder."
            )
        outputs = (entry.output,) if isinstance(entry.output, str) else tuple(entry.output)
        axes = dynamic_batch(tuple(entry.samples[0])) if entry.batched else {name: {} for name in entry.samples[0]}
        for name, labels in entry.dynamic_axes.items():
            if name not in axes:
                raise PackageError(f"source.entry {self.entry}: dynamic_axes names {name!r}, which is no input.")
            axes[name] = {**labels, **axes[name]}
        return LoadedModel(
            module=entry.module.float().eval(),
            samples=tuple(entry.samples),
            outputs=outputs,
            source=PackageSource(
                name=self.entry, origin=self.origin, licence=self.licence, weights_sha256=files_sha256(files)
            ),
            dynamic_axes=axes,
            batched=entry.batched,
        )

    def _run(self, folder: Path) -> Entry:
        from torch import nn

        module_name, function_name = self.entry.split(":")
        with _import_path(folder):
            try:
                entry = getattr(importlib.import_module(module_name), function_name)()
            except Exception as error:
                raise PackageError(f"source.entry {self.entry}: {type(error).__name__}: {error}") from error
        wanted = f"source.entry {self.entry}: return a model_packaging.sources.Entry"
        if not isinstance(entry, Entry):
            raise PackageError(f"{wanted}; it returned {type(entry).__name__}.")
        if not isinstance(entry.module, nn.Module):
            raise PackageError(f"{wanted} whose module is a torch.nn.Module; got {type(entry.module).__name__}.")
        if not entry.samples or not entry.samples[0]:
            raise PackageError(f"{wanted} with at least 1 sample.")
        return entry


@contextlib.contextmanager
def _import_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
