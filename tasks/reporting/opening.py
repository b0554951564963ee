"""The first screen: what was measured on what, the answer with its condition, and the table of points."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import prod, sqrt

from tasks.analysis.analysis import Analysis
from tasks.analysis.loops import LoopEffect
from tasks.analysis.pairs import Pair
from tasks.analysis.points import Point, medians
from tasks.analysis.statistics import (
    ACCURACY_MARGIN,
    MIN_ACCURACY_BLOCKS,
    MIN_VERDICT_BLOCKS,
    AccuracyVerdict,
    Verdict,
)
from tasks.analysis.summary import Summary
from tasks.domain.device import DeviceType
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.reporting.grid import N_OF_PLANNED, caption, names, overview, tabulate
from tasks.reporting.labels import (
    cell_name,
    counts,
    devices_in_full,
    one_device,
    said,
    setting_name,
    shortfall_name,
    strategy_name,
    tag_lines,
    tags,
    undecided,
    unsplit,
    workload,
)
from tasks.reporting.markdown import Edition, bullets, escape, folded, grouped, table
from tasks.reporting.numerals import (
    accuracy,
    digits,
    level,
    percentage_points,
    plural,
    ratio,
    ratio_with_interval,
    share,
    shown,
    span,
    whole,
    with_spread,
)

QUESTION = "which strategy, at which batch size?"
VERSUS_QUESTION = "is the other environment slower?"


def open_report(analysis: Analysis, edition: Edition, chart: Iterable[str]) -> tuple[str, ...]:
    """The paragraphs of the first screen, the title first; `chart` is that of the training times."""
    columns, points = overview(analysis), (*analysis.points, *analysis.references)
    more = [*names(analysis.run), *(column for column in columns if not column.brief)]
    answer = _answer_versus(analysis) if analysis.run.sweep.versus else _answer(analysis)
    return (
        *_title(analysis, edition.is_brief),
        _coverage(analysis),
        " ".join(f"**{sentence}**" for sentence in answer),
        *((bullets(notes),) if (notes := tuple(_take_notes(analysis))) else ()),
        tabulate(analysis.run, columns, points, N_OF_PLANNED, edition.is_brief),
        *((folded("More columns", table(more, (p for p in points if p.n))),) if edition.is_brief else ()),
        caption(analysis),
        *chart,
    )


def _title(analysis: Analysis, is_brief: bool) -> tuple[str, ...]:
    """What was measured on what, the state of the run first; a brief title leaves the rest to the next line."""
    what, where = escape(workload(analysis.run)), devices_in_full(analysis.run)
    question = VERSUS_QUESTION if analysis.run.sweep.versus else QUESTION
    if not is_brief:
        return (f"# {'. '.join([*tag_lines(analysis), f'{what} on {where}: {question}'])}",)
    words = f"{', '.join(tags(analysis))}: " if tags(analysis) else ""
    return f"# {words}{what}, {where}", " ".join([question.capitalize(), *(f"{line}." for line in tag_lines(analysis))])


def _coverage(analysis: Analysis) -> str:
    coverage, width = analysis.coverage, analysis.half_width
    text = f"COVERAGE, {analysis.run.created_at:%Y-%m-%d}: {coverage.valid} of {plural(coverage.planned, 'trial')} "
    text += f"valid ({_grid(analysis)}); {coverage.invalid} invalid, {coverage.failed} failed, {coverage.missing} "
    text += f"{'lost' if coverage.has_ended else 'missing'}, {len(analysis.tainted)} measured again after others "
    text += f"disturbed them. {_left_out(analysis.run.sweep)}"
    if analysis.num_blocks < MIN_VERDICT_BLOCKS:
        return f"{text}Verdicts: none ({undecided(analysis.num_blocks)})."
    if not analysis.pairs:
        return f"{text}Nothing is compared."
    text += f"Verdicts at 95 %, Holm's rule over {plural(len(analysis.pairs), 'declared pair')}"
    if not width:
        return f"{text}."
    return f"{text}; the widest pair's own 95 % interval has a half-width of {digits(100 * width)} %."


def _grid(analysis: Analysis) -> str:
    """What was planned: `9 points + 3 reference + 1 baseline, 6 blocks, 3 of them whole trainings`."""
    sweep, num_points = analysis.run.sweep, len(analysis.points)
    sizes = {"strategy": len(sweep.strategies), "batch size": len(sweep.global_batch_sizes)}
    sizes |= {"loop": len(sweep.loops)} if len(sweep.loops) > 1 else {}
    sizes |= {"environment": 2} if sweep.versus else {}
    sizes = sizes if prod(sizes.values()) == num_points else {"point": num_points}
    text = " x ".join(plural(count, noun) for noun, count in sizes.items())
    for points, noun in ((analysis.references, "reference"), (analysis.baselines, "baseline")):
        text += f" + {plural(len(points), noun)}" if points else ""
    num_blocks, num_whole = analysis.coverage.num_blocks, analysis.run.sweep.num_whole_blocks
    text += f", {plural(num_blocks, 'block')}"
    if num_whole is not None and num_whole < num_blocks and sweep.short_epochs < sweep.num_epochs:
        text += f", {analysis.num_whole_blocks} of them whole trainings"
    return text


def _left_out(sweep: Sweep) -> str:
    """The combinations that cannot work, with the reason; nothing where there is none."""
    counted = Counter(cell.obstacle for cell in sweep.skipped)
    parts = (f"{plural(count, 'point')} ({obstacle})" for obstacle, count in counted.items())
    return f"Left out: {'; '.join(parts)}. " if counted else ""


def _answer(analysis: Analysis) -> Iterator[str]:
    """The answer for the first setting, a sentence each: speed, hardware, accuracy, other loops, how sure."""
    best, run = _best(analysis), analysis.run
    if best is None:
        planned = len(analysis.first_points) * analysis.coverage.num_blocks
        where = f" {name}" if (name := setting_name(run.sweep, analysis.setting)) else ""
        yield f"No trial{where} gave a valid result (0 of {planned})."
        yield "There is nothing to compare and no answer."
        return
    yield _speed(analysis, best)
    at_batch = [p for p in analysis.first_points if p.n and p.global_batch_size == best.global_batch_size]
    pairs = [pair for p in at_batch if (pair := analysis.pair_of(p.cell, Strategy.ONE_DEVICE, is_unsplit=True))]
    if pairs:
        yield _splitting(analysis, max(pairs, key=lambda pair: pair.comparison.ratio or 0.0))
    yield _accuracy(analysis)
    yield from _compare_loops(analysis)
    counts = [p.comparison.n for p in analysis.pairs if best.cell in (p.cell, p.against)]
    if (num_blocks := max(counts, default=best.n)) < MIN_VERDICT_BLOCKS:
        yield f"This describes what was seen and decides nothing: no verdict ({undecided(num_blocks)})."


def _speed(analysis: Analysis, best: Point) -> str:
    """The smallest time, and the verdicts of that point's pairs."""
    run, summary = analysis.run, best.summary("training_seconds")
    text = f"On {devices_in_full(run)}, {cell_name(run.sweep, best.cell, True)} has the smallest median training time: "
    text += f"{with_spread(best.summary('seconds_per_epoch'))} s an epoch (n = {best.n})"
    if summary and run.sweep.num_epochs > 1:
        text += f", {with_spread(summary)} s for {plural(run.sweep.num_epochs, 'epoch')} (n = {summary.n})"
    parts = []
    for point in analysis.first_points:
        if point.global_batch_size != best.global_batch_size or point is best:
            continue
        name = one_device(run) if point.strategy is Strategy.ONE_DEVICE else strategy_name(run.sweep, point.cell)
        parts.append(_against(analysis, best, point, name))
    return f"{text}. Against the others at that batch size: {'; '.join(parts)}." if parts else f"{text}."


def _against(analysis: Analysis, best: Point, point: Point, name: str) -> str:
    if not point.n:
        return f"{name} has no valid trial ({escape(shortfall_name(point))})"
    for pair in analysis.pairs:
        if {pair.cell, pair.against} == {best.cell, point.cell} and pair.against_role is point.role:
            found = pair.comparison
            if not found.n:
                return f"{name} has no valid trial in the same block"
            if pair.cell == best.cell:
                return f"{ratio_with_interval(found)} as fast as {name} ({said(found)})"
            return f"{name} is {ratio_with_interval(found)} as fast ({said(found)})"
    return f"{name} is not compared"


def _splitting(analysis: Analysis, pair: Pair) -> str:
    """Whether the same hardware is better split: another question than whether to add hardware."""
    found, run = pair.comparison, analysis.run
    name = cell_name(run.sweep, pair.cell)
    text = f"Where this hardware is given and not added, {name} "
    if not found.n:
        return f"{text}has no valid trial beside {unsplit(run)} in the same block: whether splitting pays is not known."
    says = {
        Verdict.FASTER: "splitting pays",
        Verdict.SLOWER: "do not split it",
        Verdict.EQUIVALENT: "splitting makes no difference",
        Verdict.INCONCLUSIVE: "whether splitting pays is open",
    }
    return f"{text}is {ratio_with_interval(found)} as fast as {unsplit(run)} ({said(found)}): {says[found.verdict]}."


def _accuracy(analysis: Analysis) -> str:
    """What the tests of equivalence say, over all pairs of strategies."""
    pairs, margin = analysis.accuracy_pairs, percentage_points(ACCURACY_MARGIN)
    if not pairs:
        return "Accuracy: one strategy, nothing to compare."
    seeds = [pair.comparison.n for pair in pairs]
    n = plural(seeds[0], "seed") if len(set(seeds)) == 1 else f"{span(seeds, whole)} seeds"
    by_verdict = grouped(pairs, lambda pair: pair.comparison.verdict)
    basis = f"n = {n} x {plural(pairs[0].num_batch_sizes, 'batch size')}"
    if set(by_verdict) == {AccuracyVerdict.EQUIVALENT}:
        return f"Accuracy is equivalent within {margin} between all strategies ({basis})."
    if set(by_verdict) == {AccuracyVerdict.NOT_DECIDABLE}:
        return f"Accuracy: not decidable ({basis}; at least {MIN_ACCURACY_BLOCKS} whole trainings of each needed)."
    parts = [
        f"{verdict}: {', '.join(f'{pair.strategy} v {pair.against}' for pair in found)}"
        for verdict, found in by_verdict.items()
    ]
    return f"Accuracy within {margin} ({basis}): {'; '.join(parts)}."


def _answer_versus(analysis: Analysis) -> Iterator[str]:
    """What the other environment's pairs say, the differing ones by name."""
    decided = [pair for pair in analysis.pairs if pair.comparison.n >= MIN_VERDICT_BLOCKS]
    found = grouped(decided, lambda pair: pair.comparison.verdict)
    counted = ", ".join(f"{len(found.get(verdict, []))} {verdict}" for verdict in Verdict)
    n = span((pair.comparison.n for pair in analysis.pairs), whole)
    yield f"Of {plural(len(analysis.pairs), 'point')}, the other environment against this one: {counted} (n = {n})."
    for verdict in (Verdict.SLOWER, Verdict.FASTER):
        for pair in found.get(verdict, []):
            name = cell_name(analysis.run.sweep, pair.against)
            yield f"{name} is {verdict} there: {ratio_with_interval(pair.comparison)} as fast as here."
    few = [pair.comparison.n for pair in analysis.pairs if pair.comparison.n < MIN_VERDICT_BLOCKS]
    if few:
        where = "" if len(few) == len(analysis.pairs) else f" on {plural(len(few), 'point')}"
        yield f"No verdict{where} ({undecided(min(few))})."


def _compare_loops(analysis: Analysis) -> Iterator[str]:
    """For each other loop, on which side of one device it puts the strategies; those that change sides, if any do."""
    for loop in analysis.run.sweep.loops:
        under = f"Under {loop.label} the order against {one_device(analysis.run)}"
        compared = [e for e in analysis.loop_effects if e.other.setting.loop is loop and e.quotients]
        if turned := [effect for effect in compared if effect.is_turned]:
            yield f"{under} turns round: {_both_sides(analysis, turned)}."
        elif compared:
            yield f"{under} is the same: {_both_sides(analysis, compared)}."
        elif loop is not analysis.setting.loop:
            yield f"{under} is not known."


def _both_sides(analysis: Analysis, effects: list[LoopEffect]) -> str:
    """The speed-ups of each strategy under the other loop and under the first, by batch size."""
    first, parts = analysis.setting.loop.label, []
    for name, own in grouped(effects, lambda effect: strategy_name(analysis.run.sweep, effect.cell)).items():
        others, firsts = ([e.other_speedups for e in own], [e.speedups for e in own])
        batches = ", ".join(str(effect.cell.global_batch_size) for effect in own)
        parts.append(f"{name} trained {_listed(others)} as fast at batch {batches}, under {first} {_listed(firsts)}")
    n = span((effect.quotients.n for effect in effects if effect.quotients), whole)
    return f"{'; '.join(parts)} (n = {n}; described, not decided)"


def _listed(ratios: Iterable[Summary | None]) -> str:
    return ", ".join(ratio(summary.median) for summary in ratios if summary)


def _take_notes(analysis: Analysis) -> Iterator[str]:
    """What each batch size says, what the answer costs, and what the numbers are not."""
    if (best := _best(analysis)) and not analysis.run.sweep.versus:
        if len(analysis.run.sweep.strategies) > 1:
            yield _every_batch(analysis)
        yield from _batch_sizes(analysis, best)
        yield _cost(analysis, best)
        yield _accuracies(analysis)
    if analysis.is_smoke:
        yield "Smoke: this run shows that the pipeline works; its times and accuracies answer no question."
    if analysis.run.device is DeviceType.CPU_SLICE:
        yield "Condition: a CPU slice is a fixed set of cores, not a GPU; nothing here is measured on GPUs."


def _every_batch(analysis: Analysis) -> str:
    """By strategy: its ratios and verdicts against one device, batch size by batch size."""
    run, parts = analysis.run, []
    for strategy in run.sweep.strategies:
        pairs = [analysis.pair_of(point.cell, Strategy.ONE_DEVICE) for point in analysis.points_of(strategy)]
        found = [
            f"{ratio_with_interval(pair.comparison)} at batch {pair.cell.global_batch_size} ({said(pair.comparison)})"
            for pair in pairs
            if pair and pair.comparison.n
        ]
        parts += [f"{strategy.label} {', '.join(found)}"] if found and strategy is not Strategy.ONE_DEVICE else []
    if not parts:
        return f"No strategy has a valid trial beside {one_device(run)} in the same block."
    return f"Adding hardware, times as fast as {one_device(run)}: {'; '.join(parts)}."


def _batch_sizes(analysis: Analysis, best: Point) -> Iterator[str]:
    """What the best strategy did at each batch size, for no test says which of them to take; nothing of one alone."""
    sweep = analysis.run.sweep
    size = best.global_batch_size
    own = [p for p in analysis.first_points if p.n and replace(p.cell, global_batch_size=size) == best.cell]
    if len(own) < 2:
        return
    parts = []
    for point in own:
        text = f"{shown(point.median('seconds_per_epoch'))} s an epoch at batch {point.global_batch_size}"
        if point.num_whole:
            target, has_all = level(sweep.target_accuracy), point.trials["seconds_to_target"].count() == point.num_whole
            after = f"after {shown(point.median('seconds_to_target'))} s" if has_all else "not always reached"
            text += f" ({target} {after})"
        parts.append(text)
    yield (
        "Batch sizes are described, no test compares them: "
        f"{strategy_name(sweep, best.cell)} {', '.join(parts)}; medians, {counts(own)}."
    )


def _cost(analysis: Analysis, best: Point) -> str:
    cost = shown(best.median("device_seconds_per_epoch"))
    text = f"Cost of {cell_name(analysis.run.sweep, best.cell)}: {cost} device-seconds an epoch"
    singles = analysis.points_of(Strategy.ONE_DEVICE)
    single = next((p for p in singles if p.n and p.global_batch_size == best.global_batch_size), None)
    pair = analysis.pair_of(best.cell, Strategy.ONE_DEVICE)
    if single and pair and pair.comparison.ratio:
        text += f" against {shown(single.median('device_seconds_per_epoch'))} on {one_device(analysis.run)}: a strong "
        text += f"scaling efficiency of {share(pair.comparison.ratio / best.num_replicas)}"
    return f"{text} (n = {best.n})."


def _accuracies(analysis: Analysis) -> str:
    found = medians(analysis.points, "test_accuracy")
    if not found:
        return "Test accuracy: no trial has trained every epoch yet."
    mean, num_examples = sum(found) / len(found), analysis.run.num_test_examples
    error = sqrt(mean * (1 - mean) / num_examples)  # binomial, over independent examples
    text = f"Test accuracy after {plural(analysis.run.sweep.num_epochs, 'epoch')}: {span(found, accuracy)} over "
    text += f"{plural(len(found), 'point')} (medians); {num_examples:,} test examples alone give a "
    return f"{text}standard error of {percentage_points(error)}."


def _best(analysis: Analysis) -> Point | None:
    """The point with the smallest median seconds an epoch of all."""
    return min(analysis.best_points(), key=lambda p: p.median("seconds_per_epoch") or 0.0, default=None)
