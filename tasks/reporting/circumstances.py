"""Circumstances: what is not as it was in the night before, and what of a night was not measured."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from tasks.detection.nights import Cut
from tasks.detection.series import CELL, ENVIRONMENT
from tasks.domain.cell import Arm, Cell
from tasks.domain.outcome import Status
from tasks.domain.trial import Role
from tasks.reporting.evidence import Evidence, rows_of
from tasks.reporting.markdown import LEFT, RIGHT, Column, bullets, escape, field, folded, grouped, table
from tasks.reporting.numerals import ABSENT, plural, span, whole
from tasks.results.history import Night

MOST_ROWS = 12
"""More cuts are left out, other rows folded away."""


def describe_changes(evidence: Evidence, is_brief: bool) -> Iterator[str]:
    """Changes of states, of the software and of baselines."""
    cuts, moved = evidence.tonight.cuts, [v for v in evidence.ranked if v.before not in (None, v.state)]
    groups = grouped(moved, lambda verdict: f"{verdict.before} last night, {verdict.state} tonight")
    yield bullets([f"{text}: {evidence.names(own)}." for text, own in groups.items()] or ["No state changed."])
    yield from _describe_software(evidence, is_brief)
    if cuts:
        yield "New baselines, the latest first: by what both arms share, or because somebody accepted a change."
        columns = (
            field("from night", LEFT, "day", brief="from night"),
            field("why", LEFT, "why", escape, "why"),
            Column[Cut]("of", LEFT, lambda cut: evidence.names(cuts[cut])),
        )
        yield table(columns, list(cuts)[:MOST_ROWS], is_brief)


def _describe_software(evidence: Evidence, is_brief: bool) -> Iterator[str]:
    """What of the software differs between tonight, its control, the night before and where baselines began."""
    *earlier, night = evidence.nights
    begun = sorted({v.cuts[-1].day if v.cuts else v.days[0] for v in evidence.tonight.verdicts})[-2:]
    known = {f"baseline from {day}": next((n for n in evidence.nights if n.day >= day), night) for day in begun}
    known |= {f"night before, {earlier[-1].day}": earlier[-1]} if earlier else {}
    arms = {name: _software(each, Arm.HERE) for name, each in (known | {"tonight": night}).items()}
    arms |= {"control tonight": _software(night, Arm.OTHER)}
    found = {name: software for name, software in arms.items() if software}
    differing = [name for name in ENVIRONMENT if len({software[name] for software in found.values()}) > 1]
    if "tonight" not in found:
        yield "Tonight's software is not known: no trial of it is valid."
    elif not differing:
        yield f"The software is the same in all that is recorded: {', '.join(found)}."
    else:
        columns = [Column[str](header, LEFT, lambda name, s=s: escape(s[name]), header) for header, s in found.items()]  # type: ignore[misc]
        yield "What is judged is tonight's software. What differs:"
        yield table([Column[str]("software", LEFT, escape, "software"), *columns], differing, is_brief)


def _software(night: Night, arm: Arm) -> dict[str, str]:
    """Of the first valid trial of that arm; empty without one."""
    rows = rows_of(night)
    rows = rows[(rows["arm"] == arm) & (rows["status"] == Status.VALID)]
    return {
        str(name): str(value) for name, value in (rows[ENVIRONMENT].fillna("none").iloc[0].items() if len(rows) else ())
    }


def describe_problems(evidence: Evidence, is_brief: bool) -> Iterator[str]:
    """Trials without a number or measured again, and those without a record; nothing where there is none."""
    night, rows = evidence.nights[-1], rows_of(evidence.nights[-1])
    names: list[Any] = rows[CELL].astype(object).where(rows[CELL].notna(), None).to_dict("records")
    cells = TypeAdapter(list[Cell]).validate_python([record | {"setting": record} for record in names])
    rows = rows.assign(cell=[cell.label for cell in cells], reason=rows["reason"].fillna(rows["first_taint"]))
    odd = rows[(rows["status"] != Status.VALID) | rows["first_taint"].notna()]
    odd = odd.assign(status=odd["status"].replace(str(Status.VALID), "tainted, then valid"))
    place, first = ["cell", "arm", "block"], rows[rows["role"] == Role.MEASURED]
    arms = [str(arm) for arm in Arm if evidence.tonight.has_control or arm is Arm.HERE]
    planned = pd.MultiIndex.from_product([night.cells, arms, first["block"].unique()], names=place)
    lacking = planned.difference(pd.MultiIndex.from_frame(first[place])).to_frame(index=False)
    found = pd.concat([odd, lacking.assign(status="missing")]).fillna({"reason": ABSENT})
    found = found.groupby(["cell", "arm", "status", "reason"], sort=False)["block"].agg(list).reset_index()
    columns = (
        field("cell", LEFT, "cell", escape, "cell"),
        field("environment", LEFT, "arm", {Arm.HERE: "tonight's", Arm.OTHER: "the control's"}.__getitem__),
        field("what", LEFT, "status", brief="what"),
        field("trials", RIGHT, "block", lambda blocks: whole(len(blocks)), "trials"),
        field("blocks", LEFT, "block", lambda blocks: span(blocks, whole)),
        field("reason", LEFT, "reason", escape, "reason"),
    )
    if len(found):
        yield "Nothing of these enters a verdict, except what was tainted, measured again and then valid."
        listed = table(columns, found.itertuples(), is_brief)
        yield listed if len(found) <= MOST_ROWS else folded(plural(len(found), "row"), listed)
