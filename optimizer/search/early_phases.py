"""What a search measures before its first trial: references, the noise floor, probes."""

from optimizer.search.bench import Bench, pool_chunks, probe_chunks
from optimizer.search.context import SearchContext
from optimizer.search.draw import DRAW, Draw, draw_chunks, evenly
from optimizer.search.measuring import Measurer
from optimizer.search.probes import Sensitivities
from optimizer.search.probing import pilot_scores, plan_probing, run_probes
from optimizer.search.prune_sets import PruneSet, measure_influence, probe_sets
from optimizer.search.prune_settings import candidate_layers
from optimizer.search.samplers import NEED_PROBES
from optimizer.search.scoring import MeasuredText
from optimizer.search.texts import TextChoice, prepare_text

NOISE_CHUNKS = 8
POOL_CHUNKS = "pool_chunks"
"""Key of a study's progress."""


def prepare_search_text(context: SearchContext, bench: Bench, choice: TextChoice) -> MeasuredText:
    """The text that probes see and that the chunks of trials are drawn from; a study that has trials keeps its own."""
    config, chunks = context.plan.config, context.plan.config.evaluation.chunks
    if context.store.count_trials(context.study.id):
        pool = int(context.reporter.kept(POOL_CHUNKS) or chunks)  # it began before there were draws
    elif config.sampler in NEED_PROBES:
        pool = pool_chunks(config, bench.scorer.count_chunks(choice.path))
    else:
        pool = chunks  # without probes nothing tells what to draw
    context.reporter.keep(POOL_CHUNKS, pool)
    text = prepare(context, bench, choice, pool, "search text")
    if text.n_chunks < chunks:
        context.reporter.line(_too_few(choice, text, chunks))
    return text


def draw_trials(context: SearchContext, measurer: Measurer) -> Measurer:
    """What trials are scored by: chunks of the whole text, drawn by the damage of a probe that was measured on it."""
    reporter = context.reporter
    kept = reporter.kept(DRAW) if context.store.count_trials(context.study.id) else None
    draw = Draw.from_json(kept) if kept else _draw(context, measurer)
    reporter.keep(DRAW, None if draw is None else draw.as_json())  # none: a run with other settings may have left one
    return measurer if draw is None else measurer.drawn(draw)


def _draw(context: SearchContext, measurer: Measurer) -> Draw | None:
    """None where trials see the whole text."""
    chunks = context.plan.config.evaluation.chunks
    if measurer.text.n_chunks <= chunks:
        return None
    pilot = pilot_scores(plan_probing(context.plan), measurer, context.reporter)
    return evenly(range(chunks)) if pilot is None else draw_chunks(pilot, chunks)


def prepare(context: SearchContext, bench: Bench, choice: TextChoice, chunks: int, title: str) -> MeasuredText:
    """A text's reference logits."""
    context.check_stop()
    context.reporter.phase(f"reference: {title}", chunks)
    return prepare_text(bench, choice, chunks, lambda done, _: context.reporter.advance(done))


def prepare_report_text(context: SearchContext, bench: Bench, choice: TextChoice) -> MeasuredText:
    """The text that winners are reported on."""
    settings = context.plan.config.evaluation
    chunks = settings.report_chunks or settings.chunks
    text = prepare(context, bench, choice, chunks, "report text")
    if text.n_chunks < chunks:
        context.reporter.line(_too_few(choice, text, chunks))
    return text


def _too_few(choice: TextChoice, text: MeasuredText, wanted: int) -> str:
    return (
        f"[yellow]{choice.path.name} has {text.n_chunks} chunks of {text.tokens_per_chunk} tokens, not {wanted}; "
        "all of them are used[/yellow]"
    )


def noise_floor(context: SearchContext, bench: Bench, text: MeasuredText) -> float:
    """The reference against itself, over other batch shapes and thread counts; kept with the study."""
    context.check_stop()
    known = context.reporter.kept("noise_floor_kld")
    if known is not None and context.reporter.kept("noise_floor_of") == str(text.reference):
        return float(known)
    context.reporter.phase("noise floor", 1)
    chunks = list(range(min(NOISE_CHUNKS, text.n_chunks)))
    floor = bench.scorer.noise_floor(text, chunks)
    context.reporter.keep("noise_floor_of", str(text.reference))
    context.reporter.keep("noise_floor_kld", floor.mean_kld)
    return floor.mean_kld


def measure_probes(context: SearchContext, measurer: Measurer) -> Sensitivities:
    """Every unit's and every type's, of this text and engine; what the store has is not measured again."""
    plan = context.plan
    context.store.update_study(context.lease, phase="probes")
    probing = plan_probing(plan)
    imported = {
        (each.unit, each.probe_type): each.kld
        for each in context.store.sensitivities(measurer.model_id, measurer.text.text_id, measurer.text.settings_key)
        if each.source == "imported" and each.base == probing.base.name
    }
    return run_probes(
        plan, probing, measurer, context.store, probe_chunks(plan.config, measurer.text.n_chunks),
        context.reporter, context.check_stop, imported,
    )  # fmt: skip


def measure_prune_sets(context: SearchContext, measurer: Measurer) -> tuple[PruneSet, ...]:
    """The layers that may be left out, probed; nothing is measured where pruning is off."""
    plan, named = context.plan, context.plan.config.prune_candidates
    if not plan.config.prune:
        return ()
    context.check_stop()
    context.store.update_study(context.lease, phase="prune probes")
    influences = measure_influence(plan.model, measurer, context.reporter) if isinstance(named, int) else ()
    return probe_sets(
        candidate_layers(plan.config, influences), plan.config.prune, plan_probing(plan).base, measurer,
        probe_chunks(plan.config, measurer.text.n_chunks), context.reporter, context.check_stop,
    )  # fmt: skip
