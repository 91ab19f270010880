"""What is known of one trial besides its row: scores chunk by chunk, and answers beside the source's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evaluators.behaviour.outcome import BehaviourResult
from evaluators.behaviour.record import prompts_from_json
from evaluators.divergence import ChunkScore, Score, merge_scores
from optimizer.export.answers import Answers, Named, show_answers
from optimizer.search.claiming import CONTENTS
from optimizer.search.draw import DRAW, Draw, evenly
from optimizer.search.reported_answers import asked_suite
from optimizer.service.context import Service
from optimizer.service.pages.study_data import label_of
from optimizer.service.routes.trials import behaviours_beside
from optimizer.store import BehaviourRecord, StudyRecord, TrialRecord


@dataclass(frozen=True)
class TextScore:
    """All that a trial was scored on of one text. `text`: `search` or `report`."""

    text: str
    score: Score
    """As its chunks count."""
    by_chunk: Mapping[int, float]
    """Chunk -> what its mean KLD counts, nats per token, of those that count."""
    chunks: tuple[ChunkScore, ...]
    """As measured."""
    counts: Mapping[int, float]
    """Chunk -> how often it counts: 1, or by the draw of a study that has one."""
    drawn_from: int | None
    """Chunks of the text that those that count were drawn from; None where they are all that was scored."""


@dataclass(frozen=True)
class HalfAnswers:
    """Answers to one half of a suite of prompts."""

    half: str
    summary: Mapping[str, Any]
    answers: Answers
    tokens_per_second: float | None


def scores_of(here: Service, study: StudyRecord, trial: TrialRecord) -> list[TextScore]:
    """On the study's own texts, search first; of the settings that the recipe was measured with last."""
    texts = dict(zip((study.config.get(CONTENTS) or ())[:2], ("search", "report"), strict=False))
    found: dict[str, dict[str, dict[int, ChunkScore]]] = {}
    for digest, row in here.store.evaluations_of(trial.recipe_id):
        if digest in texts:
            chunks = found.setdefault(texts[digest], {}).setdefault(row.settings_key, {})
            chunks.update({chunk["chunk"]: ChunkScore.from_dict(chunk) for chunk in row.chunks})
    drawn = (study.progress or {}).get(DRAW)
    shown = []
    for text in ("search", "report"):
        if text in found:
            by_number = list(found[text].values())[-1]
            measured = tuple(by_number[number] for number in sorted(by_number))
            draw = Draw.from_json(drawn) if drawn and text == "search" else evenly(tuple(by_number))
            drawn_from = draw.pool if draw.reference_nll is not None else None
            score = merge_scores([draw.counted(measured)])
            if not score.chunks:
                continue
            by_chunk = {chunk.chunk: chunk.mean_kld for chunk in score.chunks}
            counts = dict(zip(draw.order, draw.factors, strict=True))
            shown.append(TextScore(text, score, by_chunk, measured, counts, drawn_from))
    return shown


def answers_of(here: Service, study: StudyRecord, trial: TrialRecord) -> list[HalfAnswers]:
    """Each half of a suite that the trial answered, beside the source's answers where those are known."""
    return [_shown(study, trial, kept, source) for kept, source in behaviours_beside(here, study, trial.number)]


def _shown(
    study: StudyRecord, trial: TrialRecord, kept: BehaviourRecord, source: BehaviourRecord | None
) -> HalfAnswers:
    ours = Named(label_of(trial), _result(kept))
    theirs = None if source is None else Named("source", _result(source))
    suite = asked_suite(study, {"prompts": {"suite_sha256": kept.suite_sha256}})
    return HalfAnswers(
        str(kept.half), kept.summary, show_answers(ours, theirs, (), suite), kept.generation.get("tokens_per_second")
    )


def _result(kept: BehaviourRecord) -> BehaviourResult:
    return BehaviourResult(kept.suite_sha256, prompts_from_json(kept.prompts), kept.generation)
