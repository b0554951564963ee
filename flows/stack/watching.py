"""A run of the flow `benchmark`, watched from its submission to its report."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from prefect.client.schemas.objects import FlowRun

from flows import locations
from flows.stack import deployments, runs, signals
from flows.stack.local import down, up
from flows.stack.pools import Pools
from flows.stack.server import API_ERRORS, Server
from flows.stack.terminal import say
from tasks.domain.exit_code import ExitCode
from tasks.domain.refusal import Refusal

POLL_SECONDS = 2.0
EVENT = "●"
"""Begins a line of `prefect ... watch` that tells of an event; lines of logs begin otherwise."""
WHOLE_LINES = {"COLUMNS": "1000", "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
"""Variables under which Prefect's command breaks no line and says each at once."""
PATIENCE_SECONDS = 120.0
"""How long the API may be out of reach before waiting is given up."""


def run_benchmark(deployment: str = "full", parameters: Iterable[str] = ()) -> int:
    """Bring the stack up, run `benchmark/<deployment>` and watch it; the exit code.

    `parameters` are `NAME=JSON`, as `prefect deployment run --param` has them. The last two lines name the run's page
    and its report. If the run fails or a signal comes, it is cancelled, and the stack goes down if it was not up
    before. Raises Refusal where nothing could be started, and KeyboardInterrupt on a signal.
    """
    declared = deployments.load(Pools()).by_name
    name = f"benchmark/{deployment}"
    if name not in declared:
        known = [other.removeprefix("benchmark/") for other in declared if other.startswith("benchmark/")]
        raise Refusal(f"deployment={deployment!r} is not known; use one of {', '.join(known)}")
    given = _parse(parameters)
    run_name = _text(given.get("run_name", f"{deployment}-{datetime.now():%Y%m%d-%H%M%S}"))
    say(declared[name].get("description", name))
    stack = up()
    watch = _Watch(
        server=stack.server, deployment=name, run_name=run_name, parameters={**given, "run_name": json.dumps(run_name)}
    )
    run = None
    report = locations.reports() / run_name / "report.md"
    say(f"A first answer stands after the first block in {report}; every block renews it")
    try:
        with signals.interruptible():
            run = watch.run()
    except API_ERRORS as error:
        raise Refusal(f"Prefect's API failed ({type(error).__name__}: {error}); see `stratbench status`") from error
    finally:
        is_good = run is not None and run.state is not None and run.state.is_completed()
        if not is_good:
            with signals.uninterrupted():
                watch.cancel()
                if not stack.was_running:
                    down()
    if run is None:
        return ExitCode.REFUSED
    if not is_good:
        return ExitCode.INTERNAL_ERROR
    say("The stack stays up, so that the page below works; stop it with `stratbench down` (`make down`)")
    say(f"{stack.server.ui_url()}/runs/flow-run/{run.id}")
    say(str(report))
    return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Watch:
    """One submission and what became of it."""

    server: Server
    deployment: str
    run_name: str
    parameters: dict[str, str]

    def run(self) -> FlowRun | None:
        """Submit and watch; the run when it has ended, None where Prefect refused it, in its own words."""
        given = [word for each in self.parameters.items() for word in ("--param", "=".join(each))]
        self._call("deployment", "run", self.deployment, "--watch", "--flow-run-name", self.run_name, *given)
        last_answer = time.monotonic()
        while True:
            try:
                run = self._find()
                if run is None or run.state is None or run.state.is_final():
                    return run
                self._call("flow-run", "watch", str(run.id))  # the stream of events that the command lives on was cut
                last_answer = time.monotonic()
            except API_ERRORS:
                if time.monotonic() - last_answer > PATIENCE_SECONDS:
                    raise
            time.sleep(POLL_SECONDS)

    def cancel(self) -> None:
        """Cancel the run, if it goes on."""
        try:
            run = self._find()
            if run is not None and run.state is not None and not run.state.is_final():
                say(f"Cancelling {run.name} (3 to 20 s)")
                with self.server.connected() as client:
                    runs.cancel(client, [run.id])
        except API_ERRORS as error:
            say(f"{self.run_name} could not be cancelled: {type(error).__name__}: {error}")

    def _call(self, *words: str) -> None:
        """Do a command of Prefect's and say what it says, but for its events: heartbeats and many more."""
        say(f"$ {shlex.join(('prefect', *words))}")
        command = (sys.executable, "-m", "prefect", *words)
        environment = {**self.server.environment, **WHOLE_LINES}
        with subprocess.Popen(
            command, env=environment, cwd=self.server.folder, stdout=subprocess.PIPE, encoding="utf-8", errors="replace"
        ) as process:
            try:
                for line in process.stdout or ():
                    if not line.startswith(EVENT):
                        say(line.rstrip())
            except BaseException:
                process.kill()
                raise

    def _find(self) -> FlowRun | None:
        with self.server.connected() as client:
            deployment = client.read_deployment_by_name(self.deployment)
            return runs.named(client, self.run_name, deployment.id)


def _parse(parameters: Iterable[str]) -> dict[str, str]:
    found = {}
    for parameter in parameters:
        name, sign, text = parameter.partition("=")
        if not (name and sign):
            raise Refusal(f"parameter {parameter!r} is not understood; write it as NAME=JSON, for example num_epochs=1")
        found[name] = text
    return found


def _text(value: str) -> str:
    """What Prefect makes of a parameter's value: JSON, or the text itself."""
    try:
        return str(json.loads(value))
    except ValueError:
        return value
