"""The command line, `stratbench`: thin argparse over the same stages as the flows."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from flows import locations, night_commands
from flows.names import BENCHMARK_POOL, TRIAL_POOL
from flows.options import add_sweep, read_sweep
from tasks.domain.exit_code import ExitCode, worst
from tasks.domain.refusal import Refusal


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code (see docs/command-line.md)."""
    if sys.platform == "win32":
        print("stratbench does not run on native Windows; use WSL2, where it is a Linux program", file=sys.stderr)
        return ExitCode.REFUSED
    words = sys.argv[1:] if argv is None else argv
    parser = _parser()
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        parser.prog += f" {arguments.command}"
        parser.error(f"unrecognized arguments: {shlex.join(unknown)}")
    arguments.line = shlex.join(["stratbench", *words])
    try:
        return int(arguments.handler(arguments) or ExitCode.OK)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except Refusal as error:
        print(f"stratbench {arguments.command}: {error}", file=sys.stderr)
        return ExitCode.REFUSED


def _run(arguments: argparse.Namespace) -> int:
    from flows.direct import run_sweep
    from flows.stack import signals

    versus = getattr(arguments, "interpreter", None)
    sweep = read_sweep(arguments, None if versus is None else str(Path(versus).expanduser().absolute()))
    run_name = arguments.run_name
    if run_name is None:
        run_name = f"{arguments.command}-{datetime.now():%Y%m%d-%H%M%S}"
    if arguments.output is None:
        location, report = locations.run(run_name), locations.reports() / run_name
    else:
        output = arguments.output.absolute()
        if output.is_dir() and any(output.iterdir()) and not (output / "run").exists():
            raise Refusal(f"output={arguments.output} holds other files; name a folder that is new or empty")
        location, report = output / "run", output
    with signals.interruptible():
        return run_sweep(
            sweep,
            run_name=run_name,
            command=arguments.line,
            location=location,
            report=report,
            may_continue=arguments.resume,
        )


def _report(arguments: argparse.Namespace) -> int:
    from flows.direct import judge
    from flows.reading import read_run
    from tasks.analysis.analysis import analyze
    from tasks.reporting.report import write_report

    run, tables, folder = read_run(arguments.folder)
    analysis = analyze(run, tables)
    print(write_report(analysis, tables, arguments.output or folder))
    return judge(analysis)


def _compare(arguments: argparse.Namespace) -> None:
    from flows.reading import read_run
    from tasks.analysis.analysis import analyze
    from tasks.analysis.sessions import compare_sessions
    from tasks.reporting.sessions import describe_sessions

    a, b = (analyze(*read_run(folder)[:2]) for folder in (arguments.a, arguments.b))
    print(describe_sessions(compare_sessions(a, b), arguments.a, arguments.b), end="")


def _selfcheck(arguments: argparse.Namespace) -> int:
    from flows.direct import check_real
    from flows.stack import signals
    from tasks.analysis.statistics import MIN_VERDICT_BLOCKS
    from tasks.selfcheck.selfcheck import main as check

    num_real = arguments.real_blocks
    if num_real and (num_real < MIN_VERDICT_BLOCKS or arguments.json):
        raise Refusal(
            f"real_blocks={num_real} must be 0 or at least {MIN_VERDICT_BLOCKS}, without --json: fewer blocks decide "
            "nothing, and the figures of --json are those of the synthetic trainers"
        )
    code = check(arguments.families, arguments.seed, arguments.json)
    with signals.interruptible():
        return worst([code, check_real(num_real)]) if num_real else code


def _up(arguments: argparse.Namespace) -> None:
    from flows.stack.local import up
    from flows.stack.pools import Pools

    up(ports=arguments.ports, pools=Pools(benchmark=arguments.pool, trial=arguments.gpu_pool))


def _worker(arguments: argparse.Namespace) -> int:
    from flows import hosts
    from flows.stack.supervisor import serve

    for name, value in ((hosts.NAME, arguments.host), (hosts.ADDRESS, arguments.address)):
        if value is not None:
            os.environ[name] = value
    try:
        serve(arguments.gpu_pool)
    except KeyboardInterrupt as interrupt:
        if "SIGTERM" in interrupt.args:
            return ExitCode.OK
        raise


def _status(_: argparse.Namespace) -> int:
    from flows.stack.status import status

    return ExitCode.OK if status() else ExitCode.NOT_MEASURED


def _doctor(_: argparse.Namespace) -> int:
    from flows.stack.doctor import doctor

    return ExitCode.OK if doctor() else ExitCode.NOT_MEASURED


def _down(_: argparse.Namespace) -> None:
    from flows.stack.local import down

    down()


def _benchmark(arguments: argparse.Namespace) -> int:
    from flows.stack.watching import run_benchmark

    return run_benchmark(arguments.deployment, arguments.param)


class _Parser(argparse.ArgumentParser):
    """Of a command, with what handles it; refuses in one sentence, as everything else here does."""

    def __init__(self, *, handler: Callable[[argparse.Namespace], int | None] | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.set_defaults(handler=handler)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where the way out is described; exit with REFUSED."""
        self.exit(ExitCode.REFUSED, f"{self.prog}: {message}; `{self.prog} --help` lists what is known\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="stratbench", description="Which TensorFlow distribution strategy, at which batch size, on this hardware?"
    )
    parser.add_argument("--version", action="version", version=metadata.version("stratbench"))
    commands: Any = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", handler=_run, help="measure a sweep here, without a server, and report")
    versus = commands.add_parser(
        "versus", handler=_run, help="judge another environment: the same points in both, interleaved"
    )
    versus.add_argument("interpreter", help="Python of the other environment, with stratbench installed")
    for command in (run, versus):
        add_sweep(command)
    selfcheck = commands.add_parser(
        "selfcheck", handler=_selfcheck, help="how often the statistics err, on synthetic trainers"
    )
    selfcheck.add_argument("--families", type=int, default=2000, help="of each kind of noise (default: %(default)s)")
    selfcheck.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    selfcheck.add_argument("--real-blocks", type=int, default=0, help="blocks of real equal trials (default: none)")
    selfcheck.add_argument("--json", action="store_true", help="print the figures as JSON")
    night_commands.add(commands)
    report = commands.add_parser("report", handler=_report, help="rebuild a report from its results")
    report.add_argument("folder", help="a run's folder or URL, or a report folder with its Parquet files")
    report.add_argument("--output", type=Path, help="folder of the report (default: reports/<run name>)")
    compare = commands.add_parser(
        "compare", handler=_compare, help="describe two runs beside each other, without a verdict"
    )
    compare.add_argument("a", metavar="A", help="a run's folder or URL, or a report folder")
    compare.add_argument("b", metavar="B", help="the same")
    up = commands.add_parser(
        "up", handler=_up, help="start the local stack: Prefect server, pools, workers, deployments"
    )
    up.add_argument("--ports", default="4200-4299", help="ports that the server may take (default: %(default)s)")
    up.add_argument("--pool", default=BENCHMARK_POOL, help="work pool of the benchmark (default: %(default)s)")
    worker = commands.add_parser(
        "worker", handler=_worker, help="let this host train for a server elsewhere, until a signal ends it"
    )
    for command in (up, worker):
        command.add_argument("--gpu-pool", default=TRIAL_POOL, help="work pool of the trials (default: %(default)s)")
    worker.add_argument("--host", help="name of this host (default: STRATBENCH_HOST, or what the machine is called)")
    worker.add_argument(
        "--address", help="under which other hosts reach it (default: STRATBENCH_ADDRESS, or its route)"
    )
    commands.add_parser("status", handler=_status, help="show the local stack")
    commands.add_parser(
        "doctor", handler=_doctor, help="check the stack and this machine; name what is wrong and its mending"
    )
    commands.add_parser("down", handler=_down, help="stop the local stack")
    benchmark = commands.add_parser("benchmark", handler=_benchmark, help="up, run a deployment, wait for its report")
    benchmark.add_argument("deployment", nargs="?", default="full", help="of the flow benchmark (default: %(default)s)")
    benchmark.add_argument("--param", action="append", default=[], metavar="NAME=JSON", help="as prefect has it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
