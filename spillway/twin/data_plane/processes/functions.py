"""Runs the deployed Lambda functions: on their schedules, and when an alarm, a topic, a queue or a caller asks.

Each function is a process of its own with the deployed archive, the function's environment and its time limit; it stays
warm for the next call, as in Lambda, and is replaced when its code or environment changed, or a call ran out of time.
Results and errors go to this process's log. Schedules: EventBridge Scheduler's and EventBridge rules with ``rate(...)``
in the twin's minutes, first run at once; ``cron(...)`` is told and left out.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import logging
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from spillway.twin.clock import real_seconds
from spillway.twin.data_plane.deployed import aws_client

WAIT_S: Final = 1
"""Seconds that the emulated AWS may wait for somebody to ask for a call."""
SCHEDULES_S: Final = 5.0
"""Seconds between looks at the schedules."""
AT_ONCE: Final = 4
"""Calls at the same time, of different functions."""
KEPT: Final = ("PATH", "HOME", "LANG", "SPILLWAY_TWIN")
SESSION_S: Final = 12 * 3600.0
"""How long the keys of a function's role are good; half of it later its process has new ones."""
_UNITS: Final = {"minute": 60, "hour": 3600, "day": 86400}

log = logging.getLogger("spillway.functions")


@dataclass(frozen=True)
class Function:
    """A deployed function. ``role``: ARN of who it is; ``folder``: its unpacked archive."""

    name: str
    handler: str
    timeout_s: float
    memory_mb: int
    variables: dict[str, str] = field(repr=False)
    role: str = ""
    folder: Path = Path()


@dataclass(frozen=True)
class Schedule:
    """An event that is due every ``period_s`` seconds. ``payload`` makes it."""

    name: str
    function: str
    period_s: float
    payload: Callable[[], Any]


@dataclass(frozen=True)
class CallResult:
    """``error``: empty when the function returned; else the end of what it wrote."""

    function: str
    seconds: float
    value: Any = None
    error: str = ""


class Deployment:
    """The functions as the emulated AWS has them. Archives are unpacked below ``folder``, by their content."""

    def __init__(self, endpoint: str, region: str, folder: Path) -> None:
        self._endpoint = endpoint
        self._region = region
        self._folder = folder
        self._lambda = aws_client("lambda", endpoint, region)
        self._sts = aws_client("sts", endpoint, region)
        self._events = aws_client("events", endpoint, region)
        self._scheduler = aws_client("scheduler", endpoint, region)
        self._told: set[str] = set()
        self._folders: dict[str, Path] = {}

    def function(self, name: str) -> Function:
        """Raises botocore's ``ResourceNotFoundException`` when it is gone, ``OSError`` when its code cannot be had."""
        found = self._lambda.get_function_configuration(FunctionName=name)
        return Function(
            name=name,
            handler=found["Handler"],
            timeout_s=float(found["Timeout"]),
            memory_mb=found["MemorySize"],
            variables=found.get("Environment", {}).get("Variables", {}),
            role=found["Role"],
            folder=self._unpacked(name, found["CodeSha256"]),
        )

    def session(self, function: Function) -> dict[str, str]:
        """Keys of the function's role, as Lambda puts them into its environment."""
        keys = self._sts.assume_role(
            RoleArn=function.role, RoleSessionName=function.name, DurationSeconds=int(SESSION_S)
        )["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
            "AWS_SESSION_TOKEN": keys["SessionToken"],
        }

    def schedules(self) -> Iterator[Schedule]:
        """Of EventBridge Scheduler, and of EventBridge's older rules."""
        for listed in self._scheduler.get_paginator("list_schedules").paginate().search("Schedules[]"):
            found = self._scheduler.get_schedule(Name=listed["Name"], GroupName=listed["GroupName"])
            name = f"{listed['GroupName']}/{listed['Name']}"
            period = self._period(name, found["ScheduleExpression"]) if found["State"] == "ENABLED" else None
            function = _function_name(found["Target"]["Arn"])
            if period and function:
                yield Schedule(name, function, period, _event(found["Arn"], found["Target"]))
        for rule in self._events.list_rules()["Rules"]:
            expression = rule.get("ScheduleExpression", "")
            period = self._period(rule["Name"], expression) if rule.get("State") == "ENABLED" and expression else None
            for target in self._events.list_targets_by_rule(Rule=rule["Name"])["Targets"] if period else ():
                function = _function_name(target["Arn"])
                if period and function:
                    yield Schedule(f"{rule['Name']}/{target['Id']}", function, period, _event(rule["Arn"], target))

    def _period(self, name: str, expression: str) -> float | None:
        period = period_of(expression)
        if period is None:
            self._tell(f"schedule {name}: {expression} is recorded and not run")
        return period

    def invocations(self, after: int) -> list[dict[str, Any]]:
        """What somebody asked for since call number ``after``. Waits a moment for it."""
        address = f"{self._endpoint}/_spillway/invocations?after={after}&wait={WAIT_S}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return json.load(answer)["invocations"]

    def _unpacked(self, name: str, code: str) -> Path:
        """The folder of this code, fetched when it is not there yet."""
        if code not in self._folders:
            self._folders[code] = self._fetched(name)
        return self._folders[code]

    def _fetched(self, name: str) -> Path:
        with urllib.request.urlopen(f"{self._endpoint}/_spillway/code/{self._region}/{name}", timeout=30) as answer:
            archive = answer.read()
        folder = self._folder / hashlib.sha256(archive).hexdigest()
        if not folder.is_dir():
            self._folder.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=".fetch-", dir=self._folder))
            with zipfile.ZipFile(io.BytesIO(archive)) as content:
                content.extractall(fresh)
            try:
                fresh.rename(folder)
            except OSError:
                shutil.rmtree(fresh)
        return folder

    def _tell(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            log.warning(message)


class Warm:
    """A function's process, between calls. ``environment``: credentials and the addresses of the emulated clouds."""

    def __init__(self, function: Function, environment: dict[str, str]) -> None:
        self.function = function
        self._old_at = time.monotonic() + SESSION_S / 2
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        # The function's own variables never win over where its calls go.
        variables = {
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            **function.variables,
            **environment,
            "PYTHONPATH": str(function.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "SPILLWAY_FUNCTION_TIMEOUT": str(function.timeout_s),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("function_call.py")), function.handler],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=variables,
            cwd=function.folder,
        )

    def fits(self, function: Function) -> bool:
        """Whether it is alive, and what it runs is what is deployed."""
        alive = self._process.poll() is None and time.monotonic() < self._old_at
        return alive and self.function == function

    def call(self, payload: Any) -> CallResult:
        """To its end or its time limit; after that the process is gone."""
        name, started = self.function.name, time.monotonic()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(payload).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return self._broken(started)
        ready, _, _ = select.select([self._process.stdout], [], [], self.function.timeout_s)
        if not ready:
            self.end()
            message = f"Task timed out after {self.function.timeout_s:.2f} seconds"
            return CallResult(name, time.monotonic() - started, error=message)
        line = self._process.stdout.readline()
        if not line:
            return self._broken(started)
        answer = json.loads(line)
        error = answer.get("error", "").strip()[-2000:]
        return CallResult(name, time.monotonic() - started, answer.get("value"), error)

    def _broken(self, started: float) -> CallResult:
        self.end()
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip()[-2000:]
        code = self._process.returncode
        return CallResult(self.function.name, time.monotonic() - started, error=said or f"exit {code}")

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


class Environments:
    """The warm processes, one for each function. One function is never called twice at once. ``session``: gives the
    keys of a function's role."""

    def __init__(self, environment: dict[str, str], session: Callable[[Function], dict[str, str]]) -> None:
        self._environment = environment
        self._session = session
        self._warm: dict[str, Warm] = {}

    def call(self, function: Function, payload: Any) -> CallResult:
        warm = self._warm.get(function.name)
        if warm is None or not warm.fits(function):
            if warm is not None:
                warm.end()
            environment = {**self._environment, **self._session(function)}
            warm = self._warm[function.name] = Warm(function, environment)
        return warm.call(payload)

    def end(self) -> None:
        for warm in self._warm.values():
            warm.end()
        self._warm.clear()


class Runner:
    """Looks for what is due and has it called."""

    def __init__(self, deployment: Deployment, environment: dict[str, str]) -> None:
        self._deployment = deployment
        self._environments = Environments(environment, deployment.session)
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._last_run: dict[str, float] = {}
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._waiting: set[str] = set()
        self._after = 0
        self._schedules: list[Schedule] = []
        self._looked = float("-inf")

    def step(self, now: float) -> None:
        """``now``: on a monotonic clock."""
        if now - self._looked >= SCHEDULES_S:
            self._schedules = list(self._deployment.schedules())
            self._looked = now
        for schedule in self._schedules:
            due = self._last_run.get(schedule.name, float("-inf")) + real_seconds(schedule.period_s)
            # A minute that finds the last one still waiting is left out.
            if now >= due and schedule.name not in self._waiting:
                self._last_run[schedule.name] = now
                self._waiting.add(schedule.name)
                self._pool.submit(self._scheduled, schedule)
        for asked in self._deployment.invocations(self._after):
            self._after = asked["number"]
            self._pool.submit(self._call, asked["function"], asked["payload"], asked["source"])

    def end(self) -> None:
        self._pool.shutdown()
        self._environments.end()

    def _scheduled(self, schedule: Schedule) -> None:
        try:
            self._call(schedule.function, schedule.payload(), "schedule")
        finally:
            self._waiting.discard(schedule.name)

    def _call(self, name: str, payload: Any, source: str) -> None:
        try:
            with self._locks[name]:
                result = self._environments.call(self._deployment.function(name), payload)
            if result.error:
                log.error("%s (%s) failed after %.1f s: %s", name, source, result.seconds, result.error)
            else:
                log.info("%s (%s) %.1f s: %s", name, source, result.seconds, json.dumps(result.value))
        except Exception:
            log.exception("%s (%s) could not be called", name, source)


def period_of(expression: str) -> float | None:
    """Seconds of ``rate(1 minute)``; ``None`` for ``cron(...)``."""
    found = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression)
    return int(found[1]) * _UNITS[found[2]] if found else None


def _function_name(arn: str) -> str:
    parts = arn.split(":")
    return parts[6] if len(parts) > 6 and parts[2] == "lambda" else ""


def _event(rule_arn: str, target: dict[str, Any]) -> Callable[[], Any]:
    if "Input" in target:
        return lambda: json.loads(target["Input"])
    return lambda: {
        "version": "0",
        "source": "aws.events",
        "detail-type": "Scheduled Event",
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "resources": [rule_arn],
        "detail": {},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aws", required=True, help="base URL of the emulated AWS")
    parser.add_argument("--region", required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    environment = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "SPILLWAY_AZURE_"))}
    runner = Runner(Deployment(args.aws, args.region, args.state_dir), environment)
    while True:
        try:
            runner.step(time.monotonic())
        except Exception:
            log.exception("the emulated AWS could not be read")
            time.sleep(1)


if __name__ == "__main__":
    main()
