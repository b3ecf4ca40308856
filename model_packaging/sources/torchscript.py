"""TorchScript: what ``torch.jit.save`` wrote."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from model_packaging.sources.model import LoadedModel, Place, dynamic_batch, files_sha256
from model_packaging.sources.packages import model_file
from model_packaging.sources.samples import ARRAYS, read_arrays
from model_packaging.sources.signatures import batch_first, in_order
from spillway.contracts.frozen import Frozen
from spillway.contracts.manifest import PackageError, PackageSource

if TYPE_CHECKING:
    import torch


class TorchScriptSource(Frozen):
    """A TorchScript archive. It is a program: it runs when the package is made, so point it at one you trust."""

    kind: Literal["torchscript"]
    path: Path
    """The file, ``.pt`` or ``.jit``: absolute or relative to model.yaml, or to ``package``."""
    package: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*$")
    """An installed Python package that holds the file."""
    submodule: str = ""
    """Dotted path of the module inside that is packaged, e.g. the stateless core of a model that keeps state."""
    outputs: tuple[str, ...] = Field(default=("OUTPUT",), min_length=1)
    """Names of what ``forward`` returns, in order."""
    batch_axes: dict[str, int] = Field(default_factory=dict)
    """Input or output → its batch axis, where that is not 0. It is moved to the front in what is packaged."""
    licence: str
    origin: str = ""

    def files(self, place: Place) -> dict[str, Path]:
        return {
            "model": model_file(place, self.path, self.package, (".pt", ".jit")),
            "samples": place.samples_file(ARRAYS),
        }

    def load(self, place: Place) -> LoadedModel:
        """Load it on the CPU. Raises :class:`PackageError` when it is no TorchScript or lacks the submodule."""
        files = self.files(place)
        module = self._module(files["model"])
        inputs = _inputs(module)
        samples = tuple(in_order(sample, inputs, self.path.name) for sample in read_arrays(files["samples"]))
        return LoadedModel(
            module=batch_first(module, inputs, self.outputs, self.batch_axes).eval(),
            samples=samples,
            outputs=self.outputs,
            source=PackageSource(
                name=f"{self.path.name}{f':{self.submodule}' if self.submodule else ''}",
                origin=self.origin,
                licence=self.licence,
                weights_sha256=files_sha256(files),
            ),
            dynamic_axes=dynamic_batch(inputs),
            graph=module,
            batch_axes=self.batch_axes,
        )

    def _module(self, path: Path) -> torch.jit.ScriptModule:
        import torch

        if not is_torchscript(path):
            raise PackageError(
                f"{path}: no TorchScript archive. A .pt file of torch.save is a pickle, which can run code when it is "
                "loaded, and holds no graph: package the model with a Python entry that loads its safetensors, or "
                "save it with torch.export.save."
            )
        with warnings.catch_warnings():
            # torch.jit is deprecated; that is why such a file is packaged here as ONNX.
            warnings.simplefilter("ignore")
            try:
                module: Any = torch.jit.load(str(path), map_location="cpu").eval()
            except RuntimeError as error:
                raise PackageError(f"{path}: torch cannot load it: {str(error).splitlines()[0]}") from error
        for part in filter(None, self.submodule.split(".")):
            children = dict(module.named_children())
            if part not in children:
                raise PackageError(
                    f"source.submodule: {self.submodule}: no {part!r}; there are: {', '.join(children) or 'none'}."
                )
            module = children[part]
        return module.float()


def is_torchscript(path: Path) -> bool:
    """Whether the file is an archive of ``torch.jit.save``: a zip file with code in it, which ``torch.save``'s lack."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _inputs(module: Any) -> tuple[str, ...]:
    arguments = module.forward.schema.arguments[1:]
    return tuple(argument.name for argument in arguments)
