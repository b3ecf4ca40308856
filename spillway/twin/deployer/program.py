"""Runs a Pulumi program in this process, against a resource monitor that is a plain object.

No child process and no gRPC: the SDK takes any object with the monitor's methods, provider modules are imported once
for the preview and the update, and a program that kills its process leaves what a killed deployer leaves, which the
next ``up`` continues from.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import runpy
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spillway.twin.deployer.api import ConfigError, DeployerError
from spillway.twin.deployer.project import Project, StackConfig

# The SDK's root resource, the working directory and sys.argv belong to the whole process.
_ONE_PROGRAM = threading.Lock()


def run_program(
    project: Project, stack: str, config: StackConfig, monitor: Any, engine: Any, *, preview: bool, parallel: int
) -> None:
    """Run the program to its end, in the calling thread. Raises :class:`DeployerError` when it fails."""
    with _ONE_PROGRAM, _working_directory(project.working_dir):
        contextvars.copy_context().run(_run, project, stack, config, monitor, engine, preview, parallel)


def _run(
    project: Project, stack: str, config: StackConfig, monitor: Any, engine: Any, preview: bool, parallel: int
) -> None:
    from pulumi import RunError
    from pulumi.runtime import run_in_stack, set_all_config, settings

    settings.ROOT.set(None)
    settings.configure(
        settings.Settings(
            project=project.name,
            stack=stack,
            monitor=monitor,
            engine=engine,
            parallel=parallel,
            dry_run=preview,
            organization="organization",
            root_directory=str(project.root),
        )
    )
    set_all_config(config.values, list(config.secret_keys))
    # Tasks that a failed program leaves are of no interest: the SDK's own launcher hides them too.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    executor = ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="register")
    loop.set_default_executor(executor)
    try:
        loop.run_until_complete(run_in_stack(lambda: run_main(project.program)))
    except RunError as error:
        raise ConfigError(str(error)) from error
    except DeployerError:
        raise
    except SystemExit as error:
        if error.code not in (None, 0):
            raise DeployerError(f"The program ended with exit code {error.code}.") from error
    except Exception as error:
        message = f"The program failed: {type(error).__name__}: {error}"
        raise DeployerError(message, details=_user_traceback(error, project.working_dir)) from error
    finally:
        executor.shutdown(wait=True)
        _cancel_tasks(loop)
        loop.close()
        asyncio.set_event_loop(None)


async def run_main(program: Path) -> None:
    """The program, up to where all that it registers is registered. ``program``: its file, or its folder."""
    with _without_collections():
        runpy.run_path(str(program), run_name="__main__")
        await _settle()


@contextmanager
def _without_collections() -> Iterator[None]:
    """Python looks for cycles again and again while hundreds of modules and thousands of outputs are made.

    That took two fifths of the time of a plan, and frees 15 MB of 540.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


async def _settle() -> None:
    """Wait for the program's outputs, all at once.

    The SDK waits for them one by one, and looks at every outstanding one each time: with thousands of them that takes
    longer than everything else. What fails is left to the SDK, which knows how to say it.
    """
    from pulumi.runtime.settings import SETTINGS

    # The SDK's settings are a proxy, whose type does not show what is behind it.
    current: Any = SETTINGS
    while True:
        with current.lock:
            outstanding = list(current.outputs)
        if not outstanding:
            return
        done, _ = await asyncio.wait(outstanding, return_when=asyncio.FIRST_EXCEPTION)
        if any(task.cancelled() or task.exception() is not None for task in done):
            return
        # Tasks take themselves off the list in callbacks, which run after this one wakes.
        await asyncio.sleep(0)


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def _user_traceback(error: BaseException, folder: Path) -> str:
    """The traceback from the program's first line on."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((i for i, frame in enumerate(frames) if frame.filename.startswith(str(folder))), 0)
    return "".join([*traceback.format_list(frames[first:]), *traceback.format_exception_only(error)])


@contextmanager
def _working_directory(folder: Path) -> Iterator[None]:
    before, argv = Path.cwd(), sys.argv
    os.chdir(folder)
    sys.argv = [str(folder)]
    try:
        yield
    finally:
        sys.argv = argv
        os.chdir(before)
