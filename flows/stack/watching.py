"""A run of the flow `benchmark`, watched from its submission to its report."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound, PrefectException

from flows import locations
from flows.stack import deployments, runs, signals
from flows.stack.deployments import Declaration
from flows.stack.error import StackError
from flows.stack.local import DEFAULT_POOLS, Say, Stack, down, speak, up
from flows.stack.pools import Pools
from flows.stack.ports import DEFAULT_PORTS, PortRange

FLOW = "benchmark"
POLL_SECONDS = 2.0
PATIENCE_SECONDS = 120.0
"""How long the API may be out of reach before waiting is given up."""


def run_benchmark(
    deployment: str = "full",
    parameters: Sequence[str] = (),
    *,
    ports: PortRange | str = DEFAULT_PORTS,
    pools: Pools = DEFAULT_POOLS,
    say: Say = speak,
) -> int:
    """Bring the stack up, run `benchmark/<deployment>` and watch it; the exit code.

    `parameters` are `NAME=JSON`, as `prefect deployment run --param` has them. The last two lines name the run's page
    and its report. If the run fails or a signal comes, it is cancelled, and the stack goes down if it was not up
    before. Raises StackError where nothing could be started, and KeyboardInterrupt on a signal.
    """
    declaration = deployments.load(deployments.default_file(), DEFAULT_POOLS)
    _refuse_unknown(declaration, deployment, parameters)
    say(declaration.description(f"{FLOW}/{deployment}"))
    stack = up(ports=ports, pools=pools, say=say)
    watch = _Watch(
        stack=stack, deployment=deployment, run_name=_run_name(deployment, parameters), parameters=parameters, say=say
    )
    code = 1
    try:
        with signals.interruptible():
            code = watch.run()
    except (httpx.HTTPError, PrefectException) as error:
        raise StackError(f"Prefect's API failed ({type(error).__name__}: {error}); see `stratbench status`") from error
    finally:
        if code != 0:
            with signals.uninterrupted():
                watch.cancel()
                if not stack.was_running:
                    down(say=say)
    if code == 0:
        watch.say_result()
    return code


@dataclass(frozen=True, kw_only=True, slots=True)
class _Watch:
    """One submission and what became of it."""

    stack: Stack
    deployment: str
    run_name: str
    parameters: Sequence[str]
    say: Say

    @property
    def full_name(self) -> str:
        """The deployment, as Prefect names it."""
        return f"{FLOW}/{self.deployment}"

    def run(self) -> int:
        """Submit and watch until the run has ended; 0 if it ended well."""
        given = [each for each in self.parameters if not each.startswith("run_name=")]
        parameters = (f"run_name={json.dumps(self.run_name)}", *given)
        command = ["prefect", "deployment", "run", self.full_name, "--watch", "--flow-run-name", self.run_name]
        command += [word for parameter in parameters for word in ("--param", parameter)]
        self.say(f"$ {shlex.join(command)}")
        target = self.stack.target
        code = subprocess.run(
            [sys.executable, "-m", *command], env=target.environment, cwd=target.folder, check=False
        ).returncode
        last_answer, is_told = time.monotonic(), False
        while True:
            try:
                run = self._find()
                last_answer = time.monotonic()
                if run is None or run.state is None:
                    return code  # refused, in Prefect's words
                if run.state.is_final():
                    return 0 if run.state.is_completed() else 1
                if not is_told:  # the stream of events that Prefect's command lives on was cut
                    self.say("The run goes on, but Prefect's command has stopped watching it; waiting on")
                    is_told = True
            except (httpx.HTTPError, PrefectException):
                if time.monotonic() - last_answer > PATIENCE_SECONDS:
                    raise
            time.sleep(POLL_SECONDS)

    def cancel(self) -> None:
        """Cancel the run, if it goes on."""
        try:
            run = self._find()
            if run is not None and run.state is not None and not run.state.is_final():
                self.say(f"Cancelling {run.name} (3 to 20 s)")
                with self.stack.target.connected() as client:
                    runs.cancel(client, [run.id])
        except (httpx.HTTPError, PrefectException) as error:
            self.say(f"{self.run_name} could not be cancelled: {type(error).__name__}: {error}")

    def say_result(self) -> None:
        """Say how the stack is stopped, where the run's page is and, last, where the report is."""
        run = self._find()
        self.say("The stack stays up, so that the page below works; stop it with `stratbench down` (`make down`)")
        self.say(f"{self.stack.ui_url}/runs/flow-run/{run.id if run else ''}")
        self.say(str(report_path(self.run_name)))

    def _find(self) -> FlowRun | None:
        with self.stack.target.connected() as client:
            try:
                deployment = client.read_deployment_by_name(self.full_name)
            except ObjectNotFound:
                return None
            return runs.named(client, self.run_name, deployment.id)


def report_path(run_name: str) -> Path:
    """Where the report of a run of that name is."""
    return locations.reports() / run_name / "report.md"


def _refuse_unknown(declaration: Declaration, deployment: str, parameters: Sequence[str]) -> None:
    known = declaration.names
    if f"{FLOW}/{deployment}" not in known:
        benchmarks = (name.removeprefix(f"{FLOW}/") for name in known if name.startswith(f"{FLOW}/"))
        raise StackError(f"deployment={deployment!r} is not known; use one of {', '.join(benchmarks)}")
    for parameter in parameters:
        name, sign, _ = parameter.partition("=")
        if not (name and sign):
            raise StackError(
                f"parameter {parameter!r} is not understood; write it as NAME=JSON, for example num_epochs=1"
            )


def _run_name(deployment: str, parameters: Sequence[str]) -> str:
    for parameter in parameters:
        name, _, text = parameter.partition("=")
        if name == "run_name":
            try:
                return str(json.loads(text))
            except ValueError:
                return text
    return f"{deployment}-{datetime.now():%Y%m%d-%H%M%S}"
