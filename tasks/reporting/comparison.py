"""The original report: its figures beside these, its conclusions as claims with a verdict each."""

from statistics import geometric_mean

from tasks.analysis.analysis import Analysis
from tasks.analysis.claims import Claim, Evidence, Measure
from tasks.analysis.points import Point, medians
from tasks.analysis.published import PublishedSetup, load_published
from tasks.analysis.statistics import MIN_VERDICT_BLOCKS, Verdict
from tasks.domain.device import DeviceType
from tasks.reporting.labels import setting_name
from tasks.reporting.markdown import LEFT, RIGHT, Column, field, table
from tasks.reporting.numerals import Form, accuracy, plural, ratio, seconds, share, signed_points, span, whole

FORMS: dict[Measure, Form] = {
    Measure.SPEEDUP: ratio,
    Measure.EFFICIENCY: share,
    Measure.ACCURACY: accuracy,
    Measure.ACCURACY_DIFFERENCE: signed_points,
    Measure.EPOCH_DIFFERENCE: signed_points,
    Measure.UTILISATION: ratio,
}
RATIOS = (Measure.SPEEDUP, Measure.EFFICIENCY, Measure.UTILISATION)


def describe_original(analysis: Analysis) -> tuple[str, ...]:
    """Both tables, with the condition under which they may be compared."""
    published = load_published()
    caution = f"Source: {published.source}. {published.setting}."
    if analysis.run.device is DeviceType.CPU_SLICE:
        caution += " A CPU slice is not a GPU; the original's own log shows no GPU either."
    else:
        caution += " The original's own log shows no GPU, so that its seconds are not those of these devices."
    caution += " Absolute seconds of different machines are set side by side here and compared nowhere."
    only = [name] if (name := setting_name(analysis.run.sweep, analysis.setting)) else []
    only += ["by the reduction `auto`, or else the first asked for"] if len(analysis.run.sweep.reductions) > 1 else []
    caution += f" Of this run, only the trials {', '.join(only)} are judged." if only else ""
    verdicts = [claim.verdict for claim in analysis.claims]
    counted = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(sorted(verdicts)))
    summary = f"Of {plural(len(verdicts), 'conclusion')} (its words, shortened, in italics): {counted}."
    claims = (
        Column[Claim]("conclusion", LEFT, lambda claim: f"*{published.claims[claim.name].conclusion}*"),
        Column[Claim]("verdict", LEFT, lambda claim: f"**{claim.verdict}**"),
        Column[Claim]("what these data say", LEFT, _say),
        Column[Claim]("what its own figures say", LEFT, lambda claim: published.claims[claim.name].own_figures),
    )
    return caution, table(_figures(analysis), published.setups), summary, table(claims, analysis.claims)


def _figures(analysis: Analysis) -> tuple[Column[PublishedSetup], ...]:
    def points(setup: PublishedSetup) -> list[Point]:
        return [point for point in analysis.points_of(setup.strategy) if setup.covers(point.global_batch_size)]

    def ours(header: str, column: str, form: Form) -> Column[PublishedSetup]:
        return Column(header, RIGHT, lambda setup: span(medians(points(setup), column), form))

    return (
        field("set-up of the original", LEFT, "name"),
        field("where it stands there", LEFT, "evidence"),
        field("batch", RIGHT, "global_batch_sizes", lambda batches: ", ".join(map(str, batches)) or "not named"),
        field("its training s", RIGHT, "total_seconds", lambda times: span(times, lambda value: f"{value:.2f} s")),
        ours("these training s", "training_seconds", seconds),
        field("its test accuracy", RIGHT, "test_accuracy", lambda shares: span(shares, accuracy)),
        ours("these test accuracies", "test_accuracy", accuracy),
        Column("n here", RIGHT, lambda setup: span([p.num_whole for p in points(setup)] or [0], whole)),
    )


def _say(claim: Claim) -> str:
    parts = []
    if claim.obstacle:
        blocks = plural(claim.num_blocks, "block")
        parts.append(claim.obstacle.format(blocks=blocks, needed=claim.min_blocks) + ".")
    for strategy in dict.fromkeys(item.strategy for item in claim.evidence):
        items = [item for item in claim.evidence if item.strategy is strategy]
        measure = items[0].measure
        batches = [f" (batch {i.global_batch_size})" if i.global_batch_size else "" for i in items]
        values = ", ".join(_seen(item) + batch for item, batch in zip(items, batches, strict=True))
        parts.append(f"Seen: {strategy}, {measure}: {values}; n = {span((i.value.n for i in items), whole)}.")
    return " ".join(parts) or "Read off the original's own figures; these data are not needed."


def _seen(evidence: Evidence) -> str:
    """The geometric mean of ratios, as beside the pairs; the median of everything else; and what a test says."""
    values, form = evidence.value, FORMS[evidence.measure]
    text = form(geometric_mean(values.values) if evidence.measure in RATIOS else values.median)
    is_judged = evidence.verdict and not (evidence.verdict == Verdict.INCONCLUSIVE and values.n < MIN_VERDICT_BLOCKS)
    return f"{text}, {evidence.verdict}" if is_judged else text
