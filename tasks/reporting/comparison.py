"""The original report: its figures beside these, its conclusions as claims with a verdict each."""

from typing import assert_never

from tasks.analysis.accuracy import MIN_ACCURACY_BLOCKS
from tasks.analysis.analysis import Analysis
from tasks.analysis.claim import Claim, Evidence, Measure, Obstacle
from tasks.analysis.pairs import MIN_VERDICT_BLOCKS
from tasks.analysis.published import ClaimName, PublishedSetup
from tasks.domain.device import DeviceType
from tasks.reporting.document import Section, Table, Text
from tasks.reporting.numerals import ABSENT, accuracy, plural, ratio, seconds, share, signed_points, span

ACCURACY_CLAIMS = (ClaimName.MIRRORED_SIMILAR_ACCURACY, ClaimName.MULTI_WORKER_ACCURACY)


def describe_original(analysis: Analysis) -> Section:
    """Both tables, with the condition under which they may be compared."""
    published = analysis.published
    caution = f"Source: {published.source}. {published.setting}."
    if analysis.run.device is DeviceType.CPU_SLICE:
        caution += " A CPU slice is not a GPU; the original's own log shows no GPU either."
    else:
        caution += " The original's own log shows no GPU, so that its seconds are not those of these devices."
    caution += " Absolute seconds of different machines are set side by side here and compared nowhere."
    verdicts = [claim.verdict for claim in analysis.claims]
    counted = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(sorted(verdicts)))
    summary = f"Of {plural(len(verdicts), 'conclusion')} (its words, shortened, in italics): {counted}."
    return Section("The original report", (Text(caution), _figures(analysis), Text(summary), _claims(analysis)))


def _figures(analysis: Analysis) -> Table:
    header = (
        "set-up of the original",
        "where it stands there",
        "batch",
        "its training s",
        "these training s",
        "its test accuracy",
        "these test accuracies",
        "n here",
    )
    return Table(header, tuple(_figure_row(analysis, s) for s in analysis.published.setups), num_text_columns=2)


def _figure_row(analysis: Analysis, setup: PublishedSetup) -> tuple[str, ...]:
    ours = [
        point
        for point in analysis.points
        if point.strategy is setup.strategy
        and (not setup.global_batch_sizes or point.global_batch_size in setup.global_batch_sizes)
    ]
    times = [point.training_seconds.median for point in ours if point.training_seconds]
    accuracies = [point.test_accuracy.median for point in ours if point.test_accuracy]
    return (
        setup.name,
        setup.evidence,
        ", ".join(str(batch) for batch in setup.global_batch_sizes) or "not named",
        span(setup.total_seconds, lambda value: f"{value:.2f} s"),
        span(times, seconds) if times else ABSENT,
        span(setup.test_accuracy, accuracy),
        span(accuracies, accuracy) if accuracies else ABSENT,
        span([point.n for point in ours], lambda n: f"{n:.0f}") if ours else "0",
    )


def _claims(analysis: Analysis) -> Table:
    header = ("conclusion", "verdict", "what these data say", "what its own figures say")
    rows = []
    for claim in analysis.claims:
        published = analysis.published.claims[claim.name]
        rows.append((f"*{published.conclusion}*", f"**{claim.verdict}**", _says(claim), published.own_figures))
    return Table(header, tuple(rows), num_text_columns=len(header))


def _says(claim: Claim) -> str:
    """Why it is not decidable, if so, and what was seen."""
    parts = [] if claim.obstacle is None else [f"{_obstacle(claim, claim.obstacle)}."]
    for strategy in dict.fromkeys(item.strategy for item in claim.evidence):
        items = [item for item in claim.evidence if item.strategy is strategy]
        seen = ", ".join(_seen(item) for item in items)
        n = span([item.value.n for item in items], lambda n: f"{n:.0f}")
        parts.append(f"Seen: {strategy}, {_meaning(items[0])}: {seen}; n = {n}.")
    return " ".join(parts) or "Read off the original's own figures; these data are not needed."


def _obstacle(claim: Claim, obstacle: Obstacle) -> str:
    match obstacle:
        case Obstacle.OTHER_DATA:
            return "This run trained on another dataset"
        case Obstacle.PART_OF_DATA:
            return "This run trained on a part of the examples"
        case Obstacle.NO_VALUES:
            return "This run has no valid trial of some set-up that it names"
        case Obstacle.TOO_FEW_BLOCKS:
            needed = MIN_ACCURACY_BLOCKS if claim.name in ACCURACY_CLAIMS else MIN_VERDICT_BLOCKS
            return f"{plural(claim.num_blocks, 'block')}; at least {needed} needed"
        case Obstacle.INCONCLUSIVE:
            return f"{plural(claim.num_blocks, 'block')}, and no test decided every pair"
        case Obstacle.DIFFERS_BY_BATCH:
            return "The verdict differs by batch size"
        case Obstacle.DIFFERS_BY_TRIAL:
            return "It holds in some trials and not in others"
        case Obstacle.NOT_TESTED:
            return "Described only: no rule decides it"
        case Obstacle.NO_NUMBER:
            return "The conclusion names no number to test"
        case Obstacle.NOT_MEASURED:
            return "Utilisation was not measured here"
        case Obstacle.FEWER_EPOCHS:
            return "This run trained fewer than 5 epochs"
        case _:
            assert_never(obstacle)


def _meaning(item: Evidence) -> str:
    match item.measure:
        case Measure.SPEEDUP:
            return f"times as fast as {item.against}"
        case Measure.TARGET_SPEEDUP:
            return f"times as fast as {item.against} to the target accuracy"
        case Measure.EFFICIENCY:
            return "strong scaling efficiency"
        case Measure.ACCURACY:
            return "highest test accuracy"
        case Measure.ACCURACY_DIFFERENCE:
            return f"final test accuracy minus that of {item.against}, mean over the batch sizes"
        case Measure.EPOCH_DIFFERENCE:
            return f"test accuracy minus that of {item.against}, mean over the epochs"
        case _:
            assert_never(item.measure)


def _seen(item: Evidence) -> str:
    forms = {
        Measure.SPEEDUP: ratio,
        Measure.TARGET_SPEEDUP: ratio,
        Measure.EFFICIENCY: share,
        Measure.ACCURACY: accuracy,
    }
    text = forms.get(item.measure, signed_points)(item.value.median)
    return text if item.global_batch_size is None else f"{text} (batch {item.global_batch_size})"
