"""Walks a stack's steps with the Pulumi CLI, through Pulumi's Automation API: ups, and the roads between them."""

from __future__ import annotations

import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from spillway.contracts.pulumi_yaml import dump, load
from stacks.first_answer import Answer
from stacks.runtime_image import ImageError
from stacks.stages import Delegation, Image, Question, Runner, Stage, StageName, Step, Tunnel

STAGE_KEY: Final = "spillway:stage"
_TUNNEL_S: Final = 60.0
_POLL_S: Final = 0.2


class DeployError(Exception):
    """A step did not end well; what was done stands, and the next run goes on from there."""


class Progress(Protocol):
    """Is told how far it is."""

    def say(self, text: str) -> None: ...
    def phase(self, text: str) -> AbstractContextManager[None]: ...


@dataclass(frozen=True)
class Done:
    """One step that ended well. ``changes``: operation -> number of resources; ``left``: what a second plan would still
    do, which should be nothing; ``faults``: what the policies find in what stands."""

    step: str
    seconds: float
    changes: Mapping[str, int]
    left: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deployed:
    """``answer``: of the finished site, where it was asked."""

    done: tuple[Done, ...]
    answer: Answer | None = None


class Hands(Protocol):
    """What a deployment needs besides Pulumi."""

    def approve(self, stage: Stage, changes: Mapping[str, int]) -> bool:
        """Is shown a stage with what it would change; whether to go on."""
        ...

    def name_servers(self, zone: str) -> frozenset[str]:
        """A zone's name servers, as DNS tells them."""
        ...

    def publish(self, image: Image) -> bool:
        """See that an image is in its registry; whether it had to be pushed."""
        ...

    def faults(self, stage: Stage, checkpoint: Mapping[str, Any]) -> Sequence[str]:
        """What the policies find in what stands after a stage, as Pulumi exports it."""
        ...

    def ask(self, question: Question) -> Answer:
        """A request to the finished site."""
        ...


class PulumiStack(Protocol):
    """A stack under the Pulumi CLI."""

    def preview(self, stage: StageName) -> Mapping[str, int]:
        """What an ``up`` of this stage would do: operation -> number of resources."""
        ...

    def up(self, stage: StageName) -> Mapping[str, int]:
        """Do it."""
        ...

    def outputs(self) -> Mapping[str, Any]:
        """The stack's outputs, empty where nothing stands."""
        ...

    def checkpoint(self) -> Mapping[str, Any]:
        """What stands, as `pulumi stack export` tells it."""
        ...


class AutomatedStack:
    """Drives ``pulumi`` in the project's folder. ``stack_file`` is left as it is: the stage is set in a copy.

    What stood before is read anew first (``--refresh``): an endpoint that an alarm has rolled back since serves another
    configuration than Pulumi's state says.

    Raises :class:`DeployError` where Pulumi fails; what it said went to ``progress``.
    """

    def __init__(self, root: Path, stack: str, stack_file: Path, progress: Progress) -> None:
        from pulumi import automation

        self._file = stack_file
        self._progress = progress
        with _pulumi_errors():
            self._stack = automation.create_or_select_stack(stack, work_dir=str(root))
            self._refresh = bool(self._stack.outputs())

    def preview(self, stage: StageName) -> Mapping[str, int]:
        with self._config(stage) as file, _pulumi_errors():
            done = self._stack.preview(
                config_file=file, color="never", on_error=self._progress.say, refresh=self._refresh
            )
            return _by_name(done.change_summary)

    def up(self, stage: StageName) -> Mapping[str, int]:
        with self._config(stage) as file, _pulumi_errors():
            done = self._stack.up(
                config_file=file,
                color="never",
                on_output=self._progress.say,
                show_secrets=False,
                refresh=self._refresh,
            )
            return _by_name(done.summary.resource_changes or {})

    def outputs(self) -> Mapping[str, Any]:
        with _pulumi_errors():
            return {name: output.value for name, output in self._stack.outputs().items()}

    def checkpoint(self) -> Mapping[str, Any]:
        with _pulumi_errors():
            found = self._stack.export_stack()
            return {"version": found.version, "deployment": found.deployment}

    @contextmanager
    def _config(self, stage: StageName) -> Iterator[str]:
        described = load(self._file.read_text(encoding="utf-8-sig")) or {}
        described["config"] = {**(described.get("config") or {}), STAGE_KEY: stage}
        with tempfile.TemporaryDirectory(prefix="spillway-deploy-") as folder:
            copied = Path(folder) / self._file.name
            copied.write_text(dump(described), encoding="utf-8")
            yield str(copied)


def _by_name(changes: Mapping[Any, int]) -> dict[str, int]:
    """By the text behind the SDK's enumeration, which the CLI's own summary has already."""
    return {str(getattr(operation, "value", operation)): count for operation, count in changes.items()}


@contextmanager
def _pulumi_errors() -> Iterator[None]:
    from pulumi import automation

    try:
        yield
    except (automation.CommandError, automation.InvalidVersionError, OSError) as error:
        raise DeployError(f"pulumi did not end well:\n{error}") from None


class Deployment:
    """DNS is asked every ``dns_poll_s`` seconds."""

    def __init__(self, stack: PulumiStack, hands: Hands, progress: Progress, *, dns_poll_s: float = 10.0) -> None:
        self._stack = stack
        self._hands = hands
        self._progress = progress
        self._dns_poll_s = dns_poll_s

    def run(self, steps: Sequence[Step]) -> Deployed:
        """Walk the steps; those that stand already are passed over. Roads that were opened are closed at the end.

        Raises :class:`DeployError`.
        """
        done: list[Done] = []
        answer = None
        # An earlier stage after a later one would delete what that made.
        finished = self._stack.outputs().get("stage") == "site"
        with ExitStack() as roads:
            for step in steps:
                match step:
                    case Stage("foundation") if finished:
                        self._progress.say("foundation: stands already")
                    case Stage():
                        done.append(self._up(step))
                    case Delegation():
                        self._wait_for(step)
                    case Tunnel():
                        roads.enter_context(self._tunnel(step))
                    case Runner():
                        self._check_runner(step)
                    case Image():
                        done.append(self._publish(step))
                    case Question():
                        answer = self._ask(step)
        return Deployed(tuple(done), answer)

    def _up(self, stage: Stage) -> Done:
        with self._progress.phase(f"preview of {stage.name}"):
            planned = self._stack.preview(stage.name)
        if not self._hands.approve(stage, planned):
            raise DeployError(f"{stage.name} was not approved; nothing of it was done")
        begun = time.monotonic()
        with self._progress.phase(f"up of {stage.name}"):
            changes = self._stack.up(stage.name)
        with self._progress.phase(f"second preview of {stage.name}"):
            again = self._stack.preview(stage.name)
        left = {operation: count for operation, count in again.items() if operation != "same" and count}
        with self._progress.phase(f"policies over {stage.name}"):
            faults = tuple(self._hands.faults(stage, self._stack.checkpoint()))
        return Done(stage.name, time.monotonic() - begun, changes, left, faults)

    def _publish(self, image: Image) -> Done:
        begun = time.monotonic()
        with self._progress.phase(f"image {image.name}"):
            try:
                pushed = self._hands.publish(image)
            except ImageError as error:
                raise DeployError(str(error)) from None
        return Done("image", time.monotonic() - begun, {"push" if pushed else "same": 1})

    def _ask(self, question: Question) -> Answer:
        with self._progress.phase(f"one request to {question.host}"):
            answer = self._hands.ask(question)
        if answer.problem and question.public:
            raise DeployError(f"everything stands, but the site gives no answer: {answer.problem}")
        return answer

    def _wait_for(self, step: Delegation) -> None:
        wanted = frozenset(_canonical(name) for name in self._stack.outputs().get("name_servers") or ())
        if not wanted:
            raise DeployError(f"the stack has no output `name_servers` for the zone {step.zone}")
        told = False
        with self._progress.phase(f"delegation of {step.zone}"):
            while not wanted & self._hands.name_servers(step.zone):
                if not told:
                    listed = ", ".join(sorted(wanted))
                    self._progress.say(f"delegate {step.zone} to {listed} ({step.why}); waiting, Ctrl-C is safe")
                    told = True
                time.sleep(self._dns_poll_s)

    @contextmanager
    def _tunnel(self, step: Tunnel) -> Iterator[None]:
        command = self._stack.outputs().get("tunnel")
        if not command:
            raise DeployError("the stack has no output `tunnel`, though its API server is reached through one")
        with tempfile.TemporaryFile("w+") as said:
            try:
                process = subprocess.Popen(
                    shlex.split(command), stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
                )
            except OSError as error:
                raise DeployError(f"the tunnel cannot be opened: {error}; it is `{command}`") from None
            try:
                with self._progress.phase(f"tunnel to the API server at 127.0.0.1:{step.port}"):
                    _await_port(process, step.port, lambda: _read(said))
                yield
            finally:
                process.terminate()
                process.wait()

    def _check_runner(self, step: Runner) -> None:
        server = str(self._stack.outputs().get("api_server") or "")
        host = server.removeprefix("https://").partition("/")[0]
        try:
            socket.create_connection((host, step.port), timeout=10).close()
        except OSError as error:
            raise DeployError(
                f"the API server {host} is not reached from here ({error}): run the same command on the runner, which "
                "goes on from here"
            ) from None


class Dns:
    """Asks DNS. ``resolver``: ``ADDRESS`` or ``ADDRESS:PORT``, else this machine's own."""

    def __init__(self, resolver: str | None) -> None:
        import dns.resolver

        self._asked = dns.resolver.Resolver(configure=resolver is None)
        if resolver is not None:
            address, _, port = resolver.partition(":")
            self._asked.nameservers, self._asked.port = [address], int(port or 53)

    def name_servers(self, zone: str) -> frozenset[str]:
        """Of a zone; none where it is not known."""
        return frozenset(_canonical(name) for name in self._answers(zone, "NS"))

    def addresses(self, host: str) -> list[str]:
        """IPv4 addresses of a name, aliases followed; none where it is not known."""
        return self._answers(host, "A")

    def _answers(self, name: str, kind: str) -> list[str]:
        import dns.exception

        try:
            return [str(answer) for answer in self._asked.resolve(name, kind)]
        except dns.exception.DNSException:
            return []


def _canonical(name: str) -> str:
    return name.rstrip(".").lower()


def _await_port(process: subprocess.Popen[bytes], port: int, said: Callable[[], str]) -> None:
    limit = time.monotonic() + _TUNNEL_S
    while time.monotonic() < limit:
        if process.poll() is not None:
            raise DeployError(f"the tunnel ended with {process.returncode}: {said()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(_POLL_S)
    raise DeployError(f"the tunnel did not open within {_TUNNEL_S:.0f} s: {said()}")


def _read(file: Any) -> str:
    file.seek(0)
    return file.read().strip()[-2000:]
