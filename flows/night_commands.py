"""The command line's part for nights: the history, the control, the verdict and what finds changes."""

import argparse
import getpass
import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from flows import locations
from tasks.domain.exit_code import ExitCode, worst


def add(commands: Any) -> None:
    """Add the commands `history`, `control`, `verdict` and `detector`."""
    _add_history(_actions(commands, "history", "the trials of all runs, night after night"))
    _add_control(_actions(commands, "control", "what nights are measured against"))
    verdict = commands.add_parser("verdict", handler=_verdict, help="of a night: every cell against the nights before")
    verdict.add_argument("night", nargs="?", metavar="DAY", help="as 2026-11-23 (default: the last nightly run)")
    verdict.add_argument("--run", help="name of the run, where a night has several")
    verdict.add_argument("--report", type=Path, metavar="FOLDER", help="write the nightly report there as well")
    verdict.add_argument("--json", action="store_true", help="print everything as JSON")
    detector = _actions(commands, "detector", "what finds changes from night to night")
    backtest = detector.add_parser(
        "backtest", handler=_backtest, help="how often it cries wolf and what it finds, on synthetic nights"
    )
    _add_noise(backtest)
    backtest.add_argument("--installations", type=int, default=100, help="simulated (default: %(default)s)")
    backtest.add_argument("--history", action="store_true", help="on the nights of this history, resampled")
    backtest.add_argument("--json", action="store_true", help="print the figures as JSON")


def _actions(commands: Any, name: str, what: str) -> Any:
    return commands.add_parser(name, help=what).add_subparsers(dest="action", required=True, metavar="ACTION")


def _add_noise(command: argparse.ArgumentParser) -> None:
    command.add_argument("--noise", type=float, default=0.05, help="from run to run, as a share (default: %(default)s)")
    command.add_argument("--night-effect", type=float, default=0.01, help="on one arm (default: %(default)s)")
    command.add_argument("--pairs", type=int, default=None, help="of each cell in a night (default: by the noise)")
    command.add_argument("--seed", type=int, default=1, help="default: %(default)s")


def _add_control(actions: Any) -> None:
    build = actions.add_parser("build", handler=_control_build, help="build a control of this code at a revision")
    build.add_argument("revision", nargs="?", default="HEAD", help="commit, tag or branch (default: %(default)s)")
    build.add_argument("--requirements", type=Path, help="pinned, with hashes (default: the revision's own)")
    setting = actions.add_parser("set", handler=_control_set, help="measure nights against a control from now on")
    setting.add_argument("name", help="of a control that is built here, or none")
    _add_decision(setting)
    actions.add_parser("show", handler=_control_show, help="the current one and those built here")


def _add_history(actions: Any) -> None:
    add = actions.add_parser("add", handler=_history_add, help="take runs in; a benchmark takes itself in when it ends")
    add.add_argument("folder", nargs="+", help="a run's folder or URL, or a report folder")
    listing = actions.add_parser("list", handler=_history_list, help="the runs of a span")
    export = actions.add_parser("export", handler=_history_export, help="write the trials of a span to a file")
    export.add_argument("file", type=Path, help="ending in .csv or .parquet")
    export.add_argument("--column", nargs="+", help="of the table trials (default: all)")
    for action in (listing, export):
        action.add_argument("--since", metavar="DAY", help="first day of a run's begin, in UTC, as 2026-11-23")
        action.add_argument("--until", metavar="DAY", help="last day")
        action.add_argument(
            "--where", action="append", default=[], metavar="COLUMN=VALUE", help="trials with that value"
        )
    actions.add_parser("verify", handler=_history_verify, help="read everything, set damaged files aside")
    synthesis = actions.add_parser(
        "synthesize", handler=_history_synthesize, help="fill an empty history with synthetic nights"
    )
    _add_noise(synthesis)
    synthesis.add_argument("--nights", type=int, default=365, help="default: %(default)s")
    synthesis.add_argument(
        "--incident",
        action="append",
        default=[],
        metavar="KIND:NIGHT[-NIGHT][:SHARE[:CELLS]]",
        help="what happens, for example upgrade:200:.15; may be given again",
    )
    accept = actions.add_parser("accept", handler=_history_accept, help="a change is intended: begin a new baseline")
    accept.add_argument(
        "--cell", nargs="+", action="extend", default=[], help="its name in the verdict (default: all that changed)"
    )
    accept.add_argument("--night", metavar="DAY", help="first of the new baseline (default: of the change)")
    undo = actions.add_parser("undo", handler=_history_undo, help="events count no longer")
    undo.add_argument("event", nargs="+", help="as `history events` lists it")
    for action in (accept, undo):
        _add_decision(action)
    actions.add_parser("events", handler=_history_events, help="who decided what, and why")


def _add_decision(action: argparse.ArgumentParser) -> None:
    action.add_argument("--why", required=True, help="for who reads it in a year")
    action.add_argument("--by", default=getpass.getuser(), help="who decides (default: the user, %(default)s)")


def _history_add(arguments: argparse.Namespace) -> None:
    from flows.reading import read_run
    from tasks.analysis.frames import checked
    from tasks.results.history import History

    history = History(locations.results())
    for folder in arguments.folder:
        run, tables, _ = read_run(folder)
        history.check_keeps(run, tables)
        is_new = history.append(run, checked(tables, run.sweep))
        print(f"{run.run_name}: {'appended' if is_new else 'is there already'}")


def _history_list(arguments: argparse.Namespace) -> None:
    from flows.verdicts import describe_cuts
    from tasks.results.history import History, describe, parse_span

    span = parse_span(arguments.since, arguments.until, arguments.where)
    _print([*describe(History(locations.results()), span), *describe_cuts(span)])


def _history_export(arguments: argparse.Namespace) -> None:
    from tasks.results.history import History, export, parse_span

    span = parse_span(arguments.since, arguments.until, arguments.where)
    table = History(locations.results()).read(arguments.column, span)
    export(table, arguments.file)
    print(f"{table.num_rows} trials: {arguments.file}")


def _history_synthesize(arguments: argparse.Namespace) -> None:
    from tasks.detection.synthetic import read_noise
    from tasks.detection.synthetic_history import parse_incident, synthesize, write
    from tasks.results.history import History

    noise, pairs = read_noise(arguments.noise, arguments.night_effect, arguments.pairs, arguments.seed)
    incidents = [parse_incident(text, arguments.nights) for text in arguments.incident]
    nights = synthesize(noise, arguments.nights, pairs, arguments.seed, incidents)
    _print(write(History(locations.results()), nights))


def _history_accept(arguments: argparse.Namespace) -> None:
    from flows.verdicts import accept
    from tasks.results.history import parse_day

    night = parse_day("night", arguments.night)
    _print(accept(arguments.cell, night, arguments.why, arguments.by))


def _history_undo(arguments: argparse.Namespace) -> None:
    from flows.verdicts import undo

    _print(undo(arguments.event, arguments.why, arguments.by))


def _history_events(_: argparse.Namespace) -> None:
    from flows.verdicts import list_events

    _print(list_events())


def _verdict(arguments: argparse.Namespace) -> int:
    from flows.verdicts import read_evidence, with_characteristic
    from tasks.reporting.night import write_night_report
    from tasks.reporting.verdicts import describe_tonight, encode_tonight
    from tasks.results.history import History, Span, parse_day

    day = parse_day("night", arguments.night)
    evidence = read_evidence(day, arguments.run)
    today = datetime.now(UTC).date()
    since = day or (evidence.tonight.day if evidence else date.min)
    lost = [] if arguments.run else History(locations.results()).unreadable(Span(since=since, until=day or date.max))
    for name in lost:
        way_out = "`stratbench history verify` sets it aside, `stratbench history add` takes its run in again"
        print(f"NOT MEASURED: {name} cannot be read; {way_out}", file=sys.stderr)
    if evidence is None and lost:
        return ExitCode.NOT_MEASURED
    if evidence is None:
        wanted = " of ".join(["nightly run", *(str(each) for each in (arguments.run, day) if each)])
        way_out = "`prefect deployment run benchmark/nightly` measures one"
        print(f"NOT MEASURED: the history holds no {wanted}; {'it is yet to come' if day and day > today else way_out}")
        return ExitCode.NOT_MEASURED
    tonight = evidence.tonight
    _print([encode_tonight(tonight)] if arguments.json else describe_tonight(tonight))
    if arguments.report:
        print(write_night_report(with_characteristic(evidence), arguments.report))
    is_old = today - tonight.day > timedelta(days=1) and not (day or arguments.run or tonight.is_synthetic)
    if is_old:
        print(f"NOT MEASURED: no night since that of {tonight.day}", file=sys.stderr)
    return worst([tonight.exit_code, *([ExitCode.NOT_MEASURED] if is_old or lost else [])])


def _history_verify(_: argparse.Namespace) -> int:
    from tasks.results.error import ResultsError
    from tasks.results.events import Events
    from tasks.results.history import DAMAGED, History

    damaged = History(locations.results()).set_aside()
    for name, reason in damaged.items():
        print(f"{name} is damaged ({reason}): set aside in {DAMAGED}; `stratbench history add` takes its run in again")
    try:
        Events(locations.results()).read()
    except ResultsError as error:
        print(error)
        return ExitCode.INVALID
    if not damaged:
        print(f"every file of the history at {locations.results()} can be read")
    return ExitCode.INVALID if damaged else ExitCode.OK


def _backtest(arguments: argparse.Namespace) -> None:
    from tasks.detection import backtest
    from tasks.detection.series import COLUMNS
    from tasks.results.events import Events
    from tasks.results.history import History

    if arguments.history:
        place = locations.results()
        nights, events = History(place).nights(COLUMNS), Events(place).read()
        backtest.main_history(nights, events, arguments.installations, arguments.seed, arguments.json)
        return
    backtest.main(
        run=arguments.noise,
        night=arguments.night_effect,
        num_pairs=arguments.pairs,
        num_installations=arguments.installations,
        seed=arguments.seed,
        as_json=arguments.json,
    )


def _control_build(arguments: argparse.Namespace) -> None:
    from flows import control

    _print(control.build(arguments.revision, arguments.requirements))


def _control_set(arguments: argparse.Namespace) -> None:
    from flows import control

    print(control.settle(arguments.name, arguments.why, arguments.by))


def _control_show(_: argparse.Namespace) -> None:
    from flows import control

    _print(control.describe())


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)
