"""Verdicts of a night as lines of text."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from tasks.detection.detector import MIN_NIGHTS
from tasks.detection.nights import Cut, NightState, Tonight, Verdict
from tasks.reporting.numerals import between, plural, shown
from tasks.results.history import Ending

ENDINGS = {Ending.ENDED: "", Ending.STOPPED: ", stopped before its end", Ending.CRASHED: ", crashed"}


def describe_tonight(tonight: Tonight) -> Iterator[str]:
    """The night's state, a line for each series, and what cut them."""
    mark = "SYNTHETIC, nobody measured this. " if tonight.is_synthetic else ""
    against = (
        "against a control"
        if tonight.has_control
        else "without a control, so that a slower machine looks like slower software"
    )
    yield (
        f"{mark}Night of {tonight.day}: {tonight.state} ({tonight.run_name}{ENDINGS[tonight.ending]}; "
        f"{plural(tonight.num_nights, 'night')} so far, {against})"
    )
    labels = [verdict.label for verdict in (*tonight.verdicts, *tonight.platform)]
    width = max(map(len, (*labels, *tonight.never)), default=4) + 2
    yield f"{'cell':<{width}}{'state':<14}{'since':<12}{'seconds v baseline':<26}{'blocks':>7}{'nights':>8}  why"
    for verdict in (*tonight.verdicts, *tonight.platform):
        change = shown(verdict.change, lambda value: f"{value:.3f} x")
        if verdict.low is not None and verdict.high is not None:
            change += f" ({between(verdict.low, verdict.high, lambda value: f'{value:.3f}')})"
        yield (
            f"{verdict.label:<{width}}{verdict.worst:<14}{verdict.since!s:<12}{change:<26}{verdict.num_pairs:>7}"
            f"{verdict.num_nights:>8}  {reason(verdict, tonight)}"
        ).rstrip()
    for label in tonight.never:
        yield f"{label:<{width}}{NightState.NOT_MEASURED:<14}no night has measured it"


def reason(verdict: Verdict, tonight: Tonight) -> str:
    """Why the state is that one, and what changed with it; empty where it says everything."""
    if verdict.beside:
        return f"{verdict.beside} stands, tonight is {verdict.state}"
    what = "" if verdict.cell else "the control's own seconds on this machine; "
    match verdict.state:
        case NightState.NO_BASELINE:
            return f"{what}{_cut(verdict.cuts)}{verdict.num_nights} of {MIN_NIGHTS} comparable nights before"
        case NightState.INCONCLUSIVE if verdict.is_undecided:
            return f"{what}far out, and not measured again"
        case NightState.INCONCLUSIVE:
            return f"{what}{'the night was stopped' if tonight.ending is Ending.STOPPED else 'too few blocks'}"
        case NightState.FAILED:
            return f"{what}{'the night crashed' if tonight.ending is Ending.CRASHED else 'trainings did not end'}"
        case NightState.INVALID:
            return f"{what}a check of trainings did not hold"
        case NightState.SUSPECT | NightState.REGRESSED | NightState.IMPROVED:
            drift = "a slow drift; " if verdict.is_drift else ""
            step = f"first seen in the night of {verdict.step}; " if verdict.step and not verdict.is_drift else ""
            return (what + drift + step + "; ".join(verdict.difference)).removesuffix("; ")
        case _:
            return what.removesuffix("; ")


def _cut(cuts: tuple[Cut, ...]) -> str:
    return f"{cuts[-1].day}: {cuts[-1].why}; " if cuts else ""


def encode_tonight(tonight: Tonight) -> str:
    """Everything, as indented JSON."""
    document = {"state": tonight.state, "exit_code": tonight.exit_code, **asdict(tonight)}
    return TypeAdapter(dict[str, Any]).dump_json(document, indent=2).decode()
