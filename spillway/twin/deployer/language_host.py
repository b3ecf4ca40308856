"""Pulumi's language host for one Python program, which a Pulumi CLI attaches to by ``PULUMI_DEBUG_LANGUAGES``.

So the CLI needs no host of its own, which Go's module proxy does not serve, and the program runs in this environment.
It is a process of its own, as Pulumi's is: the program may change its folder, its arguments, or die.
"""

# ruff: noqa: N802 (the methods have the service's names)
from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_WORKERS: Final = 8
UNHANDLED: Final = "python inline source runtime error"
"""How Pulumi's server begins what it says of an exception that is no ``pulumi.RunError``."""


@contextmanager
def language_host(program: Path, environment: dict[str, str]) -> Iterator[str]:
    """Serve the program while the block runs; yields the value of ``PULUMI_DEBUG_LANGUAGES``.

    Raises ``OSError`` where it does not come up; why is on standard error.
    """
    command = [sys.executable, "-m", __name__, str(program)]
    host = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert host.stdin is not None
    assert host.stdout is not None
    with host:
        try:
            port = host.stdout.readline().strip()
            if not port:
                raise OSError(f"the host of {program} ended with {host.wait()}")
            yield f"python:{port}"
        finally:
            host.kill()


def main() -> None:
    """Serve the program that is the only argument, until standard input ends."""
    import grpc
    from pulumi.runtime.proto import language_pb2_grpc

    from spillway.twin.protocol import GRPC_OPTIONS

    # Ctrl-C is the CLI's to handle: it saves what is running, and needs the program's end for that.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    program = Path(sys.argv[1])
    told = os.fdopen(os.dup(1), "w")
    # What the program prints must not be taken for the port.
    os.dup2(2, 1)
    folder = program if program.is_dir() else program.parent
    os.chdir(folder)
    sys.argv = [str(folder)]
    server = grpc.server(ThreadPoolExecutor(max_workers=_WORKERS), options=GRPC_OPTIONS)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(_servicer(program), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, file=told, flush=True)
    sys.stdin.read()


def _servicer(program: Path) -> Any:
    """Pulumi's own server for programs that are no files, with what it lacks for one that is attached to."""
    from pulumi.automation._server import LanguageServer
    from pulumi.runtime import settings
    from pulumi.runtime.proto import language_pb2

    from spillway.twin.deployer.program import run_main

    class Host(LanguageServer):
        root = ""
        """Where Pulumi.yaml lies, which Pulumi's own server does not hand on."""

        def Run(self, request: Any, context: Any) -> language_pb2.RunResponse:
            self.root = request.info.root_directory
            return super().Run(request, context)

        def Handshake(self, request: Any, context: Any) -> language_pb2.LanguageHandshakeResponse:
            return language_pb2.LanguageHandshakeResponse()

        def RunPlugin(self, request: Any, context: Any) -> Iterator[language_pb2.RunPluginResponse]:
            """A policy pack: a program of its own, whose first line says on which port it is asked."""
            # Unbuffered: pulumi-policy does not flush that line.
            pack = [sys.executable, "-u", request.info.program_directory, *request.args]
            own = dict(entry.split("=", 1) for entry in request.env)
            process = subprocess.Popen(pack, cwd=request.pwd, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            assert process.stdout is not None
            context.add_callback(process.kill)
            with process:
                for line in process.stdout:
                    yield language_pb2.RunPluginResponse(stdout=line)
            yield language_pb2.RunPluginResponse(exitcode=process.returncode)

    def run() -> Any:
        proxy: Any = settings.SETTINGS
        proxy.root_directory = host.root
        return run_main(program)

    host = Host(run)
    return host


if __name__ == "__main__":
    main()
