"""How the twin starts Triton: the command line and the environment of one server.

The binary and its libraries come from the ``nvidia-pytriton`` wheel, unpacked into ``<tools>/triton``. It has a Python
backend and no ONNX Runtime backend: ``backends/onnxruntime`` beside this module stands in for that. The Python backend
was built for numpy 1 (with numpy 2 each tensor arrives with a stride of zero), so a numpy 1 wheel is unpacked into
``<tools>/triton-numpy``.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spillway.contracts.server_routes import restriction
from spillway.contracts.traces import triton_flags

_NOBODYS_KEY: Final = secrets.token_urlsafe(24)
"""For what Triton answers with a key only. Nobody is told; it stays the same as long as the twin runs, so that a server
is not started anew for it."""
_OWN_BACKENDS: Final = Path(__file__).parent / "backends"
_SHARED_MEMORY: Final = Path("/dev/shm")


class TritonMissingError(Exception):
    """The unpacked Triton is not where it should be."""


@dataclass(frozen=True)
class TritonPorts:
    """Loopback ports of one server. ``sagemaker`` is the SageMaker front end's (``/ping``, ``/invocations``)."""

    http: int
    metrics: int
    sagemaker: int | None = None

    @property
    def shared_memory_prefix(self) -> str:
        """What the names of this server's shared-memory regions start with."""
        return f"spillway_triton_{self.http}_"


def triton_command(
    tools_dir: Path,
    repository: Path,
    ports: TritonPorts,
    *,
    models: Sequence[str] = ("*",),
    sagemaker_model: str | None = None,
    backend_dir: Path | None = None,
    cache_bytes: int = 0,
    traces_url: str | None = None,
    exit_timeout_s: int = 5,
) -> tuple[list[str], dict[str, str]]:
    """Command line and whole environment of a Triton that serves ``repository``.

    ``tools_dir``: folder that holds ``triton/``. ``models``: what is loaded, with what an ensemble is made of; ``*``:
    all. ``sagemaker_model``: the model that ``/invocations`` calls; it turns
    the SageMaker front end on and needs ``ports.sagemaker``. ``backend_dir``: the backends; by default they are
    gathered under ``tools_dir``. ``cache_bytes``: size of the local response cache, 0 for none.
    ``traces_url``: where it sends its part of traces.

    Triton 2.51 has no option for the SageMaker front end's address and binds it to every interface; the others are
    bound to loopback. Raises :class:`TritonMissingError` when Triton is not unpacked.
    """
    server = tools_dir / "triton" / "pytriton" / "tritonserver"
    binary = server / "bin" / "tritonserver"
    if not binary.is_file():
        raise TritonMissingError(
            f"{binary}: no such file. Run `make setup`, which unpacks the nvidia-pytriton wheel there."
        )
    if sagemaker_model and ports.sagemaker is None:
        raise ValueError("sagemaker_model needs ports.sagemaker")
    binary.chmod(0o755)
    argv = [
        str(binary.absolute()),
        f"--model-repository={repository.absolute()}",
        "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in models),
        restriction(_NOBODYS_KEY),
        f"--backend-directory={(backend_dir or gather_backends(tools_dir)).absolute()}",
        f"--backend-config=python,shm-region-prefix-name={ports.shared_memory_prefix}",
        "--backend-config=python,shm-default-byte-size=4194304",
        "--backend-config=python,stub-timeout-seconds=120",
        "--http-address=127.0.0.1",
        f"--http-port={ports.http}",
        "--allow-grpc=false",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={ports.metrics}",
        "--allow-gpu-metrics=false",
        "--strict-readiness=true",
        "--exit-on-error=true",
        f"--exit-timeout-secs={exit_timeout_s}",
    ]
    if cache_bytes:
        argv += [f"--cache-directory={(server / 'caches').absolute()}", f"--cache-config=local,size={cache_bytes}"]
    if traces_url:
        argv += triton_flags(traces_url)
    env = triton_environment(tools_dir)
    if sagemaker_model:
        argv += ["--allow-sagemaker=true", f"--sagemaker-port={ports.sagemaker}"]
        env["SAGEMAKER_TRITON_DEFAULT_MODEL_NAME"] = sagemaker_model
    return argv, env


def triton_environment(tools_dir: Path) -> dict[str, str]:
    """The environment for the server and its Python stubs: their libraries, and this environment's packages."""
    libraries = [(tools_dir / "triton" / "nvidia_pytriton.libs").absolute(), sysconfig.get_config_var("LIBDIR")]
    kept = {key: os.environ[key] for key in ("HOME", "LANG", "TZ", "TMPDIR") if key in os.environ}
    programs = [str(gather_python(tools_dir) / "bin"), os.environ.get("PATH", os.defpath)]
    return {
        **kept,
        "PATH": os.pathsep.join(programs),
        "LD_LIBRARY_PATH": os.pathsep.join(str(path) for path in libraries if path),
        "PYTHONUNBUFFERED": "1",
    }


def gather_backends(tools_dir: Path) -> Path:
    """A backend directory with Triton's Python backend, the stub for this Python, and the twin's own backends.

    Made once per Python version; safe when several servers start at once.
    """
    server = tools_dir / "triton" / "pytriton" / "tritonserver"
    stub = server / "python_backend_stubs" / _python_version() / "triton_python_backend_stub"
    if not stub.is_file():
        raise TritonMissingError(
            f"{stub}: no such file. This Triton has no Python backend for Python {_python_version()}."
        )

    def fill(made: Path) -> None:
        # Copies: Triton refuses a backend library that a link leads out of the backend directory.
        shutil.copytree(server / "backends" / "python", made / "python")
        shutil.copyfile(stub, made / "python" / stub.name)
        (made / "python" / stub.name).chmod(0o755)
        _link(made / "onnxruntime", _OWN_BACKENDS / "onnxruntime")

    return _make_once(tools_dir / f"triton-backends-py{_python_version()}", fill)


def gather_python(tools_dir: Path) -> Path:
    """The virtual environment of the Python stubs: numpy 1 first, then all that this environment has.

    The stub ignores ``PYTHONPATH`` and ``PYTHONHOME``; it finds ``python3`` on ``PATH`` and takes that one's packages.
    """
    numpy = tools_dir / "triton-numpy"
    if not (numpy / "numpy").is_dir():
        raise TritonMissingError(f"{numpy}: no numpy there. Run: python -m spillway.twin.tools")

    def fill(made: Path) -> None:
        packages = made / "lib" / f"python{_python_version()}" / "site-packages"
        packages.mkdir(parents=True)
        (made / "bin").mkdir()
        base = Path(sys.base_prefix) / "bin"
        (made / "bin" / "python3").symlink_to(base / "python3")
        (made / "pyvenv.cfg").write_text(f"home = {base}\ninclude-system-site-packages = false\n", encoding="utf-8")
        for source in numpy.iterdir():
            _link(packages / source.name, source)
        # A package is checked by the sha256 of its files, so serving it must not add byte code. The stub ignores
        # PYTHONDONTWRITEBYTECODE.
        lines = [sysconfig.get_path("purelib"), "import sys; sys.dont_write_bytecode = True"]
        (packages / "spillway.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")

    return _make_once(tools_dir / f"triton-python-py{_python_version()}", fill)


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _link(place: Path, source: Path) -> None:
    """A relative one, which survives that the whole clone is moved."""
    place.symlink_to(os.path.relpath(source.resolve(), place.parent.resolve()))


def _make_once(target: Path, fill: Callable[[Path], None]) -> Path:
    """Fill a folder beside ``target`` and rename it, so that a half-made one is never seen. One whose links lead
    nowhere any more is made again: what Triton says then has nothing to do with it."""
    if target.is_dir() and all(path.exists() for path in target.rglob("*") if path.is_symlink()):
        return target.absolute()
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    fill(made)
    if target.is_dir():
        shutil.rmtree(target)
    try:
        made.rename(target)
    except OSError:
        # Another process was first; its folder is the same.
        shutil.rmtree(made)
    return target.absolute()


def remove_shared_memory(ports: TritonPorts) -> None:
    """Remove the shared-memory regions that a killed server left behind."""
    for region in _SHARED_MEMORY.glob(f"{ports.shared_memory_prefix}*"):
        region.unlink(missing_ok=True)
