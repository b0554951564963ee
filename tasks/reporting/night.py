"""A night's report: what the history says of each cell tonight, in sentences that are made of verdicts alone."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

from tasks.detection.backtest import WITHIN
from tasks.detection.detector import FROZEN_NIGHTS, MIN_NIGHTS, MIN_PAIRS
from tasks.detection.nights import LEVEL, NightState, Tonight, Verdict
from tasks.domain.dataset import dataset_label
from tasks.domain.device import DeviceType
from tasks.domain.outcome import Status
from tasks.reporting.circumstances import describe_changes, describe_problems
from tasks.reporting.evidence import MEANING, Evidence, drawn_days, name_of, rows_of
from tasks.reporting.files import CHARTS, REPORT, new_files, write_text
from tasks.reporting.files import PAGE as RUN_PAGE
from tasks.reporting.html import data_uri
from tasks.reporting.markdown import (
    LEFT,
    RIGHT,
    Column,
    bullets,
    escape,
    fence,
    field,
    folded,
    grouped,
    plain_line,
    table,
)
from tasks.reporting.numerals import ABSENT, between, digits, level, plural, ratio, seconds, share, shown, span, whole
from tasks.reporting.trends import draw_trends
from tasks.results.history import Ending

NIGHT, PAGE, TREND = "night.md", "night.html", "night-trend"
MEASURED = "\0"
MOST_SENTENCES = 12
"""What more cells are is left to the table."""


def write_night_report(evidence: Evidence, folder: Path) -> Path:
    """Write `night.md`, `night.html` and their charts beside whatever else is in `folder`; returns `night.md`'s path.

    A report of the run in the same folder is linked to.
    """
    tonight = evidence.tonight
    what = "seconds over the control's, above 1 is slower" if tonight.has_control else "seconds an epoch, no control"
    device = f"{evidence.device}{': not a GPU' if 'CPU' in evidence.device else ''}"
    text = f"One mark a night{device}  ·  {what}  ·  {evidence.extent}"
    with new_files(folder, NIGHT) as new:
        names: list[str] = []
        for svg in draw_trends(evidence.ranked, f"Night after night, to {tonight.day}", text, evidence.tags):
            names.append(f"{CHARTS}/{TREND}{f'-{len(names) + 1}' if names else ''}.svg")
            (new / names[-1]).write_bytes(svg)
        write_text(compose_night(evidence, names, (folder / REPORT).is_file()), new / NIGHT, new / PAGE)
    return folder / NIGHT


def night_artifact_markdown(evidence: Evidence, report_path: Path) -> str:
    """The short version for Prefect's page: narrow tables, and the first chart inside the text."""
    chart = report_path.parent / CHARTS / f"{TREND}.svg"
    images = [data_uri(chart.read_bytes())] if chart.is_file() else []
    brief = compose_night(evidence, images, is_brief=True)
    return f"{brief}\n## The whole report\n\nAll tables and charts: {escape(str(report_path))}\n"


def compose_night(
    evidence: Evidence, images: Sequence[str] = (), has_run_report: bool = False, is_brief: bool = False
) -> str:
    """The report as GitHub-flavoured Markdown; `images` are the addresses of the charts."""
    sections: dict[str, Iterable[str]] = {
        "Night after night": _describe_trend(evidence, images, is_brief),
        "What changed": describe_changes(evidence, is_brief),
        "What was not measured": describe_problems(evidence, is_brief),
        "How sure": _describe_certainty(evidence),
        "How to repeat, accept or undo": _describe_commands(evidence),
    }
    parts = [f"# {_title(evidence)}", _coverage(evidence), " ".join(f"**{text}**" for text in _answer(evidence))]
    parts += [bullets(notes)] if (notes := [*_notes(evidence, has_run_report)]) else []
    parts += [table(_columns(evidence.tonight), evidence.ranked, is_brief), _caption(evidence.tonight)]
    for title, blocks in sections.items():
        if found := tuple(blocks):
            parts += [f"## {title}", *found]
    return "\n\n".join(parts) + "\n"


def _title(evidence: Evidence) -> str:
    """Which night, and its state with the number of cells; a regression behind a worse state is said as well."""
    worst, texts = evidence.tonight.state, []
    for state in dict.fromkeys((worst, NightState.REGRESSED)):
        found = [v for v in evidence.ranked if state in ({v.worst} if state is worst else {v.state, v.standing})]
        cells = [verdict for verdict in found if verdict.cell]
        count = len(cells) + len(evidence.tonight.never) * (state is NightState.NOT_MEASURED)
        words = [f"{count} of {plural(evidence.num_cells, 'cell')}"] if count or not found else []
        if state is not NightState.OK:
            words += [f"machine {escape(verdict.label)}" for verdict in found if not verdict.cell]
        if words and (found or state is worst):
            texts.append(f"{state}, {' and '.join(words)}")
    return f"{'. '.join([*evidence.tags, f'Night of {evidence.tonight.day}{evidence.device}'])}: {'; '.join(texts)}"


def _coverage(evidence: Evidence) -> str:
    tonight, known, rows = evidence.tonight, evidence.sample, rows_of(evidence.nights[-1])
    counts = Counter(verdict.state for verdict in tonight.verdicts)
    counts[NightState.NOT_MEASURED] += len(tonight.never)
    states = ", ".join(f"{counts[state]} {state}" for state in NightState if counts[state]) or "none"
    text = f"COVERAGE: {plural(evidence.num_cells, 'cell')}: {states}; {(rows['status'] == Status.VALID).sum()} of "
    text += f"{plural(len(rows), 'trial')} with a record are valid. Run {escape(tonight.run_name)} {tonight.ending}; "
    text += f"night {tonight.num_nights} of the history, "
    text += "against a pinned control. " if tonight.has_control else "without a control. "
    if not known:
        return f"{text}On what devices is not known: no night has a trial."
    text += f"{escape(plain_line(dataset_label(known['dataset']), 60))}, {escape(str(known['model']))}, "
    text += f"{known['num_train_examples']:,.0f} training examples,{evidence.device}"
    if known["device"] != DeviceType.CPU_SLICE:
        return f"{text}."
    return f"{text} ({plural(int(known['cores_per_replica']), 'core')} each): not a GPU."


def _answer(evidence: Evidence) -> Iterator[str]:
    """A sentence for all cells and machines of which the same is to be said, the worst first."""
    said = grouped(evidence.ranked, lambda verdict: _said(evidence, verdict))
    groups = {text.replace(MEASURED, _measured(verdicts)): verdicts for text, verdicts in said.items()}
    cells = [verdict for verdict in groups.pop(NightState.OK, []) if verdict.cell]
    for number, (text, verdicts) in enumerate(groups.items()):
        if number == MOST_SENTENCES:
            yield f"What is to be said of {sum(map(len, [*groups.values()][number:]))} more is in the table."
            break
        name = evidence.names(verdicts)
        name = name if len(verdicts) == 1 and verdicts[0].cell else name[0].upper() + name[1:]
        yield f"{name} {'is' if len(verdicts) == 1 else 'are'} {text}."
    if evidence.tonight.never:
        labels = "; ".join(map(escape, evidence.tonight.never))
        yield f"No night has measured {plural(len(evidence.tonight.never), 'planned cell')}: {labels}."
    if cells:
        n, nights = (span((getattr(v, name) for v in cells), whole) for name in ("num_pairs", "num_nights"))
        words = "all {} cells" if len(cells) == evidence.num_cells else "the other {} cells"
        words = words.format(len(cells)) if len(cells) > 1 else f"the{' other' if groups else ''} cell"
        words = f"{words.capitalize()} {'is' if len(cells) == 1 else 'are'} OK"
        yield f"{words}: not far out of the baseline (n = {n} blocks a cell tonight, {nights} nights)."
    if not evidence.num_cells:
        yield "No cell was measured and none was planned."


def _said(evidence: Evidence, verdict: Verdict) -> str:
    """What a sentence says of it after `is`, with MEASURED in place of the numbers."""
    state, ending, day, n = verdict.state, evidence.tonight.ending, evidence.tonight.day, f"n = {_blocks(verdict)}"
    stands = f"; {MEANING[verdict.standing]} since {verdict.since} still stands" if verdict.standing else ""
    if state in MEANING:
        return f"{MEANING[state]} since {_night(verdict.since, day)}: {MEASURED}{_step(verdict, day)}"
    if state is NightState.SUSPECT:
        looks = "far out in both looks of the night; the next night decides"
        return f"SUSPECT: {MEASURED}, {looks}{_step(verdict, day)}{stands}"
    if state is NightState.OK:
        return state
    if state is NightState.NO_BASELINE:
        began = f", from {verdict.cuts[-1].day} on ({escape(verdict.cuts[-1].why)})" if verdict.cuts else ""
        return f"NO BASELINE: {verdict.num_nights} of {MIN_NIGHTS} comparable nights before{began}"
    why = f"{n}, at least {MIN_PAIRS} needed"
    if state is NightState.FAILED:
        why = f"the night crashed ({n})" if ending is Ending.CRASHED else f"trainings did not end, {why}"
    elif state is NightState.INVALID:
        why = f"a check of its trainings did not hold, {why}"
    elif verdict.is_undecided:
        why = f"{MEASURED}, far out and not measured again"
    elif ending is Ending.STOPPED:
        why = f"the night was stopped ({n})"
    lasting = f" since {verdict.since}" if verdict.standing is None and verdict.since < day else ""
    return f"{state}{lasting}: {why}{stands}"


def _measured(verdicts: Sequence[Verdict]) -> str:
    """`1.15 x the seconds of its baseline (1.12 to 1.18, 95 %, n = 12 blocks tonight against 25 nights)`."""
    verdict, changes = verdicts[0], [verdict.change for verdict in verdicts if verdict.change is not None]
    if len(verdicts) > 1 and changes:
        extent = f"{digits(min(changes))} to {ratio(max(changes))} the seconds of their baselines"
        return f"{extent} (n = {_blocks(verdict)} each tonight; the table has their intervals)"
    if verdict.change is None or verdict.low is None or verdict.high is None:
        return f"n = {_blocks(verdict)}"
    nights = f"its first {FROZEN_NIGHTS} nights, by slow drift" if verdict.is_drift else f"{verdict.num_nights} nights"
    interval = f"{between(verdict.low, verdict.high)}, {level(LEVEL)}, n = {_blocks(verdict)} tonight against {nights}"
    return f"{ratio(verdict.change)} the seconds of its baseline ({interval})"


def _blocks(verdict: Verdict) -> str:
    """Of each block one value counts: a pair, or without a control a trial."""
    return plural(verdict.num_pairs, "block")


def _step(verdict: Verdict, tonight: date) -> str:
    """When the step was first seen, and what else was new in that night; a drift has none."""
    if verdict.step is None or verdict.is_drift:
        return ""
    what = ", ".join(map(escape, verdict.difference)) or "no recorded version changed"
    return f"; first seen {'' if verdict.step == tonight else 'on '}{_night(verdict.step, tonight)}, when {what}"


def _night(day: date, tonight: date) -> str:
    return "tonight" if day == tonight else str(day)


def _notes(evidence: Evidence, has_run_report: bool) -> Iterator[str]:
    tonight = evidence.tonight
    if not tonight.has_control:
        yield (
            "Without a control, the weaker method: tonight's seconds are set against those of other nights, so that a "
            "slower machine looks like slower software."
        )
    if tonight.ending is not Ending.ENDED:
        ended = "crashed" if tonight.ending is Ending.CRASHED else "was stopped"
        yield f"The night {ended}: what it measured is never part of a baseline."
    if has_run_report:
        yield f"Speeds, accuracy and all trials of tonight: [{REPORT}]({REPORT}), [{RUN_PAGE}]({RUN_PAGE})."


def _columns(tonight: Tonight) -> tuple[Column[Verdict], ...]:
    def value(verdict: Verdict) -> str:
        return shown(verdict.value, ratio if tonight.has_control and verdict.cell else seconds)

    def change(verdict: Verdict) -> str:
        if verdict.change is None or verdict.low is None or verdict.high is None:
            return ABSENT
        return f"{ratio(verdict.change)} ({between(verdict.low, verdict.high)})"

    def state(verdict: Verdict) -> str:
        return f"{verdict.state}, {verdict.beside}" if verdict.beside else str(verdict.state)

    return (
        Column("cell", LEFT, lambda verdict: name_of(verdict).removeprefix("the "), "cell"),
        Column("state", LEFT, state, "state"),
        Column("v baseline", RIGHT, change, "v baseline"),
        field("n", RIGHT, "num_pairs", whole, "n"),
        field("nights", RIGHT, "num_nights", whole),
        Column("v control" if tonight.has_control else "s/epoch", RIGHT, value),
        field("last night", LEFT, "before", str),
        field("since", LEFT, "since"),
    )


def _caption(tonight: Tonight) -> str:
    value = "v control: tonight's seconds over the control's" if tonight.has_control else "s/epoch: tonight's seconds"
    text = f"The worst first. {value}, the location (Hodges and Lehmann) over n blocks; v baseline: that over the "
    text += f"median of so many nights, with its {level(LEVEL)} interval; above 1 is slower. A second state is one "
    text += "that stands."
    if tonight.platform:
        text += " The control's own seconds tell of a machine: no change of tonight's software moves them."
    return text


def _describe_trend(evidence: Evidence, images: Sequence[str], is_brief: bool) -> Iterator[str]:
    """The charts, then their values."""
    states = grouped(evidence.ranked, lambda verdict: verdict.worst)
    finding = "; ".join(f"{state}: {evidence.names(verdicts)}" for state, verdicts in states.items())
    if images:
        yield (
            f"A panel a cell over {evidence.extent}; grey: where a night is not far out. Nights without a value are "
            "marked at the bottom; a dashed line begins a new baseline."
        )
    for image in images:
        yield f"![{': '.join([*evidence.tags, 'night after night, cell by cell'])}. {finding}]({image})"
    if images and not is_brief:
        columns = [Column[date]("night", LEFT, str)]
        columns += [Column(name_of(v).removeprefix("the "), RIGHT, _values(v).__getitem__) for v in evidence.ranked]
        yield folded("The values", table(columns, reversed(drawn_days(evidence.ranked))))


def _values(verdict: Verdict) -> Mapping[date, str]:
    """Of each night the value, and the state where that is not to be expected."""
    texts = defaultdict[date, str](lambda: ABSENT)
    for day, value, state in zip(verdict.days, verdict.values, verdict.states, strict=True):
        is_odd = state not in (NightState.OK, NightState.NO_BASELINE)
        texts[day] = str(state) if value is None else f"{digits(value)}{f' {state}' if is_odd else ''}"
    return texts


def _describe_certainty(evidence: Evidence) -> Iterator[str]:
    """What the detector is worth under the noise that was measured, or that this is not known."""
    tonight, found = evidence.tonight, evidence.characteristic
    if tonight.noise is not None:
        yield (
            f"Measured over {plural(tonight.num_nights, 'night')}: runs of one night differ by {level(tonight.noise)} "
            "(standard deviation of one run's ln seconds)."
        )
    if found is None:
        yield "How often this rule cries wolf under that noise, and what it finds, is not known: it was not simulated."
        return
    alarms, together = found.false_alarms_per_configuration_year, found.false_alarms_per_installation_year
    noise = "the nights that were measured, resampled"
    if found.noise is not None:
        noise = f"runs that differ by {level(found.noise.run)} and nights by {level(found.noise.night)}"
    yield (
        f"Simulated, not measured: with {found.num_pairs} pairs of a cell a night, {noise}, nights in which nothing "
        f"happens raise {digits(alarms)} false alarms a cell and year in both directions (standard error "
        f"{digits(found.error)}), {digits(together)} a year in an installation of {plural(found.num_cells, 'cell')}. "
        "Chance that a slow-down is REGRESSED:"
    )
    columns = [Column[str]("slower by", LEFT, lambda change: share(float(change)), "slower by")]
    for nights in map(str, WITHIN):
        header = f"within {nights} nights"
        columns.append(Column(header, RIGHT, lambda change, n=nights: share(found.power[change][n]), header))  # type: ignore[misc]
    yield table(columns, found.power)


def _describe_commands(evidence: Evidence) -> Iterator[str]:
    """The commands that measure, judge, accept and undo."""
    alarming = [v for v in evidence.ranked if {NightState.SUSPECT, *MEANING} & {v.state, v.standing}]
    accept = [f"stratbench history accept --cell {shlex.quote(v.label)} --why 'WHY'" for v in alarming[:MOST_SENTENCES]]
    verdict = f"stratbench verdict --run {shlex.quote(evidence.tonight.run_name)}"
    yield fence("\n".join([*([evidence.command] if evidence.command else []), verdict, *accept]))
    yield (
        "`stratbench history accept` begins a new baseline where a change is intended; `stratbench history events` "
        "lists what was decided, `stratbench history undo ID --why 'WHY'` takes it back. Nothing is deleted."
    )
